"""The ledger's first tables."""

import sqlalchemy as sa
from alembic import op

from dist_task_pipelines.ledger import types

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "batch",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("flow_id", types.Identifier(120), nullable=False),
        sa.Column("run_id", types.ascii_word(36), nullable=True),
        sa.Column("parent_run_id", types.ascii_word(36), nullable=True),
        sa.Column("picked_status", types.ascii_word(16), nullable=True),
        sa.Column("worker", types.Identifier(255), nullable=True),
        sa.Column("members", types.Json(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", types.UtcDateTime(), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("dispatched_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("ended_at", types.UtcDateTime(), nullable=True),
        sa.Column("end_reason", types.ascii_word(16), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_batch_open", "batch", ["ended_at", "flow_id", "lease_expires_at"], unique=False
    )
    op.create_index("ix_batch_run", "batch", ["run_id"], unique=False)
    op.create_table(
        "dist_task",
        sa.Column("seq", types.BigKey, autoincrement=False, nullable=False),
        sa.Column("task_id", types.Identifier(64), nullable=False),
        sa.Column("name", types.Identifier(100), nullable=False),
        sa.Column("type", types.Identifier(50), nullable=False),
        sa.Column("status", types.ascii_word(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_retry", sa.Integer(), nullable=False),
        sa.Column("granted_by", types.ascii_word(16), nullable=True),
        sa.Column("grant_due_at", types.UtcDateTime(), nullable=True),
        sa.Column("handled", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", types.Words(), nullable=False),
        sa.Column("request", types.Json(), nullable=True),
        sa.Column("input_data", types.Json(), nullable=True),
        sa.Column("output_data", types.Json(), nullable=True),
        sa.Column("applied", types.ascii_word(8), nullable=True),
        sa.Column("error_type", types.Label(), nullable=True),
        sa.Column("error_code", types.Label(), nullable=True),
        sa.Column("error_message", types.Words(), nullable=True),
        sa.Column("error_stack", types.Words(), nullable=True),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("completed_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("seq", "task_id"),
    )
    op.create_table(
        "exception_record",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("seq", types.BigKey, nullable=False),
        sa.Column("task_id", types.Identifier(64), nullable=False),
        sa.Column("flow_id", types.Identifier(120), nullable=False),
        sa.Column("task_name", types.Identifier(100), nullable=False),
        sa.Column("error_type", types.Label(), nullable=False),
        sa.Column("error_code", types.Label(), nullable=False),
        sa.Column("message", types.Words(), nullable=False),
        sa.Column("stack", types.Words(), nullable=False),
        sa.Column("fingerprint", types.ascii_word(32), nullable=False),
        sa.Column("retry_strategy", types.ascii_word(16), nullable=False),
        sa.Column("retry_times", sa.Integer(), nullable=False),
        sa.Column("retry_max", sa.Integer(), nullable=False),
        sa.Column("retry_interval", sa.Double(), nullable=False),
        sa.Column("retry_next_at", types.UtcDateTime(), nullable=True),
        sa.Column("handled", sa.Boolean(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=True),
        sa.Column("handled_by", types.Label(), nullable=True),
        sa.Column("handled_at", types.UtcDateTime(), nullable=True),
        sa.Column("handled_remark", types.Words(), nullable=True),
        sa.Column("occurred_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seq", "task_id", "is_open", name="uq_exception_open"),
    )
    op.create_index("ix_exception_handled", "exception_record", ["handled", "id"], unique=False)
    op.create_table(
        "execution_log",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("seq", types.BigKey, nullable=False),
        sa.Column("task_id", types.Identifier(64), nullable=True),
        sa.Column("action", types.ascii_word(16), nullable=False),
        sa.Column("message", types.Words(), nullable=False),
        sa.Column("details", types.Json(), nullable=True),
        sa.Column("run_id", types.ascii_word(36), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_log_seq", "execution_log", ["seq", "id"], unique=False)
    op.create_table(
        "flow_stats",
        sa.Column("flow_id", types.Identifier(120), nullable=False),
        sa.Column("minute", types.UtcDateTime(), nullable=False),
        sa.Column("measure", types.ascii_word(32), nullable=False),
        sa.Column("total", types.BigKey, nullable=False),
        sa.PrimaryKeyConstraint("flow_id", "minute", "measure"),
    )
    op.create_table(
        "ledger_identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uuid", types.ascii_word(36), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "operator_action",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("actor", types.Label(), nullable=False),
        sa.Column("action", types.ascii_word(16), nullable=False),
        sa.Column("target", types.Identifier(255), nullable=False),
        sa.Column("reason", types.Words(), nullable=False),
        sa.Column("before", types.Json(), nullable=False),
        sa.Column("after", types.Json(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_operator_action_target", "operator_action", ["target", "id"], unique=False)
    op.create_table(
        "task_group_flow",
        sa.Column("id", types.Identifier(120), nullable=False),
        sa.Column("name", types.Identifier(100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("description", types.Words(), nullable=False),
        sa.Column("flow_type", types.Identifier(50), nullable=False),
        sa.Column("definition", types.Json(), nullable=False),
        sa.Column("definition_hash", types.ascii_word(64), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.Column("create_user", types.Identifier(100), nullable=False),
        sa.Column("updated_user", types.Identifier(100), nullable=False),
        sa.Column("deleted_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "version", name="uq_flow_name_version"),
    )
    op.create_table(
        "task_group_instance",
        sa.Column("seq", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("id", types.Identifier(128), nullable=False),
        sa.Column("flow_id", types.Identifier(120), nullable=False),
        sa.Column("status", types.ascii_word(16), nullable=False),
        sa.Column("health", types.ascii_word(16), nullable=False),
        sa.Column("params", types.Json(), nullable=False),
        sa.Column("params_bytes", sa.Integer(), nullable=False),
        sa.Column("request_hash", types.ascii_word(64), nullable=False),
        sa.Column("batch_id", types.BigKey, nullable=True),
        sa.Column("run_id", types.ascii_word(36), nullable=True),
        sa.Column("next_due_at", types.UtcDateTime(), nullable=True),
        sa.Column("lease_losses", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("error_message", types.Words(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("completed_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id", name="uq_instance_id"),
    )
    op.create_index("ix_instance_batch", "task_group_instance", ["batch_id"], unique=False)
    op.create_index(
        "ix_instance_due",
        "task_group_instance",
        ["status", "flow_id", "next_due_at", "seq"],
        unique=False,
    )


def downgrade() -> None:
    """Drop them, with all they hold."""
    op.drop_index("ix_instance_due", table_name="task_group_instance")
    op.drop_index("ix_instance_batch", table_name="task_group_instance")
    op.drop_table("task_group_instance")
    op.drop_table("task_group_flow")
    op.drop_index("ix_operator_action_target", table_name="operator_action")
    op.drop_table("operator_action")
    op.drop_table("ledger_identity")
    op.drop_table("flow_stats")
    op.drop_index("ix_log_seq", table_name="execution_log")
    op.drop_table("execution_log")
    op.drop_index("ix_exception_handled", table_name="exception_record")
    op.drop_table("exception_record")
    op.drop_table("dist_task")
    op.drop_index("ix_batch_run", table_name="batch")
    op.drop_index("ix_batch_open", table_name="batch")
    op.drop_table("batch")
