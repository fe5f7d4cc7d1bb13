"""What a person does: retry, handle, cancel. Each writes its audit row with the change."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.errors import Conflict, NotAllowed, NotFound
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.retry import may_be_retried
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import (
    GrantedBy,
    LogAction,
    OperatorActionKind,
    RetryStrategy,
    TransactionStatus,
)
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.audit import audit_row
from dist_task_pipelines.ledger.bulk import insert_rows
from dist_task_pipelines.ledger.database import Database, writes
from dist_task_pipelines.ledger.exceptions import close
from dist_task_pipelines.ledger.flows import FlowStore
from dist_task_pipelines.ledger.granting import grant_failed_tasks
from dist_task_pipelines.ledger.owning import lock_transactions
from dist_task_pipelines.ledger.records import Submission, TransactionRecord
from dist_task_pipelines.ledger.settling import log_row, release
from dist_task_pipelines.ledger.task_rows import give_grant, grant_columns, task_states
from dist_task_pipelines.ledger.transactions import add_within
from dist_task_pipelines.ledger.types import AnyRow, is_key, is_storable

_transaction = tables.transaction.c
_exception = tables.exception.c
_task = tables.task.c


class OperatorStore:
    """Carries out what a person decides about transactions and exceptions.

    Who acts on a transaction that a run is working on is told so (`Conflict`), not raced.
    """

    def __init__(self, database: Database, flows: FlowStore) -> None:
        self.database = database
        self._flows = flows

    @writes
    def retry_transaction(
        self, connection: Connection, transaction_id: str, *, actor: str, reason: str = ""
    ) -> list[str]:
        """Let the failed tasks of a failed transaction be called once more, now.

        Returns:
            the ids of the tasks.

        Raises:
            NotFound: nothing has that id.
            Conflict: a run is working on it.
            NotAllowed: it has not failed, or its failures are all handled or `no_retry`.
        """
        row = self._lock_free(connection, transaction_id)
        if row.status != TransactionStatus.FAILED:
            raise NotAllowed(
                f"transaction {transaction_id!r} is {row.status}; only a failed one can be retried"
            )
        now = self.database.clock.now()
        flow = self._flows.load_within(connection, row.flow_id)
        granted = grant_failed_tasks(connection, flow, [row], now)
        if row.seq in granted.refused:
            raise NotAllowed(
                f"transaction {transaction_id!r} cannot be retried: {granted.refused[row.seq]}"
            )
        self._settle(connection, row, now)
        tasks = granted.tasks[row.seq]
        self._audit(
            connection,
            actor,
            OperatorActionKind.RETRY,
            f"transaction:{transaction_id}",
            reason=reason,
            before={"status": row.status},
            after={"granted": tasks},
        )
        return tasks

    @writes
    def retry_exception(
        self, connection: Connection, exception_id: int, *, actor: str, reason: str = ""
    ) -> datetime:
        """Let the task of an open exception be called once more, now.

        Returns:
            when it is due.

        Raises:
            NotFound: nothing has that id.
            Conflict: a run is working on its transaction.
            NotAllowed: it is handled already, its task has not failed or has the strategy
                `no_retry`, or it is of a message, which `engine.intake.resubmit` submits again.
        """
        record, row = self._lock_exception(connection, exception_id)
        if row is None:
            raise NotAllowed(f"exception {exception_id} has no task that could be called")
        state = task_states(connection, [row.seq])[row.seq][record.task_id]
        if not state.status.ended_badly:
            raise NotAllowed(
                f"task {record.task_id!r} of transaction {row.id!r} is {state.status}, there is "
                "nothing to retry; handle the exception"
            )
        if not may_be_retried(RetryStrategy(record.retry_strategy), state.attempts):
            raise NotAllowed(
                f"exception {exception_id} has the strategy no_retry; it can only be handled"
            )
        if row.status == TransactionStatus.CANCELLED:
            raise NotAllowed(f"transaction {row.id!r} is cancelled; submit it under another id")
        now = self.database.clock.now()
        give_grant(connection, [row.seq], record.task_id, Grant(GrantedBy.PERSON, now))
        self._log(
            connection,
            row,
            LogAction.GRANT,
            "a person asked for it",
            task_id=record.task_id,
            now=now,
        )
        self._settle(connection, row, now)
        self._audit(
            connection,
            actor,
            OperatorActionKind.RETRY,
            f"exception:{exception_id}",
            reason=reason,
            before={"retry_next_at": _text(record.retry_next_at)},
            after={"retry_next_at": _text(now)},
        )
        return now

    @writes
    def handle(
        self, connection: Connection, exception_id: int, *, actor: str, remark: str = ""
    ) -> None:
        """Settle an exception: its grants are taken back, its task is not called again.

        That of a message is settled without it becoming a transaction.

        Raises:
            NotFound: nothing has that id.
            Conflict: a run is working on its transaction.
            NotAllowed: it is handled already.
        """
        record, row = self._lock_exception(connection, exception_id)
        now = self.database.clock.now()
        close(connection, _exception.id == exception_id, by=actor, now=now, remark=remark)
        if row is not None:
            message = f"{actor}: {remark}" if remark else actor
            self._handle_task(connection, row, record.task_id, message, now)
        self._audit(
            connection,
            actor,
            OperatorActionKind.HANDLE,
            f"exception:{exception_id}",
            reason=remark,
            before={"handled": False},
            after={"handled": True},
        )

    @writes
    def resubmit(
        self,
        connection: Connection,
        exception_id: int,
        found: TransactionRecord | Submission,
        *,
        actor: str,
        reason: str = "",
    ) -> TransactionRecord:
        """Close the exception of a message, and add the transaction that it asks for, if it is new.

        Either both are done or none: what a person handled meanwhile is not submitted.

        Raises:
            NotFound: nothing has that id.
            NotAllowed: it is handled already.
            Conflict: the transaction's id stands for another request.
        """
        self._lock_exception(connection, exception_id)
        now = self.database.clock.now()
        if isinstance(found, Submission):
            [accepted] = add_within(connection, [found], now)
            accepted.check_same(found.request_hash)
        else:
            accepted = found
        remark = f"submitted as {accepted.id}"
        close(connection, _exception.id == exception_id, by=actor, now=now, remark=remark)
        self._audit(
            connection,
            actor,
            OperatorActionKind.RETRY,
            f"exception:{exception_id}",
            reason=reason,
            before={"handled": False},
            after={"handled": True, "submitted": accepted.id},
        )
        return accepted

    @writes
    def cancel(
        self, connection: Connection, transaction_id: str, *, actor: str, reason: str = ""
    ) -> TransactionStatus:
        """Cancel a transaction: at once, or before its next task when a run is working on it.

        Returns:
            `cancelled`, or `running` where it was asked for and will be honoured.

        Raises:
            NotFound: nothing has that id.
            NotAllowed: it has succeeded.
        """
        row = self._lock(connection, transaction_id)
        if row.status == TransactionStatus.SUCCESS:
            raise NotAllowed(f"transaction {transaction_id!r} has succeeded; nothing to cancel")
        if row.status == TransactionStatus.CANCELLED:
            return TransactionStatus.CANCELLED
        now = self.database.clock.now()
        connection.execute(
            sa.update(tables.transaction)
            .where(_transaction.seq == row.seq)
            .values(cancel_requested=True, updated_at=now)
        )
        self._log(connection, row, LogAction.CANCEL, reason or f"asked for by {actor}", now=now)
        status = TransactionStatus.RUNNING
        if row.batch_id is None:
            self._settle(connection, self._lock(connection, transaction_id), now)
            status = TransactionStatus.CANCELLED
        self._audit(
            connection,
            actor,
            OperatorActionKind.CANCEL,
            f"transaction:{transaction_id}",
            reason=reason,
            before={"status": row.status},
            after={"status": status, "cancel_requested": True},
        )
        return status

    def _lock(self, connection: Connection, transaction_id: str) -> AnyRow:
        possible = is_storable(transaction_id)
        rows = possible and lock_transactions(connection, _transaction.id == transaction_id)
        if not rows:
            raise NotFound("transaction", transaction_id)
        return rows[0]

    def _lock_free(self, connection: Connection, transaction_id: str) -> AnyRow:
        row = self._lock(connection, transaction_id)
        if row.batch_id is not None:
            raise Conflict(
                f"transaction {transaction_id!r} is being worked on by run {row.run_id or 'none'} "
                f"(batch {row.batch_id}); wait until it settles"
            )
        return row

    def _lock_exception(
        self, connection: Connection, exception_id: int
    ) -> tuple[AnyRow, AnyRow | None]:
        """Lock an open exception and its transaction, which that of a message does not have."""
        owner = (
            sa.select(_exception.id, _transaction.id.label("transaction_id"))
            .outerjoin(tables.transaction, _exception.seq == _transaction.seq)
            .where(_exception.id == exception_id)
        )
        found = connection.execute(owner).first() if is_key(exception_id) else None
        if found is None:
            raise NotFound("exception", exception_id)
        owned = found.transaction_id is not None
        row = self._lock_free(connection, found.transaction_id) if owned else None
        query = sa.select(tables.exception).where(_exception.id == exception_id)
        record = connection.execute(query.with_for_update()).one()
        if record.handled:
            raise NotAllowed(f"exception {exception_id} was handled by {record.handled_by} already")
        return record, row

    def _handle_task(
        self, connection: Connection, row: AnyRow, task_id: str, message: str, now: datetime
    ) -> None:
        connection.execute(
            sa.update(tables.task)
            .where(_task.seq == row.seq, _task.task_id == task_id)
            .values(handled=True, **grant_columns(None))
        )
        self._log(connection, row, LogAction.HANDLE, message, task_id=task_id, now=now)
        if row.status != TransactionStatus.CANCELLED:
            self._settle(connection, row, now)

    def _settle(self, connection: Connection, row: AnyRow, now: datetime) -> None:
        flow = self._flows.load_within(connection, row.flow_id)
        release(connection, flow, [row], now)

    def _log(
        self,
        connection: Connection,
        row: AnyRow,
        action: LogAction,
        message: str,
        *,
        task_id: str | None = None,
        now: datetime,
    ) -> None:
        insert_rows(
            connection, tables.log, [log_row(row.seq, action, message, now, task_id=task_id)]
        )

    def _audit(
        self,
        connection: Connection,
        actor: str,
        kind: OperatorActionKind,
        target: str,
        *,
        reason: str,
        before: JsonObject,
        after: JsonObject,
    ) -> None:
        now = self.database.clock.now()
        row = audit_row(actor, kind, target, reason, before=before, after=after, now=now)
        insert_rows(connection, tables.operator_action, [row])


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
