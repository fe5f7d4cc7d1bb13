"""What a person does: retry, handle, cancel; each with its audit row, none of them raced."""

from collections.abc import Callable
from functools import partial

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.errors import Conflict, NotAllowed, NotFound
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import (
    GrantedBy,
    Health,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.ledger import Ledger, tables
from dist_task_pipelines.ledger.records import ActionRecord, BatchEnd
from tests.contract.steps import (
    SteppableClock,
    a_failed_transaction,
    a_flow,
    a_task,
    actions_of,
    ask,
    audited,
    call,
    dispatch,
    failure,
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


@pytest.fixture
def flow(ledger: Ledger) -> Flow:
    return a_flow(ledger)


def trail(ledger: Ledger, target: str) -> list[tuple[str, str, str]]:
    """Who did what and why, newest first."""
    return [(row.actor, row.action, row.reason) for row in ledger.audit.page(target)]


# Retry


def test_a_retried_transaction_is_due_now_and_its_failed_task_is_called_once(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    batch = take(ledger, flow, "a")
    call(ledger, batch, "deduct", success())
    call(ledger, batch, "notify", failure())
    clock.step(60)
    assert ledger.operators.retry_transaction("a", actor="ann", reason="fixed") == ["notify"]
    record = ledger.transactions.get("a")
    assert (record.status, record.health) == (TransactionStatus.RUNNING, Health.RETRYING)
    assert (record.next_due_at, record.completed_at) == (clock.now(), None)
    assert task_of(ledger, "a", "notify").grant == Grant(GrantedBy.PERSON, clock.now())
    assert the_exception(ledger, "a").retry_next_at == clock.now()
    assert actions_of(ledger, "a")[-1] == LogAction.GRANT
    again = take_again(ledger, flow)
    assert start(ledger, again, "deduct") == set()
    call(ledger, again, "notify", failure())
    assert status_of(ledger, "a") == TransactionStatus.FAILED
    assert dispatch(ledger, flow, status=TransactionStatus.RUNNING) == []


def test_a_retry_of_a_transaction_leaves_an_audit_row(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    a_failed_transaction(ledger, flow, "a")
    clock.step(1)
    ledger.operators.retry_transaction("a", actor="ann", reason="fixed")
    assert ledger.audit.page("transaction:a") == [
        ActionRecord(
            actor="ann",
            action="retry",
            target="transaction:a",
            reason="fixed",
            before={"status": "failed"},
            after={"granted": ["deduct"]},
            created_at=clock.now(),
        )
    ]


def test_a_retry_of_an_exception_is_due_now_and_leaves_an_audit_row(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    exception = a_failed_transaction(ledger, flow, "a")
    clock.step(60)
    assert ledger.operators.retry_exception(exception.id, actor="ann") == clock.now()
    assert status_of(ledger, "a") == TransactionStatus.RUNNING
    [row] = ledger.audit.page(f"exception:{exception.id}")
    assert (row.before, row.after) == (
        {"retry_next_at": None},
        {"retry_next_at": clock.now().isoformat()},
    )
    assert start(ledger, take_again(ledger, flow), "deduct") == {"a"}


def test_a_person_may_bring_an_automatic_retry_forward(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    later = clock.now().replace(hour=23)
    call(ledger, take(ledger, flow, "a"), "deduct", failure(retry_at=later))
    exception = the_exception(ledger, "a")
    ledger.operators.retry_exception(exception.id, actor="ann")
    assert ledger.transactions.get("a").next_due_at == clock.now()
    [row] = ledger.audit.page(f"exception:{exception.id}")
    assert row.before == {"retry_next_at": later.isoformat()}


def test_one_task_may_be_retried_and_the_other_left(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "right")
    call(ledger, batch, "left", failure())
    ledger.batches.end(batch.id, BatchEnd.ERROR)
    again = take_again(ledger, flow)
    call(ledger, again, "right", failure())
    [right, _left] = ledger.exceptions.page(transaction_id="a")
    assert right.task_id == "right"
    ledger.operators.retry_exception(right.id, actor="ann")
    third = take_again(ledger, flow, "run-3")
    assert start(ledger, third, "left") == set()
    assert start(ledger, third, "right") == {"a"}


def test_what_succeeded_is_not_called_again_by_an_exception_that_is_still_open(
    ledger: Ledger,
) -> None:
    flow = a_flow(ledger)
    ledger.batches.end(take(ledger, flow, "a").id, BatchEnd.STOPPED)  # before any call
    ledger.operators.retry_transaction("a", actor="ann")
    again = take_again(ledger, flow)
    call(ledger, again, "deduct", success())
    call(ledger, again, "notify", failure())
    ledger.batches.end(again.id, BatchEnd.DONE)
    [_, stopped] = ledger.exceptions.page(transaction_id="a")
    assert (stopped.task_id, stopped.handled_by) == ("deduct", "system")
    reopened = sa.update(tables.exception).where(tables.exception.c.id == stopped.id)
    values = reopened.values(handled=False, is_open=True)
    ledger.database.write(lambda connection: connection.execute(values))
    with pytest.raises(
        NotAllowed, match="'deduct' of transaction 'a' is success, there is nothing"
    ):
        ledger.operators.retry_exception(stopped.id, actor="ann")
    assert task_of(ledger, "a", "deduct").grant is None


def no_retry_flow(ledger: Ledger) -> Flow:
    return a_flow(ledger, a_task("deduct", strategy=RetryStrategy.NO_RETRY), name="strict")


def test_no_retry_means_that_nobody_calls_again(ledger: Ledger) -> None:
    exception = a_failed_transaction(ledger, no_retry_flow(ledger), "a")
    with pytest.raises(NotAllowed, match=r"\(deduct: no_retry\); handle the exceptions instead"):
        ledger.operators.retry_transaction("a", actor="ann")
    with pytest.raises(NotAllowed, match="has the strategy no_retry; it can only be handled"):
        ledger.operators.retry_exception(exception.id, actor="ann")
    assert task_of(ledger, "a", "deduct").grant is None
    assert status_of(ledger, "a") == TransactionStatus.FAILED
    assert audited(ledger) == []
    ledger.operators.handle(exception.id, actor="ann")
    assert the_exception(ledger, "a").handled


@pytest.mark.parametrize("way", ["transaction", "exception"])
def test_no_retry_does_not_hold_for_what_was_never_called(ledger: Ledger, way: str) -> None:
    flow = no_retry_flow(ledger)
    ledger.batches.end(take(ledger, flow, "a").id, BatchEnd.STOPPED)
    exception = the_exception(ledger, "a")
    assert task_of(ledger, "a", "deduct").attempts == 0
    if way == "exception":
        ledger.operators.retry_exception(exception.id, actor="ann")
    else:
        ledger.operators.retry_transaction("a", actor="ann")
    call(ledger, take_again(ledger, flow), "deduct", failure())
    with pytest.raises(NotAllowed, match="no_retry"):
        ledger.operators.retry_exception(exception.id, actor="ann")


@pytest.mark.parametrize("status", ["pending", "running", "success", "cancelled"])
def test_only_failed_transactions_are_retried(ledger: Ledger, flow: Flow, status: str) -> None:
    [record] = submit(ledger, flow, "a")
    if status == "cancelled":
        ledger.operators.cancel("a", actor="ann")
    elif status != "pending":
        batch = ledger.batches.adopt(
            flow.id, [record.seq], run_id="r", worker="w", lease=1, actor="ann"
        )
        call(ledger, batch, "deduct", success())
        if status == "success":
            call(ledger, batch, "notify", success())
        ledger.batches.end(batch.id, BatchEnd.DONE)
    with pytest.raises(NotAllowed, match=f"'a' is {status}; only a failed one can be retried"):
        ledger.operators.retry_transaction("a", actor="ann")


def test_what_was_handled_is_not_retried(ledger: Ledger, flow: Flow) -> None:
    exception = a_failed_transaction(ledger, flow, "a")
    ledger.operators.handle(exception.id, actor="ann")
    with pytest.raises(NotAllowed, match=r"were handled \(deduct\); submit it under another id"):
        ledger.operators.retry_transaction("a", actor="bob")
    with pytest.raises(NotAllowed, match=f"exception {exception.id} was handled by ann already"):
        ledger.operators.retry_exception(exception.id, actor="bob")
    assert task_of(ledger, "a", "deduct").grant is None


def test_exceptions_of_a_cancelled_transaction_are_not_retried(ledger: Ledger, flow: Flow) -> None:
    exception = a_failed_transaction(ledger, flow, "a")
    ledger.operators.cancel("a", actor="ann")
    with pytest.raises(NotAllowed, match="'a' is cancelled; submit it under another id"):
        ledger.operators.retry_exception(exception.id, actor="ann")
    ledger.operators.handle(exception.id, actor="ann")
    assert the_exception(ledger, "a").handled
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED
    assert actions_of(ledger, "a").count(LogAction.COMPLETE) == 2, "failed, then cancelled"


# Handle


def test_a_handled_exception_is_closed_and_its_task_not_called_again(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    later = clock.now().replace(hour=23)
    call(ledger, take(ledger, flow, "a"), "deduct", failure(retry_at=later))
    exception = the_exception(ledger, "a")
    clock.step(1)
    ledger.operators.handle(exception.id, actor="ann", remark="paid by hand")
    closed = the_exception(ledger, "a")
    assert (closed.handled, closed.handled_by) == (True, "ann")
    assert (closed.handled_at, closed.handled_remark) == (clock.now(), "paid by hand")
    assert closed.retry_next_at is None
    record = ledger.transactions.get("a")
    assert (record.status, record.health) == (TransactionStatus.FAILED, Health.HEALTHY)
    assert record.next_due_at is None
    assert task_of(ledger, "a", "deduct").grant is None
    assert actions_of(ledger, "a")[-2:] == [LogAction.HANDLE, LogAction.COMPLETE]
    [row] = ledger.audit.page(f"exception:{exception.id}")
    assert (row.actor, row.action, row.reason) == ("ann", "handle", "paid by hand")
    assert (row.before, row.after) == ({"handled": False}, {"handled": True})
    clock.step(100_000)
    assert dispatch(ledger, flow, status=TransactionStatus.RUNNING) == []


def test_handling_does_not_settle_a_failed_transaction_twice(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    exception = a_failed_transaction(ledger, flow, "a")
    completed_at = ledger.transactions.get("a").completed_at
    clock.step(60)
    ledger.operators.handle(exception.id, actor="ann")
    assert ledger.transactions.get("a").completed_at == completed_at
    assert actions_of(ledger, "a").count(LogAction.COMPLETE) == 1
    failed = "SELECT SUM(total) FROM flow_stats WHERE measure = 'failed'"
    assert [int(total) for (total,) in ask(ledger, failed)] == [1]


def test_an_exception_is_handled_once(ledger: Ledger, flow: Flow) -> None:
    exception = a_failed_transaction(ledger, flow, "a")
    ledger.operators.handle(exception.id, actor="ann")
    with pytest.raises(NotAllowed, match="was handled by ann already"):
        ledger.operators.handle(exception.id, actor="bob")


def test_of_people_who_handle_at_once_one_is_first(
    ledger: Ledger, another_ledger: Ledger, flow: Flow
) -> None:
    exception = a_failed_transaction(ledger, flow, "a")

    def handling(number: int) -> str:
        each = (ledger, another_ledger)[number % 2]
        each.operators.handle(exception.id, actor=f"person-{number}")
        return f"person-{number}"

    answers = together(*(lambda n=n: handling(n) for n in range(6)))
    [first] = [answer for answer in answers if isinstance(answer, str)]
    assert sum(isinstance(answer, NotAllowed) for answer in answers) == 5
    assert the_exception(ledger, "a").handled_by == first
    assert len(ledger.audit.page(f"exception:{exception.id}")) == 1


def test_a_retry_and_a_handling_at_once_agree(
    ledger: Ledger, another_ledger: Ledger, flow: Flow
) -> None:
    exceptions = {name: a_failed_transaction(ledger, flow, name) for name in "abcd"}
    for name, exception in exceptions.items():
        number = exception.id
        together(
            partial(ledger.operators.handle, number, actor="ann"),
            partial(another_ledger.operators.retry_exception, number, actor="bob"),
        )
        assert the_exception(ledger, name).handled
        assert task_of(ledger, name, "deduct").grant is None, "handling wins, first or last"
        assert status_of(ledger, name) == TransactionStatus.FAILED


def test_handling_one_of_two_leaves_the_other(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "right")
    call(ledger, batch, "left", failure())
    ledger.batches.end(batch.id, BatchEnd.STOPPED)
    right, left = ledger.exceptions.page(transaction_id="a")
    ledger.operators.handle(left.id, actor="ann")
    assert ledger.transactions.get("a").health is Health.NEEDS_HUMAN
    assert ledger.operators.retry_transaction("a", actor="ann") == ["right"]
    assert right.task_id == "right"


# Cancel


def test_a_transaction_that_no_run_has_is_cancelled_at_once(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    submit(ledger, flow, "a")
    clock.step(1)
    answer = ledger.operators.cancel("a", actor="ann", reason="changed my mind")
    assert answer is TransactionStatus.CANCELLED
    record = ledger.transactions.get("a")
    assert (record.status, record.completed_at) == (TransactionStatus.CANCELLED, clock.now())
    assert record.next_due_at is None
    assert dispatch(ledger, flow) == []
    assert actions_of(ledger, "a") == [LogAction.SUBMIT, LogAction.CANCEL, LogAction.COMPLETE]
    [row] = ledger.audit.page("transaction:a")
    assert (row.actor, row.action, row.reason) == ("ann", "cancel", "changed my mind")
    assert row.before == {"status": "pending"}
    assert row.after == {"status": "cancelled", "cancel_requested": True}


@pytest.mark.parametrize("leased", ["dispatched", "taken", "calling"])
def test_a_transaction_that_a_run_has_is_cancelled_later(
    ledger: Ledger, flow: Flow, leased: str
) -> None:
    if leased == "dispatched":
        submit(ledger, flow, "a")
        dispatch(ledger, flow)
    else:
        batch = take(ledger, flow, "a")
        if leased == "calling":
            start(ledger, batch, "deduct")
    before = status_of(ledger, "a")
    assert ledger.operators.cancel("a", actor="ann") is TransactionStatus.RUNNING
    record = ledger.transactions.get("a")
    assert (record.status, record.cancel_requested) == (before, True)
    assert record.batch_id is not None
    [row] = ledger.audit.page("transaction:a")
    assert row.after == {"status": "running", "cancel_requested": True}


def test_a_cancellation_before_any_run_came_is_honoured_by_the_first_start(
    ledger: Ledger, flow: Flow
) -> None:
    submit(ledger, flow, "a", "b")
    [dispatched] = dispatch(ledger, flow)
    ledger.operators.cancel("a", actor="ann")
    batch = ledger.batches.acquire(dispatched.id, run_id="r", worker="w", lease=9)
    assert start(ledger, batch, "deduct") == {"b"}
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED


def test_a_cancellation_is_honoured_when_the_batch_ends(ledger: Ledger, flow: Flow) -> None:
    batch = take(ledger, flow, "a")
    ledger.operators.cancel("a", actor="ann")
    ledger.batches.end(batch.id, BatchEnd.DONE)
    assert status_of(ledger, "a") == TransactionStatus.CANCELLED


def test_a_failed_transaction_and_one_that_waits_for_a_retry_can_be_cancelled(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    a_failed_transaction(ledger, flow, "failed")
    call(ledger, take(ledger, flow, "retrying"), "deduct", failure(retry_at=clock.now()))
    ledger.batches.end(ledger.transactions.get("retrying").batch_id or 0, BatchEnd.DONE)
    for name in ("failed", "retrying"):
        assert ledger.operators.cancel(name, actor="ann") is TransactionStatus.CANCELLED
        record = ledger.transactions.get(name)
        assert (record.status, record.health) == (TransactionStatus.CANCELLED, Health.HEALTHY)
        assert task_of(ledger, name, "deduct").grant is None
        exception = the_exception(ledger, name)
        assert (exception.handled, exception.retry_next_at) == (False, None)
    clock.step(1000)
    assert dispatch(ledger, flow, status=TransactionStatus.RUNNING) == []


def test_cancelling_again_changes_nothing(ledger: Ledger, flow: Flow) -> None:
    submit(ledger, flow, "a")
    ledger.operators.cancel("a", actor="ann")
    before = ledger.transactions.get("a"), actions_of(ledger, "a"), audited(ledger)
    assert ledger.operators.cancel("a", actor="bob") is TransactionStatus.CANCELLED
    after = ledger.transactions.get("a"), actions_of(ledger, "a"), audited(ledger)
    assert after == before


def test_what_succeeded_is_not_cancelled(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    call(ledger, take(ledger, flow, "a"), "deduct", success())
    with pytest.raises(NotAllowed, match="'a' has succeeded; nothing to cancel"):
        ledger.operators.cancel("a", actor="ann")
    assert audited(ledger) == []


# In every case


def test_who_acts_on_what_a_run_has_is_told_so(ledger: Ledger, flow: Flow) -> None:
    exception = a_failed_transaction(ledger, flow, "a")
    ledger.operators.retry_transaction("a", actor="ann")
    batch = take_again(ledger, flow, "run-9")
    message = rf"'a' is being worked on by run run-9 \(batch {batch.id}\); wait until it settles"
    acts: list[Callable[[], object]] = [
        lambda: ledger.operators.retry_transaction("a", actor="bob"),
        lambda: ledger.operators.retry_exception(exception.id, actor="bob"),
        lambda: ledger.operators.handle(exception.id, actor="bob"),
    ]
    before = ledger.transactions.logs("a")
    for act in acts:
        with pytest.raises(Conflict, match=message):
            act()
    assert ledger.transactions.logs("a") == before
    assert trail(ledger, "transaction:a") == [("ann", "retry", "")]
    assert trail(ledger, f"exception:{exception.id}") == []


@pytest.mark.parametrize("wrong", ["b", "A", "a ", "\ud800", ""])
def test_unknown_transactions_are_not_found(ledger: Ledger, flow: Flow, wrong: str) -> None:
    a_failed_transaction(ledger, flow, "a")
    for act in (ledger.operators.retry_transaction, ledger.operators.cancel):
        with pytest.raises(NotFound, match="no transaction"):
            act(wrong, actor="ann")
    assert status_of(ledger, "a") == TransactionStatus.FAILED


@pytest.mark.parametrize("wrong", [0, -1, 999_999_999, 2**63, 2**80])
def test_unknown_exceptions_are_not_found(ledger: Ledger, wrong: int) -> None:
    look: list[Callable[[], object]] = [
        lambda: ledger.operators.retry_exception(wrong, actor="ann"),
        lambda: ledger.operators.handle(wrong, actor="ann"),
        lambda: ledger.exceptions.get(wrong),
    ]
    for act in look:
        with pytest.raises(NotFound, match=f"no exception {wrong}"):
            act()


def test_any_name_and_any_words_are_kept(ledger: Ledger, flow: Flow) -> None:
    exception = a_failed_transaction(ledger, flow, "x" * 128)
    words = "'\"\\ \x00 \ud800 \U0001f980"
    ledger.operators.cancel("x" * 128, actor="a" * 500, reason=words * 100)
    ledger.operators.handle(exception.id, actor=words, remark=words)
    [handled, cancelled] = audited(ledger)
    shown = "'\"\\ \\x00 \\ud800 \U0001f980"
    assert (handled.actor, handled.reason) == (shown, shown)
    assert cancelled.actor == "a" * 97 + "..."
    assert cancelled.reason == shown * 100
    assert the_exception(ledger, "x" * 128).handled_remark == shown


def test_the_trail_is_read_newest_first_and_by_target(ledger: Ledger, flow: Flow) -> None:
    for name in "abc":
        submit(ledger, flow, name)
        ledger.operators.cancel(name, actor=f"for {name}")
    assert [row.actor for row in ledger.audit.page(limit=2)] == ["for c", "for b"]
    assert trail(ledger, "transaction:a") == [("for a", "cancel", "")]


def test_exceptions_are_found_by_flow_and_by_page(ledger: Ledger, flow: Flow) -> None:
    other = a_flow(ledger, name="other")
    a, b = (a_failed_transaction(ledger, flow, name) for name in "ab")
    c = a_failed_transaction(ledger, other, "c")
    assert ledger.exceptions.page() == [c, b, a]
    assert ledger.exceptions.page(limit=1) == [c]
    assert ledger.exceptions.page(before=b.id) == [a]
    assert ledger.exceptions.page(flow_id=flow.id) == [b, a]
    assert ledger.exceptions.page(transaction_id="b", handled=False) == [b]
    assert ledger.exceptions.page(handled=True) == []
    assert c.fingerprint != b.fingerprint == a.fingerprint


def test_task_states_survive_a_refused_act(ledger: Ledger, flow: Flow) -> None:
    a_failed_transaction(ledger, flow, "a")
    ledger.operators.handle(the_exception(ledger, "a").id, actor="ann")
    with pytest.raises(NotAllowed):
        ledger.operators.retry_transaction("a", actor="ann")
    assert task_of(ledger, "a", "deduct").status is TaskStatus.FAILED
