"""Dispatch: what is due becomes batches, oldest first, within the limits, fair, never twice."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger, tables
from dist_task_pipelines.ledger.owning import insert_batch
from dist_task_pipelines.ledger.records import BatchEnd, DispatchedBatch, DispatchLimits
from tests.contract.steps import (
    SteppableClock,
    a_flow,
    acquire,
    ask,
    call,
    dispatch,
    failure,
    start,
    submit,
    success,
    take,
    together,
)

ONLY_MYSQL = pytest.mark.parametrize("ledger_url", ["mysql"], indirect=True)


def ids_of(ledger: Ledger, batch: DispatchedBatch) -> list[str]:
    """The transactions that the batch owns."""
    query = "SELECT id FROM task_group_instance WHERE batch_id = :batch ORDER BY seq"
    return [row[0] for row in ask(ledger, query, batch=batch.id)]


def submit_one_by_one(ledger: Ledger, clock: SteppableClock, flow: Flow, *ids: str) -> None:
    """Transactions, each due a second after the one before."""
    for identifier in ids:
        submit(ledger, flow, identifier)
        clock.step(1)


def test_a_batch_of_one_names_its_transaction(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "order-1")
    [batch] = dispatch(ledger, flow)
    assert batch == DispatchedBatch(batch.id, flow.id, 1, "order-1", None, batch.dispatched_at)
    assert ids_of(ledger, batch) == ["order-1"]
    record = ledger.transactions.get("order-1")
    assert (record.batch_id, record.next_due_at) == (batch.id, None)
    assert record.status is TransactionStatus.PENDING, "no run has taken it"
    assert dispatch(ledger, flow) == []


def test_a_batch_takes_all_that_waits_and_names_none(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    records = submit(ledger, flow, "a", "b", "c")
    [batch] = dispatch(ledger, flow)
    assert batch == DispatchedBatch(batch.id, flow.id, 3, None, None, batch.dispatched_at)
    assert ledger.batches.members(batch.id) == (flow.id, [record.seq for record in records])


def test_the_oldest_come_first(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "late", delay=2)
    submit_one_by_one(ledger, clock, flow, "a", "b", "c")
    dispatched = dispatch(ledger, flow, max_batch=2)
    assert [ids_of(ledger, batch) for batch in dispatched] == [["a", "b"], ["late", "c"]]


def test_each_flow_version_gets_its_own_batch(ledger: Ledger) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    submit(ledger, flow, "a")
    submit(ledger, other, "b")
    assert {b.flow_id: b.transaction_id for b in dispatch(ledger, flow, other)} == {
        flow.id: "a",
        other.id: "b",
    }


def test_flows_that_were_not_named_wait(ledger: Ledger) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    submit(ledger, other, "b")
    assert dispatch(ledger, flow) == []
    assert dispatch(ledger) == []


def test_new_ones_and_retries_are_asked_for_apart(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    call(ledger, take(ledger, flow, "old"), "deduct", failure(retry_at=clock.now()))
    submit(ledger, flow, "new")
    [new] = dispatch(ledger, flow)
    assert new.transaction_id == "new"
    assert dispatch(ledger, flow, status=TransactionStatus.RUNNING) == [], "its run has it still"


def test_a_retry_of_one_names_the_run_before(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    soon = clock.now() + timedelta(seconds=5)
    batch = take(ledger, flow, "order-1", run_id="run-7")
    call(ledger, batch, "deduct", failure(retry_at=soon))
    ledger.batches.end(batch.id, BatchEnd.DONE)
    clock.step(4)
    assert dispatch(ledger, flow, status=TransactionStatus.RUNNING) == []
    clock.step(1)
    [again] = dispatch(ledger, flow, status=TransactionStatus.RUNNING)
    assert (again.transaction_id, again.parent_run_id) == ("order-1", "run-7")


@pytest.mark.parametrize("owned", [True, False])
def test_runs_in_flight_are_limited_in_all(ledger: Ledger, owned: bool) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, *"abcde")
    first = dispatch(ledger, flow, max_batch=1, max_runs_in_flight=2)
    assert [batch.transaction_id for batch in first] == ["a", "b"]
    if owned:
        acquire(ledger, first[0])
    assert dispatch(ledger, flow, max_batch=1, max_runs_in_flight=2) == []
    ledger.batches.end(first[1].id, BatchEnd.DONE)
    [next_one] = dispatch(ledger, flow, max_batch=1, max_runs_in_flight=2)
    assert next_one.transaction_id == "b", "handed back, and older than the others"


def test_runs_in_flight_are_limited_for_each_flow(ledger: Ledger, clock: SteppableClock) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    submit_one_by_one(ledger, clock, flow, *"abc")
    submit_one_by_one(ledger, clock, other, *"xyz")
    limits: dict[str, Any] = {
        "max_batch": 1,
        "max_runs_in_flight": 3,
        "max_runs_in_flight_per_flow": 2,
    }
    first = dispatch(ledger, flow, other, **limits)
    assert [batch.transaction_id for batch in first] == ["a", "x", "b"]
    ledger.batches.end(acquire(ledger, first[1]).id, BatchEnd.STOPPED)
    [second] = dispatch(ledger, flow, other, **limits)
    assert second.flow_id == other.id, "the older flow is at its limit"


@pytest.mark.parametrize("backlog", ["new", "retries"])
def test_neither_new_ones_nor_retries_take_the_last_run_while_the_others_wait(
    ledger: Ledger, clock: SteppableClock, backlog: str
) -> None:
    flow = a_flow(ledger)
    for each in "abc" if backlog == "retries" else "z":
        call(ledger, (batch := take(ledger, flow, each)), "deduct", failure(retry_at=clock.now()))
        ledger.batches.end(batch.id, BatchEnd.DONE)
    submit(ledger, flow, *("abc" if backlog == "new" else "z"))
    limits = DispatchLimits(max_batch=1, max_runs_in_flight=3, max_runs_in_flight_per_flow=3)
    ledger.dispatcher.dispatch(limits)
    owned = {each for each in "abcz" if ledger.transactions.get(each).batch_id}
    assert "z" in owned
    assert len(owned) == 3


def test_nothing_due_is_seen_without_a_lock(ledger: Ledger, clock: SteppableClock) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    assert not ledger.dispatcher.look(patience=10).due
    submit(ledger, flow, "later", delay=5)
    assert not ledger.dispatcher.look(patience=10).due
    submit(ledger, other, "now")
    assert ledger.dispatcher.look(patience=10).due
    dispatch(ledger, other)
    assert not ledger.dispatcher.look(patience=10).due
    clock.step(5)
    assert ledger.dispatcher.look(patience=10).due


def unattended(ledger: Ledger) -> bool:
    """Whether a look finds a batch without a worker, a run being given ten seconds."""
    return ledger.dispatcher.look(patience=10).unattended


def test_a_batch_that_waits_for_its_worker_too_long_is_seen(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "order-1", "order-2")
    limits = DispatchLimits(max_batch=1, max_runs_in_flight=1)
    [batch] = ledger.dispatcher.dispatch(limits, name_runs=True)
    assert not unattended(ledger), "its message is on its way"
    clock.step(10)
    assert unattended(ledger)
    assert batch.run_id
    ledger.batches.acquire(batch.id, run_id=batch.run_id, worker="w", lease=30)
    assert not unattended(ledger)
    ledger.batches.end(batch.id, BatchEnd.DONE)
    dispatch(ledger, flow)
    clock.step(10)
    assert not unattended(ledger), "Dagster launches the run of a batch without a name"


def test_a_batch_whose_lease_ran_out_is_seen(ledger: Ledger, clock: SteppableClock) -> None:
    batch = take(ledger, a_flow(ledger), "order-1")
    ledger.batches.renew(batch.id, lease=30)
    clock.step(30)
    assert not unattended(ledger)
    clock.step(1)
    assert unattended(ledger)
    ledger.batches.expire()
    assert not unattended(ledger)


def test_the_flow_that_has_waited_longest_comes_first(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow, other, third = (a_flow(ledger, name=name) for name in "abc")
    submit_one_by_one(ledger, clock, third, "c1")
    submit_one_by_one(ledger, clock, flow, "a1")
    submit_one_by_one(ledger, clock, other, "b1")
    submit_one_by_one(ledger, clock, third, "c2")
    dispatched = dispatch(ledger, flow, other, third, max_batch=1)
    assert [batch.transaction_id for batch in dispatched] == ["c1", "a1", "b1", "c2"]


def test_a_backlog_of_one_flow_leaves_room_for_another(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    submit_one_by_one(ledger, clock, flow, *(f"a{n}" for n in range(10)))
    submit_one_by_one(ledger, clock, other, "b")
    limits: dict[str, Any] = {
        "max_batch": 2,
        "max_runs_in_flight": 4,
        "max_runs_in_flight_per_flow": 3,
    }
    dispatched = dispatch(ledger, flow, other, **limits)
    assert Counter(b.flow_id for b in dispatched) == {flow.id: 3, other.id: 1}


def test_the_flow_with_the_fewest_runs_gets_the_one_that_ends(
    ledger: Ledger, clock: SteppableClock
) -> None:
    """However much older the others' work is: all runs are taken, by two flows within limits."""
    crowd, slow, single = (a_flow(ledger, name=name) for name in ("crowd", "slow", "single"))
    limits: dict[str, Any] = {
        "max_batch": 1,
        "max_runs_in_flight": 4,
        "max_runs_in_flight_per_flow": 3,
    }
    submit_one_by_one(ledger, clock, slow, "s1", "s2")
    submit_one_by_one(ledger, clock, crowd, "c1", "c2", "c3", "c4")
    taken = dispatch(ledger, crowd, slow, **limits)
    assert Counter(batch.flow_id for batch in taken) == {crowd.id: 2, slow.id: 2}
    submit_one_by_one(ledger, clock, single, "late")
    [ending] = [batch for batch in taken if batch.transaction_id == "c1"]
    ledger.batches.end(acquire(ledger, ending).id, BatchEnd.STOPPED)
    [batch] = dispatch(ledger, crowd, slow, single, **limits)
    assert batch.transaction_id == "late"


def test_a_batch_is_bounded_in_rows_and_grows_under_load(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, *(f"order-{n}" for n in range(7)))
    limits: dict[str, Any] = {"max_batch": 5, "max_runs_in_flight": 1}
    [first] = dispatch(ledger, flow, **limits)
    assert first.size == 5
    ledger.batches.end(acquire(ledger, first).id, BatchEnd.STOPPED)
    [second] = dispatch(ledger, flow, **limits)
    assert second.size == 2


def test_a_batch_is_bounded_in_bytes(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    sizes = {"a": 400, "b": 400, "c": 400, "huge": 5000, "d": 100}
    for identifier, size in sizes.items():
        submit(ledger, flow, identifier, params={"pad": "x" * size})
        clock.step(1)
    dispatched = dispatch(ledger, flow, max_batch_bytes=1000)
    assert [ids_of(ledger, batch) for batch in dispatched] == [["a", "b"], ["c"], ["huge"], ["d"]]


def lose(ledger: Ledger, clock: SteppableClock, flow: Flow, *ids: str) -> None:
    """Transactions whose worker died while it had them."""
    batch = take(ledger, flow, *ids)
    start(ledger, batch, "deduct")
    clock.step(1000)
    assert ledger.batches.expire() == [batch.id]


def test_a_transaction_that_lost_its_worker_goes_alone(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    lose(ledger, clock, flow, "x", "y")
    call(ledger, healthy := take(ledger, flow, "a", "b"), "deduct", failure(retry_at=clock.now()))
    ledger.batches.end(healthy.id, BatchEnd.DONE)
    dispatched = dispatch(ledger, flow, status=TransactionStatus.RUNNING)
    assert [ids_of(ledger, batch) for batch in dispatched] == [["x"], ["y"], ["a", "b"]]


def test_healthy_ones_do_not_wait_for_nor_go_with_one_that_lost_its_worker(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "a", "b")
    call(ledger, batch, "deduct", failure(retry_at=clock.now()))
    ledger.batches.end(batch.id, BatchEnd.DONE)
    lose(ledger, clock, flow, "x")
    call(ledger, batch := take(ledger, flow, "c"), "deduct", failure(retry_at=clock.now()))
    ledger.batches.end(batch.id, BatchEnd.DONE)
    dispatched = dispatch(ledger, flow, status=TransactionStatus.RUNNING)
    assert [ids_of(ledger, batch) for batch in dispatched] == [["a", "b", "c"], ["x"]]


def test_what_lost_its_worker_does_not_count_in_anothers_bytes(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    for identifier, size in {"a": 400, "huge": 5000, "b": 400}.items():
        submit(ledger, flow, identifier, params={"pad": "x" * size})
    one, two, three = dispatch(ledger, flow, max_batch=1)
    for batch, reason in ((one, BatchEnd.DONE), (two, BatchEnd.ERROR), (three, BatchEnd.DONE)):
        acquire(ledger, batch)
        ledger.batches.end(batch.id, reason)
    dispatched = dispatch(ledger, flow, status=TransactionStatus.RUNNING, max_batch_bytes=1000)
    assert [ids_of(ledger, batch) for batch in dispatched] == [["a", "b"], ["huge"]]


def test_two_dispatchers_at_once_never_hand_out_a_transaction_twice(
    ledger: Ledger, another_ledger: Ledger
) -> None:
    flow = a_flow(ledger)
    ids = [f"order-{number}" for number in range(60)]
    submit(ledger, flow, *ids)
    limits: dict[str, Any] = {
        "max_batch": 5,
        "max_runs_in_flight": 10,
        "max_runs_in_flight_per_flow": 10,
    }
    answers = together(
        *(lambda each=each: dispatch(each, flow, **limits) for each in (ledger, another_ledger) * 3)
    )
    dispatched = [batch for answer in answers if isinstance(answer, list) for batch in answer]
    assert len(dispatched) == 10, f"the limit is exact: {answers}"
    owned = [each for batch in dispatched for each in ledger.batches.members(batch.id)[1]]
    assert len(owned) == len(set(owned)) == 50


@ONLY_MYSQL
def test_a_dispatcher_waits_for_its_turn_and_then_counts_what_the_other_made(
    ledger: Ledger, another_ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a", "b")
    locked = sa.select(tables.ledger_identity.c.id).with_for_update()
    with ThreadPoolExecutor(1) as pool, another_ledger.database.engine.connect() as other:
        other.execute(locked)
        waiting = pool.submit(dispatch, ledger, flow, max_runs_in_flight=1, max_batch=1)
        assert not wait([waiting], timeout=1).done
        insert_batch(other, flow.id, [], clock.now(), lease=60)
        other.commit()
        assert waiting.result() == [], "as many runs are in flight as may be"


def test_dispatch_and_cancel_at_once_agree(ledger: Ledger, another_ledger: Ledger) -> None:
    flow = a_flow(ledger)
    ids = [f"order-{number}" for number in range(10)]
    submit(ledger, flow, *ids)
    cancelling = [lambda each=each: ledger.operators.cancel(each, actor="ann") for each in ids]
    answers = together(lambda: dispatch(another_ledger, flow, max_batch=100), *cancelling)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    free = [r.id for r in ledger.transactions.page() if r.batch_id is None]
    assert {status_in(ledger, each) for each in free} <= {TransactionStatus.CANCELLED}
    batches = answers[0]
    assert isinstance(batches, list)
    for batch in batches:
        assert batch.size == len(ids_of(ledger, batch)) == len(ledger.batches.members(batch.id)[1])


def status_in(ledger: Ledger, identifier: str) -> TransactionStatus:
    return ledger.transactions.get(identifier).status


@ONLY_MYSQL
def test_a_transaction_locked_by_another_is_passed_over(
    ledger: Ledger, another_ledger: Ledger
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a", "b")
    with another_ledger.database.engine.connect() as connection:
        lock = "SELECT seq FROM task_group_instance WHERE id = 'a' FOR UPDATE"
        connection.execute(sa.text(lock))
        [batch] = dispatch(ledger, flow)
    assert ids_of(ledger, batch) == ["b"]
    [rest] = dispatch(ledger, flow)
    assert ids_of(ledger, rest) == ["a"]


def test_batches_that_no_run_has_taken_are_told_again(ledger: Ledger) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    submit(ledger, flow, "a", "b", "c")
    dispatched = dispatch(ledger, flow, max_batch=2)
    flow_ids = [flow.id, other.id]

    def waiting(status: TransactionStatus = TransactionStatus.PENDING) -> list[DispatchedBatch]:
        return ledger.dispatcher.waiting(status=status, flow_ids=flow_ids)

    assert waiting() == dispatched
    assert waiting(TransactionStatus.RUNNING) == []
    assert ledger.dispatcher.waiting(status=TransactionStatus.PENDING, flow_ids=[other.id]) == []
    acquire(ledger, dispatched[0])
    assert waiting() == dispatched[1:]
    ledger.batches.end(dispatched[1].id, BatchEnd.SUPERSEDED)
    assert waiting() == []


def test_what_succeeded_is_never_due_again(ledger: Ledger, clock: SteppableClock) -> None:
    flow = a_flow(ledger)
    batch = take(ledger, flow, "order-1")
    call(ledger, batch, "deduct", success())
    call(ledger, batch, "notify", success())
    ledger.batches.end(batch.id, BatchEnd.DONE)
    clock.step(10_000)
    for status in TransactionStatus:
        assert dispatch(ledger, flow, status=status) == []
