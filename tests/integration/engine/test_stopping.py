"""Stopping in the middle of a batch: nothing more is called, and nothing is lost."""

import threading
from queue import SimpleQueue

import pytest

from dist_task_pipelines.domain.status import Applied, GrantedBy, Health, TaskStatus
from dist_task_pipelines.engine import lease as lease_module
from dist_task_pipelines.ledger.records import BatchEnd
from tests.integration.engine.bench import RUNNING, Bench, act, ended, orders
from tests.integration.engine.scripted import WAIT, failed

TEN = orders(10)
TWO, EIGHT = ("order_0:deduct", "order_1:deduct"), TEN[2:]


def stop_among_ten(bench: Bench, end: BatchEnd) -> None:
    """Two calls at a time; calling has to stop while the first two are under way."""
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    bench.executor.hold(*TWO)
    stop = threading.Event()
    with bench.running(bench.take(flow, *TEN), calls=2, stop=stop) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for(*TWO)
        stop.set()
        bench.executor.release(*TWO)
        report = ended(running)
        assert (report.passed, len(report.failures)) == (2, 8)
        assert run.was_stopped
        assert run.run_task("notify").called == 0
        run.end_reason = end
    assert bench.executor.called == list(TWO)


def test_calls_that_wait_for_a_slot_are_not_made(bench: Bench) -> None:
    stop_among_ten(bench, BatchEnd.HANDED_BACK)
    assert bench.executor.most == 2
    for order in EIGHT:
        task = bench.task(order)
        assert (task.status, task.applied) == (TaskStatus.FAILED, Applied.NO)
        assert task.error_type == "NotCalled"
        assert task.grant
        assert task.grant.by is GrantedBy.RECOVERY
        assert bench.actions(order) == ["start", "failed"]


def test_work_handed_back_is_picked_up(bench: Bench) -> None:
    stop_among_ten(bench, BatchEnd.HANDED_BACK)
    assert {bench.status(order) for order in TEN} == {RUNNING}
    flow = bench.ledger.flows.load("payment_v1")
    bench.carry(bench.take_due(flow))
    assert {bench.status(order) for order in TEN} == {"success"}
    assert sorted(bench.executor.called) == sorted(
        f"{order}:{task}" for order in TEN for task in ("deduct", "notify")
    )
    assert bench.ledger.transactions.get("order_5").lease_losses == 0
    [record] = bench.exceptions("order_5")
    assert record.handled_by == "system"


def test_what_a_person_stopped_waits_for_a_person(bench: Bench) -> None:
    stop_among_ten(bench, BatchEnd.STOPPED)
    flow = bench.ledger.flows.load("payment_v1")
    assert bench.dispatch(flow, RUNNING) == []
    for order in TEN:
        transaction = bench.ledger.transactions.get(order)
        assert (transaction.status, transaction.health) == ("failed", Health.NEEDS_HUMAN)
        [record] = bench.exceptions(order)
        assert record.error_type == "Stopped"
        assert record.task_id == ("deduct" if order in EIGHT else "notify")
        assert record.retry_next_at is None
    bench.ledger.operators.retry_transaction("order_5", actor="ann")
    bench.carry(bench.take_due(flow))
    assert bench.status("order_5") == "success"
    [record] = bench.exceptions("order_5")
    assert record.handled_by == "system", "although this was the first call of its task"


def test_a_run_that_is_stopped_already_starts_nothing(bench: Bench) -> None:
    stop = threading.Event()
    stop.set()
    batch = bench.take(bench.flow(), "o1")
    with bench.running(batch, stop=stop) as run:
        report = run.run_task("deduct")
        run.end_reason = BatchEnd.HANDED_BACK
    assert (report.called, report.passed, report.failures) == (0, 0, ())
    assert (bench.task("o1").attempts, bench.logs("o1")) == (0, [])


def test_a_person_s_stop_reaches_the_run_by_the_lease(bench: Bench) -> None:
    flow = bench.flow(act("deduct"))
    bench.executor.hold(*TWO)
    stop = threading.Event()
    batch = bench.take(flow, *TEN)
    with bench.running(batch, lease=0.3, calls=2, stop=stop) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for(*TWO)
        bench.ledger.batches.request_stop(batch.run_id, actor="ann")
        assert stop.wait(WAIT)
        bench.executor.release(*TWO)
        assert ended(running).passed == 2
    assert bench.executor.called == list(TWO)
    assert bench.exceptions("order_5")[0].error_type == "Stopped"


@pytest.mark.parametrize(
    ("idempotent", "status"), [(True, TaskStatus.FAILED), (False, TaskStatus.UNKNOWN)]
)
def test_a_call_that_hangs_is_given_up_when_a_person_stops_the_run(
    bench: Bench, idempotent: bool, status: TaskStatus
) -> None:
    flow = bench.flow(act("deduct", timeout=600, idempotent=idempotent), act("notify", "deduct"))
    bench.executor.hold("o1:deduct")
    stop = threading.Event()
    batch = bench.take(flow, "o1", "o2")
    with bench.running(batch, stop=stop) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("o1:deduct", "o2:deduct")
        bench.ledger.batches.request_stop(batch.run_id, actor="ann")
        stop.set()
        assert ended(running).passed == 1
    task = bench.task("o1")
    assert (task.status, task.applied, task.grant) == (status, Applied.MAYBE, None)
    [record] = bench.exceptions("o1")
    assert (record.task_id, record.error_type) == ("deduct", "Stopped")
    assert bench.task("o2").status is TaskStatus.SUCCESS, "known, so recorded"
    assert bench.executor.under_way == 0


def test_a_call_is_not_given_up_when_its_worker_shuts_down(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "GRACE", 0)
    renewals = SimpleQueue[None]()
    keep = bench.ledger.batches.renew

    def kept(batch_id: int, *, lease: float) -> bool:
        renewals.put(None)
        return keep(batch_id, lease=lease)

    monkeypatch.setattr(bench.ledger.batches, "renew", kept)
    bench.executor.hold("o1:deduct")
    stop = threading.Event()
    with bench.running(bench.take(bench.flow(), "o1"), lease=0.3, stop=stop) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("o1:deduct")
        stop.set()
        for _ in range(4):  # by then it is seen that no person asked
            renewals.get(timeout=WAIT)
        bench.executor.release("o1:deduct")
        assert ended(running).passed == 1


def test_a_person_s_stop_is_seen_before_the_next_task(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    batch = bench.take(flow, "o1")
    with bench.running(batch) as run:
        run.run_task("deduct")
        bench.ledger.batches.request_stop(batch.run_id, actor="ann")
        assert run.run_task("notify").called == 0
    assert bench.executor.called == ["o1:deduct"]
    assert bench.status("o1") == "failed"


def test_a_cancelled_transaction_is_not_called(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    with bench.running(bench.take(flow, "o1", "o2")) as run:
        run.run_task("deduct")
        bench.ledger.operators.cancel("o1", actor="ann")
        report = run.run_task("notify")
    assert (report.called, report.passed) == (1, 1)
    assert "o1:notify" not in bench.executor.called
    assert (bench.status("o1"), bench.status("o2")) == ("cancelled", "success")


def test_a_retry_that_could_not_be_made_keeps_its_right_to_one(bench: Bench) -> None:
    flow = bench.flow(act("deduct", retry={"strategy": "no_retry"}))
    bench.executor.hold("order_0:deduct")
    bench.executor.script("order_0:deduct", failed())
    stop = threading.Event()
    with bench.running(bench.take(flow, *orders(2)), calls=1, stop=stop) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("order_0:deduct")
        stop.set()
        bench.executor.release("order_0:deduct")
        ended(running)
        run.end_reason = BatchEnd.HANDED_BACK
    bench.carry(bench.take_due(flow))
    assert bench.executor.called == ["order_0:deduct", "order_1:deduct"]
    assert (bench.status("order_0"), bench.status("order_1")) == ("failed", "success")
