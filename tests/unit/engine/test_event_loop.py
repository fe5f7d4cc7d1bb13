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

    begun = loop.begin(wait())
    assert not begun.done()
    loop.run(_set(go))
    assert begun.result(10) == "done"


def test_each_item_comes_with_its_result_or_its_error(loop: EventLoop) -> None:
    async def half(number: int) -> float:
        return 1 / number

    [ended] = loop.as_ended(half, [2, 0, 4], at_once=2, every=60)
    assert [(item, type(result)) for item, result in sorted(ended, key=lambda each: each[0])] == [
        (0, ZeroDivisionError),
        (2, float),
        (4, float),
    ]
    assert list(loop.as_ended(half, [], at_once=2, every=60)) == []


def test_no_more_than_so_many_are_under_way(loop: EventLoop) -> None:
    most = under_way = 0

    async def work(_: int) -> None:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    ended = [each for some in loop.as_ended(work, range(20), at_once=3, every=60) for each in some]
    assert len(ended) == 20
    assert most == 3


def test_what_has_ended_comes_while_others_are_under_way(loop: EventLoop) -> None:
    gate = asyncio.Event()

    async def work(item: str) -> str:
        if item == "slow":
            await gate.wait()
        return item.upper()

    lists = loop.as_ended(work, ["slow", "quick"], at_once=2, every=0.01)
    assert next(lists) == [("quick", "QUICK")]
    loop.run(_set(gate))
    assert list(lists) == [[("slow", "SLOW")]]


async def _set(gate: asyncio.Event) -> None:
    gate.set()


def test_closing_ends_its_threads() -> None:
    loop = EventLoop()
    threads = [loop.run(thread()), loop.run(asyncio.to_thread(threading.current_thread))]
    loop.close()
    assert not any(each.is_alive() for each in threads)
