"""Transactions: accepting them and finding them."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.domain.status import (
    Applied,
    Health,
    LogAction,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import insert_rows
from dist_task_pipelines.ledger.database import Database, Raced, reads, writes
from dist_task_pipelines.ledger.flows import FlowStore
from dist_task_pipelines.ledger.listing import (
    Condition,
    count,
    created_within,
    newest_keys,
)
from dist_task_pipelines.ledger.records import (
    LogRecord,
    Submission,
    TaskRecord,
    TransactionFilter,
    TransactionRecord,
    TransactionSummary,
)
from dist_task_pipelines.ledger.settling import log_row
from dist_task_pipelines.ledger.task_rows import state_of
from dist_task_pipelines.ledger.types import AnyRow, Encoded, is_storable

_transaction = tables.transaction.c
_task = tables.task.c
_log = tables.log.c

_NOT_IN_LISTS = ("params", "params_bytes", "request_hash")
_SUMMARY = [column for column in _transaction if column.name not in _NOT_IN_LISTS]


class TransactionStore:
    """Accepts transactions and finds them."""

    def __init__(self, database: Database, flows: FlowStore) -> None:
        self.database = database
        self._flows = flows

    @writes
    def add(
        self, connection: Connection, submissions: Sequence[Submission]
    ) -> list[TransactionRecord]:
        """Accept transactions: one commit for all of them.

        A transaction that exists is left as it is, and the caller compares `request_hash` to
        learn whether it is the same request.

        Args:
            submissions: no id twice.

        Returns:
            the transactions as they stand, in the order given.
        """
        return add_within(connection, submissions, self.database.clock.now())

    @reads
    def find(self, connection: Connection, ids: Sequence[str]) -> dict[str, TransactionRecord]:
        """Those of the transactions that exist, by id."""
        return {key: _record(row) for key, row in _by_ids(connection, ids).items()}

    @reads
    def get(self, connection: Connection, identifier: str) -> TransactionRecord:
        """One transaction.

        Raises:
            NotFound: nothing has that id.
        """
        return self._get(connection, identifier)

    @reads
    def page(
        self,
        connection: Connection,
        *,
        before: int | None = None,
        offset: int = 0,
        limit: int = 100,
        **filters: Unpack[TransactionFilter],
    ) -> list[TransactionSummary]:
        """Newest first, at most `limit`; `before` is the last seq of the page before."""
        keys = newest_keys(
            connection,
            _transaction.seq,
            _variants(connection, filters),
            before=before,
            offset=offset,
            limit=limit,
        )
        query = sa.select(*_SUMMARY).where(_transaction.seq.in_(keys))
        return [
            _summary(row) for row in connection.execute(query.order_by(_transaction.seq.desc()))
        ]

    @reads
    def count(
        self, connection: Connection, most: int, **filters: Unpack[TransactionFilter]
    ) -> CappedCount:
        """How many there are, counted up to `most`."""
        return count(connection, _transaction.seq, _variants(connection, filters), most)

    @reads
    def tasks(self, connection: Connection, identifier: str) -> list[TaskRecord]:
        """Every task of the transaction, in the flow's order, those not started included.

        Raises:
            NotFound: nothing has that id.
        """
        transaction = self._get(connection, identifier)
        flow = self._flows.load_within(connection, transaction.flow_id)
        query = sa.select(tables.task).where(_task.seq == transaction.seq)
        rows = {row.task_id: row for row in connection.execute(query)}
        return [
            _task_record(rows[task.id])
            if task.id in rows
            else TaskRecord(task.id, task.name, task.type, TaskStatus.PENDING)
            for task in flow.tasks
        ]

    @reads
    def logs(self, connection: Connection, identifier: str) -> list[LogRecord]:
        """The execution log of the transaction, oldest first.

        Raises:
            NotFound: nothing has that id.
        """
        seq = self._get(connection, identifier).seq
        query = sa.select(tables.log).where(_log.seq == seq).order_by(_log.id)
        return [_log_record(row) for row in connection.execute(query)]

    def _get(self, connection: Connection, identifier: str) -> TransactionRecord:
        row = _by_ids(connection, [identifier]).get(identifier)
        if row is None:
            raise NotFound("transaction", identifier)
        return _record(row)


def _by_ids(connection: Connection, ids: Sequence[str]) -> dict[str, AnyRow]:
    possible = [identifier for identifier in ids if is_storable(identifier)]
    rows = connection.execute(sa.select(tables.transaction).where(_transaction.id.in_(possible)))
    return {row.id: row for row in rows}


def _variants(connection: Connection, filters: TransactionFilter) -> list[list[Condition]]:
    """What the filter asks for, as conditions that an index answers in its order."""
    conditions = created_within(connection, filters.get("since"), filters.get("until"))
    status, health = filters.get("status"), filters.get("health")
    if (flow_id := filters.get("flow_id")) is not None:
        conditions.append(_transaction.flow_id == flow_id)
    elif status is None and health is None:
        return [conditions]
    states = itertools.product(
        [status] if status else TransactionStatus, [health] if health else Health
    )
    return [
        [*conditions, _transaction.status == one_status, _transaction.health == one_health]
        for one_status, one_health in states
    ]


def add_within(
    connection: Connection, submissions: Sequence[Submission], now: datetime
) -> list[TransactionRecord]:
    """Add those that are not there; gives all as they stand, in the order given."""
    ids = [submission.id for submission in submissions]
    present = _by_ids(connection, ids)
    missing = [submission for submission in submissions if submission.id not in present]
    try:
        insert_rows(connection, tables.transaction, [_new_row(each, now) for each in missing])
    except IntegrityError as error:
        raise Raced from error
    added = _added(connection, missing, now)
    insert_rows(
        connection,
        tables.log,
        [
            log_row(record.seq, LogAction.SUBMIT, f"accepted for {record.flow_id}", now)
            for record in added.values()
        ],
    )
    found = {identifier: _record(row) for identifier, row in present.items()} | added
    return [found[identifier] for identifier in ids]


def _new_row(submission: Submission, now: datetime) -> dict[str, Any]:
    text = submission.encoded or json.dumps(submission.params)
    return {
        "id": submission.id,
        "flow_id": submission.flow_id,
        "status": TransactionStatus.PENDING,
        "health": Health.HEALTHY,
        "params": Encoded(text),
        "params_bytes": len(text),
        "request_hash": submission.request_hash,
        "next_due_at": now + timedelta(seconds=submission.delay),
        "lease_losses": 0,
        "cancel_requested": False,
        "created_at": now,
        "updated_at": now,
    }


def _added(
    connection: Connection, submissions: Sequence[Submission], now: datetime
) -> dict[str, TransactionRecord]:
    """The transactions just inserted, of which only the keys have to be read."""
    ids = [submission.id for submission in submissions]
    query = sa.select(_transaction.id, _transaction.seq).where(_transaction.id.in_(ids))
    seqs = {row.id: row.seq for row in connection.execute(query)}
    return {each.id: _new_record(each, seqs[each.id], now) for each in submissions}


def _new_record(submission: Submission, seq: int, now: datetime) -> TransactionRecord:
    return TransactionRecord(
        seq=seq,
        id=submission.id,
        flow_id=submission.flow_id,
        status=TransactionStatus.PENDING,
        health=Health.HEALTHY,
        batch_id=None,
        run_id=None,
        next_due_at=now + timedelta(seconds=submission.delay),
        lease_losses=0,
        cancel_requested=False,
        error_message=None,
        created_at=now,
        updated_at=now,
        started_at=None,
        completed_at=None,
        params=submission.params,
        request_hash=submission.request_hash,
    )


def _summary(row: AnyRow) -> TransactionSummary:
    return TransactionSummary(**_shared(row))


def _record(row: AnyRow) -> TransactionRecord:
    return TransactionRecord(**_shared(row), params=row.params, request_hash=row.request_hash)


def _shared(row: AnyRow) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "id": row.id,
        "flow_id": row.flow_id,
        "status": TransactionStatus(row.status),
        "health": Health(row.health),
        "batch_id": row.batch_id,
        "run_id": row.run_id,
        "next_due_at": row.next_due_at,
        "lease_losses": row.lease_losses,
        "cancel_requested": row.cancel_requested,
        "error_message": row.error_message,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
    }


def _task_record(row: AnyRow) -> TaskRecord:
    state = state_of(row)
    return TaskRecord(
        task_id=row.task_id,
        name=row.name,
        type=row.type,
        status=state.status,
        attempts=row.attempts,
        grant=state.grant,
        output_data=row.output_data,
        input_data=row.input_data,
        applied=Applied(row.applied) if row.applied else None,
        error_type=row.error_type,
        error_code=row.error_code,
        error_message=row.error_message,
        started_at=row.started_at,
        completed_at=row.completed_at,
    )


def _log_record(row: AnyRow) -> LogRecord:
    return LogRecord(
        task_id=row.task_id,
        action=LogAction(row.action),
        message=row.message,
        details=row.details,
        run_id=row.run_id,
        attempt=row.attempt,
        created_at=row.created_at,
    )
