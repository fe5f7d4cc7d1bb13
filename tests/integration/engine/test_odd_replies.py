"""Whatever an executor gives back, or raises, harms nobody but its own transaction."""

import asyncio
import math
from concurrent.futures import CancelledError
from typing import Any

import pytest

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome, TaskError
from dist_task_pipelines.domain.status import Applied, TaskStatus
from dist_task_pipelines.engine import batch_run
from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.executors import Registry
from tests.integration.engine.bench import Bench, act, orders
from tests.integration.engine.scripted import failed
from tests.integration.engine.trouble import Watch
from tests.unit.flows.making import nested

MINE, OTHERS = "order_1", ("order_0", "order_2")


def carry(bench: Bench, reply: Any) -> None:
    """A batch of three, the middle one's participant odd."""
    flow = bench.flow(act("deduct", retry={"strategy": "auto", "interval": 5}))
    bench.executor.script(f"{MINE}:deduct", reply)
    bench.carry(bench.take(flow, *orders(3)))
    assert [bench.status(order) for order in OTHERS] == ["success"] * 2


@pytest.mark.parametrize(
    ("reply", "error_type"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError"),
        (asyncio.CancelledError("stray"), "CancelledError"),
        (SystemExit(3), "SystemExit"),
        (lambda: None, "TypeError"),
        (lambda: "fine", "TypeError"),
        (lambda: Outcome, "TypeError"),
        (lambda: Outcome(output=["fine"]), "TypeError"),  # type: ignore[arg-type]
        (lambda: Outcome(details=None), "AttributeError"),  # type: ignore[arg-type]
        (lambda: Outcome(applied="maybe"), "TypeError"),  # type: ignore[arg-type]
        (lambda: failed(retry_after="soon"), "TypeError"),  # type: ignore[arg-type]
        (lambda: Outcome(error=TaskError("Odd", b"bytes")), "TypeError"),  # type: ignore[arg-type]
    ],
)
def test_a_broken_executor_leaves_it_open_whether_it_took_effect(
    bench: Bench, reply: Any, error_type: str
) -> None:
    carry(bench, reply)
    task = bench.task(MINE)
    assert (task.status, task.applied) == (TaskStatus.FAILED, Applied.MAYBE)
    assert task.error_type == error_type
    assert bench.status(MINE) == "failed"
    assert len(bench.exceptions(MINE)) == 1


@pytest.mark.parametrize(
    "output",
    [{"x": math.nan}, {"x": object()}, {"x": b"bytes"}, {"x": {1, 2}}, nested(5000)],
    ids=["nan", "object", "bytes", "set", "deep"],
)
def test_an_output_that_is_not_json_is_left_out(bench: Bench, output: Any) -> None:
    carry(bench, Outcome.success(output))
    assert bench.status(MINE) == "success"
    assert bench.task(MINE).output_data == {
        "unreadable": "the ledger's database refuses to keep the reply"
    }


def test_what_is_not_json_is_written_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "RECORD_EVERY", 20)
    finish = Watch(bench.ledger.attempts, "finish", monkeypatch)
    bench.executor.script("order_31:deduct", Outcome.success({"x": math.nan}))
    bench.carry(bench.take(bench.flow(), *orders(64)))
    assert len(finish.results) == 4  # those before it, itself twice, those behind it


def test_odd_texts_are_kept(bench: Bench) -> None:
    carry(bench, Outcome.success({"text": "\ud800\x00\U0001f600", "n": 10**400, "f": 1.0}))
    assert bench.task(MINE).output_data == {
        "text": "\ud800\x00\U0001f600",
        "n": 10**400,
        "f": 1.0,
    }


@pytest.mark.parametrize(
    "details",
    [{"x": math.nan}, dict.fromkeys(map(str, range(5000))), nested(5000)],
    ids=["nan", "many", "deep"],
)
def test_details_that_cannot_be_kept_are_left_out(bench: Bench, details: Any) -> None:
    carry(bench, failed(details=details))
    assert bench.task(MINE).error_message == "out of stock"
    row = bench.logs(MINE)[-1].details
    assert row
    assert list(row) == ["omitted"]


def test_long_details_are_cut(bench: Bench) -> None:
    carry(bench, failed(details={"x": "y" * 5000}))
    row = bench.logs(MINE)[-1].details
    assert row
    assert row["x"].endswith("... (5000 characters)")


def test_a_long_error_is_cut_and_a_broken_one_escaped(bench: Bench) -> None:
    carry(bench, failed("\ud800\x00" + "x" * 100_000))
    message = bench.task(MINE).error_message
    assert message
    assert message.startswith("\\ud800\\x00xxx")
    assert len(message) < 10_000


@pytest.mark.parametrize("retry_after", [math.inf, math.nan, -5.0, 1e300])
def test_an_odd_wish_to_wait_is_bounded(bench: Bench, retry_after: float) -> None:
    carry(bench, failed(retry_after=retry_after))
    task = bench.task(MINE)
    assert task.grant
    assert task.completed_at
    wait = (task.grant.due_at - task.completed_at).total_seconds()
    assert 5 <= wait <= 3600


def test_an_unknown_type_of_task_fails_by_name(bench: Bench) -> None:
    flow = bench.flow()
    bench.caller = Caller(Registry({}))
    report = bench.carry(bench.take(flow, "o1"))["deduct"]
    assert "nothing executes 'scripted'" in report.failures[0].error
    assert bench.task("o1").applied is Applied.NO


def test_a_call_that_is_really_cancelled_ends_at_once(bench: Bench) -> None:
    task = bench.flow().by_id["deduct"]
    bench.executor.hold("o1:deduct")

    async def cancel() -> None:
        request: JsonObject = {"config": {}, "input": {}}
        call = asyncio.create_task(bench.caller.call(task, request, idempotency_key="o1:deduct"))
        while not bench.executor.calls:
            await asyncio.sleep(0)
        call.cancel()
        await call

    with pytest.raises(CancelledError):
        bench.loop.run(cancel())
