"""Exception records: opened when a task fails, closed when it succeeds or a person settles it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.keys import fingerprint
from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import GrantedBy, RetryStrategy
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import insert_rows, update_rows
from dist_task_pipelines.ledger.database import Database, Raced, reads, writes
from dist_task_pipelines.ledger.listing import Condition, count, newest_keys
from dist_task_pipelines.ledger.records import ExceptionFilter, ExceptionRecord, RefusedMessage
from dist_task_pipelines.ledger.types import AnyRow, is_key

_exception = tables.exception.c
_IN_LISTS = (
    *(column for column in _exception if column.name != "source"),
    sa.null().label("source"),
)
SYSTEM = "system"  # who closes an exception when the task succeeds after all


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task of a transaction needs a retry or a person."""

    seq: int
    error: TaskError
    grant: Grant | None = None


class ExceptionStore:
    """Finds exception records, and opens those of messages that became no transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    def get(self, connection: Connection, identifier: int) -> ExceptionRecord:
        """One record.

        Raises:
            NotFound: nothing has that id.
        """
        query = _with_transaction(_exception).where(_exception.id == identifier)
        row = connection.execute(query).first() if is_key(identifier) else None
        if row is None:
            raise NotFound("exception", identifier)
        return _record(row)

    @reads
    def page(
        self,
        connection: Connection,
        *,
        before: int | None = None,
        offset: int = 0,
        limit: int = 100,
        **filters: Unpack[ExceptionFilter],
    ) -> list[ExceptionRecord]:
        """Newest first, at most `limit`, without `source`, which may be large.

        Args:
            before: the last id of the page before.
        """
        keys = newest_keys(
            connection,
            _exception.id,
            _variants(connection, filters),
            before=before,
            offset=offset,
            limit=limit,
        )
        query = _with_transaction(_IN_LISTS).where(_exception.id.in_(keys))
        in_order = query.order_by(_exception.id.desc())
        return [_record(row) for row in connection.execute(in_order)]

    @reads
    def count(
        self, connection: Connection, most: int, **filters: Unpack[ExceptionFilter]
    ) -> CappedCount:
        """How many there are, counted up to `most`."""
        return count(connection, _exception.id, _variants(connection, filters), most)

    @writes
    def add_messages(self, connection: Connection, messages: Sequence[RefusedMessage]) -> None:
        """Open an exception for each message, unless it has one since it came before."""
        now = self.database.clock.now()
        present = _exception.message_id.in_([message.id for message in messages])
        known = set(connection.scalars(sa.select(_exception.message_id).where(present)))
        new = {message.id: message for message in messages if message.id not in known}
        try:
            rows = [_of_message(message, now) for message in new.values()]
            insert_rows(connection, tables.exception, rows)
        except IntegrityError as error:
            raise Raced from error

    @reads
    def open_ids(
        self, connection: Connection, seqs: Collection[int], task_id: str
    ) -> dict[int, int]:
        """The ids of the open exceptions of one task, by the transaction's seq."""
        return {row.seq: row.id for row in open_rows(connection, seqs, task_id)}


def open_rows(connection: Connection, seqs: Collection[int], task_id: str) -> Sequence[AnyRow]:
    """The open exceptions of one task of these transactions."""
    return connection.execute(
        sa.select(_exception.id, _exception.seq, _exception.retry_times).where(
            _exception.seq.in_(seqs), _exception.task_id == task_id, _exception.is_open.is_(True)
        )
    ).all()


def record_failures(
    connection: Connection, flow: Flow, task: Task, failures: Sequence[Failure], now: datetime
) -> None:
    """Open an exception for each failure, or write the failure into the one that is open."""
    if not failures:
        return
    found = {row.seq: row for row in open_rows(connection, [f.seq for f in failures], task.id)}
    causes = {failure.seq: _cause(flow, task, failure) for failure in failures}
    insert_rows(
        connection,
        tables.exception,
        [
            _new_row(flow, task, failure, causes[failure.seq], now)
            for failure in failures
            if failure.seq not in found
        ],
    )
    update_rows(
        connection,
        tables.exception,
        "id",
        [
            {
                "id": found[failure.seq].id,
                **causes[failure.seq],
                "retry_times": found[failure.seq].retry_times + _by_policy(failure),
            }
            for failure in failures
            if failure.seq in found
        ],
    )


def close_open(
    connection: Connection,
    seqs: Collection[int],
    task_id: str,
    *,
    by: str,
    now: datetime,
    remark: str = "",
) -> None:
    """Close the open exceptions of a task of these transactions, if there are any."""
    if seqs:
        of_task = _exception.seq.in_(seqs), _exception.task_id == task_id
        close(connection, *of_task, _exception.is_open.is_(True), by=by, now=now, remark=remark)


def close(
    connection: Connection, *conditions: Any, by: str, now: datetime, remark: str = ""
) -> None:
    """Close the exceptions that match."""
    connection.execute(
        sa.update(tables.exception)
        .where(*conditions)
        .values(
            handled=True,
            is_open=None,
            handled_by=by,
            handled_at=now,
            handled_remark=remark,
            retry_next_at=None,
        )
    )


def _cause(flow: Flow, task: Task, failure: Failure) -> dict[str, Any]:
    error = failure.error
    return {
        "error_type": error.type,
        "error_code": error.code,
        "message": error.message,
        "stack": error.stack,
        "fingerprint": fingerprint(flow.name, task.id, error.type, error.code, error.message),
        "retry_next_at": failure.grant.due_at if failure.grant else None,
    }


def _new_row(
    flow: Flow, task: Task, failure: Failure, cause: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    return {
        "seq": failure.seq,
        "task_id": task.id,
        "flow_id": flow.id,
        "task_name": task.name,
        **cause,
        "retry_strategy": task.retry.strategy,
        "retry_times": _by_policy(failure),
        "retry_max": task.retry.max_attempts,
        "retry_interval": task.retry.interval,
        "handled": False,
        "is_open": True,
        "occurred_at": now,
    }


def _of_message(message: RefusedMessage, now: datetime) -> dict[str, Any]:
    error = message.error
    return {
        "seq": None,
        "task_id": "",
        "flow_id": message.flow_id,
        "task_name": "",
        "error_type": error.type,
        "error_code": error.code,
        "message": error.message,
        "stack": error.stack,
        "fingerprint": fingerprint(message.flow_id, "", error.type, error.code, error.message),
        "retry_strategy": RetryStrategy.MANUAL,
        "retry_times": 0,
        "retry_max": 0,
        "retry_interval": 0,
        "handled": False,
        "is_open": True,
        "occurred_at": now,
        "message_id": message.id,
        "source": {**message.source, "message_id": message.id},
    }


def _by_policy(failure: Failure) -> int:
    return int(failure.grant is not None and failure.grant.by is GrantedBy.POLICY)


def _variants(connection: Connection, filters: ExceptionFilter) -> list[list[Condition]]:
    """What the filter asks for, as conditions that an index answers in its order."""
    columns = {
        "flow_id": _exception.flow_id,
        "task_name": _exception.task_name,
        "fingerprint": _exception.fingerprint,
    }
    asked = {name: value for name, value in filters.items() if value is not None}
    conditions = [column == asked[name] for name, column in columns.items() if name in asked]
    if "transaction_id" in asked:
        owner = tables.transaction.c
        seq = connection.scalar(sa.select(owner.seq).where(owner.id == asked["transaction_id"]))
        conditions.append(_exception.seq == (seq or 0))
    handled = [asked["handled"]] if "handled" in asked else [False, True]
    return [[*conditions, _exception.handled == each] for each in handled]


def _with_transaction(columns: Iterable[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    owner = tables.transaction.c
    query = sa.select(*columns, owner.id.label("transaction_id")).select_from(tables.exception)
    return query.outerjoin(tables.transaction, owner.seq == _exception.seq)


def _record(row: AnyRow) -> ExceptionRecord:
    return ExceptionRecord(
        id=row.id,
        transaction_id=row.transaction_id,
        task_id=row.task_id,
        flow_id=row.flow_id,
        task_name=row.task_name,
        error_type=row.error_type,
        error_code=row.error_code,
        message=row.message,
        stack=row.stack,
        fingerprint=row.fingerprint,
        retry_strategy=RetryStrategy(row.retry_strategy),
        retry_times=row.retry_times,
        retry_max=row.retry_max,
        retry_interval=row.retry_interval,
        retry_next_at=row.retry_next_at,
        handled=row.handled,
        handled_by=row.handled_by,
        handled_at=row.handled_at,
        handled_remark=row.handled_remark,
        occurred_at=row.occurred_at,
        source=row.source,
    )
