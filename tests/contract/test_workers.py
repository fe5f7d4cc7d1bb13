"""Which workers there are, and which of them has a run."""

import pytest

from dist_task_pipelines.domain.errors import Conflict
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import BatchEnd
from dist_task_pipelines.ledger.workers import DEAD_AFTER_SECONDS, FORGOTTEN_AFTER
from tests.contract.steps import SteppableClock, a_flow, acquire, dispatch, submit

WORKER = "host-1-2"


def names(ledger: Ledger) -> list[str]:
    return [each.name for each in ledger.workers.alive()]


def test_a_worker_is_there_as_long_as_it_says_so(ledger: Ledger, clock: SteppableClock) -> None:
    ledger.workers.register("b", host="h", pid=7)
    ledger.workers.register("a", host="h", pid=8)
    clock.step(DEAD_AFTER_SECONDS)
    assert ledger.workers.heartbeat("b", runs=3)
    clock.step(1)
    [alive] = ledger.workers.alive()
    assert (alive.name, alive.host, alive.pid, alive.runs) == ("b", "h", 7, 3)
    assert alive.last_seen_at > alive.started_at
    ledger.workers.deregister("b")
    assert names(ledger) == []


def test_one_that_was_forgotten_is_told(ledger: Ledger, clock: SteppableClock) -> None:
    ledger.workers.register("old", host="h", pid=7)
    clock.step(FORGOTTEN_AFTER.total_seconds() + 1)
    ledger.workers.register("new", host="h", pid=8)
    assert not ledger.workers.heartbeat("old", runs=0)
    ledger.workers.register("old", host="h", pid=7)
    assert names(ledger) == ["new", "old"]


def test_a_run_is_executed_by_one_worker(ledger: Ledger) -> None:
    for _ in range(2):  # the answer to the first may have been lost
        ledger.workers.claim("run-1", worker="a")
    with pytest.raises(Conflict, match="run-1 is being executed"):
        ledger.workers.claim("run-1", worker="b")
    ledger.workers.let_go("run-1")
    ledger.workers.claim("run-1", worker="b")


def test_a_claimed_run_is_executed_while_its_worker_lives(
    ledger: Ledger, clock: SteppableClock
) -> None:
    assert not ledger.workers.executes("run-1")
    ledger.workers.register(WORKER, host="h", pid=7)
    ledger.workers.claim("run-1", worker=WORKER)
    assert ledger.workers.executes("run-1")
    clock.step(DEAD_AFTER_SECONDS + 1)
    assert not ledger.workers.executes("run-1")
    ledger.workers.heartbeat(WORKER, runs=1)
    assert ledger.workers.executes("run-1")
    ledger.workers.deregister(WORKER)
    assert not ledger.workers.executes("run-1")


def test_a_batchs_run_is_executed_while_its_lease_lasts(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    submit(ledger, flow, "a")
    [dispatched] = dispatch(ledger, flow, name_runs=True)
    assert dispatched.run_id
    batch = acquire(ledger, dispatched, dispatched.run_id)
    assert ledger.workers.executes(batch.run_id), "though nobody knows the worker"
    ledger.batches.end(batch.id, BatchEnd.DONE)
    assert not ledger.workers.executes(batch.run_id)
    ledger.workers.register("worker", host="h", pid=7)
    assert ledger.workers.executes(batch.run_id), "its worker comes to the end of the run"
    clock.step(DEAD_AFTER_SECONDS + 1)
    assert not ledger.workers.executes(batch.run_id)


def test_a_persons_run_is_executed_while_its_worker_lives_whatever_became_of_its_batch(
    ledger: Ledger,
) -> None:
    flow = a_flow(ledger)
    [record] = submit(ledger, flow, "a")
    ledger.workers.register(WORKER, host="h", pid=7)
    ledger.workers.claim("run-1", worker=WORKER)
    batch = ledger.batches.adopt(
        flow.id, [record.seq], run_id="run-1", worker="the host", lease=30, actor="ann"
    )
    ledger.batches.end(batch.id, BatchEnd.DONE)
    assert ledger.workers.executes("run-1"), "it comes to the end of the run"
    ledger.workers.deregister(WORKER)
    assert not ledger.workers.executes("run-1")
