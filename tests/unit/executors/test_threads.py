"""Blocking calls on a bounded number of threads."""

import asyncio
import threading

import pytest

from dist_task_pipelines.executors.threads import Threads


def test_results_and_errors_come_back() -> None:
    async def both() -> None:
        threads = Threads("t", 1)
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 7, 0)
        await threads.close(5)

    asyncio.run(both())


def test_what_waits_for_a_thread_is_not_started_when_they_close() -> None:
    release, started = threading.Event(), asyncio.Event()
    done: list[str] = []

    async def closing() -> None:
        threads = Threads("t", 1)
        loop = asyncio.get_running_loop()

        def first() -> None:
            loop.call_soon_threadsafe(started.set)
            release.wait(10)
            done.append("first")

        running = asyncio.create_task(threads.run(first))
        await started.wait()
        waiting = asyncio.create_task(threads.run(done.append, "second"))
        await asyncio.sleep(0)
        await threads.close(0.01)  # returns although the first goes on
        assert done == []
        release.set()
        await running
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(closing())
    assert done == ["first"]


def test_a_cancelled_call_that_waits_is_never_made() -> None:
    release = threading.Event()
    done: list[str] = []

    async def cancelling() -> None:
        threads = Threads("t", 1)
        running = asyncio.create_task(threads.run(release.wait, 10))
        waiting = asyncio.create_task(threads.run(done.append, "second"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        release.set()
        await running
        await threads.close(5)

    asyncio.run(cancelling())
    assert done == []


def test_no_thread_is_left_when_all_have_ended() -> None:
    async def closed() -> None:
        threads = Threads("mine", 3)
        await asyncio.gather(*(threads.run(abs, n) for n in range(9)))
        await threads.close(5)

    asyncio.run(closed())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mine")]
