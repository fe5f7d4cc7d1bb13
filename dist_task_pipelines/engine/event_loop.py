"""An event loop on a thread of its own, for synchronous callers such as Dagster's ops."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")
T = TypeVar("T")

Ended = tuple[T, R | Exception]


class EventLoop:
    """Runs coroutines of any thread on one loop, so that connections are shared."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, R]) -> "Future[R]":
        """Run `work` on the loop without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run `work` on the loop and wait for its result."""
        return self.begin(work).result()

    def as_ended(
        self, work: Callable[[T], Coroutine[Any, Any, R]], items: Sequence[T], *, every: float
    ) -> Iterator[list[Ended[T, R]]]:
        """Do the work for all items at once; give each with its result, or with what it raised.

        They come in lists as they end, none later than `every` seconds. The loop's thread is
        asked once and answers once a list, however many items there are.
        """
        lists: SimpleQueue[list[Ended[T, R]] | None] = SimpleQueue()
        collecting = self.begin(_collect(work, items, every, lists.put))
        collecting.add_done_callback(lambda _: lists.put(None))
        while ended := lists.get():
            yield ended
        collecting.result()

    def close(self) -> None:
        """End the loop and its thread."""
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _collect(
    work: Callable[[T], Coroutine[Any, Any, R]],
    items: Sequence[T],
    every: float,
    give: Callable[[list[Ended[T, R]]], None],
) -> None:
    async def one(item: T) -> Ended[T, R]:
        try:
            return item, await work(item)
        except Exception as error:
            return item, error

    calls = [asyncio.ensure_future(one(item)) for item in items]
    under_way = set(calls)
    while under_way:
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        ended, under_way = await asyncio.wait(under_way, timeout=every)
        give([each.result() for each in calls if each in ended])
