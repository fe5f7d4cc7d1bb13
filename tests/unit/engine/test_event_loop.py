"""The event loop that synchronous callers share."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from dist_task_pipelines.engine.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


async def thread() -> threading.Thread:
    return threading.current_thread()


def test_everything_runs_on_one_thread_of_its_own(loop: EventLoop) -> None:
    threads = {loop.run(thread()), loop.begin(thread()).result()}
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_an_error_reaches_the_caller(loop: EventLoop) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(fail())


def test_what_is_begun_goes_on_beside_the_caller(loop: EventLoop) -> None:
    go = asyncio.Event()

    async def wait() -> str:
        await go.wait()
        return "done"

    async def let_go() -> None:
        go.set()

    begun = loop.begin(wait())
    assert not begun.done()
    loop.run(let_go())
    assert begun.result(10) == "done"


def test_closing_ends_its_threads() -> None:
    loop = EventLoop()
    threads = [loop.run(thread()), loop.run(asyncio.to_thread(threading.current_thread))]
    loop.close()
    assert not any(each.is_alive() for each in threads)
