"""The executor runs steps concurrently, keeps to their dependencies, and can be stopped."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
from dagster import (
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DependencyDefinition,
    Failure,
    GraphDefinition,
    In,
    JobDefinition,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    ResourceDefinition,
    RetryRequested,
    op,
    resource,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run, execute_run_iterator
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from dist_task_pipelines.orchestration import step_executor
from dist_task_pipelines.orchestration.step_executor import (
    cancel_requested,
    concurrent_step_executor,
    stop_event,
)

PATIENCE = 30  # seconds that a test waits for what should come at once

Body = Callable[[OpExecutionContext], object]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as local:
        yield local


@pytest.fixture
def sigterm_handler() -> Iterator[None]:
    """Dagster points SIGTERM at SIGINT's handler and leaves it so."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def step(name: str, body: Body, after: Sequence[str] = ()) -> OpDefinition:
    """An op that calls `body` and yields its `Nothing` output unless that raises."""

    @op(name=name, ins={f"after_{up}": In(Nothing) for up in after}, out=Out(Nothing))
    def run(context: OpExecutionContext) -> Iterator[Output[None]]:
        body(context)
        yield Output(None)

    return run


def half_failed_step(name: str, after: Sequence[str] = ()) -> OpDefinition:
    """An op that yields its output and then fails."""

    @op(name=name, ins={f"after_{up}": In(Nothing) for up in after}, out=Out(Nothing))
    def run() -> Iterator[Output[None]]:
        yield Output(None)
        raise Failure("1 of 2 failed")

    return run


def job_of(
    *ops: OpDefinition, resources: dict[str, ResourceDefinition] | None = None
) -> JobDefinition:
    graph = GraphDefinition(
        name="flow",
        node_defs=ops,
        dependencies={
            each.name: {
                name: DependencyDefinition(name.removeprefix("after_")) for name in each.ins
            }
            for each in ops
        },
    )
    return graph.to_job(executor_def=concurrent_step_executor, resource_defs=resources)


def create_run(
    instance: DagsterInstance, job: JobDefinition, plan: ExecutionPlan | None = None
) -> DagsterRun:
    return instance.create_run_for_job(job, execution_plan=plan)


def execute(
    instance: DagsterInstance, job: JobDefinition, plan: ExecutionPlan | None = None
) -> DagsterRun:
    """Run the job to its end on this thread; the run as it is then."""
    run = create_run(instance, job, plan)
    list(execute_run_iterator(InMemoryJob(job), run, instance))
    return reload(instance, run)


def reload(instance: DagsterInstance, run: DagsterRun) -> DagsterRun:
    reloaded = instance.get_run_by_id(run.run_id)
    assert reloaded is not None
    return reloaded


def step_states(instance: DagsterInstance, run: DagsterRun) -> dict[str, str]:
    return {
        stats.step_key: stats.status.value
        for stats in instance.get_run_step_stats(run.run_id)
        if stats.status
    }


def job_failure(instance: DagsterInstance, run: DagsterRun) -> str:
    """The message of the run's failure event, with its error's."""
    (event,) = [
        record.dagster_event
        for record in instance.all_logs(run.run_id)
        if record.dagster_event and record.dagster_event.is_job_failure
    ]
    error = event.job_failure_data.error
    return f"{event.message} {error.message if error else ''}"


def nothing(_: OpExecutionContext) -> None:
    return None


def boom(_: OpExecutionContext) -> None:
    raise ValueError("boom")


class WaitsForStop:
    """The body of an op that ends only when the run has to stop."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.stopped = threading.Event()

    def __call__(self, context: OpExecutionContext) -> None:
        self.started.set()
        assert stop_event(context.run_id).wait(PATIENCE)
        self.stopped.set()


@pytest.fixture
def waiting() -> WaitsForStop:
    return WaitsForStop()


# -- order and concurrency


def test_steps_that_do_not_depend_on_each_other_run_at_the_same_time(
    instance: DagsterInstance,
) -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE)
    names = ["a", "b", "c"]

    run = execute(instance, job_of(*(step(name, lambda _: meeting.wait()) for name in names)))

    assert run.status is DagsterRunStatus.SUCCESS
    assert step_states(instance, run) == dict.fromkeys(names, "SUCCESS")


def test_a_step_starts_after_all_it_depends_on(instance: DagsterInstance) -> None:
    order: list[str] = []

    def note(context: OpExecutionContext) -> None:
        order.append(context.op.name)

    run = execute(
        instance,
        job_of(
            step("d", note, after=["b", "c"]),
            step("c", note, after=["a"]),
            step("b", note, after=["a"]),
            step("a", note),
        ),
    )

    assert run.status is DagsterRunStatus.SUCCESS
    assert (order[0], set(order[1:3]), order[3]) == ("a", {"b", "c"}, "d")


def test_a_slow_branch_does_not_hold_up_another(instance: DagsterInstance) -> None:
    end_of_the_other_branch = threading.Event()

    run = execute(
        instance,
        job_of(
            step("slow", lambda _: end_of_the_other_branch.wait(PATIENCE)),
            step("quick", nothing),
            step("quick_2", lambda _: end_of_the_other_branch.set(), after=["quick"]),
        ),
    )

    assert run.status is DagsterRunStatus.SUCCESS
    assert end_of_the_other_branch.is_set()


def test_the_caller_gets_every_event_in_the_order_of_its_step(instance: DagsterInstance) -> None:
    job = job_of(step("a", nothing), step("b", nothing), step("c", nothing, after=["a", "b"]))
    run = create_run(instance, job)

    events = list(execute_run_iterator(InMemoryJob(job), run, instance))

    for name in ("a", "b", "c"):
        assert [each.event_type_value for each in events if each.step_key == name] == [
            "STEP_START",
            "STEP_OUTPUT",
            "STEP_SUCCESS",
        ]
    position = {(each.step_key, each.event_type_value): at for at, each in enumerate(events)}
    assert position["c", "STEP_START"] > max(
        position["a", "STEP_OUTPUT"], position["b", "STEP_OUTPUT"]
    )
    stored = {
        r.dagster_event.event_type_value for r in instance.all_logs(run.run_id) if r.dagster_event
    }
    assert {each.event_type_value for each in events} == stored
    assert events[-1].is_job_success


def test_steps_see_the_context_variables_of_the_run(instance: DagsterInstance) -> None:
    bound: ContextVar[str] = ContextVar("bound")
    seen: list[str] = []
    token = bound.set("batch 7")
    try:
        execute(instance, job_of(step("a", lambda _: seen.append(bound.get("none")))))
    finally:
        bound.reset(token)

    assert seen == ["batch 7"]


# -- failures


def test_an_op_that_yields_its_output_and_fails_is_red_and_what_follows_runs(
    instance: DagsterInstance,
) -> None:
    run = execute(instance, job_of(half_failed_step("a"), step("b", nothing, after=["a"])))

    assert run.status is DagsterRunStatus.FAILURE
    assert step_states(instance, run) == {"a": "FAILURE", "b": "SUCCESS"}


def test_an_op_that_fails_without_an_output_holds_back_only_what_follows_it(
    instance: DagsterInstance,
) -> None:
    run = execute(
        instance,
        job_of(
            step("a", boom),
            step("b", nothing, after=["a"]),
            step("c", nothing, after=["b"]),
            step("other", nothing),
            step("other_2", nothing, after=["other"]),
        ),
    )

    assert run.status is DagsterRunStatus.FAILURE
    assert step_states(instance, run) == {"a": "FAILURE", "other": "SUCCESS", "other_2": "SUCCESS"}
    assert "Steps failed: ['a']" in job_failure(instance, run)


def test_a_retry_is_the_ledgers_business_and_not_dagsters(instance: DagsterInstance) -> None:
    def again(_: OpExecutionContext) -> None:
        raise RetryRequested(max_retries=1)

    run = execute(instance, job_of(step("a", again)))

    assert step_states(instance, run) == {"a": "FAILURE"}
    assert run.status is DagsterRunStatus.FAILURE
    assert "Steps failed: ['a']" in job_failure(instance, run)


def test_an_error_of_an_op_reaches_a_caller_who_asked_for_it(
    instance: DagsterInstance, waiting: WaitsForStop
) -> None:
    def fail_once_the_other_runs(context: OpExecutionContext) -> None:
        assert waiting.started.wait(PATIENCE)
        boom(context)

    job = job_of(
        step("a", fail_once_the_other_runs),
        step("b", waiting),
        step("c", nothing, after=["b"]),
    )
    run = create_run(instance, job)

    with pytest.raises(ValueError, match="boom"):
        execute_run(InMemoryJob(job), run, instance, raise_on_error=True)

    assert waiting.stopped.is_set()
    assert "c" not in step_states(instance, run)


def test_an_error_outside_the_op_fails_the_run_by_name(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> Iterator[DagsterEvent]:
        raise RuntimeError("the event log is gone")

    monkeypatch.setattr(step_executor, "dagster_event_sequence_for_step", broken)

    run = execute(instance, job_of(step("a", nothing), step("b", nothing, after=["a"])))

    assert run.status is DagsterRunStatus.FAILURE
    assert "the event log is gone" in job_failure(instance, run)


def test_a_step_that_ends_without_a_result_fails_the_run(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_executor, "dagster_event_sequence_for_step", lambda _: iter(()))

    run = execute(instance, job_of(step("a", nothing), step("b", nothing, after=["a"])))

    assert run.status is DagsterRunStatus.FAILURE
    assert "Steps still in flight: {'a'}" in job_failure(instance, run)


def test_a_selected_step_whose_input_no_run_has_produced_fails_the_run(
    instance: DagsterInstance,
) -> None:
    job = job_of(step("a", boom), step("b", nothing, after=["a"]))
    failed = execute(instance, job)
    state = KnownExecutionState.build_for_reexecution(instance, failed)
    plan = create_execution_plan(
        job, step_keys_to_execute=["b"], known_state=state.update_for_step_selection(["b"])
    )

    run = execute(instance, job, plan)

    assert run.status is DagsterRunStatus.FAILURE
    assert "without completing the execution plan" in job_failure(instance, run)


# -- re-execution


def from_failure(
    instance: DagsterInstance, job: JobDefinition, failed: DagsterRun
) -> ExecutionPlan:
    steps, state = KnownExecutionState.build_resume_retry_reexecution(instance, failed)
    return create_execution_plan(job, step_keys_to_execute=steps, known_state=state)


@pytest.mark.parametrize("failing", ["with_output", "without_output"])
def test_from_failure_runs_the_failed_op_and_all_below_it(
    instance: DagsterInstance, failing: str
) -> None:
    ran: list[str] = []

    def note(context: OpExecutionContext) -> None:
        ran.append(context.op.name)

    above = [step("a", note)]
    below = [
        step("c", note, after=["b"]),
        step("d", note, after=["c"]),
        step("e", note, after=["a"]),
    ]
    red = half_failed_step("b", ["a"]) if failing == "with_output" else step("b", boom, ["a"])
    failed = execute(instance, job_of(*above, red, *below))
    assert failed.status is DagsterRunStatus.FAILURE
    ran.clear()

    mended = job_of(*above, step("b", note, after=["a"]), *below)
    run = execute(instance, mended, from_failure(instance, mended, failed))

    assert run.status is DagsterRunStatus.SUCCESS
    assert ran == ["b", "c", "d"]


# -- stopping


def execute_aside(
    threads: ThreadPoolExecutor, instance: DagsterInstance, job: JobDefinition, run: DagsterRun
) -> Callable[[], list[DagsterEvent]]:
    """Start the run on another thread; the function waits for its end."""
    started = threads.submit(lambda: list(execute_run_iterator(InMemoryJob(job), run, instance)))
    return lambda: started.result(PATIENCE)


@pytest.mark.parametrize("forced", [False, True])
def test_a_run_asked_to_stop_ends_cancelled_with_its_resources_torn_down(
    instance: DagsterInstance, waiting: WaitsForStop, forced: bool
) -> None:
    torn_down: list[tuple[DagsterRunStatus, bool, bool]] = []

    @resource
    def batch(_: object) -> Iterator[None]:
        stop = stop_event(run.run_id)
        yield
        status = reload(instance, run).status
        torn_down.append((status, cancel_requested(instance, run.run_id), stop.is_set()))

    waiting_op = step("a", waiting)
    needs_batch = OpDefinition(
        waiting_op.compute_fn, "a", outs=waiting_op.outs, required_resource_keys={"batch"}
    )
    job = job_of(needs_batch, step("b", nothing, after=["a"]), resources={"batch": batch})
    run = create_run(instance, job)
    with ThreadPoolExecutor(1) as threads:
        wait = execute_aside(threads, instance, job, run)
        assert waiting.started.wait(PATIENCE)
        if forced:
            instance.report_run_canceled(run)
        else:
            instance.report_run_canceling(run)
        wait()

    expected = DagsterRunStatus.CANCELED if forced else DagsterRunStatus.CANCELING
    assert torn_down == [(expected, True, True)]
    assert reload(instance, run).status is DagsterRunStatus.CANCELED
    assert "b" not in step_states(instance, run)
    messages = [record.message for record in instance.all_logs(run.run_id)]
    assert any("no further step is started; waiting for a." in message for message in messages)


def test_a_run_marked_as_cancelled_just_as_it_starts_is_stopped(
    instance: DagsterInstance, waiting: WaitsForStop
) -> None:
    job = job_of(step("a", waiting), step("b", nothing, after=["a"]))
    run = create_run(instance, job)
    events = execute_run_iterator(InMemoryJob(job), run, instance)
    instance.report_run_canceled(run)

    for event in events:
        if event.is_step_start:
            assert reload(instance, run).status is DagsterRunStatus.STARTED

    assert waiting.stopped.is_set()
    assert reload(instance, run).status is DagsterRunStatus.FAILURE
    assert "b" not in step_states(instance, run)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("sigterm_handler")
def test_a_signal_stops_the_run_of_the_main_thread(
    instance: DagsterInstance, waiting: WaitsForStop, signum: signal.Signals
) -> None:
    def send_signal(_: OpExecutionContext) -> None:
        assert waiting.started.wait(PATIENCE)
        os.kill(os.getpid(), signum)

    job = job_of(
        step("a", waiting),
        step("b", send_signal),
        step("c", nothing, after=["a"]),
    )

    run = execute(instance, job)

    assert waiting.stopped.is_set()
    assert run.status is DagsterRunStatus.FAILURE
    assert "interrupted unexpectedly" in job_failure(instance, run)
    assert not cancel_requested(instance, run.run_id)
    assert "c" not in step_states(instance, run)


@pytest.mark.usefixtures("sigterm_handler")
def test_a_run_on_another_thread_leaves_the_main_threads_interrupt_alone(
    instance: DagsterInstance,
) -> None:
    job = job_of(step("a", nothing))
    run = create_run(instance, job)

    with capture_interrupts(), ThreadPoolExecutor(1) as threads:
        signal.raise_signal(signal.SIGINT)
        execute_aside(threads, instance, job, run)()
        assert check_captured_interrupt()

    assert reload(instance, run).status is DagsterRunStatus.SUCCESS


def test_a_caller_who_gives_up_stops_the_running_steps(
    instance: DagsterInstance, waiting: WaitsForStop
) -> None:
    job = job_of(step("a", waiting))
    events = execute_run_iterator(InMemoryJob(job), create_run(instance, job), instance)

    for event in events:
        if event.is_step_start:
            break
    assert waiting.started.wait(PATIENCE)
    events.close()  # type: ignore[attr-defined]

    assert waiting.stopped.is_set()


def test_a_failed_look_at_the_runs_status_does_not_end_the_run(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def unreachable(_: DagsterInstance, _run_id: str) -> bool:
        looked.set()
        raise ConnectionError("no storage")

    monkeypatch.setattr(step_executor, "cancel_requested", unreachable)
    monkeypatch.setattr(step_executor, "CANCEL_POLL_SECONDS", 0.0)

    run = execute(instance, job_of(step("a", lambda _: looked.wait(PATIENCE))))

    assert looked.is_set()
    assert run.status is DagsterRunStatus.SUCCESS


def test_nothing_asks_a_run_elsewhere_to_stop() -> None:
    assert not stop_event("a run of another process").is_set()


def test_a_run_that_ended_leaves_no_trace(instance: DagsterInstance) -> None:
    seen: list[threading.Event] = []
    run = execute(
        instance, job_of(step("a", lambda context: seen.append(stop_event(context.run_id))))
    )

    assert not seen[0].is_set()
    assert stop_event(run.run_id) is not seen[0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step")]
