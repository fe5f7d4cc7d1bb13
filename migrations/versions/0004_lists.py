"""Indexes for the lists of transactions and exceptions."""

from alembic import op

revision = "0004"
down_revision = "0003"

INDEXES = {
    "ix_instance_state": ("task_group_instance", ["status", "health", "seq"]),
    "ix_instance_flow": ("task_group_instance", ["flow_id", "status", "health", "seq"]),
    "ix_exception_task": ("exception_record", ["task_name", "handled", "id"]),
    "ix_exception_cause": ("exception_record", ["fingerprint", "handled", "id"]),
}


def upgrade() -> None:
    """Create them."""
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns, unique=False)


def downgrade() -> None:
    """Drop them."""
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
