"""The flows and orders that the tests are told in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dist_task_pipelines.assembly import open_catalog, open_ledger
from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.engine.submit import SubmitRequest, submit_many
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.flows import resolve_definition
from dist_task_pipelines.ledger.records import ExceptionRecord
from dist_task_pipelines.settings import Settings
from tests.services.platform import Platform

MAX_PARAMS_BYTES = 1_048_576

Flows = Mapping[str, JsonObject]  # definitions by flow name, their URLs left out


def flow(*tasks: JsonObject, description: str = "") -> JsonObject:
    """A definition of these tasks."""
    return {"description": description, "tasks": list(tasks)}


def task(identifier: str, *after: str, **keys: Any) -> JsonObject:
    """A task that calls the participant, once the tasks `after` succeeded."""
    return {
        "id": identifier,
        "task_name": "http_request",
        "depends_on": list(after),
        "timeout": 60,
        **keys,
    }


def addressed(definition: JsonObject, participant_url: str) -> JsonObject:
    """The definition with the participant's address in each task."""
    return {
        **definition,
        "tasks": [
            {"config": {"url": f"{participant_url}/{each['id']}"}, **each}
            for each in definition["tasks"]
        ],
    }


def register(home: Path, flows: Flows, participant_url: str) -> None:
    """Store the flows in the ledger of `home`, as `dist-task flow apply` does."""
    settings = Settings.load(None, home)
    registry = Registry.load()
    catalog = open_catalog(settings, registry)
    ledger = open_ledger(settings)
    for name, definition in flows.items():
        resolved = resolve_definition(
            addressed(definition, participant_url),
            name=name,
            catalog=catalog,
            config_models=registry.config_models(),
        )
        ledger.flows.create(name=name, definition=resolved)
    ledger.close()


def submit(
    platform: Platform, flow: str, ids: Sequence[str], params: JsonObject | None = None
) -> None:
    """Submit orders in one commit, so that one batch takes them all."""
    requests = [SubmitRequest(each, flow, params) for each in ids]
    results = submit_many(platform.ledger, requests, max_params_bytes=MAX_PARAMS_BYTES)
    assert not [each for each in results if isinstance(each, DistTaskError)]


def open_exception(platform: Platform, transaction_id: str) -> ExceptionRecord:
    """The only open exception of the transaction."""
    [found] = platform.ledger.exceptions.page(handled=False, transaction_id=transaction_id)
    return found


def audited(platform: Platform, target: str) -> list[tuple[str, str, str]]:
    """Actor, action and reason of what people did to the target, oldest first."""
    rows = platform.ledger.audit.page(target)
    return [(row.actor, row.action, row.reason) for row in reversed(rows)]


def left_alone(platform: Platform, run_id: str, transaction_id: str) -> str:
    """What the run's page says of an order that the run did not touch; empty for one it did."""
    messages = [each.message for each in platform.events(run_id)]
    return "\n".join(each for each in messages if "left alone" in each and transaction_id in each)
