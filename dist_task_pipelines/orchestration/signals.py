"""What SIGINT and SIGTERM do for a while, whatever the process inherited."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def at_stop_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Within, SIGINT and SIGTERM call `handle` and do nothing else. Only for the main thread."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        handle()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
