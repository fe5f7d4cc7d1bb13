"""The first attempt's request is repeated byte for byte, whatever has changed since."""

from typing import Any

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.engine import requests
from dist_task_pipelines.flows import conversions, parameters
from dist_task_pipelines.ledger import tables
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import Bench, act
from tests.integration.engine.scripted import failed

AUTO = {"strategy": "auto", "max_attempts": 3, "interval": 10}
ODD: JsonObject = {
    "z": 1,
    "a": [1.10, 1e22, 12345678901234567890, -0.0, True, None],
    "text": "\ud800 \U0001f600 ' \" \\ \x00 ${input.z} ${secret.PIN}",
    "ключ": {"": {}},
}
FIELDS = [
    {"name": "amount", "type": "int", "required": True},
    {"name": "receipt", "type": "string"},
    {"name": "odd", "type": "object"},
]


def ship(**options: Any) -> JsonObject:
    return act(
        "ship",
        "deduct",
        retry=AUTO,
        input_fields=FIELDS,
        input_from={"receipt": "$.deduct.receipt"},
        config={
            "path": "/ship/${input.receipt}",
            "whole": "${input.odd}",
            "up": "${tasks.deduct.output.odd}",
            "auth": "Bearer ${secret.TOKEN}",
        },
        **options,
    )


def rewrite(bench: Bench, table: sa.Table, **values: object) -> None:
    """Change what the ledger holds, behind everybody's back."""
    statement = sa.update(table).values(values)
    if table is tables.task:
        statement = statement.where(table.c.task_id == "deduct")
    bench.ledger.database.write(lambda connection: connection.execute(statement))


def retried(bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that fails, then everything it was made of changes, then its retry."""
    bench.secrets["TOKEN"] = "s3cret-1"
    flow = bench.flow(act("deduct"), ship())
    bench.executor.script("o1:deduct", Outcome.success({"receipt": "r-1", "odd": ODD}))
    bench.executor.script("o1:ship", failed(), failed())
    bench.carry(bench.take(flow, "o1", params={"ship": {"amount": "7", "odd": ODD}}))
    clock.step(10)
    bench.carry(bench.take_due(flow))
    rewrite(bench, tables.task, output_data={"receipt": "r-2", "odd": {"changed": 1}})
    rewrite(bench, tables.transaction, params={"ship": {"amount": 8, "odd": {"changed": 2}}})
    converters = {**conversions.CONVERTERS, "int": lambda value: 0}
    monkeypatch.setattr(parameters, "CONVERTERS", converters)
    clock.step(10)


def test_a_retry_sends_what_was_sent_first(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    retried(bench, clock, monkeypatch)
    flow = bench.ledger.flows.load("payment_v1")
    bench.carry(bench.take_due(flow))
    assert bench.status("o1") == "success"
    first, second, third = [call for call in bench.executor.calls if call.key == "o1:ship"]
    assert first == second == third
    assert first.input.startswith('{"amount":7,"odd":{"z":1,"a":[1.1,1e+22,12345678901234567890,')
    assert '"text":"\\ud800 \\ud83d\\ude00 \' \\" \\\\ \\u0000 ${input.z} ${secret.PIN}"' in (
        first.input
    )
    assert first.config.startswith('{"path":"/ship/r-1","whole":{"z":1,')
    assert first.config.count("${secret.PIN}") == 2
    assert first.config.endswith('"auth":"Bearer s3cret-1"}')


def test_a_renewed_secret_changes_its_own_place_only(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    retried(bench, clock, monkeypatch)
    bench.secrets["TOKEN"] = "s3cret-2"
    bench.carry(bench.take_due(bench.ledger.flows.load("payment_v1")))
    _, first, second = [call for call in bench.executor.calls if call.key == "o1:ship"]
    assert second.input == first.input
    assert second.config == first.config.replace("s3cret-1", "s3cret-2")


def test_the_ledger_keeps_the_request_as_it_was_made(bench: Bench) -> None:
    bench.secrets["TOKEN"] = "s3cret-1"
    flow = bench.flow(act("deduct"), ship())
    bench.executor.script("o1:deduct", Outcome.success({"receipt": "r-1", "odd": ODD}))
    batch = bench.take(flow, "o1", params={"ship": {"amount": "7", "odd": ODD}})
    bench.carry(batch)
    with bench.ledger.database.read() as connection:
        query = sa.select(tables.task.c.request).where(tables.task.c.task_id == "ship")
        request: JsonObject = connection.scalars(query).one()
    assert request["config"]["auth"] == "Bearer ${secret.TOKEN}"
    assert request["input"] == {"amount": 7, "odd": ODD, "receipt": "r-1"}
    assert bench.task("o1", "ship").input_data == request["input"]


def test_a_request_that_could_not_be_made_is_made_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so there is nothing to repeat."""
    flow = bench.flow(act("deduct", config={"who": "${input.who}"}))

    def broken(*args: Any) -> JsonObject:
        raise RuntimeError("no idea")

    monkeypatch.setattr(requests, "task_config", broken)
    batch = bench.take(flow, "o1", params={"deduct": {"who": "ann"}})
    bench.carry(batch)
    assert bench.task("o1").error_type == "RuntimeError"
    monkeypatch.undo()
    bench.ledger.operators.retry_transaction("o1", actor="ann")
    bench.carry(bench.take_due(flow))
    assert bench.status("o1") == "success"
    assert [call.config for call in bench.executor.calls] == ['{"who":"ann"}']
