"""The ledger's assets: what is declared, what a tick reports, and what a person may execute."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import definitions
from dist_task_pipelines.assembly import migrate_ledger, open_ledger
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.engine.submit import SubmitRequest, submit
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.ledger_assets import flow_key, flow_numbers
from dist_task_pipelines.settings import Settings

# Dagster warns of its own when it copies a sensor.
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

TASK = {"id": "deduct", "task_name": "http_request", "config": {"url": "http://127.0.0.1:9"}}
HTTP: JsonObject = {"type": "http", "description": "", "config": {}, "input_fields": None}

STUCK_AT_ONCE = "[checks]\nstuck_seconds = 1\n"
STORE, CAR_HIRE, EXCEPTIONS = (
    dg.AssetKey(["ledger", name]) for name in ("store", "car_hire", "exceptions")
)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger with two flows, one of them in two versions."""
    (tmp_path / "dist_task.toml").write_text(STUCK_AT_ONCE)
    monkeypatch.setenv("DIST_TASK_HOME", str(tmp_path))
    settings = Settings.from_environment()
    migrate_ledger(settings)
    opened = open_ledger(settings)
    for name, after in (("store", []), ("store", [TASK]), ("car-hire", [])):
        extra = [{**each, "id": "notify"} for each in after]
        definition = {
            "name": name,
            "tasks": [TASK, *extra],
            "task_definitions": {"http_request": HTTP},
        }
        opened.flows.create(name=name, definition=definition)
    yield opened
    opened.close()


@pytest.fixture
def repository(ledger: Ledger) -> dg.RepositoryDefinition:
    """The code location."""
    return definitions.defs().get_repository_def()


def tick(repository: dg.RepositoryDefinition, ledger: Ledger) -> list[Any]:
    """The asset events that a tick of the sensor gives."""
    sensor = repository.get_sensor_def("ledger_state")
    with dg.build_sensor_context(resources={"ledger": ledger}) as context:
        return list(sensor.evaluate_tick(context).asset_events)


def make_one_stuck(ledger: Ledger) -> None:
    """Submit an order that should have been taken up some time ago."""
    request = SubmitRequest("order-1", "store")
    submit(ledger, request, max_params_bytes=1000, delay=-60)


def test_every_flow_has_an_asset_and_the_exceptions_lie_below(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    assert graph.get_all_asset_keys() == {STORE, CAR_HIRE, EXCEPTIONS}
    assert graph.get(EXCEPTIONS).parent_keys == {STORE, CAR_HIRE}
    assert {(each.asset_key, each.name) for each in graph.asset_check_keys} == {
        (STORE, "nothing_stuck"),
        (STORE, "success_rate"),
        (CAR_HIRE, "nothing_stuck"),
        (CAR_HIRE, "success_rate"),
        (EXCEPTIONS, "no_old_exceptions"),
    }


def test_a_flow_called_like_the_exceptions_has_a_key_of_its_own() -> None:
    assert flow_key("exceptions").path == ["ledger", "flow", "exceptions"]


def test_a_tick_observes_every_asset_and_evaluates_every_check(
    repository: dg.RepositoryDefinition, ledger: Ledger
) -> None:
    make_one_stuck(ledger)
    events = tick(repository, ledger)
    numbers = {each.asset_key: each.metadata for each in events if not hasattr(each, "passed")}
    assert set(numbers) == {STORE, CAR_HIRE, EXCEPTIONS}
    assert numbers[STORE]["pending"].value == 1
    assert numbers[STORE]["backlog"].value == 1
    assert numbers[STORE]["backlog_age_seconds"].value >= 60
    assert "success_rate" not in numbers[STORE]
    assert numbers[EXCEPTIONS]["open"].value == 0
    checks = {(e.asset_key, e.check_name): e for e in events if hasattr(e, "passed")}
    assert {key for key, each in checks.items() if not each.passed} == {(STORE, "nothing_stuck")}
    assert "1 transactions should have moved" in str(checks[STORE, "nothing_stuck"].description)


def test_a_person_may_execute_the_checks_all_or_one(
    repository: dg.RepositoryDefinition, ledger: Ledger
) -> None:
    make_one_stuck(ledger)
    job = repository.get_implicit_asset_job_names()[0]
    with dg.DagsterInstance.ephemeral() as instance:
        whole = repository.get_job(job)
        done = whole.execute_in_process(instance=instance, raise_on_error=False)
        assert done.success
        evaluations = done.get_asset_check_evaluations()
        assert {(e.asset_key, e.check_name, e.passed) for e in evaluations} == {
            (STORE, "nothing_stuck", False),
            (STORE, "success_rate", True),
            (CAR_HIRE, "nothing_stuck", True),
            (CAR_HIRE, "success_rate", True),
            (EXCEPTIONS, "no_old_exceptions", True),
        }
        one = whole.get_subset(
            asset_selection=set(), asset_check_selection={dg.AssetCheckKey(STORE, "success_rate")}
        )
        [evaluation] = one.execute_in_process(instance=instance).get_asset_check_evaluations()
        assert (evaluation.asset_key, evaluation.check_name) == (STORE, "success_rate")


def test_a_number_that_was_counted_up_to_a_cap_is_named(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dist_task_pipelines.ledger.stats.COUNTED_AT_MOST", 1)
    for number in range(2):
        request = SubmitRequest(f"order-{number}", "store")
        submit(ledger, request, max_params_bytes=1000)
    numbers = flow_numbers(ledger.stats.flow_named("store"))
    assert (numbers["pending"], numbers["counted_no_further"]) == (1, "pending, backlog")
