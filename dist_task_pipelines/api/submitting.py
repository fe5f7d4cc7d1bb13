"""Submits gathered into group commits.

While one commit is under way, the submits that arrive meanwhile wait, and then share the next
one: alone a submit waits for nothing, and under load a commit carries hundreds. A submit is
answered after its own commit.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dist_task_pipelines.domain.errors import LedgerUnavailable
from dist_task_pipelines.engine.submit import Result, SubmitRequest, submit_many
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import TransactionRecord

MOST_IN_A_GROUP = 500  # submits
MOST_BYTES_IN_A_GROUP = 4_000_000
MOST_WAITING = 10_000  # submits


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: SubmitRequest
    size: int
    result: asyncio.Future[TransactionRecord]


class SubmitQueue:
    """Accepts single submits of one event loop, many in one commit.

    Args:
        on_accepted: called after each commit.
    """

    def __init__(
        self, ledger: Ledger, max_params_bytes: int, on_accepted: Callable[[], None]
    ) -> None:
        self._on_accepted = on_accepted
        self._submit_many = functools.partial(
            submit_many, ledger, max_params_bytes=max_params_bytes
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="submit")
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def submit(self, request: SubmitRequest, size: int) -> TransactionRecord:
        """Accept a transaction, as `engine.submit.submit`.

        Args:
            size: bytes of the request, which bound a group.

        Raises:
            DistTaskError: as `engine.submit.submit`; also when too many wait already.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise LedgerUnavailable(
                f"{MOST_WAITING} submits wait for the ledger already; try again later"
            )
        result: asyncio.Future[TransactionRecord] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, size, result))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await result

    def close(self) -> None:
        """Wait for the commit under way."""
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = self._next_group()
            requests = [each.request for each in group]
            try:
                results = await loop.run_in_executor(self._thread, self._accept, requests)
            except Exception as error:
                results = [error] * len(group)
            for each, result in zip(group, results, strict=True):
                _answer(each.result, result)
        self._working = None

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._waiting and len(group) < MOST_IN_A_GROUP:
            size += self._waiting[0].size
            if group and size > MOST_BYTES_IN_A_GROUP:
                break
            group.append(self._waiting.popleft())
        return group

    def _accept(self, requests: Sequence[SubmitRequest]) -> Sequence[Result | Exception]:
        """Accept them together; one by one where one of them keeps the others from it."""
        try:
            results: Sequence[Result | Exception] = self._submit_many(requests)
        except LedgerUnavailable:
            raise
        except Exception as error:  # a row refused, or what nobody thought of
            if len(requests) == 1:
                return [error]
            results = [result for one in requests for result in self._accept([one])]
        self._on_accepted()
        return results


def _answer(waiting: asyncio.Future[TransactionRecord], result: Result | Exception) -> None:
    if waiting.done():  # its caller has gone away
        return
    if isinstance(result, Exception):
        waiting.set_exception(result)
    else:
        waiting.set_result(result)
