"""Keeping a batch's lease while its run works."""

import threading
import time
from types import TracebackType
from typing import Self

import structlog

from dist_task_pipelines.domain.errors import DistTaskError, LeaseLost
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Stretches the lease in the background; says when calling must stop.

    Args:
        seconds: how long the lease lasts beyond the longest call under way.
        stop: set from outside when calling must stop; set here when a person asked for the batch
            to stop, or when the lease is lost.
    """

    def __init__(
        self, ledger: Ledger, batch: Batch, *, seconds: float, stop: threading.Event
    ) -> None:
        self._ledger = ledger
        self._batch = batch
        self._seconds = seconds
        self._longest_call = 0.0
        self._expires = time.monotonic() + seconds
        self._ended = threading.Event()
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

    def cover(self, timeout: float) -> None:
        """From now on the lease must outlast calls of `timeout` seconds."""
        self._longest_call = max(self._longest_call, timeout)
        self._stretch()

    def outlasts(self, timeout: float) -> bool:
        """Whether a call of `timeout` seconds that begins now ends within the lease."""
        return not self.stop.is_set() and time.monotonic() + timeout <= self._expires

    @property
    def is_held(self) -> bool:
        """Whether the batch is still ours for all this process knows."""
        return time.monotonic() <= self._expires

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds / 3) and not self.stop.is_set():
            try:
                self._stretch()
            except DistTaskError as error:  # tried again until the lease runs out
                log.warning("the lease could not be kept", batch=self._batch.id, error=str(error))

    def _stretch(self) -> None:
        seconds = self._seconds + self._longest_call
        until = time.monotonic() + seconds
        try:
            if self._ledger.batches.keep(self._batch.id, lease=seconds):
                self.stop.set()
        except LeaseLost:
            self.stop.set()
            raise
        self._expires = max(self._expires, until)
