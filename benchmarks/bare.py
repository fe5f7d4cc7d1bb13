"""The same calls with the same client and nothing else: what the platform is held against."""

import asyncio
import time
from dataclasses import dataclass

from benchmarks.flow import PARAMS, TASKS
from dist_task_pipelines.domain.keys import KEY_HEADER
from dist_task_pipelines.executors.http_client import new_session


@dataclass(frozen=True, slots=True)
class Bare:
    """How fast the loop was, and what it cost."""

    per_second: float
    cpu_ms: float


def bare_loop(participant: str, count: int, at_once: int) -> Bare:
    """Make the calls of so many transactions, so many of them at a time; record nothing."""
    began, cpu = time.perf_counter(), time.process_time()
    asyncio.run(_all(participant, count, at_once))
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return Bare(count / seconds, used / count * 1000)


async def _all(participant: str, count: int, at_once: int) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            for task in TASKS:
                async with session.post(
                    f"{participant}/{task}",
                    json=PARAMS[task],
                    headers={KEY_HEADER: f"bare_{number}:{task}"},
                ) as reply:
                    reply.raise_for_status()
                    await reply.json()

    async with new_session() as session:
        await asyncio.gather(*(worker() for _ in range(at_once)))
