"""Keeping a batch's lease while its run works, as long as the calls under way need it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import structlog

from dist_task_pipelines.domain.clock import uptime
from dist_task_pipelines.domain.errors import LeaseLost
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch

LOOK = 0.1  # seconds between two looks at whether calling must stop
GRACE = 0.5  # seconds in which calls under way may end once a person asked for the batch to stop

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Renews the lease in the background; says when calling must stop.

    Args:
        seconds: how long the lease lasts beyond the longest call that may be under way.
        stop: set from outside when calling must stop; set here when a person asked for the batch
            to stop, or when the lease is lost.
        give_up: called once when a person asked for that, and calls under way had their GRACE.
    """

    def __init__(
        self,
        ledger: Ledger,
        batch: Batch,
        *,
        seconds: float,
        stop: threading.Event,
        give_up: Callable[[], object],
    ) -> None:
        self._ledger = ledger
        self._batch = batch
        self._seconds = seconds
        self._timeouts: list[float] = []  # of the tasks that are being called
        self._expires = uptime() + seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._persons = False  # a person asked for the batch to stop
        self._give_up = give_up
        self.stop = stop
        self._thread = threading.Thread(target=self._keep, name=f"lease-{batch.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def covering(self, timeout: float) -> Iterator[None]:
        """While a task of this timeout, in seconds, is called: every renewal outlasts its calls."""
        with self._lock:
            self._timeouts.append(timeout)
        try:
            yield
        finally:
            with self._lock:
                self._timeouts.remove(timeout)

    @contextmanager
    def stretching(self, timeout: float) -> Iterator[None]:
        """Around a write that stretches the lease for calls of `timeout` seconds."""
        until = uptime() + self._seconds + timeout
        with self._noticing_loss():
            yield
        with self._lock:
            self._expires = max(self._expires, until)

    def renew(self) -> None:
        """Let the lease last for the calls under way, counted from now.

        Raises:
            LeaseLost: the batch is no longer ours.
            LedgerUnavailable: the ledger cannot be written.
        """
        with self._lock:  # a task that begins meanwhile stretches the lease after this, not before
            lease = self._seconds + max(self._timeouts, default=0)
            until = uptime() + lease
            self._expires = min(self._expires, until)  # even if the answer is lost
            with self._noticing_loss():
                is_stopped = self._ledger.batches.renew(self._batch.id, lease=lease)
            self._expires = until
        if is_stopped:
            self._persons = True
            self.stop.set()

    def outlasts(self, timeout: float) -> bool:
        """Whether a call of `timeout` seconds that begins now ends within the lease."""
        return not self.stop.is_set() and uptime() + timeout <= self._expires

    @property
    def is_held(self) -> bool:
        """Whether the batch is still ours for all this process knows."""
        return uptime() <= self._expires

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            self._expires = 0
            self.stop.set()
            raise

    def _keep(self) -> None:
        noticed = False  # that calling must stop
        while self._wait_for_renewal(noticed):
            noticed = self.stop.is_set()
            try:
                self.renew()
            except LeaseLost as error:
                log.warning("the lease is lost", batch=self._batch.id, error=str(error))
                return
            except Exception as error:  # tried again; calling stops when the lease runs out
                log.warning("the lease could not be kept", batch=self._batch.id, error=str(error))
            if self._persons and not self._ended.wait(GRACE):
                self._give_up()

    def _wait_for_renewal(self, noticed: bool) -> bool:
        """Wait for a third of the lease, or until it is news that calling must stop.

        Then the renewal tells whether a person asked for that.

        Returns:
            False once there is no more to keep.
        """
        third = self._seconds / 3
        renew_at = uptime() + third
        while not self._ended.wait(min(LOOK, third)):
            if uptime() >= renew_at or (self.stop.is_set() and not noticed):
                return True
        return False
