"""Close the exceptions that stayed open although their task succeeded."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from dist_task_pipelines.ledger import types

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Close them: a task that had failed before its first call, then succeeded, left one."""
    exception = sa.table(
        "exception_record",
        sa.column("seq"),
        sa.column("task_id"),
        sa.column("is_open", sa.Boolean()),
        sa.column("handled", sa.Boolean()),
        sa.column("handled_by"),
        sa.column("handled_at", types.UtcDateTime()),
        sa.column("handled_remark"),
        sa.column("retry_next_at", types.UtcDateTime()),
    )
    task = sa.table("dist_task", sa.column("seq"), sa.column("task_id"), sa.column("status"))
    succeeded = sa.exists().where(
        task.c.seq == exception.c.seq,
        task.c.task_id == exception.c.task_id,
        task.c.status == "success",
    )
    op.execute(
        sa.update(exception)
        .where(exception.c.is_open.is_(True), succeeded)
        .values(
            is_open=None,
            handled=True,
            handled_by="system",
            handled_at=datetime.now(UTC),
            handled_remark="",
            retry_next_at=None,
        )
    )


def downgrade() -> None:
    """Leave them closed."""
