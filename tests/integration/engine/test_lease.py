"""One owner: a run that lost its lease calls nobody and writes nothing; whoever follows may."""

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.errors import LeaseLost, LedgerUnavailable
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Health, TaskStatus
from dist_task_pipelines.engine import lease as lease_module
from dist_task_pipelines.engine.lease import LeaseKeeper
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.records import BatchEnd, Start
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import LEASE, RUNNING, Bench, act, ended, orders
from tests.integration.engine.scripted import WAIT
from tests.integration.engine.trouble import Outage, Watch

FIVE = orders(5)
FIRST = "order_0:deduct"


def test_a_second_run_takes_over_undisturbed(
    bench: Bench, another_bench: Bench, clock: SteppableClock
) -> None:
    """The first run's process hangs, loses its lease, and comes back while the second calls."""
    flow = bench.flow(act("deduct"))
    batch = bench.take(flow, *FIVE)
    stop = threading.Event()
    bench.executor.hold(FIRST)
    another_bench.executor.hold(FIRST)
    with bench.running(batch, lease=0.3, calls=1, stop=stop) as first:
        running = bench.in_background(first, "deduct")
        bench.executor.wait_for(FIRST)
        clock.step(1000)
        assert another_bench.ledger.batches.expire() == [batch.id]
        dispatched = another_bench.dispatch(flow, RUNNING, max_runs_in_flight=9)
        batches = [another_bench.acquire(each) for each in dispatched[:1]]
        with another_bench.running(batches[0]) as second:
            following = another_bench.in_background(second, "deduct")
            another_bench.executor.wait_for(FIRST)
            before = bench.everything()
            assert stop.wait(WAIT)  # the first noticed
            bench.executor.release(FIRST)
            with pytest.raises(LeaseLost):
                ended(running)
            assert bench.everything() == before
            assert bench.executor.called == [FIRST]
            another_bench.executor.release(FIRST)
            assert ended(following).passed == 1
    assert bench.actions("order_0") == ["start", "lost", "retry", "success"]
    assert bench.ledger.transactions.get("order_0").lease_losses == 1
    [mine], [theirs] = bench.executor.calls, another_bench.executor.calls
    assert mine == theirs  # the same key and the same request: the effect is one


def test_the_next_task_of_a_lost_batch_calls_nobody(bench: Bench, clock: SteppableClock) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    batch = bench.take(flow, *FIVE)
    with bench.running(batch) as run:
        run.run_task("deduct")
        clock.step(1000)
        bench.ledger.batches.expire()
        before = bench.everything()
        assert run.run_task("notify").called == 0
    assert bench.everything() == before
    assert len(bench.executor.calls) == 5


def test_a_start_that_comes_too_late_raises(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease runs out between reading the batch and beginning its calls."""
    batch = bench.take(bench.flow(), *FIVE)
    load = bench.ledger.attempts.load

    def slow_load(*args: Any, **kwargs: Any) -> object:
        loaded = load(*args, **kwargs)
        clock.step(1000)
        bench.ledger.batches.expire()
        return loaded

    monkeypatch.setattr(bench.ledger.attempts, "load", slow_load)
    with bench.running(batch) as run:
        with pytest.raises(LeaseLost):
            run.run_task("deduct")
        assert run.was_stopped
    assert bench.executor.calls == []
    assert bench.task("order_0").status is TaskStatus.PENDING


@pytest.mark.parametrize(
    ("idempotent", "status", "health", "called"),
    [
        (True, "success", Health.HEALTHY, ["o1:deduct", "o1:notify"]),
        (False, "failed", Health.UNKNOWN, []),
    ],
)
def test_a_call_under_way_when_its_worker_died(
    bench: Bench,
    clock: SteppableClock,
    *,
    idempotent: bool,
    status: str,
    health: Health,
    called: list[str],
) -> None:
    """An idempotent task is called again with the same key; another waits for a person."""
    flow = bench.flow(act("deduct", idempotent=idempotent), act("notify", "deduct"))
    batch = bench.take(flow, "o1")
    request: JsonObject = {"config": {"frozen": True}, "input": {"by": "the first"}}
    start = Start(batch.members[0].seq, "o1:deduct", request, request["input"])
    bench.ledger.attempts.start(batch, flow, flow.by_id["deduct"], [start], lease=LEASE)
    clock.step(1000)
    bench.ledger.batches.expire()
    for dispatched in bench.dispatch(flow, RUNNING):
        bench.carry(bench.acquire(dispatched))
    assert bench.status("o1") == status
    assert bench.ledger.transactions.get("o1").health == health
    assert bench.executor.called == called
    for call in bench.executor.calls[:1]:
        assert (call.config, call.input) == ('{"frozen":true}', '{"by":"the first"}')


def test_a_lease_is_stretched_while_calls_are_under_way(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = bench.flow(act("deduct", timeout=500))
    batch = bench.take(flow, "o1", lease=0.3)
    bench.executor.hold("o1:deduct")
    with bench.running(batch, lease=0.3) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("o1:deduct")
        for _ in range(3):
            renew = Watch(bench.ledger.batches, "renew", monkeypatch)
            renew.wait_for(lambda results: len(results) > 1)
            clock.step(400)
            assert bench.ledger.batches.expire() == []
        bench.executor.release("o1:deduct")
        assert ended(running).passed == 1
    assert bench.actions("o1") == ["start", "success"]


def test_a_lease_outlasts_the_calls_under_way_not_those_before(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a dead worker's batch waits for what the worker was at."""
    flow = bench.flow(act("deduct", timeout=500), act("notify", "deduct", timeout=5))
    bench.executor.hold("o1:notify")
    with bench.running(bench.take(flow, "o1", lease=0.3), lease=0.3) as run:
        run.run_task("deduct")
        running = bench.in_background(run, "notify")
        bench.executor.wait_for("o1:notify")
        renew = Watch(bench.ledger.batches, "renew", monkeypatch)
        renew.wait_for(lambda results: len(results) > 1)
        with bench.ledger.database.read() as connection:
            [until] = connection.scalars(sa.select(tables.batch.c.lease_expires_at))
        bench.executor.release("o1:notify")
        assert ended(running).passed == 1
    assert until == clock.now() + timedelta(seconds=5.3)


def test_the_lease_is_kept_while_a_stopped_run_waits_for_its_calls(
    bench: Bench, clock: SteppableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = bench.flow(act("deduct", timeout=500))
    stop = threading.Event()
    bench.executor.hold("o1:deduct")
    with bench.running(bench.take(flow, "o1"), lease=0.3, stop=stop) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for("o1:deduct")
        stop.set()
        clock.step(400)
        renew = Watch(bench.ledger.batches, "renew", monkeypatch)
        renew.wait_for(lambda results: len(results) > 1)
        clock.step(400)
        assert bench.ledger.batches.expire() == []
        bench.executor.release("o1:deduct")
        assert ended(running).passed == 1


class Uptime:
    """Stands in for `uptime`, as the lease asks for it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def uptime(monkeypatch: pytest.MonkeyPatch) -> Uptime:
    uptime = Uptime()
    monkeypatch.setattr(lease_module, "uptime", uptime)
    return uptime


@pytest.fixture
def keeper(bench: Bench, uptime: Uptime) -> LeaseKeeper:
    """A keeper whose thread is not running."""
    batch = bench.take(bench.flow(), "o1")
    stop = threading.Event()
    return LeaseKeeper(bench.ledger, batch, seconds=60, stop=stop, give_up=lambda: None)


def test_a_call_begins_only_if_the_lease_outlasts_it(keeper: LeaseKeeper, uptime: Uptime) -> None:
    assert keeper.outlasts(60)
    assert not keeper.outlasts(60.5)
    uptime.seconds += 59
    assert keeper.outlasts(1)
    assert not keeper.outlasts(2)
    uptime.seconds += 2
    assert not keeper.outlasts(0)
    assert not keeper.is_held


def test_a_renewal_covers_the_longest_call_that_may_be_under_way(
    keeper: LeaseKeeper, uptime: Uptime
) -> None:
    with keeper.covering(5), keeper.covering(300):
        with keeper.stretching(300):
            pass
        assert keeper.outlasts(300)
        uptime.seconds += 100
        keeper.renew()
        uptime.seconds += 59
        assert keeper.outlasts(300)
        assert not keeper.outlasts(302)
    keeper.renew()
    assert keeper.outlasts(60)
    assert not keeper.outlasts(61)


def test_a_write_that_fails_covers_nothing(
    bench: Bench, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    Outage(bench.ledger, monkeypatch).begin()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            keeper.renew()
    assert not keeper.outlasts(61)


def test_a_renewal_whose_answer_is_lost_may_have_shortened_the_lease(
    bench: Bench, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeper.covering(300), keeper.stretching(300):
        pass
    assert keeper.outlasts(300)
    Outage(bench.ledger, monkeypatch).lose_answers(1)
    with pytest.raises(LedgerUnavailable):
        keeper.renew()
    assert keeper.outlasts(60)
    assert not keeper.outlasts(61)


def test_after_a_stop_no_call_begins(keeper: LeaseKeeper) -> None:
    keeper.stop.set()
    assert not keeper.outlasts(0)
    assert keeper.is_held


def test_a_lost_lease_stops_everything(bench: Bench, keeper: LeaseKeeper) -> None:
    bench.ledger.batches.end(1, BatchEnd.LOST)
    with pytest.raises(LeaseLost):
        keeper.renew()
    assert keeper.stop.is_set()
    assert not keeper.is_held
