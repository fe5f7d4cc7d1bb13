"""The audit trail: who did what, when, why, and what it changed."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import OperatorActionKind
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, reads
from dist_task_pipelines.ledger.records import ActionRecord

_action = tables.operator_action.c


class AuditStore:
    """Reads the audit trail."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    def page(
        self, connection: Connection, target: str | None = None, *, limit: int = 100
    ) -> list[ActionRecord]:
        """Newest first; `target` as in `transaction:order_1` or `exception:12`."""
        query = sa.select(tables.operator_action).order_by(_action.id.desc()).limit(limit)
        if target is not None:
            query = query.where(_action.target == target)
        return [
            ActionRecord(
                row.actor, row.action, row.target, row.reason, row.before, row.after, row.created_at
            )
            for row in connection.execute(query)
        ]


def audit_row(
    actor: str,
    action: OperatorActionKind,
    target: str,
    reason: str,
    *,
    before: JsonObject,
    after: JsonObject,
    now: datetime,
) -> dict[str, Any]:
    """A row of the audit trail, written in the transaction of the change it tells of."""
    return {
        "actor": actor,
        "action": action,
        "target": target,
        "reason": reason,
        "before": before,
        "after": after,
        "created_at": now,
    }
