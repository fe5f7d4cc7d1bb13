"""The workers that execute runs, and who executes the runs that people start."""

import sqlalchemy as sa
from alembic import op

from dist_task_pipelines.ledger import types

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "worker",
        sa.Column("name", types.Identifier(255), nullable=False),
        sa.Column("host", types.Identifier(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "run_claim",
        sa.Column("run_id", types.ascii_word(36), nullable=False),
        sa.Column("worker", types.Identifier(255), nullable=False),
        sa.Column("claimed_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("run_claim")
    op.drop_table("worker")
