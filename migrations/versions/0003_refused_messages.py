"""Exceptions of messages that became no transaction."""

import sqlalchemy as sa
from alembic import op

from dist_task_pipelines.ledger import types

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Let an exception have no transaction, and keep the message."""
    with op.batch_alter_table("exception_record") as table:
        table.alter_column("seq", existing_type=types.BigKey, nullable=True)
        table.add_column(sa.Column("message_id", types.Label(128), nullable=True))
        table.add_column(sa.Column("source", types.Json(), nullable=True))
        table.create_unique_constraint("uq_exception_message", ["message_id"])


def downgrade() -> None:
    """Forget those messages."""
    op.execute("DELETE FROM exception_record WHERE seq IS NULL")
    with op.batch_alter_table("exception_record") as table:
        table.drop_constraint("uq_exception_message", type_="unique")
        table.drop_column("source")
        table.drop_column("message_id")
        table.alter_column("seq", existing_type=types.BigKey, nullable=False)
