"""Batches: taken at most once, kept, and ended; what becomes of what they leave behind."""

import re
from datetime import timedelta
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import Conflict, LeaseLost, NotFound
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import (
    Applied,
    GrantedBy,
    Health,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch, BatchEnd, FlowRecord, Member
from tests.contract.steps import (
    LEASE,
    SteppableClock,
    a_flow,
    a_task,
    acquire,
    actions_of,
    ask,
    build,
    call,
    dispatch,
    failure,
    finish,
    start,
    status_of,
    submit,
    success,
    take,
    take_again,
    task_of,
    the_exception,
    together,
)


def end_of(ledger: Ledger, batch_id: int) -> str | None:
    """Why the batch ended; None while it has not."""
    [(reason,)] = ask(ledger, "SELECT end_reason FROM batch WHERE id = :id", id=batch_id)
    return reason if reason is None else str(reason)


def test_a_run_takes_its_batch(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    records = submit(ledger, flow, "a", "b", params={"n": 1})
    [dispatched] = dispatch(ledger, flow)
    assert ledger.batches.run_of(dispatched.id) is None
    clock.step(2)
    batch = acquire(ledger, dispatched, "run-1")
    members = tuple(Member(record.seq, record.id, {"n": 1}) for record in records)
    assert batch == Batch(dispatched.id, flow.id, "run-1", members)
    assert ledger.batches.run_of(dispatched.id) == "run-1"
    record = ledger.transactions.get("a")
    assert (record.status, record.run_id) == (TransactionStatus.RUNNING, "run-1")
    assert record.started_at == clock.now()


def test_a_later_run_does_not_change_when_a_transaction_started(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    started = clock.now()
    ledger.batches.end(take(ledger, flow, "a").id, BatchEnd.HANDED_BACK)
    clock.step(60)
    take_again(ledger, flow)
    assert ledger.transactions.get("a").started_at == started


def test_a_batch_is_taken_once(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a")
    [dispatched] = dispatch(ledger, flow)
    acquire(ledger, dispatched, "run-1")
    for run_id in ("run-1", "run-2"):
        with pytest.raises(Conflict, match="is being worked on: run run-1 took it"):
            acquire(ledger, dispatched, run_id)


def test_of_runs_that_come_at_once_one_gets_the_batch(
    ledger: Ledger, another_ledger: Ledger
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a", "b")
    [dispatched] = dispatch(ledger, flow)

    def acquiring(number: int) -> Batch:
        return acquire((ledger, another_ledger)[number % 2], dispatched, f"run-{number}")

    answers = together(*(lambda n=n: acquiring(n) for n in range(8)))
    taken = [answer for answer in answers if isinstance(answer, Batch)]
    assert len(taken) == 1
    assert all(isinstance(answer, Batch | Conflict) for answer in answers)
    assert ledger.transactions.get("a").run_id == taken[0].run_id


def test_a_late_run_of_a_superseded_batch_does_nothing(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a")
    [dispatched] = dispatch(ledger, flow, start_timeout=60)
    clock.step(61)
    assert ledger.batches.expire() == [dispatched.id]
    before = ledger.transactions.get("a")
    with pytest.raises(Conflict, match=r"ended \(superseded\): run none took it"):
        acquire(ledger, dispatched)
    assert ledger.transactions.get("a") == before


def test_what_no_run_came_for_is_pending_again_in_its_old_place(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "old")
    [dispatched] = dispatch(ledger, flow, start_timeout=60)
    clock.step(30)
    submit(ledger, flow, "new")
    clock.step(31)
    assert ledger.batches.expire() == [dispatched.id]
    record = ledger.transactions.get("old")
    assert (record.status, record.started_at) == (TransactionStatus.PENDING, None)
    assert record.lease_losses == 0, "no worker was lost"
    again = dispatch(ledger, flow, max_batch=1)
    assert [batch.transaction_id for batch in again] == ["old", "new"]


@pytest.mark.parametrize("method", ["acquire", "renew", "end", "members"])
def test_an_unknown_batch_is_not_found(ledger: Ledger, method: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "acquire": {"run_id": "r", "worker": "w", "lease": 1},
        "renew": {"lease": 1},
    }
    reason = [BatchEnd.DONE] if method == "end" else []
    with pytest.raises(NotFound, match="no batch 12345"):
        getattr(ledger.batches, method)(12345, *reason, **fields.get(method, {}))
    assert ledger.batches.run_of(12345) is None


def test_a_lease_that_is_renewed_lasts(ledger: Ledger, clock: SteppableClock) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    for _ in range(3):
        clock.step(LEASE)
        assert ledger.batches.expire() == [], "it lasts to the end of its last moment"
        assert ledger.batches.renew(batch.id, lease=LEASE) is False
    clock.step(LEASE + 0.000001)
    assert ledger.batches.expire() == [batch.id]
    with pytest.raises(LeaseLost, match=r"has ended \(lost\)"):
        ledger.batches.renew(batch.id, lease=LEASE)


def test_a_renewal_may_shorten_a_lease(ledger: Ledger, clock: SteppableClock) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    ledger.batches.renew(batch.id, lease=600)
    ledger.batches.renew(batch.id, lease=1)
    clock.step(1.000001)
    assert ledger.batches.expire() == [batch.id]


def test_a_start_never_shortens_a_lease(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    ledger.batches.renew(batch.id, lease=6000)
    start(ledger, batch, "deduct")
    clock.step(6000)
    assert ledger.batches.expire() == []


def test_whoever_renews_a_lease_learns_that_it_is_to_stop(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    batch, other = take(ledger, flow, "a"), take(ledger, flow, "b", run_id="run-2")
    ledger.batches.request_stop("run-1", actor="ann")
    assert ledger.batches.renew(batch.id, lease=LEASE) is True
    assert ledger.batches.renew(other.id, lease=LEASE) is False


def test_a_stop_leaves_one_audit_row(ledger: Ledger, clock: SteppableClock) -> None:
    take(ledger, a_flow(ledger), "a")
    for actor in ("ann", "bob"):
        ledger.batches.request_stop("run-1", actor=actor)
    ledger.batches.request_stop("run-2", actor="ann")
    [row] = ledger.audit.page("run:run-1")
    assert (row.actor, row.action, row.target) == ("ann", "stop", "run:run-1")
    assert (row.before, row.after) == ({"stop_requested": False}, {"stop_requested": True})
    assert row.created_at == clock.now()


@pytest.mark.parametrize("name_runs", [True, False])
def test_a_batch_that_is_stopped_before_its_run_came_is_left_to_a_person_at_once(
    ledger: Ledger, name_runs: bool
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "never")
    [never] = dispatch(ledger, flow, name_runs=name_runs)
    run_id = never.run_id or "run-1"
    works = ledger.batches.request_stop(run_id, batch_id=never.id, actor="ann")
    assert not works
    with pytest.raises(Conflict, match=re.escape(f"ended (stopped): run {run_id}")):
        acquire(ledger, never, run_id)
    assert end_of(ledger, never.id) == "stopped"
    assert status_of(ledger, "never") == TransactionStatus.FAILED
    assert the_exception(ledger, "never").error_type == "Stopped"
    assert run_id in the_exception(ledger, "never").message
    assert dispatch(ledger, flow) == []


def test_a_batch_whose_run_is_chosen_is_taken_by_no_other(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a")
    [dispatched] = dispatch(ledger, flow, name_runs=True)
    assert dispatched.run_id
    assert ledger.batches.run_of(dispatched.id) == dispatched.run_id
    with pytest.raises(Conflict, match=f"is for run {dispatched.run_id}"):
        acquire(ledger, dispatched, "another")
    assert acquire(ledger, dispatched, dispatched.run_id).run_id == dispatched.run_id


@pytest.mark.parametrize("reason", BatchEnd)
def test_an_ended_batch_stays_ended(ledger: Ledger, reason: BatchEnd) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    ledger.batches.end(batch.id, reason)
    assert end_of(ledger, batch.id) == reason
    before = ledger.transactions.get("a"), actions_of(ledger, "a")
    ledger.batches.end(batch.id, BatchEnd.ERROR)
    ledger.batches.request_stop("run-1", actor="ann")
    assert end_of(ledger, batch.id) == reason
    assert (ledger.transactions.get("a"), actions_of(ledger, "a")) == before


@pytest.mark.parametrize(
    ("reason", "losses"),
    [
        (BatchEnd.DONE, 0),
        (BatchEnd.HANDED_BACK, 0),
        (BatchEnd.ERROR, 1),
        (BatchEnd.LOST, 1),
    ],
)
def test_what_an_ended_batch_has_not_called_is_due_again(
    ledger: Ledger, clock: SteppableClock, reason: BatchEnd, losses: int
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", success(), "a")
    clock.step(3)
    ledger.batches.end(batch.id, reason)
    for name in "ab":
        record = ledger.transactions.get(name)
        assert (record.status, record.batch_id) == (TransactionStatus.RUNNING, None)
        assert (record.next_due_at, record.lease_losses) == (clock.now(), losses)
        assert record.health is Health.HEALTHY
    assert ledger.exceptions.page() == []


def test_a_stopped_batch_leaves_its_transactions_to_a_person(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "fresh", "half-way", "done")
    call(ledger, batch, "deduct", success(), "half-way", "done")
    call(ledger, batch, "notify", success(), "done")
    ledger.batches.end(batch.id, BatchEnd.STOPPED)
    for name, task_id in {"fresh": "deduct", "half-way": "notify"}.items():
        record = ledger.transactions.get(name)
        assert (record.status, record.health) == (TransactionStatus.FAILED, Health.NEEDS_HUMAN)
        assert record.next_due_at is None
        assert task_of(ledger, name, task_id).status is TaskStatus.FAILED
        exception = the_exception(ledger, name)
        assert (exception.task_id, exception.error_type) == (task_id, "Stopped")
        assert "run run-1 was terminated before this task was called" in exception.message
        assert actions_of(ledger, name)[-2:] == [LogAction.FAILED, LogAction.COMPLETE]
    assert status_of(ledger, "done") == TransactionStatus.SUCCESS
    assert ledger.exceptions.page(transaction_id="done") == []


def test_nobody_picks_up_what_a_person_stopped(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("deduct", strategy=RetryStrategy.AUTO), a_task("notify", "deduct"))
    batch = take(ledger, flow, "fresh", "retrying", "in flight")
    call(ledger, batch, "deduct", failure("busy", retry_at=clock.now()), "retrying")
    start(ledger, batch, "deduct", "in flight")
    ledger.batches.request_stop("run-1", actor="ann")
    ledger.batches.end(batch.id, BatchEnd.DONE)
    assert end_of(ledger, batch.id) == "stopped", "a person's word wins"
    clock.step(100_000)
    assert ledger.batches.expire() == []
    for status in TransactionStatus:
        assert dispatch(ledger, flow, status=status) == []
    for name in ("fresh", "retrying", "in flight"):
        assert status_of(ledger, name) == TransactionStatus.FAILED
        assert the_exception(ledger, name).retry_next_at is None
        assert task_of(ledger, name, "deduct").grant is None


def test_a_stop_takes_back_a_retry_that_is_due_later(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger, a_task("left", strategy=RetryStrategy.AUTO), a_task("right"))
    batch = take(ledger, flow, "a")
    later = clock.now() + timedelta(seconds=600)
    call(ledger, batch, "left", failure("busy", retry_at=later))
    ledger.batches.end(batch.id, BatchEnd.STOPPED)
    record = ledger.transactions.get("a")
    assert (record.status, record.next_due_at) == (TransactionStatus.FAILED, None)
    exceptions = {each.task_id: each for each in ledger.exceptions.page(transaction_id="a")}
    assert set(exceptions) == {"left", "right"}
    assert exceptions["left"].retry_next_at is None
    assert exceptions["left"].message.endswith("; before that: busy"), "its cause is not lost"


def test_a_call_in_flight_of_a_stopped_run_may_have_taken_effect(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    start(ledger, batch, "deduct")
    ledger.batches.end(batch.id, BatchEnd.STOPPED)
    task = task_of(ledger, "a", "deduct")
    assert (task.status, task.applied, task.grant) == (TaskStatus.FAILED, Applied.MAYBE, None)
    exception = the_exception(ledger, "a")
    assert exception.error_type == "WorkerLost"
    assert "nobody knows whether it took effect" in exception.message


@pytest.mark.parametrize("reason", [BatchEnd.LOST, BatchEnd.ERROR, BatchEnd.HANDED_BACK])
def test_an_idempotent_task_found_in_flight_is_granted_a_call_at_once(
    ledger: Ledger, clock: SteppableClock, reason: BatchEnd
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    start(ledger, batch, "deduct")
    clock.step(1)
    ledger.batches.end(batch.id, reason)
    task = task_of(ledger, "a", "deduct")
    assert task.grant == Grant(GrantedBy.RECOVERY, clock.now())
    assert (task.status, task.applied, task.error_type) == (
        TaskStatus.FAILED,
        Applied.MAYBE,
        "WorkerLost",
    )
    record = ledger.transactions.get("a")
    assert (record.status, record.health) == (TransactionStatus.RUNNING, Health.RETRYING)
    assert LogAction.LOST in actions_of(ledger, "a")
    again = take_again(ledger, flow)
    assert start(ledger, again, "deduct") == {"a"}
    assert actions_of(ledger, "a")[-1] == LogAction.RETRY


def test_what_an_earlier_attempt_said_is_not_mixed_with_a_loss(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    call(ledger, batch, "deduct", failure("busy", retry_at=clock.now()))
    start(ledger, batch, "deduct")
    clock.step(1)
    ledger.batches.end(batch.id, BatchEnd.LOST)
    [row] = ask(ledger, "SELECT error_type, error_code, error_stack FROM dist_task")
    assert row == ("WorkerLost", "", "")
    assert task_of(ledger, "a", "deduct").completed_at == clock.now()
    assert the_exception(ledger, "a").retry_next_at == clock.now()


@pytest.mark.parametrize("reason", [BatchEnd.LOST, BatchEnd.ERROR, BatchEnd.HANDED_BACK])
def test_a_task_that_is_not_idempotent_becomes_unknown(ledger: Ledger, reason: BatchEnd) -> None:
    flow = a_flow(ledger, a_task("deduct", idempotent=False), a_task("notify", "deduct"))
    batch = take(ledger, flow, "a", "b")
    start(ledger, batch, "deduct", "a")
    ledger.batches.end(batch.id, reason)
    task = task_of(ledger, "a", "deduct")
    assert (task.status, task.applied, task.grant) == (TaskStatus.UNKNOWN, Applied.MAYBE, None)
    record = ledger.transactions.get("a")
    assert (record.status, record.health) == (TransactionStatus.FAILED, Health.UNKNOWN)
    assert the_exception(ledger, "a").retry_next_at is None
    assert status_of(ledger, "b") == TransactionStatus.RUNNING


def lose_worker(ledger: Ledger, clock: SteppableClock, flow: Flow, name: str) -> None:
    """A run takes the transaction, and its worker dies in the middle of the first call."""
    record = ledger.transactions.find([name]).get(name)
    batch = take_again(ledger, flow) if record else take(ledger, flow, name)
    start(ledger, batch, flow.tasks[0].id)
    clock.step(1000)
    assert ledger.batches.expire() == [batch.id]


def test_three_losses_become_an_exception(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    for losses in (1, 2):
        lose_worker(ledger, clock, flow, "a")
        assert ledger.transactions.get("a").lease_losses == losses
        assert status_of(ledger, "a") == TransactionStatus.RUNNING
        assert ledger.exceptions.page() == []
    lose_worker(ledger, clock, flow, "a")
    record = ledger.transactions.get("a")
    assert (record.status, record.health) == (TransactionStatus.FAILED, Health.NEEDS_HUMAN)
    assert (record.lease_losses, record.next_due_at) == (3, None)
    exception = the_exception(ledger, "a")
    assert (exception.error_type, exception.handled) == ("WorkerLost", False)
    ledger.operators.retry_exception(exception.id, actor="ann")
    assert status_of(ledger, "a") == TransactionStatus.RUNNING, "a person may go on"


def test_three_losses_between_calls_become_an_exception(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    take(ledger, flow, "a")
    for _ in range(2):
        clock.step(1000)
        assert len(ledger.batches.expire()) == 1
        take_again(ledger, flow)
    clock.step(1000)
    assert len(ledger.batches.expire()) == 1
    assert status_of(ledger, "a") == TransactionStatus.FAILED
    assert "the worker was lost 3 times" in the_exception(ledger, "a").message


def test_after_three_losses_handing_back_is_not_another(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    for _ in range(3):
        lose_worker(ledger, clock, flow, "a")
    ledger.operators.retry_transaction("a", actor="ann")
    batch = take_again(ledger, flow)
    start(ledger, batch, "deduct")
    ledger.batches.end(batch.id, BatchEnd.HANDED_BACK)
    assert status_of(ledger, "a") == TransactionStatus.RUNNING
    assert ledger.transactions.get("a").lease_losses == 3


def test_only_batches_whose_lease_ran_out_expire_at_most_so_many(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    old = [take(ledger, flow, name, run_id=f"run-{name}").id for name in "abc"]
    clock.step(LEASE + 1)
    young = take(ledger, flow, "d", run_id="run-d")
    assert ledger.batches.expire(limit=2) == old[:2]
    assert ledger.batches.expire() == old[2:]
    assert ledger.batches.expire() == []
    assert end_of(ledger, young.id) is None


def test_a_batch_that_cannot_be_ended_does_not_keep_the_others_from_it(
    ledger: Ledger, ledger_url: str, clock: SteppableClock
) -> None:
    broken, sound = a_flow(ledger, name="broken"), a_flow(ledger, name="sound")
    first = take(ledger, broken, "a")
    second = take(ledger, sound, "b", run_id="run-2")
    clock.step(1000)

    def build_some(record: FlowRecord) -> Flow:
        if record.id == broken.id:
            raise ValueError("an executor is missing")
        return build(record)

    other = Ledger(ledger_url, build_some, clock=clock)
    with pytest.raises(ExceptionGroup) as caught:
        other.batches.expire()
    other.close()
    [error] = caught.value.exceptions
    assert error.__notes__ == [f"batch {first.id} could not be ended"]
    assert end_of(ledger, second.id) == "lost"
    assert end_of(ledger, first.id) is None
    assert ledger.batches.expire() == [first.id]


def test_two_that_expire_at_once_end_each_batch_once(
    ledger: Ledger, another_ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    batches = [take(ledger, flow, name, run_id=f"run-{name}") for name in "abcdef"]
    for batch in batches:
        start(ledger, batch, "deduct")
    clock.step(1000)
    answers = together(*(each.batches.expire for each in (ledger, another_ledger) * 2))
    ended = [batch_id for answer in answers if isinstance(answer, list) for batch_id in answer]
    assert sorted(ended) == [batch.id for batch in batches], answers
    assert {r.lease_losses for r in ledger.transactions.page()} == {1}


def test_a_cancelled_transaction_in_a_stopped_batch_is_cancelled_not_failed(
    ledger: Ledger,
) -> None:
    batch = take(ledger, a_flow(ledger), "a", "b")
    ledger.operators.cancel("a", actor="ann")
    ledger.batches.end(batch.id, BatchEnd.STOPPED)
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED
    assert ledger.exceptions.page(transaction_id="a") == []
    assert status_of(ledger, "b") == TransactionStatus.FAILED


def test_a_cancelled_transaction_whose_worker_died_in_a_call_shows_it(ledger: Ledger) -> None:
    batch = take(ledger, a_flow(ledger), "a")
    start(ledger, batch, "deduct")
    ledger.operators.cancel("a", actor="ann")
    ledger.batches.end(batch.id, BatchEnd.LOST)
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED
    task = task_of(ledger, "a", "deduct")
    assert (task.status, task.applied, task.grant) == (TaskStatus.FAILED, Applied.MAYBE, None)
    assert "nobody knows whether it took effect" in the_exception(ledger, "a").message


def test_a_task_that_was_recorded_in_time_is_not_called_again(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a")
    start(ledger, batch, "deduct")
    finish(ledger, batch, "deduct", {"a": success()})
    ledger.batches.end(batch.id, BatchEnd.LOST)
    again = take_again(ledger, flow)
    assert start(ledger, again, "deduct") == set()
    assert start(ledger, again, "notify") == {"a"}
