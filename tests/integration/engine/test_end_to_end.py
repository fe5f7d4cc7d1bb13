"""From a submit to the end, without Dagster: dispatch, runs, automatic retries, people."""

import pytest

from dist_task_pipelines.domain.errors import NotAllowed
from dist_task_pipelines.domain.status import Applied, GrantedBy, Health, TaskStatus
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import PENDING, RUNNING, Bench, act, orders
from tests.integration.engine.scripted import failed

AUTO = {"strategy": "auto", "max_attempts": 2, "interval": 10}


def test_a_transaction_goes_from_submit_to_success(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    reports = bench.carry(bench.take(flow, *orders(3)))
    assert bench.executor.called == [
        f"{order}:{task}" for task in ("deduct", "notify") for order in orders(3)
    ]
    assert [bench.status(order) for order in orders(3)] == ["success"] * 3
    for report in reports.values():
        assert (report.called, report.passed, report.failures, report.waiting) == (3, 3, (), ())
    assert bench.task("order_1", "notify").output_data == {"key": "order_1:notify"}
    assert bench.actions("order_1", "notify") == ["start", "success"]


def test_an_automatic_retry_goes_through_dispatch(bench: Bench, clock: SteppableClock) -> None:
    flow = bench.flow(act("deduct", retry=AUTO), act("notify", "deduct"))
    bench.executor.script("o1:deduct", failed(), failed())
    report = bench.carry(bench.take(flow, "o1"))["deduct"]
    for _ in range(2):
        [record] = bench.exceptions("o1")
        due = bench.ledger.transactions.get("o1").next_due_at
        assert due == record.retry_next_at
        assert (bench.status("o1"), health(bench, "o1")) == (RUNNING, Health.RETRYING)
        clock.step(9.9)
        assert bench.dispatch(flow, RUNNING) == []
        clock.step(0.1)
        bench.carry(bench.take_due(flow))
    assert report.failures[0].exception_id == record.id
    assert report.failures[0].error == "Refused: out of stock"
    assert report.failures[0].retry_at is not None
    assert (bench.status("o1"), health(bench, "o1")) == ("success", Health.HEALTHY)
    assert bench.executor.called == ["o1:deduct"] * 3 + ["o1:notify"]
    assert bench.actions("o1") == ["start", "failed", "retry", "failed", "retry", "success"]
    assert [row.attempt for row in bench.logs("o1")] == [1, 1, 2, 2, 3, 3]
    [record] = bench.exceptions("o1")
    assert (record.handled_by, record.retry_times) == ("system", 2)


def test_when_the_attempts_are_used_up_a_person_decides(
    bench: Bench, clock: SteppableClock
) -> None:
    flow = bench.flow(act("deduct", retry=AUTO))
    bench.executor.script("o1:deduct", *[failed()] * 4)
    bench.carry(bench.take(flow, "o1"))
    for _ in range(2):
        clock.step(10)
        bench.carry(bench.take_due(flow))
    assert (bench.status("o1"), health(bench, "o1")) == ("failed", Health.NEEDS_HUMAN)
    assert nothing_is_due(bench, clock)

    [record] = bench.exceptions("o1")
    bench.ledger.operators.retry_exception(record.id, actor="ann")
    assert (bench.status("o1"), health(bench, "o1")) == (RUNNING, Health.RETRYING)
    report = bench.carry(bench.take_due(flow))["deduct"]  # one call, and no retry by itself
    assert report.failures[0].retry_at is None
    assert (bench.status("o1"), health(bench, "o1")) == ("failed", Health.NEEDS_HUMAN)
    assert nothing_is_due(bench, clock)

    bench.ledger.operators.retry_transaction("o1", actor="ann")
    bench.carry(bench.take_due(flow))
    assert bench.status("o1") == "success"
    assert len(bench.executor.calls) == 5
    assert len(bench.exceptions("o1")) == 1


def test_a_handled_task_is_not_called_again(bench: Bench, clock: SteppableClock) -> None:
    flow = bench.flow(act("deduct", retry=AUTO), act("notify", "deduct"))
    bench.executor.script("o1:deduct", failed())
    bench.carry(bench.take(flow, "o1"))
    [record] = bench.exceptions("o1")
    bench.ledger.operators.handle(record.id, actor="ann", remark="paid in cash")
    assert nothing_is_due(bench, clock)
    with pytest.raises(NotAllowed):
        bench.ledger.operators.retry_transaction("o1", actor="ann")
    batch = bench.adopt(flow, "o1")
    assert [left.transaction_id for left in batch.left_alone] == ["o1"]
    bench.carry(batch)
    assert bench.executor.called == ["o1:deduct"]


@pytest.mark.parametrize("strategy", ["manual", "no_retry"])
def test_without_a_strategy_nothing_is_called_by_itself(
    bench: Bench, clock: SteppableClock, strategy: str
) -> None:
    flow = bench.flow(act("deduct", retry={"strategy": strategy}))
    bench.executor.script("o1:deduct", failed())
    bench.carry(bench.take(flow, "o1"))
    assert (bench.status("o1"), health(bench, "o1")) == ("failed", Health.NEEDS_HUMAN)
    assert nothing_is_due(bench, clock)


def test_when_nobody_knows_whether_it_took_effect_a_person_decides(
    bench: Bench, clock: SteppableClock
) -> None:
    flow = bench.flow(act("deduct", idempotent=False, retry=AUTO))
    bench.executor.script("o1:deduct", failed(applied=Applied.MAYBE))
    bench.carry(bench.take(flow, "o1"))
    assert bench.task("o1").status is TaskStatus.UNKNOWN
    assert bench.task("o1").applied is Applied.MAYBE
    assert (bench.status("o1"), health(bench, "o1")) == ("failed", Health.UNKNOWN)
    assert nothing_is_due(bench, clock)
    bench.ledger.operators.retry_transaction("o1", actor="ann")
    bench.carry(bench.take_due(flow))
    assert bench.status("o1") == "success"


def test_a_participant_may_ask_for_a_longer_wait(bench: Bench, clock: SteppableClock) -> None:
    flow = bench.flow(act("deduct", retry=AUTO))
    bench.executor.script("o1:deduct", failed(retry_after=25))
    bench.carry(bench.take(flow, "o1"))
    grant = bench.task("o1").grant
    assert grant
    assert grant.by is GrantedBy.POLICY
    assert (grant.due_at - clock.now()).total_seconds() == 25


def test_an_empty_report_for_a_task_that_nobody_is_ready_for(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    bench.executor.script("o1:deduct", failed())
    report = bench.carry(bench.take(flow, "o1"))["notify"]
    assert (report.called, report.passed, report.failures) == (0, 0, ())


def health(bench: Bench, transaction_id: str) -> Health:
    return bench.ledger.transactions.get(transaction_id).health


def nothing_is_due(bench: Bench, clock: SteppableClock) -> bool:
    """Nor ever will be."""
    clock.step(10**7)
    flow_ids = [record.id for record in bench.ledger.flows.page()]
    return all(
        not bench.dispatch(bench.ledger.flows.load(flow_id), status)
        for flow_id in flow_ids
        for status in (PENDING, RUNNING)
    )
