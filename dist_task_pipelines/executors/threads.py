"""Blocking calls beside an event loop, on a bounded number of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

Result = TypeVar("Result")


class Threads:
    """A few threads of its own; what finds none free waits its turn.

    A call that is cancelled while it waits for a thread never starts; one that runs goes
    on until it returns, and must find out by itself that nobody wants its result.
    """

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._unfinished: set[Future[Any]] = set()

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """The result of the function, called on one of the threads."""
        future = self._pool.submit(function, *arguments)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return await asyncio.wrap_future(future)

    async def close(self, grace: float) -> None:
        """Start nothing more, and wait at most `grace` seconds for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        still_running = (await asyncio.to_thread(wait, set(self._unfinished), grace)).not_done
        if not still_running:
            self._pool.shutdown(wait=True)
