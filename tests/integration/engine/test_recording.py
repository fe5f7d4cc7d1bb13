"""Outcomes are recorded: soon, once, through outages, and whatever their neighbours are."""

from collections.abc import Callable
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import LedgerUnavailable
from dist_task_pipelines.domain.flow import Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied, TaskStatus
from dist_task_pipelines.engine import batch_run, patience
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import PENDING, RUNNING, Bench, act, ended, orders
from tests.integration.engine.scripted import WAIT, done, failed
from tests.integration.engine.trouble import Outage, Watch, refuse_rows

AUTO = {"strategy": "auto", "max_attempts": 3, "interval": 10}


@pytest.fixture
def outage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(patience, "TRY_AGAIN_SECONDS", 0.01)
    return Outage(bench.ledger, monkeypatch)


def test_a_slow_call_does_not_delay_the_records_of_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = bench.take(bench.flow(), *orders(20))
    bench.executor.hold("order_7:deduct")
    finish = Watch(bench.ledger.attempts, "finish", monkeypatch)
    with bench.running(batch) as run:
        running = bench.in_background(run, "deduct")
        finish.wait_for(lambda written: sum(map(len, written)) == 19)
        assert sum(bench.status(order) == "success" for order in orders(20)) == 19
        assert bench.task("order_7").status is TaskStatus.RUNNING
        bench.executor.release("order_7:deduct")
        assert ended(running).passed == 20


def test_records_are_written_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Watch(bench.ledger.attempts, "finish", monkeypatch)
    start = Watch(bench.ledger.attempts, "start", monkeypatch)
    bench.carry(bench.take(bench.flow(), *orders(100)))
    assert len(start.results) == 1
    assert len(finish.results) <= 10


@pytest.mark.parametrize("ends", [done, lambda key: failed()], ids=["success", "failure"])
def test_an_outage_while_outcomes_are_recorded(
    bench: Bench, outage: Outage, ends: Callable[[str], Outcome]
) -> None:
    flow = bench.flow(act("deduct", retry=AUTO))
    batch = bench.take(flow, *orders(3))
    bench.executor.hold("order_0:deduct")
    for order in orders(3):
        bench.executor.script(f"{order}:deduct", ends(f"{order}:deduct"))
    with bench.running(batch) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("order_0:deduct", "order_1:deduct", "order_2:deduct")
        outage.begin()
        outage.wait_for_failures(3)
        bench.executor.release("order_0:deduct")
        outage.wait_for_failures(6)
        outage.end()
        assert ended(running).called == 3
    assert [bench.executor.called.count(f"{order}:deduct") for order in orders(3)] == [1, 1, 1]
    end = "success" if ends is done else "failed"
    for order in orders(3):
        assert bench.actions(order) == ["start", end]


def test_a_record_whose_answer_was_lost_is_not_written_twice(
    bench: Bench, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = bench.flow(act("deduct", retry=AUTO), act("notify", "deduct"))
    batch = bench.take(flow, "good", "bad")
    bench.executor.script("bad:deduct", failed())
    with bench.running(batch) as run:
        finish = Watch(bench.ledger.attempts, "finish", monkeypatch)
        bench.executor.hold("good:deduct", "bad:deduct")
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("good:deduct", "bad:deduct")
        outage.lose_answers(1)
        bench.executor.release("good:deduct", "bad:deduct")
        report = ended(running)
        run.run_task("notify")
    assert isinstance(finish.results[0], LedgerUnavailable)
    assert (report.called, report.passed) == (2, 1)
    assert bench.actions("good") == ["start", "success"]
    assert bench.actions("bad") == ["start", "failed"]
    [record] = bench.exceptions("bad")
    assert record.retry_times == 1
    assert report.failures[0].exception_id == record.id
    assert (bench.status("good"), bench.status("bad")) == ("success", "running")
    assert bench.executor.called.count("bad:deduct") == 1


def test_a_start_whose_answer_was_lost_is_not_called_and_not_forgotten(
    bench: Bench, outage: Outage
) -> None:
    flow = bench.flow(act("deduct", idempotent=False))
    batch = bench.take(flow, "o1")
    with bench.running(batch) as run:
        outage.lose_answers(1)
        assert run.run_task("deduct").called == 0
    assert bench.executor.calls == []
    assert (bench.task("o1").error_type, bench.task("o1").applied) == ("NotCalled", Applied.NO)
    bench.carry(bench.take_due(flow))
    assert bench.executor.called == ["o1:deduct"]
    assert bench.status("o1") == "success"


def test_an_outage_before_the_calls_only_delays_them(bench: Bench, outage: Outage) -> None:
    batch = bench.take(bench.flow(), "o1")
    with bench.running(batch) as run:
        outage.begin()
        running = bench.in_background(run, "deduct")
        outage.wait_for_failures(3)
        outage.end()
        assert ended(running).passed == 1
    assert bench.actions("o1") == ["start", "success"]
    assert bench.ledger.transactions.get("o1").lease_losses == 0


def test_an_outage_at_the_end_of_the_batch_is_waited_for(bench: Bench, outage: Outage) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    batch = bench.take(flow, "o1")
    with bench.running(batch) as run:
        run.run_task("deduct")
        outage.begin(failures=3)
    assert outage.failures == 3
    assert bench.status("o1") == "running"
    assert len(bench.dispatch(flow, bench.status("o1"))) == 1


def test_when_recording_fails_for_good_no_call_is_left_behind(
    bench: Bench, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = bench.flow(act("deduct", timeout=20))
    batch = bench.take(flow, *orders(3), lease=0.2)
    first, second = "order_0:deduct", "order_1:deduct"
    bench.executor.hold(first, second)
    with bench.running(batch, lease=0.2, calls=2) as run:
        record = Watch(run._writer, "record", monkeypatch)
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for(first, second)
        outage.begin()
        bench.executor.release(first)
        record.wait_for(lambda results: len(results) > 0)
        assert isinstance(record.results[0], LedgerUnavailable)
        with pytest.raises(TimeoutError):  # it waits for the call under way
            running.result(0.2)
        bench.executor.release(second)
        with pytest.raises(LedgerUnavailable):
            running.result(WAIT)
        assert bench.executor.under_way == 0
        assert run.end_reason == "error"
        outage.end()


def test_after_an_outage_for_good_another_run_finishes(
    bench: Bench, outage: Outage, clock: SteppableClock
) -> None:
    flow = bench.flow(act("deduct", timeout=0.2))
    batch = bench.take(flow, *orders(3), lease=0.2)

    def reply() -> Outcome:
        outage.begin()
        return done("order_0:deduct")

    bench.executor.script("order_0:deduct", reply)
    with pytest.raises(LedgerUnavailable), bench.running(batch, lease=0.2) as run:
        run.run_task("deduct")
    outage.end()
    clock.step(10)
    assert bench.ledger.batches.expire() == [batch.id]
    dispatched = bench.dispatch(flow, RUNNING)
    assert [each.size for each in dispatched] == [1, 1, 1]  # alone, now that the lease was lost
    for each in dispatched:
        bench.carry(bench.acquire(each))
    assert [bench.status(order) for order in orders(3)] == ["success"] * 3
    assert set(bench.executor.effects.values()) == {1}
    assert len(bench.executor.effects) == 3


def test_one_refused_reply_does_not_disturb_its_299_neighbours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    batch = bench.take(flow, *orders(300))
    bench.executor.script("order_123:deduct", Outcome.success({"poison": True}))
    refuse_rows(
        bench.ledger.attempts, "finish", monkeypatch, lambda row: "poison" in row.outcome.output
    )
    finish = Watch(bench.ledger.attempts, "finish", monkeypatch)
    with bench.running(batch) as run:
        report = run.run_task("deduct")
        assert (report.called, report.passed, report.failures) == (300, 300, ())
        assert len(finish.results) <= 40
        assert run.run_task("notify").passed == 300
    for order in orders(300):
        expected = {"key": f"{order}:deduct"}
        if order == "order_123":
            expected = {"unreadable": "the ledger's database refuses to keep the reply"}
        assert bench.task(order).output_data == expected
    assert {bench.status(order) for order in orders(300)} == {"success"}


def test_a_refused_error_keeps_its_status_and_its_retry(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = bench.flow(act("deduct", retry=AUTO))
    batch = bench.take(flow, *orders(5))
    bench.executor.script("order_3:deduct", failed("poison", applied=Applied.MAYBE))
    refuse_rows(
        bench.ledger.attempts,
        "finish",
        monkeypatch,
        lambda row: row.outcome.error and row.outcome.error.message == "poison",
    )
    report = bench.carry(batch)["deduct"]
    assert report.failures[0].error.startswith("RowRefused: the ledger's database refuses")
    task = bench.task("order_3")
    assert (task.status, task.error_type, task.applied) == ("failed", "RowRefused", "maybe")
    assert task.grant
    clock.step(10)
    bench.carry(bench.take_due(flow))
    assert {bench.status(order) for order in orders(5)} == {"success"}


def test_a_refused_request_is_not_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = bench.flow()
    for order in orders(40):
        bench.submit(order, params={"deduct": {"poison": order == "order_17"}})
    batch = bench.take_due(flow, PENDING)
    refuse_rows(
        bench.ledger.attempts,
        "start",
        monkeypatch,
        lambda row: row.request and row.request["input"]["poison"],
    )
    report = bench.carry(batch)["deduct"]
    assert [failure.transaction_id for failure in report.failures] == ["order_17"]
    assert (report.called, report.passed) == (40, 39)
    assert "order_17:deduct" not in bench.executor.called
    task = bench.task("order_17")
    assert (task.status, task.error_type, task.applied) == ("failed", "RowRefused", "no")
    assert bench.actions("order_17") == ["start", "failed"]
    assert bench.exceptions("order_17")[0].error_type == "RowRefused"


def test_a_record_that_breaks_does_not_stop_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = bench.take(bench.flow(), "slow", "fast")
    bench.executor.hold("slow:deduct")
    slow = batch.members[0].seq
    finish = bench.ledger.attempts.finish

    def breaking(batch: Any, flow: Any, task: Any, finishes: Any) -> Any:
        if all(each.seq != slow for each in finishes):
            raise ZeroDivisionError
        return finish(batch, flow, task, finishes)

    monkeypatch.setattr(bench.ledger.attempts, "finish", breaking)
    with bench.running(batch) as run:
        record = Watch(run._writer, "record", monkeypatch)
        running = bench.in_background(run, "deduct")
        record.wait_for(lambda results: len(results) > 0)
        bench.executor.release("slow:deduct")
        with pytest.raises(ZeroDivisionError):
            ended(running)
    assert bench.status("slow") == "success"
    assert bench.actions("fast") == ["start", "lost"]


def test_a_call_that_breaks_the_engine_takes_no_other_outcome_along(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "RECORD_EVERY", 20)  # one record for all
    call = bench.caller.call

    async def breaking(task: Task, request: JsonObject, *, idempotency_key: str) -> Outcome:
        if idempotency_key == "order_1:deduct":
            raise ZeroDivisionError
        return await call(task, request, idempotency_key=idempotency_key)

    monkeypatch.setattr(bench.caller, "call", breaking)
    with bench.running(bench.take(bench.flow(), *orders(3))) as run:
        with pytest.raises(ZeroDivisionError):
            run.run_task("deduct")
        assert run.end_reason == "error"
    assert [bench.status(order) for order in orders(3)] == ["success", "running", "success"]
    assert bench.actions("order_1") == ["start", "lost"]
