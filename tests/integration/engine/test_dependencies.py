"""A task is called only when every task it depends on succeeded, or by a grant of its own."""

from concurrent.futures import Future

import pytest

from dist_task_pipelines.domain.errors import NotAllowed
from dist_task_pipelines.engine.batch_run import TaskReport
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import RUNNING, Bench, act, ended, orders
from tests.integration.engine.scripted import failed

DIAMOND = (
    act("order"),
    act("pay", "order"),
    act("pack", "order"),
    act("ship", "pay", "pack"),
)


def test_below_a_failed_task_nothing_is_called(bench: Bench) -> None:
    flow = bench.flow(act("a"), act("b", "a"), act("c", "b"))
    bench.executor.script("o1:a", failed())
    reports = bench.carry(bench.take(flow, "o1", "o2"))
    assert sorted(bench.executor.called) == ["o1:a", "o2:a", "o2:b", "o2:c"]
    assert (bench.status("o1"), bench.status("o2")) == ("failed", "success")
    assert [failure.transaction_id for failure in reports["a"].failures] == ["o1"]
    assert [reports[name].passed for name in "abc"] == [1, 1, 1]


def test_a_sibling_s_retry_leads_to_no_other_call(bench: Bench) -> None:
    flow = bench.flow(*DIAMOND)
    bench.executor.script("o1:pay", failed())
    bench.executor.script("o1:pack", failed())
    bench.carry(bench.take(flow, "o1"))
    paying = next(each for each in bench.exceptions("o1") if each.task_id == "pay")
    bench.ledger.operators.retry_exception(paying.id, actor="ann")
    before = len(bench.executor.calls)
    bench.carry(bench.take_due(flow))
    assert bench.executor.called[before:] == ["o1:pay"]
    assert bench.task("o1", "ship").attempts == 0
    assert bench.status("o1") == "failed"


def test_a_re_execution_calls_what_failed_and_then_what_follows(bench: Bench) -> None:
    flow = bench.flow(*DIAMOND)
    bench.executor.script("o1:pay", failed(), failed())
    bench.carry(bench.take(flow, "o1", "o2"))
    bench.carry(bench.adopt(flow, "o1", "o2"))
    assert bench.executor.called.count("o1:pay") == 2
    assert "o1:ship" not in bench.executor.called
    bench.carry(bench.adopt(flow, "o1", "o2"))
    counts = {key: bench.executor.called.count(key) for key in bench.executor.called}
    assert counts == {
        **{f"{order}:{task['id']}": 1 for order in ("o1", "o2") for task in DIAMOND},
        "o1:pay": 3,
    }
    assert bench.status("o1") == "success"


def test_a_re_execution_says_who_passed_before_and_who_waits(bench: Bench) -> None:
    flow = bench.flow(
        act("order"), act("pack", "order", retry={"strategy": "no_retry"}), act("pay", "order")
    )
    bench.executor.script("o1:pay", failed())
    bench.executor.script("o1:pack", failed())
    bench.carry(bench.take(flow, "o1"))
    reports = bench.carry(bench.adopt(flow, "o1"))
    assert (reports["order"].called, reports["order"].passed) == (0, 1)
    assert (reports["pay"].called, reports["pay"].passed) == (1, 1)
    assert (reports["pack"].called, reports["pack"].passed) == (0, 0)
    assert [reports[name].waiting for name in ("order", "pack", "pay")] == [(), ("o1",), ()]


def test_a_re_execution_of_what_is_not_to_be_retried_calls_nothing(bench: Bench) -> None:
    flow = bench.flow(act("a", retry={"strategy": "no_retry"}), act("b", "a"))
    bench.executor.script("o1:a", failed())
    bench.carry(bench.take(flow, "o1"))
    with pytest.raises(NotAllowed):
        bench.ledger.operators.retry_transaction("o1", actor="ann")
    bench.carry(bench.adopt(flow, "o1"))
    assert bench.executor.called == ["o1:a"]


def test_a_waiting_retry_does_not_hold_up_its_siblings(bench: Bench, clock: SteppableClock) -> None:
    retry = {"strategy": "auto", "interval": 10}
    flow = bench.flow(act("order"), act("pay", "order", retry=retry), act("pack", "order"))
    bench.executor.script("o1:pay", failed())
    reports = bench.carry(bench.take(flow, "o1"))
    assert bench.executor.called == ["o1:order", "o1:pay", "o1:pack"]
    assert reports["pack"].passed == 1
    clock.step(10)
    bench.carry(bench.take_due(flow))
    assert bench.executor.called[3:] == ["o1:pay"]
    assert bench.status("o1") == "success"


def test_a_batch_of_300_with_every_kind_of_end(bench: Bench) -> None:
    flow = bench.flow(*DIAMOND)
    ids = orders(300)
    bad = {
        "order": {each for number, each in enumerate(ids) if number % 5 == 0},
        "pay": {each for number, each in enumerate(ids) if number % 3 == 0},
        "pack": {each for number, each in enumerate(ids) if number % 4 == 0},
    }
    for task, failing in bad.items():
        for each in failing:
            bench.executor.script(f"{each}:{task}", failed())
    with bench.running(bench.take(flow, *ids)) as run:
        reports = {"order": run.run_task("order")}
        both: dict[str, Future[TaskReport]] = {
            task: bench.in_background(run, task) for task in ("pay", "pack")
        }
        reports |= {task: ended(report) for task, report in both.items()}
        reports["ship"] = run.run_task("ship")
    ordered = set(ids) - bad["order"]
    shipped = ordered - bad["pay"] - bad["pack"]
    called = {"order": set(ids), "pay": ordered, "pack": ordered, "ship": shipped}
    assert sorted(bench.executor.called) == sorted(
        f"{each}:{task}" for task, which in called.items() for each in which
    )
    for task, which in called.items():
        failing = which & bad.get(task, set())
        assert reports[task].called == len(which)
        assert reports[task].passed == len(which - failing)
        assert {failure.transaction_id for failure in reports[task].failures} == failing
    succeeded = {each for each in ids if bench.status(each) == "success"}
    assert succeeded == shipped
    assert {each for each in ids if bench.status(each) == "failed"} == set(ids) - shipped
    assert bench.dispatch(flow, RUNNING) == []
