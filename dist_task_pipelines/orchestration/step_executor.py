"""A Dagster executor that runs the ready steps of a run at the same time, on threads.

A step starts as soon as every output it waits for exists, though the op that gave one may go on to
fail: an op that yields its output and then raises is red, what follows it runs, the run ends
failed. An op that raises without an output holds back what follows it.

Termination is cooperative. When the run is being cancelled or its process is interrupted, no
further step is started, `stop_event` is set for the ops to see, and once the running ones have
ended the run ends too: cancelled, or failed if nobody asked for it. Resources are torn down before
that is recorded; their teardown can ask `cancel_requested`.

Several runs may share a process, so its output is not captured. Ops are synchronous; op hooks and
concurrency pools are not supported. This module knows nothing of flows or the ledger.
"""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import Empty, SimpleQueue

from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterExecutionInterruptedError,
    DagsterInstance,
    Executor,
    InitExecutorContext,
    executor,
)
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

CANCEL_POLL_SECONDS = 0.5  # a statement each
INTERRUPT_POLL_SECONDS = 0.2  # a look at a flag

_log = logging.getLogger(__name__)


class Stop(threading.Event):
    """Set when a run has to stop; `error` says why: an interruption, or what broke a step."""

    error: BaseException | None = None


_stops: dict[str, Stop] = {}  # by run id, for the runs in this process
_process_ends = threading.Event()


def interrupt_all_runs() -> None:
    """Ask every run in this process to stop, those that begin later too: the process is to end."""
    _process_ends.set()


def stop_event(run_id: str) -> Stop:
    """The event that is set when the run has to stop, or when a step broke in the executor itself.

    It is there from before the run's resources are set up until they are torn down. For a run that
    is not in this process: one that is never set.
    """
    return _stops.get(run_id) or Stop()


def cancel_requested(instance: DagsterInstance, run_id: str) -> bool:
    """Whether somebody has asked to cancel the run.

    By its events: the status of a run that is marked as cancelled just as it starts is overwritten.
    """
    asked = {DagsterEventType.RUN_CANCELING, DagsterEventType.RUN_CANCELED}
    return bool(instance.all_logs(run_id, of_type=asked))


class ConcurrentStepExecutor(Executor):
    """Runs the steps of a run on threads of the process that the run is in."""

    @property
    def retries(self) -> RetryMode:
        return RetryMode.DISABLED

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return StepDependencyConfig(require_upstream_step_success=False)

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        _stops[plan_context.run_id] = Stop()
        try:
            yield from ExecuteRunWithPlanIterable(
                execution_plan,
                _run_steps,
                PlanExecutionContextManager(
                    job=plan_context.job,
                    execution_plan=execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    retry_mode=self.retries,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                    step_dependency_config=self.step_dependency_config,
                ),
            )
        finally:
            del _stops[plan_context.run_id]


@executor(name="concurrent_steps")
def concurrent_step_executor(_: InitExecutorContext) -> Executor:
    """Runs steps that do not depend on each other at the same time, in the run's own process."""
    return ConcurrentStepExecutor()


def _run_steps(
    job_context: PlanExecutionContext, execution_plan: ExecutionPlan
) -> Iterator[DagsterEvent]:
    with (
        execution_plan.start(
            job_context.retry_mode, step_dependency_config=job_context.step_dependency_config
        ) as active,
        ThreadPoolExecutor(len(execution_plan.step_keys_to_execute) or 1, "step") as threads,
    ):
        yield from _Steps(job_context, active, threads).events()


class _Steps:
    """The steps of one run in progress; used by the run's own thread, but for `_run_step`."""

    def __init__(
        self, context: PlanExecutionContext, active: ActiveExecution, threads: ThreadPoolExecutor
    ) -> None:
        self._context = context
        self._active = active
        self._threads = threads
        self._stop = _stops[context.run_id]
        self._running: set[str] = set()
        self._halt: BaseException | None = None  # why no further step is started
        # What the steps' threads report: an event, the error that broke the step, or its end.
        self._reports = SimpleQueue[tuple[str, DagsterEvent | BaseException | None]]()
        self._next_poll = time.monotonic() + CANCEL_POLL_SECONDS

    def events(self) -> Iterator[DagsterEvent]:
        """Run the steps and pass on their events, in the order in which they come.

        Raises what broke a step, or DagsterExecutionInterruptedError, once no step is running.
        """
        try:
            self._start_ready_steps()
            while self._running:
                yield from self._next_report()
                if self._halt is None and self._may_go_on() and self._interrupted():
                    yield self._stopping_event()
                    self._halt = DagsterExecutionInterruptedError("The run was asked to stop.")
                if self._halt is not None:
                    self._ask_to_stop(self._halt)
            if self._halt is not None:
                raise self._halt
        except BaseException as error:  # the caller's giving up included; running steps end first
            self._ask_to_stop(error)
            raise

    def _ask_to_stop(self, error: BaseException) -> None:
        self._stop.error = self._stop.error or error
        self._stop.set()

    def _start_ready_steps(self) -> None:
        if self._halt is not None:
            return
        for step in self._active.get_steps_to_execute():
            context = self._context.for_step(step, self._active.get_known_state())
            self._running.add(step.key)
            self._threads.submit(copy_context().run, self._run_step, context)

    def _run_step(self, context: StepExecutionContext) -> None:
        error = None
        try:
            for event in dagster_event_sequence_for_step(context):
                self._reports.put((context.step.key, event))
        except BaseException as raised:  # for the run's thread to raise
            error = raised
        self._reports.put((context.step.key, error))

    def _next_report(self) -> Iterator[DagsterEvent]:
        try:
            step_key, report = self._reports.get(timeout=INTERRUPT_POLL_SECONDS)
        except Empty:
            return
        if isinstance(report, DagsterEvent):
            yield report
            self._active.handle_event(report)
            if report.is_successful_output:
                self._start_ready_steps()
        else:
            self._running.remove(step_key)
            self._halt = self._halt or report
            yield from self._active.plan_events_iterator(self._context)

    def _may_go_on(self) -> bool:
        """Whether it matters if the run is interrupted: steps run, or would not have ended so."""
        return bool(self._running) or self._stop.is_set()

    def _interrupted(self) -> bool:
        # Dagster's flag is about the run on the main thread, and reading it resets it.
        on_main_thread = threading.current_thread() is threading.main_thread()
        if on_main_thread and self._active.check_for_interrupts():
            return True
        if _process_ends.is_set():
            return True
        if time.monotonic() < self._next_poll and not self._stop.is_set():
            return False
        self._next_poll = time.monotonic() + CANCEL_POLL_SECONDS
        try:
            return cancel_requested(self._context.instance, self._context.run_id)
        except Exception:  # whatever the storage's driver raises; the next poll may succeed
            _log.warning("cannot see if run %s is cancelled", self._context.run_id, exc_info=True)
            return False

    def _stopping_event(self) -> DagsterEvent:
        steps = sorted(self._running)
        message = f"Asked to stop: no further step is started; waiting for {', '.join(steps)}."
        return DagsterEvent.engine_event(self._context, message, EngineEventData.interrupted(steps))
