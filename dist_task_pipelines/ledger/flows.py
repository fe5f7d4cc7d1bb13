"""Flow versions in the ledger."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.errors import Conflict, NotFound
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.ids import flow_id
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import (
    UNSETTLED,
    OperatorActionKind,
    TransactionStatus,
)
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.audit import audit_row
from dist_task_pipelines.ledger.bulk import insert_rows
from dist_task_pipelines.ledger.database import Database, Raced, reads, writes
from dist_task_pipelines.ledger.listing import Condition, count
from dist_task_pipelines.ledger.records import FlowRecord, FlowSummary
from dist_task_pipelines.ledger.types import AnyRow, is_storable

_flow = tables.flow.c
_NOT_IN_LISTS = ("definition", "definition_hash", "deleted_at")
_SUMMARY = [column for column in _flow if column.name not in _NOT_IN_LISTS]

# A failed transaction may be retried, and its run re-executed.
MAY_GO_ON = (*UNSETTLED, TransactionStatus.FAILED)


class FlowStore:
    """Creates, finds and switches flow versions.

    Args:
        build: makes the runnable flow of a stored version; called once for each.
    """

    def __init__(self, database: Database, build: Callable[[FlowRecord], Flow]) -> None:
        self.database = database
        self._build = build
        self._built: dict[str, Flow] = {}

    @writes
    def create(
        self,
        connection: Connection,
        *,
        name: str,
        definition: JsonObject,
        description: str = "",
        flow_type: str = "",
        user: str = "",
    ) -> FlowRecord:
        """Store a validated definition as the next version of the flow `name`.

        A definition identical to the newest version's makes no new version; that version is
        given back, active, with this description and type.

        Raises:
            Conflict: another flow's name differs only in '-' and '_'.
        """
        newest = self._newest(connection, name)
        digest = json.digest(definition)
        if newest and newest.definition_hash == digest and newest.deleted_at is None:
            self._describe(connection, newest, description, flow_type, user)
            self._switch(connection, newest.id, True, user)
            return self._get(connection, newest.id)
        identifier = flow_id(name, newest.version + 1 if newest else 1)
        now = self.database.clock.now()
        row = {
            "id": identifier,
            "name": name,
            "version": newest.version + 1 if newest else 1,
            "description": description,
            "flow_type": flow_type,
            "definition": definition,
            "definition_hash": digest,
            "is_active": True,
            "created_at": now,
            "updated_at": now,
            "create_user": user,
            "updated_user": user,
        }
        self._refuse_lookalike(connection, name, identifier)
        try:
            connection.execute(sa.insert(tables.flow), row)
        except IntegrityError as error:
            raise Raced from error
        before = {"newest": newest.id if newest else None}
        _audit(connection, user, OperatorActionKind.APPLY, identifier, before=before, now=now)
        return self._get(connection, identifier)

    @reads
    def get(self, connection: Connection, identifier: str) -> FlowRecord:
        """A version by its flow id.

        Raises:
            NotFound: there is none, or it was deleted.
        """
        return self._get(connection, identifier)

    @reads
    def find(self, connection: Connection, reference: str) -> FlowRecord:
        """A version by its flow id, or the newest active one by the flow's name.

        When every version of that name is inactive, the newest one is given, for the caller
        to refuse by name.

        Raises:
            NotFound: nothing has that id or name.
        """
        present = _flow.deleted_at.is_(None)
        by_id = sa.select(tables.flow).where(_flow.id == reference, present)
        by_name = sa.select(tables.flow).where(_flow.name == reference, present)
        newest = by_name.order_by(_flow.is_active.desc(), _flow.version.desc()).limit(1)
        queries = (by_id, newest) if is_storable(reference) else ()
        found = (connection.execute(query).first() for query in queries)
        row = next((row for row in found if row), None)
        if row is None:
            raise NotFound("flow", reference)
        return _record(row)

    @reads
    def page(
        self,
        connection: Connection,
        *,
        name: str | None = None,
        is_active: bool | None = None,
        after: tuple[str, int] | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[FlowSummary]:
        """The versions, by name and newest version first, all unless there is a limit.

        Args:
            after: name and version of the last one of the page before.
        """
        query = sa.select(*_SUMMARY).where(*_conditions(name, is_active))
        if after is not None:
            same_name = sa.and_(_flow.name == after[0], _flow.version < after[1])
            query = query.where(sa.or_(_flow.name > after[0], same_name))
        rows = connection.execute(
            query.order_by(_flow.name, _flow.version.desc()).offset(offset).limit(limit)
        )
        return [_summary(row) for row in rows]

    @reads
    def count(
        self,
        connection: Connection,
        most: int,
        *,
        name: str | None = None,
        is_active: bool | None = None,
    ) -> CappedCount:
        """How many versions there are, counted up to `most`."""
        return count(connection, _flow.id, [_conditions(name, is_active)], most)

    @writes
    def set_active(
        self, connection: Connection, identifier: str, active: bool, *, user: str = ""
    ) -> FlowRecord:
        """Switch a version on or off for new submits; what runs already goes on.

        Raises:
            NotFound: nothing has that id.
        """
        self._get(connection, identifier)
        self._switch(connection, identifier, active, user)
        return self._get(connection, identifier)

    @writes
    def delete(self, connection: Connection, identifier: str, *, user: str = "") -> None:
        """Withdraw a version; its transactions and their records stay.

        Raises:
            NotFound: nothing has that id, or it was deleted.
            Conflict: some of its transactions have not settled.
        """
        record = self._get(connection, identifier)
        if _has_any(connection, identifier, UNSETTLED):
            raise Conflict(
                f"flow {identifier!r} has transactions that have not settled; deactivate it and "
                "wait for them, or cancel them"
            )
        now = self.database.clock.now()
        connection.execute(
            sa.update(tables.flow)
            .where(_flow.id == identifier)
            .values(is_active=False, deleted_at=now, updated_at=now, updated_user=user)
        )
        before = {"is_active": record.is_active}
        _audit(connection, user, OperatorActionKind.DELETE, identifier, before=before, now=now)

    @reads
    def in_use(self, connection: Connection) -> list[FlowRecord]:
        """The versions that need a job: active ones, and those whose transactions may go on."""
        rows = connection.execute(sa.select(tables.flow).order_by(_flow.id)).all()
        return [
            _record(row) for row in rows if row.is_active or _has_any(connection, row.id, MAY_GO_ON)
        ]

    @reads
    def revision(self, connection: Connection) -> str:
        """A text that changes whenever `in_use` does, or a version is created or switched."""
        is_in_use = sa.or_(_flow.is_active, *(_exists(_flow.id, each) for each in MAY_GO_ON))
        query = sa.select(_flow.id, _flow.updated_at, is_in_use.label("is_in_use"))
        rows = connection.execute(query.order_by(_flow.id)).all()
        newest = max((row.updated_at for row in rows), default=None)
        return f"{newest}: {' '.join(row.id for row in rows if row.is_in_use)}"

    def load(self, identifier: str) -> Flow:
        """The runnable flow of a version."""
        built = self._built.get(identifier)
        return built or self._load(identifier)

    @reads
    def _load(self, connection: Connection, identifier: str) -> Flow:
        return self.load_within(connection, identifier)

    def load_within(self, connection: Connection, identifier: str) -> Flow:
        """As `load`, in the caller's transaction. A version never changes, so it is kept."""
        if identifier not in self._built:
            self._built[identifier] = self._build(self._get(connection, identifier, deleted=True))
        return self._built[identifier]

    def _get(self, connection: Connection, identifier: str, *, deleted: bool = False) -> FlowRecord:
        query = sa.select(tables.flow).where(_flow.id == identifier)
        row = connection.execute(query).first() if is_storable(identifier) else None
        if row is None or (row.deleted_at and not deleted):
            raise NotFound("flow", identifier)
        return _record(row)

    def _newest(self, connection: Connection, name: str) -> AnyRow | None:
        query = sa.select(tables.flow).where(_flow.name == name)
        return connection.execute(query.order_by(_flow.version.desc()).limit(1)).first()

    def _refuse_lookalike(self, connection: Connection, name: str, identifier: str) -> None:
        taken = connection.scalar(sa.select(_flow.name).where(_flow.id == identifier))
        if taken not in (None, name):
            raise Conflict(
                f"the name {name!r} differs from the flow {taken!r} only in '-' and '_', and both "
                f"would be the job {identifier!r}; choose another name"
            )

    def _describe(
        self, connection: Connection, row: AnyRow, description: str, flow_type: str, user: str
    ) -> None:
        before = {"description": row.description, "flow_type": row.flow_type}
        after = {"description": description, "flow_type": flow_type}
        if after == before:
            return
        now = self.database.clock.now()
        connection.execute(
            sa.update(tables.flow)
            .where(_flow.id == row.id)
            .values(**after, updated_at=now, updated_user=user)
        )
        target = f"flow:{row.id}"
        action = audit_row(
            user, OperatorActionKind.APPLY, target, "", before=before, after=after, now=now
        )
        insert_rows(connection, tables.operator_action, [action])

    def _switch(self, connection: Connection, identifier: str, active: bool, user: str) -> None:
        now = self.database.clock.now()
        switched = connection.execute(
            sa.update(tables.flow)
            .where(_flow.id == identifier, _flow.is_active.is_not(active))
            .values(is_active=active, updated_at=now, updated_user=user)
        )
        if switched.rowcount:
            kind = OperatorActionKind.ACTIVATE if active else OperatorActionKind.DEACTIVATE
            before = {"is_active": not active}
            _audit(connection, user, kind, identifier, before=before, now=now)


def _audit(
    connection: Connection,
    user: str,
    kind: OperatorActionKind,
    identifier: str,
    *,
    before: JsonObject,
    now: datetime,
) -> None:
    off = (OperatorActionKind.DEACTIVATE, OperatorActionKind.DELETE)
    after: JsonObject = {"is_active": kind not in off}
    row = audit_row(user, kind, f"flow:{identifier}", "", before=before, after=after, now=now)
    insert_rows(connection, tables.operator_action, [row])


def _has_any(
    connection: Connection, identifier: str, statuses: Sequence[TransactionStatus]
) -> bool:
    """Whether the flow has a transaction with one of these statuses."""
    found = sa.or_(*(_exists(sa.literal(identifier), status) for status in statuses))
    return bool(connection.scalar(sa.select(found)))


def _exists(flow: sa.ColumnElement[str], status: TransactionStatus) -> sa.Exists:
    column = tables.transaction.c
    query = sa.select(column.seq).where(column.status == status, column.flow_id == flow)
    return tables.along_the_due_index(query).exists()


def _conditions(name: str | None, is_active: bool | None) -> list[Condition]:
    conditions: list[Condition] = [_flow.deleted_at.is_(None)]
    if name is not None:
        conditions.append(_flow.name == name)
    if is_active is not None:
        conditions.append(_flow.is_active.is_(is_active))
    return conditions


def _summary(row: AnyRow) -> FlowSummary:
    return FlowSummary(**_shared(row))


def _record(row: AnyRow) -> FlowRecord:
    return FlowRecord(**_shared(row), definition=row.definition)


def _shared(row: AnyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "version": row.version,
        "description": row.description,
        "flow_type": row.flow_type,
        "is_active": row.is_active,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "create_user": row.create_user,
        "updated_user": row.updated_user,
    }
