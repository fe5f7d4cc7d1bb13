"""The one source of time: UTC, with microseconds; and of how much has passed."""

import time
from datetime import UTC, datetime
from typing import Protocol

_UPTIME_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds that only ever grow, evenly; those in which the machine slept count, on Linux."""
    return time.clock_gettime(_UPTIME_CLOCK)


class Clock(Protocol):
    """Tells the time; the ledger's follows its database, a test's stands still."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)
