"""How things stand, as people and checks are told: counts, rates, durations, backlogs."""

from datetime import timedelta

import pytest

from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger, stats
from dist_task_pipelines.ledger.histograms import Histogram
from dist_task_pipelines.ledger.stats import Counted
from tests.contract.steps import (
    LEASE,
    SteppableClock,
    a_failed_transaction,
    a_flow,
    a_task,
    acquire,
    call,
    dispatch,
    failure,
    finish,
    start,
    submit,
    success,
    take,
)
from tests.contract.test_statements import sent

NONE = CappedCount(0)


def test_an_empty_ledger_has_zeros_and_no_rates(ledger: Ledger) -> None:
    overview = ledger.stats.overview()
    assert set(overview.by_status.values()) == {NONE}
    assert overview.today.success_rate is None
    assert overview.last_hour.durations.quantile(0.5) is None
    assert (overview.exceptions_open, overview.exceptions_today) == (NONE, NONE)
    assert (overview.backlog, overview.backlog_age, overview.runs_in_flight) == (NONE, None, 0)
    assert overview.oldest_exception_at is None
    assert ledger.stats.flow("nowhere_v1").by_status == overview.by_status
    assert ledger.stats.counted() == []


def test_transactions_are_counted_by_status_of_all_flows_and_of_one(ledger: Ledger) -> None:
    flow, other = (a_flow(ledger, a_task("deduct"), name=name) for name in ("payment", "other"))
    batch = take(ledger, flow, "a", "b", "c")
    call(ledger, batch, "deduct", success(), "a", "b")
    call(ledger, batch, "deduct", failure(), "c")
    take(ledger, other, "d")
    submit(ledger, flow, "e", "f")
    ledger.operators.cancel("f", actor="ann")
    counts = {
        TransactionStatus.PENDING: CappedCount(1),
        TransactionStatus.RUNNING: NONE,
        TransactionStatus.SUCCESS: CappedCount(2),
        TransactionStatus.FAILED: CappedCount(1),
        TransactionStatus.CANCELLED: CappedCount(1),
    }
    assert ledger.stats.flow(flow.id).by_status == counts
    everything = {**counts, TransactionStatus.RUNNING: CappedCount(1)}
    assert ledger.stats.overview().by_status == everything
    assert (ledger.stats.flow(flow.id).runs_in_flight, ledger.stats.overview().runs_in_flight) == (
        1,
        2,
    )


def test_today_and_the_last_hour_are_told_apart(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    call(ledger, take(ledger, flow, "yesterday"), "deduct", success())
    clock.step(12 * 3600)  # half a minute into the next day
    call(ledger, take(ledger, flow, "a", "b", "c"), "deduct", success())
    call(ledger, take(ledger, flow, "d", run_id="run-2"), "deduct", failure())
    clock.step(2 * 3600)
    batch = take(ledger, flow, "e", run_id="run-3")
    clock.step(0.3)
    call(ledger, batch, "deduct", success())
    for each in (ledger.stats.overview(), ledger.stats.flow(flow.id)):
        assert each.by_status[TransactionStatus.SUCCESS] == CappedCount(5)
        assert (each.today.success, each.today.failed, each.today.success_rate) == (4, 1, 0.8)
        assert each.today.since == clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        assert (each.last_hour.success, each.last_hour.failed) == (1, 0)
        assert each.last_hour.durations.quantile(0.5) == 0.375
        assert each.exceptions_today == CappedCount(1)


def test_just_after_midnight_the_last_hour_reaches_into_yesterday(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    clock.step(11.9 * 3600)
    call(ledger, take(ledger, flow, "a"), "deduct", success())
    clock.step(0.2 * 3600)
    overview = ledger.stats.overview()
    assert (overview.last_hour.success, overview.today.success) == (1, 0)


def test_exceptions_are_counted_while_open_and_today(ledger: Ledger, clock: SteppableClock) -> None:
    flow, other = (a_flow(ledger, a_task("deduct"), name=name) for name in ("payment", "other"))
    first = a_failed_transaction(ledger, flow, "a")
    clock.step(12 * 3600)
    second = a_failed_transaction(ledger, flow, "b")
    a_failed_transaction(ledger, other, "c")
    stands = ledger.stats.flow(flow.id)
    assert (stands.exceptions_open, stands.exceptions_today) == (CappedCount(2), CappedCount(1))
    assert stands.oldest_exception_at == first.occurred_at
    ledger.operators.handle(first.id, actor="ann")
    stands = ledger.stats.flow(flow.id)
    assert (stands.exceptions_open, stands.oldest_exception_at) == (
        CappedCount(1),
        second.occurred_at,
    )
    assert ledger.stats.overview().exceptions_open == CappedCount(2)


def test_the_backlog_is_what_is_due_and_that_no_run_has_taken(
    ledger: Ledger, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, other = (a_flow(ledger, a_task("deduct"), name=name) for name in ("payment", "other"))
    batch = take(ledger, flow, "retried", "later")
    call(ledger, batch, "deduct", failure(retry_at=clock.now() + timedelta(seconds=5)), "retried")
    call(ledger, batch, "deduct", failure(retry_at=clock.now() + timedelta(seconds=99)), "later")
    clock.step(15)
    submit(ledger, other, "new")
    submit(ledger, other, "delayed", delay=60)
    clock.step(3)
    stands = ledger.stats.flow(flow.id)
    assert (stands.backlog, stands.backlog_age) == (CappedCount(1), 13)
    overview = ledger.stats.overview()
    assert (overview.backlog, overview.backlog_age) == (CappedCount(2), 13)
    with monkeypatch.context() as capped:  # new and retried ones together
        capped.setattr(stats, "COUNTED_AT_MOST", 1)
        assert ledger.stats.overview().backlog == CappedCount(1, is_capped=True)
    acquire(ledger, dispatch(ledger, other)[0])
    assert ledger.stats.flow(other.id).backlog == NONE


def test_stuck_is_what_nobody_takes_and_what_a_dead_worker_holds(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "held-1", "held-2")
    start(ledger, batch, "deduct")
    submit(ledger, flow, "waiting")
    clock.step(LEASE + 100)
    assert ledger.stats.stuck(longer_than=101) == CappedCount(1)
    clock.step(2)
    assert ledger.stats.stuck(longer_than=101) == CappedCount(1)
    clock.step(10)
    assert ledger.stats.stuck(longer_than=101, name="payment") == CappedCount(3)
    assert ledger.stats.stuck(longer_than=101, name="other") == NONE
    ledger.batches.expire()
    assert ledger.stats.stuck(longer_than=101) == CappedCount(1)


def test_a_count_stops_at_its_cap_and_says_so(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "COUNTED_AT_MOST", 3)
    flow = a_flow(ledger, a_task("deduct"))
    submit(ledger, flow, "a", "b", "c")
    assert ledger.stats.overview().backlog == CappedCount(3)
    submit(ledger, flow, "d")
    overview = ledger.stats.overview()
    assert overview.by_status[TransactionStatus.PENDING] == CappedCount(3, is_capped=True)
    assert str(overview.backlog) == "3+"


def test_calls_are_counted_by_task_with_their_own_durations(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    start(ledger, batch, "deduct")
    clock.step(0.3)
    finish(ledger, batch, "deduct", {"a": success(), "b": failure()})
    expected = [
        Counted(flow.id, None, {"failed": 1}, of_half_a_second(1, 0.3)),
        Counted(flow.id, "deduct", {"failed": 1, "success": 1}, of_half_a_second(2, 0.6)),
    ]
    assert ledger.stats.counted() == expected
    assert ledger.stats.counted(flow.id, today=True) == expected
    assert ledger.stats.counted("other_v1") == []
    clock.step(12 * 3600)
    assert ledger.stats.counted() == expected
    assert ledger.stats.counted(today=True) == []


def of_half_a_second(number: int, seconds: float) -> Histogram:
    """A histogram of so many durations between a quarter and half a second."""
    return Histogram.of({"duration_le_0.5": number, "duration_ms": round(seconds * 1000)})


def test_the_versions_of_a_flow_are_told_together(ledger: Ledger) -> None:
    first = a_flow(ledger, a_task("deduct"))
    second = a_flow(ledger, a_task("deduct"), a_task("notify", "deduct"))
    assert (first.name, second.id) == (second.name, "payment_v2")
    call(ledger, take(ledger, first, "a"), "deduct", success())
    a_failed_transaction(ledger, second, "b")
    together = ledger.stats.flow_named("payment")
    assert (together.today.success, together.today.failed) == (1, 1)
    assert together.exceptions_open == CappedCount(1)
    assert together.flow_id is None
    assert ledger.stats.flow("payment_v2").flow_id == "payment_v2"
    assert ledger.stats.flow_named("nobody").last_hour.success == 0


def test_a_look_costs_a_few_statements(ledger: Ledger) -> None:
    for name in ("payment", "other"):
        take(ledger, a_flow(ledger, name=name), name)
    with sent(ledger) as statements:
        ledger.stats.overview()
        assert len(statements) <= 20
        statements.clear()
        ledger.stats.flow("payment_v1")
        assert len(statements) <= 20
