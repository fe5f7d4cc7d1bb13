"""Running a batch: each task for every transaction that may be called, all calls at once.

The calls are made on an event loop; everything else happens on the caller's thread.
"""

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied, TaskStatus
from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.engine.event_loop import Ended, EventLoop
from dist_task_pipelines.engine.lease import LeaseKeeper
from dist_task_pipelines.engine.requests import Attempt, Partition, partition, prepare
from dist_task_pipelines.engine.writing import NOT_CALLED, AttemptWriter
from dist_task_pipelines.flows import outputs_read
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch, BatchEnd, Finish

RECORD_EVERY = 0.25  # seconds at most between an outcome and its record

GIVEN_UP = Outcome.failure(
    "Stopped",
    "the run was terminated while this call was under way, and nobody knows whether it took "
    "effect; look at the participant, then retry or handle",
    retryable=False,
    applied=Applied.MAYBE,
)


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A transaction whose task failed, as a run page shows it."""

    transaction_id: str
    error: str
    exception_id: int | None
    retry_at: datetime | None  # when it will be called again by itself


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What running one task of a batch came to.

    Attributes:
        called: transactions whose task was attempted: called, or refused before its call.
        passed: transactions whose downstream tasks may now be called.
        waiting: ids of those whose task failed before and may not be called now.
    """

    called: int
    passed: int
    failures: tuple[TaskFailure, ...]
    waiting: tuple[str, ...]


class BatchRun:
    """The work of one run on the batch it owns. A context manager: leaving it ends the batch.

    Tasks may be run from several threads at once.

    Args:
        lease: seconds that the batch stays ours without a heartbeat.
        calls: participants called at once.
        stop: set by whoever wants no further call to begin.
    """

    def __init__(
        self,
        ledger: Ledger,
        caller: Caller,
        loop: EventLoop,
        batch: Batch,
        *,
        lease: float,
        calls: int,
        stop: threading.Event | None = None,
    ) -> None:
        self.batch = batch
        self.flow: Flow = ledger.flows.load(batch.flow_id)
        self.end_reason = BatchEnd.DONE
        self._ledger = ledger
        self._caller = caller
        self._loop = loop
        self._keeper = LeaseKeeper(
            ledger,
            batch,
            seconds=lease,
            stop=stop or threading.Event(),
            give_up=lambda: loop.begin(self._give_up()),
        )
        self._writer = AttemptWriter(ledger, batch, self.flow, self._keeper, lease=lease)
        self._calls = calls
        self._slots = asyncio.Semaphore(calls)  # for tasks that run at the same time
        self._under_way: set[asyncio.Task[Any]] = set()  # calls, on the loop

    def __enter__(self) -> Self:
        self._keeper.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._keeper.__exit__(kind, error, traceback)
        self._writer.end(self.end_reason)

    @property
    def was_stopped(self) -> bool:
        """Whether calling had to stop before the end."""
        return self._keeper.stop.is_set()

    def run_task(self, task_id: str) -> TaskReport:
        """Call the task for every transaction of the batch that may be called, and record it.

        Returns when no call is under way any more, whatever happens.

        Raises:
            LeaseLost: the batch is no longer this run's.
            LedgerUnavailable: the ledger cannot be read or written.
        """
        task = self.flow.by_id[task_id]
        try:
            with self._keeper.covering(task.timeout):
                return self._run_task(task)
        except Exception:
            self.end_reason = BatchEnd.ERROR
            raise

    def _run_task(self, task: Task) -> TaskReport:
        loaded = self._writer.patiently(
            lambda: self._ledger.attempts.load(
                self.batch, task.id, depends_on=task.depends_on, outputs=outputs_read(task)
            )
        )
        now = self._writer.patiently(self._ledger.clock.now)
        members = partition(self.flow, task, self.batch, loaded, now)
        going = [] if self.was_stopped else members.ready
        attempts = [prepare(task, member, loaded[member.seq]) for member in going]
        del loaded  # outputs may be large, and calls take long
        finishes = self._call_all(task, self._writer.start(task, attempts))
        return self._report(task, members, finishes)

    def _call_all(self, task: Task, attempts: Sequence[Attempt]) -> list[Finish]:
        """Make the calls; record their outcomes as they come, a few at a time.

        What goes wrong with a record is raised when all calls have ended and the other
        outcomes are recorded.
        """
        finishes: list[Finish] = []
        errors: list[Exception] = []
        refused: list[Ended[Attempt, Outcome]] = [
            (each, each.refusal) for each in attempts if each.refusal
        ]
        calls = self._calls_as_ended(task, [each for each in attempts if not each.refusal])
        for ended in itertools.chain([refused] if refused else [], calls):
            errors += [error for _, error in ended if isinstance(error, Exception)]
            outcomes = [(each, end) for each, end in ended if isinstance(end, Outcome)]
            try:
                finishes += self._writer.record(task, outcomes)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return finishes

    def _calls_as_ended(
        self, task: Task, attempts: Sequence[Attempt]
    ) -> Iterator[list[Ended[Attempt, Outcome]]]:
        async def call(attempt: Attempt) -> Outcome:
            async with self._slots:
                if not self._keeper.outlasts(task.timeout):
                    return NOT_CALLED
                assert attempt.request
                return await self._until_given_up(
                    self._caller.call(task, attempt.request, idempotency_key=attempt.key)
                )

        return self._loop.as_ended(call, attempts, at_once=self._calls, every=RECORD_EVERY)

    async def _until_given_up(self, call: Coroutine[Any, Any, Outcome]) -> Outcome:
        turns = asyncio.current_task()
        assert turns
        self._under_way.add(turns)
        try:
            return await call
        except asyncio.CancelledError:  # by `_give_up`, who means this call alone
            turns.uncancel()
            return GIVEN_UP
        finally:
            self._under_way.discard(turns)

    async def _give_up(self) -> None:
        """Wait no longer for the calls under way: a person stopped the batch."""
        for turns in self._under_way:
            turns.cancel()

    def _report(self, task: Task, members: Partition, finishes: Sequence[Finish]) -> TaskReport:
        succeeded = [end for end in finishes if end.verdict.status is TaskStatus.SUCCESS]
        failed = {end.seq: end for end in finishes if not end.outcome.succeeded}
        exceptions = self._open_exceptions(task, list(failed))
        names = {member.seq: member.id for member in self.batch.members}
        return TaskReport(
            called=len(finishes),
            passed=len(members.passed) + len(succeeded),
            failures=tuple(
                _failure(names[seq], end, exceptions.get(seq)) for seq, end in failed.items()
            ),
            waiting=tuple(member.id for member in members.waiting),
        )

    def _open_exceptions(self, task: Task, seqs: Sequence[int]) -> dict[int, int]:
        if not seqs:
            return {}
        return self._writer.patiently(lambda: self._ledger.exceptions.open_ids(seqs, task.id))


def _failure(transaction_id: str, finish: Finish, exception_id: int | None) -> TaskFailure:
    error, grant = finish.outcome.error, finish.verdict.grant
    assert error
    return TaskFailure(
        transaction_id,
        f"{error.type}: {error.message}",
        exception_id,
        grant.due_at if grant else None,
    )
