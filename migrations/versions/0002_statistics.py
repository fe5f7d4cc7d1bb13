"""Statistics by day and for all time, and the indexes that exceptions are counted along."""

import sqlalchemy as sa
from alembic import op

from dist_task_pipelines.ledger import types

revision = "0002"
down_revision = "0001"

# The first ten characters of a time are its day, on every database.
_COUNT_AGAIN = """
    INSERT INTO flow_totals (period, flow_id, task_id, measure, total)
    SELECT {period} AS period, flow_id, '', measure, SUM(total)
    FROM flow_stats GROUP BY {period}, flow_id, measure
"""


def upgrade() -> None:
    """Create them, and count what there is already."""
    op.create_table(
        "flow_totals",
        sa.Column("period", types.ascii_word(10), nullable=False),
        sa.Column("flow_id", types.Identifier(120), nullable=False),
        sa.Column("task_id", types.Identifier(64), nullable=False),
        sa.Column("measure", types.ascii_word(32), nullable=False),
        sa.Column("total", types.BigKey, nullable=False),
        sa.PrimaryKeyConstraint("period", "flow_id", "task_id", "measure"),
    )
    for period in ("SUBSTR(minute, 1, 10)", "'all'"):
        op.execute(_COUNT_AGAIN.format(period=period))
    op.create_index("ix_exception_flow", "exception_record", ["flow_id", "handled", "id"])
    op.create_index("ix_exception_occurred", "exception_record", ["occurred_at", "flow_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_exception_occurred", table_name="exception_record")
    op.drop_index("ix_exception_flow", table_name="exception_record")
    op.drop_table("flow_totals")
