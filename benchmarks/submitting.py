"""Submitting by REST, many requests at once."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.flow import order


@dataclass(frozen=True, slots=True)
class Submitted:
    """How fast so many transactions were accepted; `began` is Unix time."""

    count: int
    seconds: float
    began: float

    @property
    def per_second(self) -> float:
        """Accepted transactions per second."""
        return self.count / self.seconds


def submit_singly(url: str, prefix: str, count: int, connections: int) -> Submitted:
    """Submit transactions, one a request."""
    bodies = (order(f"{prefix}{number:07d}") for number in range(count))
    return asyncio.run(_send(f"{url}/api/v1/transactions", bodies, count, connections))


def submit_in_batches(
    url: str, prefix: str, count: int, size: int, connections: int = 2
) -> Submitted:
    """Submit transactions, `size` a request."""
    path = f"{url}/api/v1/transactions/batch"
    return asyncio.run(_send(path, _batches(prefix, count, size), count, connections))


def _batches(prefix: str, count: int, size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        yield {"transactions": [order(f"{prefix}{number:07d}") for number in numbers]}


async def _send(
    url: str, bodies: Iterable[dict[str, Any]], count: int, connections: int
) -> Submitted:
    waiting = iter([json.dumps(body).encode() for body in bodies])
    headers = {"Content-Type": "application/json"}

    async def worker() -> None:
        for body in waiting:
            async with session.post(url, data=body, headers=headers) as reply:
                answer = await reply.json()
                if reply.status != 200:
                    raise RuntimeError(f"{url} answers {reply.status}: {str(answer)[:300]}")

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        clock, began = time.time(), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(connections)))
        return Submitted(count, time.perf_counter() - began, clock)
