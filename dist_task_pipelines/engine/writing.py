"""The attempts of a run on its batch, written to the ledger: how they begin and how they end.

Rides out a ledger that is away for a moment, and keeps a row that its database refuses from
harming the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import InvalidJson
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.retry import Verdict, decide
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import Applied, GrantedBy, TaskStatus
from dist_task_pipelines.engine.chunks import CHUNK_BYTES, write_all
from dist_task_pipelines.engine.lease import LeaseKeeper
from dist_task_pipelines.engine.patience import patiently
from dist_task_pipelines.engine.requests import Attempt
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch, BatchEnd, Finish, Start

NOT_CALLED = Outcome.failure(
    "NotCalled",
    "the run had to stop before this call began",
    retryable=True,
    applied=Applied.NO,
)
REQUEST_REFUSED = Outcome.failure(
    "RowRefused",
    "the ledger's database refuses to keep this request, so it was not sent; make it smaller, or "
    "raise the database's limits",
    retryable=False,
    applied=Applied.NO,
)
REPLY_REFUSED = "the ledger's database refuses to keep the reply"

R = TypeVar("R")


class AttemptWriter:
    """Writes for the run that owns the batch, as long as it does.

    Args:
        lease: seconds that the batch stays ours without a heartbeat; also the longest that
            a write waits for a ledger that is away.
    """

    def __init__(
        self, ledger: Ledger, batch: Batch, flow: Flow, keeper: LeaseKeeper, *, lease: float
    ) -> None:
        self._ledger = ledger
        self._batch = batch
        self._flow = flow
        self._keeper = keeper
        self._lease = lease

    def start(self, task: Task, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Begin the attempts, and give those that did.

        One whose request the database refuses begins without it, and is refused.

        Raises:
            LeaseLost: the batch is no longer this run's.
            LedgerUnavailable: the ledger cannot be written.
        """
        started: set[int] = set()

        def write(chunk: Sequence[Attempt]) -> None:
            started.update(self._start_once(task, chunk))

        too_much = write_all(write, attempts, lambda attempt: _size(attempt.request))
        bare = [replace(each, request=None, refusal=REQUEST_REFUSED) for each in too_much]
        write_all(write, bare, lambda _: 0)
        substitutes = {attempt.member.seq: attempt for attempt in bare}
        self._end_unsure(task, [each for each in attempts if each.member.seq not in started])
        return [
            substitutes.get(attempt.member.seq, attempt)
            for attempt in attempts
            if attempt.member.seq in started
        ]

    def record(self, task: Task, ended: Sequence[tuple[Attempt, Outcome]]) -> list[Finish]:
        """Record how calls ended, and give what became of each.

        A reply that the database refuses is left out; that its call succeeded stands.

        Raises:
            LeaseLost: the batch is no longer this run's.
            LedgerUnavailable: the ledger cannot be written.
        """
        now = self.patiently(self._ledger.clock.now)
        finishes = [_finish(task, attempt, outcome, now) for attempt, outcome in ended]
        written: set[int] = set()

        def write(chunk: Sequence[Finish]) -> None:
            written.update(self._finish_once(task, chunk))

        refused = write_all(write, finishes, lambda finish: _size_of_outcome(finish.outcome))
        bare = {finish.seq: _without_reply(finish) for finish in refused}
        write_all(write, bare.values(), lambda _: 0)
        if len(written) < len(finishes):  # recorded by a try before this one, or no longer ours
            self.patiently(self._keeper.renew)
        return [bare.get(finish.seq, finish) for finish in finishes]

    def end(self, reason: BatchEnd) -> None:
        """Let go of the batch.

        Raises:
            LedgerUnavailable: the ledger cannot be written; the batch ends with its lease.
        """
        self.patiently(lambda: self._ledger.batches.end(self._batch.id, reason))

    def patiently(self, work: Callable[[], R]) -> R:
        """Do the work; while the ledger is away do it again, as long as the lease lasts.

        Raises:
            LedgerUnavailable: the ledger stays away.
        """
        return patiently(work, seconds=self._lease, is_worth_it=lambda: self._keeper.is_held)

    def _start_once(self, task: Task, attempts: Sequence[Attempt]) -> set[int]:
        starts = [
            Start(attempt.member.seq, attempt.key, attempt.request, attempt.input)
            for attempt in attempts
        ]
        with self._keeper.stretching(task.timeout):
            return self.patiently(
                lambda: self._ledger.attempts.start(
                    self._batch, self._flow, task, starts, lease=self._lease
                )
            )

    def _end_unsure(self, task: Task, attempts: Sequence[Attempt]) -> None:
        """End those that the ledger may have begun although its answer was lost: none is called.

        The others (taken away, cancelled, stopped by a person) it leaves as they are.
        """
        if attempts:
            self.patiently(self._keeper.renew)  # sees whether a person asked to stop
            now = self.patiently(self._ledger.clock.now)
            self._finish_once(task, [_finish(task, each, NOT_CALLED, now) for each in attempts])

    def _finish_once(self, task: Task, finishes: Sequence[Finish]) -> set[int]:
        return self.patiently(
            lambda: self._ledger.attempts.finish(self._batch, self._flow, task, finishes)
        )


def _finish(task: Task, attempt: Attempt, outcome: Outcome, now: datetime) -> Finish:
    if outcome is NOT_CALLED:  # whoever comes next may call
        verdict = Verdict(TaskStatus.FAILED, Grant(GrantedBy.RECOVERY, now))
    else:
        verdict = decide(task, outcome, attempt.retry_times, now)
    return Finish(attempt.member.seq, outcome, verdict)


def _without_reply(finish: Finish) -> Finish:
    """The same end with only what any database can keep: its status and its grant stand."""
    outcome = finish.outcome
    if outcome.succeeded:
        return replace(finish, outcome=Outcome.success({"unreadable": REPLY_REFUSED}))
    kept = Outcome.failure(
        "RowRefused",
        f"{REPLY_REFUSED} of this failed call",
        retryable=outcome.retryable,
        applied=outcome.applied,
    )
    return replace(finish, outcome=kept)


def _size_of_outcome(outcome: Outcome) -> int:
    error = outcome.error
    return _size(outcome.output) + (len(error.message) + len(error.stack) if error else 0)


def _size(value: JsonValue) -> int:
    try:
        return len(json.dumps(value))
    except InvalidJson:
        return CHUNK_BYTES  # to be refused alone, without others in its chunk
