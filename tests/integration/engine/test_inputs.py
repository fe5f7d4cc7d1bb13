"""An input that cannot be made fails its own transaction, before its participant is called."""

from typing import Any

import pytest

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied, TaskStatus
from dist_task_pipelines.engine import requests
from dist_task_pipelines.flows import task_input
from tests.integration.engine.bench import Bench, act, orders
from tests.integration.engine.trouble import Watch

SHIP = act(
    "ship",
    "deduct",
    input_fields=[{"name": "receipt", "type": "int", "required": True}],
    input_from={"receipt": "$.deduct.receipt"},
    config={"path": "/${tasks.deduct.output.place}/${input.receipt}"},
)
REPLIES: dict[str, JsonObject] = {
    "good": {"receipt": "12", "place": "here"},
    "no-receipt": {"place": "here"},
    "bad-receipt": {"receipt": "12.5", "place": "here"},
    "no-place": {"receipt": 12},
    "bad-place": {"receipt": 12, "place": ["here"]},
    "unreadable": {"unreadable": "the reply is longer than 65536 bytes"},
    "good-too": {"receipt": 13, "place": "there"},
}
MESSAGES = {
    "no-receipt": "input.receipt: $.deduct.receipt found no value",
    "bad-receipt": "input.receipt: must be an integer, not '12.5'",
    "no-place": "config.path: ${tasks.deduct.output.place} has no value: there is no 'place'",
    "bad-place": (
        "config.path: ${tasks.deduct.output.place} is a list, which cannot stand inside a "
        "longer string"
    ),
    "unreadable": (
        "input.receipt: the output of 'deduct' could not be kept: the reply is longer than "
        "65536 bytes"
    ),
}


def test_only_the_transaction_at_fault_fails(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), SHIP)
    for name, reply in REPLIES.items():
        bench.executor.script(f"{name}:deduct", Outcome.success(reply))
    report = bench.carry(bench.take(flow, *REPLIES))["ship"]
    assert (report.called, report.passed) == (7, 2)
    errors = {failure.transaction_id: failure.error for failure in report.failures}
    assert errors == {name: f"InvalidParams: {text}" for name, text in MESSAGES.items()}
    assert bench.executor.called[7:] == ["good:ship", "good-too:ship"]
    for name in MESSAGES:
        task = bench.task(name, "ship")
        assert (task.status, task.applied) == (TaskStatus.FAILED, Applied.NO)
        assert bench.actions(name, "ship") == ["start", "failed"]
        assert len(bench.exceptions(name)) == 1


def test_a_retry_with_nothing_repaired_fails_as_clearly(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), SHIP)
    bench.executor.script("o1:deduct", Outcome.success(REPLIES["no-receipt"]))
    bench.carry(bench.take(flow, "o1"))
    for attempts in (2, 3):
        bench.ledger.operators.retry_transaction("o1", actor="ann")
        report = bench.carry(bench.take_due(flow))["ship"]
        assert report.failures[0].error == f"InvalidParams: {MESSAGES['no-receipt']}"
        assert bench.task("o1", "ship").attempts == attempts
        [record] = bench.exceptions("o1")
        assert (record.message, record.handled) == (MESSAGES["no-receipt"], False)
    assert bench.executor.called == ["o1:deduct"]


def test_a_fault_of_the_platform_stays_with_its_transaction(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(task: Any, params: JsonObject, outputs: Any) -> JsonObject:
        if params["deduct"]["n"] == 1:
            raise RecursionError("too deep")
        return task_input(task, params, outputs)

    monkeypatch.setattr(requests, "task_input", breaking)
    bench.flow()
    for number in range(3):
        bench.submit(f"o{number}", params={"deduct": {"n": number}})
    flow = bench.ledger.flows.load("payment_v1")
    report = bench.carry(bench.take_due(flow, bench.status("o0")))["deduct"]
    assert [failure.error for failure in report.failures] == ["RecursionError: too deep"]
    assert bench.exceptions("o1")[0].stack.startswith("Traceback")
    assert sorted(bench.executor.called) == ["o0:deduct", "o2:deduct"]


def test_refusals_do_not_wait_for_a_slot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = bench.flow(act("deduct", config={"who": "${input.who}"}))
    bench.flow(act("deduct", config={"who": "${input.who}"}))
    bench.submit("good", params={"deduct": {"who": "ann"}})
    for order in orders(3):
        bench.submit(order)
    bench.executor.hold("good:deduct")
    finish = Watch(bench.ledger.attempts, "finish", monkeypatch)
    with bench.running(bench.take_due(flow, bench.status("good")), calls=1) as run:
        running = bench.in_background(run, "deduct")
        finish.wait_for(lambda written: sum(map(len, written)) == 3)
        bench.executor.release("good:deduct")
        assert running.result(20).passed == 1
