"""Repeats work that failed because the ledger, or something else, could not be reached."""

import time
from collections.abc import Callable
from typing import TypeVar

from dist_task_pipelines.domain.errors import LedgerUnavailable

TRY_AGAIN_SECONDS = 0.5

R = TypeVar("R")


def patiently(
    work: Callable[[], R],
    *,
    seconds: float,
    away: tuple[type[Exception], ...] = (LedgerUnavailable,),
    is_worth_it: Callable[[], bool] = lambda: True,
) -> R:
    """Do the work; repeat it while it raises one of `away`.

    Args:
        seconds: the longest that it is tried.
        away: errors that pass by themselves.
        is_worth_it: whether to go on trying.

    Raises:
        Exception: one of `away`, which did not pass in time; or any other, at once.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return work()
        except away:
            if time.monotonic() > until or not is_worth_it():
                raise
            time.sleep(TRY_AGAIN_SECONDS)
