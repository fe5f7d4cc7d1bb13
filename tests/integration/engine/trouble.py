"""Trouble that tests make for the ledger, and watching what is asked of it."""

import math
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

import pytest

from dist_task_pipelines.domain.errors import LedgerUnavailable, RowRefused
from dist_task_pipelines.ledger import Ledger
from tests.integration.engine.scripted import WAIT


class Outage:
    """Lets a test take the ledger's database away: writes, and asking its time, fail.

    Attributes:
        failures: what failed so far.
    """

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self._failures_left = 0.0
        self._answers_to_lose = 0
        self._write = ledger.database.write
        self._changed = threading.Condition()
        self._clock = ledger.clock
        monkeypatch.setattr(ledger.database, "write", self._try)
        monkeypatch.setattr(ledger.database, "clock", self)

    def now(self) -> datetime:
        """The ledger's time."""
        self._fail_if_away()
        return self._clock.now()

    def begin(self, failures: float = math.inf) -> None:
        """From now on everything fails, or only as often as said."""
        self._failures_left = failures

    def end(self) -> None:
        """The database is back."""
        self._failures_left = 0

    def lose_answers(self, count: int) -> None:
        """The next writes are committed, but their writer is told that they failed."""
        self._answers_to_lose = count

    def wait_for_failures(self, count: int) -> None:
        """Wait until that much has failed since the beginning."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.failures >= count, WAIT)

    def _try(self, work: Callable[..., Any]) -> Any:
        if self._answers_to_lose:
            self._answers_to_lose -= 1
            self._write(work)
            self._fail()
        self._fail_if_away()
        return self._write(work)

    def _fail_if_away(self) -> None:
        if self._failures_left:
            self._failures_left -= 1
            self._fail()

    def _fail(self) -> NoReturn:
        with self._changed:
            self.failures += 1
            self._changed.notify_all()
        raise LedgerUnavailable("the connection is gone")


class Watch:
    """Every call of a method, in order, with what it was given and what it gave."""

    def __init__(self, owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: list[Any] = []
        self.arguments: list[tuple[Any, ...]] = []
        self._method = getattr(owner, name)
        self._changed = threading.Condition()
        monkeypatch.setattr(owner, name, self._call)

    def wait_for(self, enough: Callable[[list[Any]], bool]) -> None:
        """Wait until the results, errors included, are enough."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.results), WAIT)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        result: Any
        try:
            result = self._method(*args, **kwargs)
        except Exception as error:
            result = error
        with self._changed:
            self.arguments.append(args)
            self.results.append(result)
            self._changed.notify_all()
        if isinstance(result, Exception):
            raise result
        return result


def refuse_rows(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch, is_bad: Callable[[Any], bool]
) -> None:
    """Let the database refuse every chunk with a bad row, as it would an oversized value."""
    method = getattr(owner, name)

    def refusing(batch: Any, flow: Any, task: Any, rows: Iterable[Any], **options: Any) -> Any:
        if any(map(is_bad, rows)):
            raise RowRefused("the packet is too large")
        return method(batch, flow, task, rows, **options)

    monkeypatch.setattr(owner, name, refusing)
