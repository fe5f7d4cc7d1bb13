"""Runs that a person starts: what they may own, what they grant, what they leave alone."""

from datetime import timedelta
from typing import Any

import pytest

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import (
    GrantedBy,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch, BatchEnd, LeftAlone
from tests.contract.steps import (
    LEASE,
    SteppableClock,
    a_failed_transaction,
    a_flow,
    a_task,
    actions_of,
    adopt,
    audited,
    call,
    dispatch,
    failure,
    start,
    status_of,
    submit,
    success,
    take,
    task_of,
    the_exception,
    together,
)


@pytest.fixture
def flow(ledger: Ledger) -> Flow:
    return a_flow(ledger)


def members(ledger: Ledger, flow: Flow, *ids: str) -> list[str]:
    """Whom a re-executed run gets of these."""
    return [member.id for member in adopt(ledger, flow, *ids).members]


def test_a_re_executed_run_grants_what_failed(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    batch = take(ledger, flow, "a", "b", run_id="run-1")
    call(ledger, batch, "deduct", success(), "a")
    call(ledger, batch, "notify", failure())
    call(ledger, batch, "deduct", failure(), "b")
    ledger.batches.end(batch.id, BatchEnd.DONE)
    clock.step(5)
    again = adopt(ledger, flow, "a", "b", run_id="run-2")
    assert (again.run_id, again.left_alone) == ("run-2", ())
    assert again.id > batch.id
    assert task_of(ledger, "a", "notify").grant == Grant(GrantedBy.PERSON, clock.now())
    assert start(ledger, again, "deduct") == {"b"}, "what succeeded is not called again"
    assert start(ledger, again, "notify") == {"a"}
    record = ledger.transactions.get("a")
    assert (record.status, record.run_id) == (TransactionStatus.RUNNING, "run-2")
    assert record.completed_at is None


def test_each_granted_transaction_gets_an_audit_row(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    a_failed_transaction(ledger, flow, "a")
    submit(ledger, flow, "new")
    adopt(ledger, flow, "a", "new", run_id="run-2")
    [row] = audited(ledger)
    assert (row.actor, row.action, row.target) == ("ann", "re_execute", "transaction:a")
    assert row.reason == "run run-2"
    assert row.before == {"status": "failed", "run_id": "run-1"}
    assert row.after == {"granted": ["deduct"], "run_id": "run-2"}
    assert row.created_at == clock.now()
    log = ledger.transactions.logs("a")[-1]
    assert (log.action, log.task_id, log.run_id) == (LogAction.GRANT, "deduct", "run-2")


def test_a_new_transaction_and_one_handed_back_are_owned_without_a_grant(
    ledger: Ledger, flow: Flow
) -> None:
    ledger.batches.end(take(ledger, flow, "back").id, BatchEnd.HANDED_BACK)
    submit(ledger, flow, "new")
    batch = adopt(ledger, flow, "new", "back")
    assert start(ledger, batch, "deduct") == {"new", "back"}
    assert audited(ledger) == []


def test_a_retry_that_is_due_later_is_granted_now(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    later = clock.now() + timedelta(hours=1)
    call(ledger, take(ledger, flow, "a"), "deduct", failure(retry_at=later))
    batch = adopt(ledger, flow, "a")
    assert start(ledger, batch, "deduct") == {"a"}


def test_what_it_may_not_own_is_left_alone_and_named(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct"))
    strict = a_flow(ledger, a_task("deduct", strategy=RetryStrategy.NO_RETRY), name="strict")
    take(ledger, flow, "leased", run_id="run-9")
    call(ledger, take(ledger, flow, "done"), "deduct", success())
    a_failed_transaction(ledger, flow, "cancelled")
    ledger.operators.cancel("cancelled", actor="ann")
    ledger.operators.handle(a_failed_transaction(ledger, flow, "handled").id, actor="ann")
    a_failed_transaction(ledger, flow, "failed")
    a_failed_transaction(ledger, strict, "strict")
    names = ["leased", "done", "cancelled", "handled", "failed"]
    before = {name: ledger.transactions.get(name) for name in names}

    batch = adopt(ledger, flow, *names)
    assert [member.id for member in batch.members] == ["failed"]
    assert batch.left_alone == (
        LeftAlone("leased", "another run is working on it"),
        LeftAlone("done", "it is success"),
        LeftAlone("cancelled", "it is cancelled"),
        LeftAlone("handled", "its exceptions were handled (deduct); submit it under another id"),
    )
    for name in names[:-1]:
        assert ledger.transactions.get(name) == before[name]
        assert task_of(ledger, name, "deduct").grant is None

    [left] = adopt(ledger, strict, "strict").left_alone
    assert left.reason == (
        "its failed tasks are not to be retried (deduct: no_retry); handle the exceptions instead"
    )


def test_a_handled_task_gets_no_grant_beside_one_that_does(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("left"), a_task("right"))
    batch = take(ledger, flow, "a")
    call(ledger, batch, "left", failure())
    call(ledger, batch, "right", failure())
    right, left = ledger.exceptions.page(transaction_id="a")
    assert (right.task_id, left.task_id) == ("right", "left")
    ledger.operators.handle(left.id, actor="ann")
    again = adopt(ledger, flow, "a")
    assert start(ledger, again, "left") == set()
    assert start(ledger, again, "right") == {"a"}
    assert task_of(ledger, "a", "left").status is TaskStatus.FAILED


def test_an_unknown_task_is_called_when_a_person_says_so(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct", idempotent=False))
    batch = take(ledger, flow, "a")
    start(ledger, batch, "deduct")
    ledger.batches.end(batch.id, BatchEnd.LOST)
    assert task_of(ledger, "a", "deduct").status is TaskStatus.UNKNOWN
    assert start(ledger, adopt(ledger, flow, "a"), "deduct") == {"a"}


def test_transactions_of_another_flow_are_not_owned(ledger: Ledger, flow: Flow) -> None:
    other = a_flow(ledger, name="other")
    submit(ledger, other, "x")
    batch = adopt(ledger, flow, "x")
    assert (batch.members, batch.left_alone) == ((), ())
    assert status_of(ledger, "x") == TransactionStatus.PENDING


def test_a_batch_of_nobody_can_be_worked_on_and_ended(ledger: Ledger, flow: Flow) -> None:
    call(ledger, batch := take(ledger, flow, "a"), "deduct", success())
    call(ledger, batch, "notify", success())
    empty = adopt(ledger, flow, "a")
    assert empty.members == ()
    assert start(ledger, empty, "deduct") == set()
    ledger.batches.end(empty.id, BatchEnd.DONE)


def test_the_owned_are_not_dispatched(ledger: Ledger, flow: Flow, clock: SteppableClock) -> None:
    submit(ledger, flow, "a")
    batch = adopt(ledger, flow, "a")
    clock.step(LEASE)
    assert dispatch(ledger, flow) == []
    assert ledger.dispatcher.waiting(status=TransactionStatus.PENDING, flow_ids=[flow.id]) == []
    assert ledger.batches.members(batch.id) == (flow.id, [batch.members[0].seq])
    assert ledger.batches.run_of(batch.id) == "run-2"
    clock.step(1)
    assert ledger.batches.expire() == [batch.id], "it has a lease like any other"


def test_of_two_re_executions_at_once_one_owns(
    ledger: Ledger, another_ledger: Ledger, flow: Flow
) -> None:
    for name in "abcd":
        a_failed_transaction(ledger, flow, name)
    answers = together(
        lambda: members(ledger, flow, *"abcd"),
        lambda: members(another_ledger, flow, *"dcba"),
    )
    assert sorted(map(str, answers)) == ["['a', 'b', 'c', 'd']", "[]"]
    assert len(audited(ledger)) == 4
    assert actions_of(ledger, "a").count(LogAction.GRANT) == 1


def test_a_re_execution_and_dispatch_at_once_share_nothing(
    ledger: Ledger, another_ledger: Ledger, flow: Flow
) -> None:
    names = [f"order-{number}" for number in range(20)]
    submit(ledger, flow, *names)
    answers: list[Any] = together(
        lambda: adopt(ledger, flow, *names), lambda: dispatch(another_ledger, flow, max_batch=100)
    )
    adopted, dispatched = answers
    assert isinstance(adopted, Batch)
    assert isinstance(dispatched, list)
    owned = [member.id for member in adopted.members]
    assert len(owned) + sum(batch.size for batch in dispatched) == len(names)
    assert {ledger.transactions.get(name).batch_id for name in owned} <= {adopted.id}


def test_its_exceptions_say_that_they_are_retried_now(
    ledger: Ledger, flow: Flow, clock: SteppableClock
) -> None:
    a_failed_transaction(ledger, flow, "a")
    clock.step(7)
    adopt(ledger, flow, "a")
    assert the_exception(ledger, "a").retry_next_at == clock.now()
