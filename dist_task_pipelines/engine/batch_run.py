"""Running a batch: each task for every transaction that may be called, all calls at once."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import InvalidInput, LedgerUnavailable, RowRefused
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.keys import idempotency_key
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.state import Grant, may_be_called
from dist_task_pipelines.domain.status import Applied, GrantedBy, TaskStatus
from dist_task_pipelines.engine.calls import Caller, refused
from dist_task_pipelines.engine.event_loop import EventLoop
from dist_task_pipelines.engine.lease import LeaseKeeper
from dist_task_pipelines.engine.retry import decide
from dist_task_pipelines.flows import task_config, task_input
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import (
    Batch,
    BatchEnd,
    Finish,
    Member,
    Start,
    TaskRow,
    Verdict,
)

RECORD_EVERY = 0.25  # seconds at most between an outcome and its record
RECORD_AGAIN = 0.5  # seconds until the next try when the ledger is away
WRITE_ROWS = 500  # rows in one database transaction
WRITE_BYTES = 2_000_000  # bytes of requests or outputs in one database transaction

NOT_CALLED = Outcome.failure(
    "NotCalled",
    "the run had to stop before this call began",
    retryable=True,
    applied=Applied.NO,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that is about to be made, or that cannot be: then `refusal` says why."""

    member: Member
    retry_times: int
    request: JsonObject | None = None
    refusal: Outcome | None = None

    @property
    def input(self) -> JsonObject | None:
        """The task's input, where the request could be made."""
        return self.request["input"] if self.request else None


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A transaction whose task failed, as a run page shows it."""

    transaction_id: str
    error: str
    exception_id: int | None
    retry_at: str | None  # when it will be called again by itself


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What running one task of a batch came to.

    Attributes:
        called: transactions whose task was called.
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
        lease: seconds that the batch stays ours without a sign of life.
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
        self._lease = lease
        self._keeper = LeaseKeeper(ledger, batch, seconds=lease, stop=stop or threading.Event())
        self._slots = asyncio.Semaphore(calls)

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
        self._ledger.batches.end(self.batch.id, self.end_reason)

    @property
    def was_stopped(self) -> bool:
        """Whether calling had to stop before the end."""
        return self._keeper.stop.is_set()

    def run_task(self, task_id: str) -> TaskReport:
        """Call the task for every transaction of the batch that may be called, and record it.

        Raises:
            LeaseLost: the batch is no longer this run's.
            LedgerUnavailable: the ledger cannot be read or written.
        """
        try:
            return self._run_task(self.flow.by_id[task_id])
        except Exception:
            self.end_reason = BatchEnd.ERROR
            raise

    def _run_task(self, task: Task) -> TaskReport:
        loaded = self._ledger.attempts.load(self.batch, self._needed(task))
        ready, waiting = self._sort(task, loaded)
        attempts = [self._prepare(task, member, loaded[member.seq]) for member in ready]
        self._keeper.cover(task.timeout)
        finished = self._loop.run(self._carry_out(task, self._start(task, attempts)))
        return self._report(task, loaded, finished, waiting)

    def _needed(self, task: Task) -> list[str]:
        """The task and all above it: what its conditions and its placeholders speak of."""
        needed = [task.id]
        for name in needed:
            needed += [up for up in self.flow.by_id[name].depends_on if up not in needed]
        return needed

    def _sort(
        self, task: Task, loaded: dict[int, dict[str, TaskRow]]
    ) -> tuple[list[Member], list[Member]]:
        now = self._ledger.clock.now()
        ready: list[Member] = []
        waiting: list[Member] = []
        for member in self.batch.members:
            rows = loaded.get(member.seq)
            if rows is None:
                continue
            states = {name: row.state for name, row in rows.items()}
            if may_be_called(self.flow, task.id, states, now):
                ready.append(member)
            elif task.id in states and not states[task.id].status.lets_downstream_run:
                waiting.append(member)
        return ready, waiting

    def _prepare(self, task: Task, member: Member, rows: dict[str, TaskRow]) -> Attempt:
        row = rows.get(task.id)
        retry_times = row.retry_times if row else 0
        if row and row.request is not None:
            return Attempt(member, retry_times, row.request)
        outputs = {name: row.output for name, row in rows.items() if row.output is not None}
        try:
            task_in = task_input(task, member.params, outputs)
            config = task_config(task, task_in, outputs)
        except InvalidInput as error:
            return Attempt(member, retry_times, refusal=refused(error))
        return Attempt(member, retry_times, {"config": config, "input": task_in})

    def _start(self, task: Task, attempts: Sequence[Attempt]) -> list[Attempt]:
        starts = {
            attempt.member.seq: Start(
                attempt.member.seq,
                idempotency_key(attempt.member.id, task.id),
                attempt.request,
                attempt.input,
            )
            for attempt in attempts
        }
        started: set[int] = set()

        def write(chunk: Sequence[Start]) -> None:
            started.update(
                self._ledger.attempts.start(self.batch, self.flow, task, chunk, lease=self._lease)
            )

        sized = [(start, len(json.dumps(start.request))) for start in starts.values()]
        unstorable = {start.seq for start in _write_all(write, sized)}
        refusal = _unstorable(Applied.NO)
        stripped = [Start(seq, starts[seq].idempotency_key, None, None) for seq in unstorable]
        _write_all(write, [(start, 0) for start in stripped])
        return [
            Attempt(attempt.member, attempt.retry_times, refusal=refusal)
            if attempt.member.seq in unstorable
            else attempt
            for attempt in attempts
            if attempt.member.seq in started
        ]

    async def _carry_out(self, task: Task, attempts: Sequence[Attempt]) -> dict[int, Finish]:
        """Make the calls; record outcomes as they come, a few at a time."""
        under_way = {asyncio.ensure_future(self._call(task, attempt)) for attempt in attempts}
        finished: dict[int, Finish] = {}
        while under_way:
            done, under_way = await asyncio.wait(under_way, timeout=RECORD_EVERY)
            finishes = [call.result() for call in done]
            if finishes:
                await asyncio.to_thread(self._record, task, finishes)
                finished |= {finish.seq: finish for finish in finishes}
        return finished

    async def _call(self, task: Task, attempt: Attempt) -> Finish:
        if attempt.request is None:
            assert attempt.refusal
            return self._finish(task, attempt, attempt.refusal)
        async with self._slots:
            if not self._keeper.outlasts(task.timeout):
                return self._not_called(attempt)
            key = idempotency_key(attempt.member.id, task.id)
            outcome = await self._caller.call(task, attempt.request, idempotency_key=key)
        return self._finish(task, attempt, outcome)

    def _finish(self, task: Task, attempt: Attempt, outcome: Outcome) -> Finish:
        verdict = decide(task, outcome, attempt.retry_times, self._ledger.clock.now())
        return Finish(attempt.member.seq, outcome, verdict)

    def _not_called(self, attempt: Attempt) -> Finish:
        """The end of an attempt that the run had no time left for: whoever comes next may call."""
        grant = Grant(GrantedBy.RECOVERY, self._ledger.clock.now())
        return Finish(attempt.member.seq, NOT_CALLED, Verdict(TaskStatus.FAILED, grant))

    def _record(self, task: Task, finishes: Sequence[Finish]) -> None:
        """Record the ends; while the ledger is away, again and again as long as the lease lasts."""
        while True:
            try:
                return self._record_once(task, finishes)
            except LedgerUnavailable:
                if not self._keeper.is_held:
                    raise
                time.sleep(RECORD_AGAIN)

    def _record_once(self, task: Task, finishes: Sequence[Finish]) -> None:
        def write(chunk: Sequence[Finish]) -> None:
            self._ledger.attempts.finish(self.batch, self.flow, task, chunk)

        sized = [(finish, len(json.dumps(finish.outcome.output))) for finish in finishes]
        unstorable = _write_all(write, sized)
        _write_all(write, [(_without_output(finish), 0) for finish in unstorable])

    def _report(
        self,
        task: Task,
        loaded: dict[int, dict[str, TaskRow]],
        finished: dict[int, Finish],
        waiting: Sequence[Member],
    ) -> TaskReport:
        passed = {
            seq
            for seq, rows in loaded.items()
            if task.id in rows and rows[task.id].state.status.lets_downstream_run
        }
        passed |= {seq for seq, end in finished.items() if end.verdict.status is TaskStatus.SUCCESS}
        failed = [seq for seq, end in finished.items() if not end.outcome.succeeded]
        exceptions = self._ledger.exceptions.open_ids(failed, task.id) if failed else {}
        names = {member.seq: member.id for member in self.batch.members}
        return TaskReport(
            called=len(finished),
            passed=len(passed),
            failures=tuple(
                _failure(names[seq], finished[seq], exceptions.get(seq)) for seq in failed
            ),
            waiting=tuple(member.id for member in waiting),
        )


def _failure(transaction_id: str, finish: Finish, exception_id: int | None) -> TaskFailure:
    error, grant = finish.outcome.error, finish.verdict.grant
    assert error
    return TaskFailure(
        transaction_id,
        f"{error.type}: {error.message}",
        exception_id,
        grant.due_at.isoformat() if grant else None,
    )


def _write_all(write: Callable[[Sequence[T]], None], sized: Sequence[tuple[T, int]]) -> list[T]:
    """Write the items in chunks; a refused chunk is halved until the rows at fault stand alone.

    Returns:
        the items that the database refuses.
    """
    refused: list[T] = []
    for chunk in _chunks(sized):
        refused += _write_narrowed(write, chunk)
    return refused


def _write_narrowed(write: Callable[[Sequence[T]], None], items: Sequence[T]) -> list[T]:
    try:
        write(items)
    except RowRefused:
        if len(items) == 1:
            return list(items)
        middle = len(items) // 2
        return _write_narrowed(write, items[:middle]) + _write_narrowed(write, items[middle:])
    return []


def _chunks(sized: Sequence[tuple[T, int]]) -> Iterator[list[T]]:
    chunk: list[T] = []
    total = 0
    for item, size in sized:
        if chunk and (len(chunk) == WRITE_ROWS or total + size > WRITE_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk


def _unstorable(applied: Applied) -> Outcome:
    return Outcome.failure(
        "RowRefused",
        "the ledger's database refuses this request; see the database's limits",
        retryable=False,
        applied=applied,
    )


def _without_output(finish: Finish) -> Finish:
    """The same end with only what any database can keep: its status stands."""
    outcome = finish.outcome
    if outcome.succeeded:
        kept = Outcome.success({"unreadable": "the ledger's database refuses the reply"})
        return Finish(finish.seq, kept, finish.verdict)
    kept = _unstorable(outcome.applied)
    return Finish(finish.seq, kept, Verdict(finish.verdict.status, finish.verdict.grant))
