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
        self,
        work: Callable[[T], Coroutine[Any, Any, R]],
        items: Sequence[T],
        *,
        at_once: int,
        every: float,
    ) -> Iterator[list[Ended[T, R]]]:
        """Begin the work for all items; give each with its result, or with what it raised.

        They come in lists as they end, none later than `every` seconds. The loop's thread is
        asked once and answers once a list, however many items there are.

        Args:
            at_once: how many are worked on at a time.
        """
        lists: SimpleQueue[list[Ended[T, R]] | None] = SimpleQueue()
        collecting = self.begin(_collect(work, items, at_once, every, lists.put))
        collecting.add_done_callback(lambda _: lists.put(None))

        def as_they_come() -> Iterator[list[Ended[T, R]]]:
            while ended := lists.get():
                yield ended
            collecting.result()

        return as_they_come()

    def close(self) -> None:
        """End the loop and its thread."""
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _collect(
    work: Callable[[T], Coroutine[Any, Any, R]],
    items: Sequence[T],
    at_once: int,
    every: float,
    give: Callable[[list[Ended[T, R]]], None],
) -> None:
    waiting = iter(items)
    ended: list[Ended[T, R]] = []

    async def take_turns() -> None:
        for item in waiting:
            try:
                result: R | Exception = await work(item)
            except Exception as error:
                result = error
            ended.append((item, result))

    async def give_in_time() -> None:
        while True:
            await asyncio.sleep(every)
            give_ended()

    def give_ended() -> None:
        if ended:
            give(ended.copy())
            ended.clear()

    giving = asyncio.ensure_future(give_in_time())
    try:
        await asyncio.gather(*(take_turns() for _ in range(min(at_once, len(items)))))
    finally:
        giving.cancel()
    give_ended()
