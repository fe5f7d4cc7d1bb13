"""Waiting for what another process does."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

PATIENCE = 90.0  # seconds that a test waits for what should come within a few
LOOK_AGAIN = 0.1  # seconds between two looks at a condition

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, timeout: float = PATIENCE) -> T:
    """What `look` gives once that is true; the test fails when that takes too long."""
    deadline = monotonic() + timeout
    while not (found := look()):
        assert monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        sleep(LOOK_AGAIN)
    return found
