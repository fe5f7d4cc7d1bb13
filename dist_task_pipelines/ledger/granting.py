"""Grants that a person gives: one call each, due now, not limited by the retry settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.retry import may_be_retried
from dist_task_pipelines.domain.state import Grant, TaskState
from dist_task_pipelines.domain.status import (
    GrantedBy,
    LogAction,
    TransactionStatus,
)
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import insert_rows
from dist_task_pipelines.ledger.settling import log_row
from dist_task_pipelines.ledger.task_rows import give_grant, task_states
from dist_task_pipelines.ledger.types import AnyRow


@dataclass(frozen=True, slots=True)
class Granted:
    """Which tasks of which transactions were granted a call, and which could not be."""

    tasks: dict[int, list[str]]  # by seq
    refused: dict[int, str]  # by seq: why a failed transaction has nothing to grant


def grant_failed_tasks(
    connection: Connection,
    flow: Flow,
    rows: Sequence[AnyRow],
    now: datetime,
    *,
    run_id: str | None = None,
) -> Granted:
    """Grant a call to each unhandled failed task of these locked transactions.

    Tasks whose exception was handled get none, nor do those whose strategy is `no_retry`, unless
    they were never called: their run was stopped or lost before.
    """
    states = task_states(connection, [row.seq for row in rows])
    tasks = {row.seq: _retryable(flow, states.get(row.seq, {})) for row in rows}
    for task in flow.tasks:
        seqs = [row.seq for row in rows if task.id in tasks[row.seq]]
        give_grant(connection, seqs, task.id, Grant(GrantedBy.PERSON, now))
    insert_rows(
        connection,
        tables.log,
        [
            log_row(
                row.seq, LogAction.GRANT, "a person asked for it", now, task_id=name, run_id=run_id
            )
            for row in rows
            for name in tasks[row.seq]
        ],
    )
    refused = {
        row.seq: why_not(flow, states.get(row.seq, {}))
        for row in rows
        if row.status == TransactionStatus.FAILED and not tasks[row.seq]
    }
    return Granted(tasks, refused)


def why_not(flow: Flow, states: Mapping[str, TaskState]) -> str:
    """Why a failed transaction has no task that could be granted a call."""
    failed = [name for name, state in states.items() if state.status.ended_badly]
    handled = [name for name in failed if states[name].handled]
    if handled:
        return f"its exceptions were handled ({', '.join(handled)}); submit it under another id"
    tasks = f"{', '.join(failed)}: no_retry"
    return f"its failed tasks are not to be retried ({tasks}); handle the exceptions instead"


def _retryable(flow: Flow, states: Mapping[str, TaskState]) -> list[str]:
    return [
        task.id
        for task in flow.tasks
        if (state := states.get(task.id))
        and state.status.ended_badly
        and not state.handled
        and may_be_retried(task.retry.strategy, state.attempts)
    ]
