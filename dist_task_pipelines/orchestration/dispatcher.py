"""Dispatching at once: a thread that makes batches of what is due and launches their runs.

The server has one, woken when something was accepted, which also looks by itself every second:
for retries that have come due, for leases that ran out, and for batches whose run did not get to
a worker. Every worker has one, woken when a batch ends.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from dagster import DagsterInstance

from dist_task_pipelines.assembly import dispatch_limits
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import DispatchedBatch, DispatchLimits, ToDo
from dist_task_pipelines.orchestration.jobs import Jobs
from dist_task_pipelines.orchestration.launching import BatchLauncher
from dist_task_pipelines.settings import Settings

LOOK_EVERY = 1.0  # seconds
LAUNCH_AGAIN_AFTER = 10.0  # seconds without a worker: its message may be lost
AFTER_ERROR = 2.0  # seconds

log = structlog.get_logger(__name__)


@contextmanager
def dispatching(
    settings: Settings, instance: DagsterInstance, ledger: Ledger, jobs: Jobs, *, looks: bool
) -> Iterator["DispatchThread"]:
    """Within, a thread dispatches with the limits of the settings."""
    launcher = BatchLauncher(instance, ledger, jobs.get)
    thread = DispatchThread(ledger, launcher, dispatch_limits(settings), looks=looks)
    thread.start()
    try:
        yield thread
    finally:
        thread.close()


class DispatchThread:
    """Dispatches until it is closed.

    Args:
        looks: whether it looks by itself, or only when it is woken.
    """

    def __init__(
        self, ledger: Ledger, launcher: BatchLauncher, limits: DispatchLimits, *, looks: bool = True
    ) -> None:
        self._ledger = ledger
        self._launcher = launcher
        self._limits = limits
        self._every = LOOK_EVERY if looks else None
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._next_look_after = 0.0
        self._again: dict[int, float] = {}  # when a batch was launched again, while it waits
        self._thread = threading.Thread(target=self._work, name="dispatch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Dispatch now; any thread may ask, and nobody waits."""
        self._woken.set()

    def close(self) -> None:
        """End, once what is being launched is launched."""
        self._closed.set()
        self._woken.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closed.is_set():
            pause = None
            try:
                self._do()
            except Exception as error:  # whatever the ledger, Dagster's storage or the broker say
                log.warning("cannot dispatch", error=str(error))
                pause = AFTER_ERROR
            if pause:
                self._closed.wait(pause)
            elif self._woken.wait(self._every):
                self._woken.clear()

    def _do(self) -> None:
        """Do what there is to do; where there is nothing, that takes one statement."""
        found = self._look()
        if self._every and found.unattended and time.monotonic() >= self._next_look_after:
            self._next_look_after = time.monotonic() + self._every
            self._look_after()
            found = self._look()  # what was handed back may be due
        if found.due:
            self._launch(self._ledger.dispatcher.dispatch(self._limits, name_runs=True))

    def _look(self) -> ToDo:
        return self._ledger.dispatcher.look(patience=LAUNCH_AGAIN_AFTER)

    def _look_after(self) -> None:
        """Hand back what lost its worker, and launch again what no worker has taken."""
        try:
            self._ledger.batches.expire()
        except ExceptionGroup as group:  # the other batches, and what is due, are not harmed
            for error in group.exceptions:
                log.warning("cannot hand back", error=str(error), notes=error.__notes__)
        now = time.monotonic()
        waiting = waiting_for_worker(self._ledger)
        launched = {each.id: self._again.get(each.id) for each in waiting}
        again = [each for each in waiting if _is_long_ago(launched[each.id], now)]
        self._again = {key: at for key, at in launched.items() if at is not None}
        self._again |= {each.id: now for each in again}
        self._launch(again)

    def _launch(self, batches: Sequence[DispatchedBatch]) -> None:
        for batch in batches:
            try:
                self._launcher.launch(batch)
            except Exception:  # it stays in the ledger and is launched again
                log.exception("a run could not be launched", batch=batch.id, flow=batch.flow_id)


def _is_long_ago(launched: float | None, now: float) -> bool:
    return launched is None or now - launched > LAUNCH_AGAIN_AFTER


def waiting_for_worker(
    ledger: Ledger, status: TransactionStatus | None = None
) -> list[DispatchedBatch]:
    """The batches whose message may be lost; none while no worker is there to read any."""
    waiting = ledger.dispatcher.waiting(status=status, named=True, for_seconds=LAUNCH_AGAIN_AFTER)
    return waiting if waiting and ledger.workers.alive() else []
