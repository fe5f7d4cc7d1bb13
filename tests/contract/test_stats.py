"""The statistics: each transaction counted once as it settles, by flow and minute."""

from datetime import datetime, timedelta

from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import BatchEnd
from tests.contract.steps import (
    SteppableClock,
    a_flow,
    a_task,
    ask,
    call,
    failure,
    submit,
    success,
    take,
    take_again,
    together,
)


def stats(ledger: Ledger, flow_id: str = "payment_v1") -> dict[str, int]:
    """The totals of a flow, all minutes together."""
    query = "SELECT measure, SUM(total) FROM flow_stats WHERE flow_id = :id GROUP BY measure"
    return {str(measure): int(total) for measure, total in ask(ledger, query, id=flow_id)}


def test_each_end_is_counted_with_its_duration(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batch = take(ledger, flow, "a", "b", "c")
    clock.step(0.3)
    call(ledger, batch, "deduct", success(), "a", "b")
    call(ledger, batch, "deduct", failure(), "c")
    submit(ledger, flow, "d")
    ledger.operators.cancel("d", actor="ann")
    assert stats(ledger) == {
        "success": 2,
        "failed": 1,
        "cancelled": 1,
        "duration_le_0.5": 3,
        "duration_le_0.05": 1,
    }


def test_minutes_and_flows_are_counted_apart(ledger: Ledger, clock: SteppableClock) -> None:
    flow, other = (a_flow(ledger, a_task("deduct"), name=name) for name in ("payment", "other"))
    call(ledger, take(ledger, flow, "a"), "deduct", success())
    clock.step(29.876543)  # the last microsecond of the minute
    call(ledger, take(ledger, flow, "b"), "deduct", success())
    clock.step(0.000001)
    call(ledger, take(ledger, flow, "c"), "deduct", success())
    call(ledger, take(ledger, other, "d"), "deduct", success())
    query = (
        "SELECT minute, total FROM flow_stats "
        "WHERE flow_id = 'payment_v1' AND measure = 'success' ORDER BY minute"
    )
    counted = [(datetime.fromisoformat(str(minute)), total) for minute, total in ask(ledger, query)]
    first = clock.now().replace(second=0, microsecond=0, tzinfo=None) - timedelta(minutes=1)
    assert counted == [(first, 2), (first + timedelta(minutes=1), 1)]
    assert stats(ledger, "other_v1") == {"success": 1, "duration_le_0.05": 1}


def test_what_has_not_settled_is_not_counted(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", failure(retry_at=clock.now()), "a")
    call(ledger, batch, "deduct", success(), "b")
    ledger.batches.end(batch.id, BatchEnd.LOST)
    assert stats(ledger) == {}


def test_a_transaction_that_failed_and_was_retried_settles_again(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    call(ledger, take(ledger, flow, "a"), "deduct", failure())
    ledger.operators.retry_transaction("a", actor="ann")
    call(ledger, take_again(ledger, flow), "deduct", success())
    assert stats(ledger) == {"failed": 1, "success": 1, "duration_le_0.05": 2}


def test_batches_that_settle_at_once_are_all_counted(
    ledger: Ledger, another_ledger: Ledger
) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    batches = [take(ledger, flow, f"a{n}", f"b{n}", run_id=f"run-{n}") for n in range(6)]
    both = (ledger, another_ledger)
    answers = together(
        *(
            lambda batch=batch, each=both[n % 2]: call(each, batch, "deduct", success())
            for n, batch in enumerate(batches)
        )
    )
    assert answers == [None] * 6
    assert stats(ledger) == {"success": 12, "duration_le_0.05": 12}
