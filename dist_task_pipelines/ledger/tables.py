"""The ledger's tables. Migrations create them; a test proves that both say the same.

No foreign keys: every row is written under its transaction's lock, and MySQL would lock
the parent row once more for each child.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    UniqueConstraint,
)

from dist_task_pipelines.ledger.types import (
    BigKey,
    Identifier,
    Json,
    Label,
    UtcDateTime,
    Words,
    ascii_word,
)

metadata = MetaData()

# One row: the ledger's identity, and the lock on which dispatchers take turns.
ledger_identity = Table(
    "ledger_identity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uuid", ascii_word(36), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

flow = Table(
    "task_group_flow",
    metadata,
    Column("id", Identifier(120), primary_key=True),
    Column("name", Identifier(100), nullable=False),
    Column("version", Integer, nullable=False),
    Column("description", Words, nullable=False),
    Column("flow_type", Identifier(50), nullable=False),
    Column("definition", Json, nullable=False),  # with the task definitions it uses
    Column("definition_hash", ascii_word(64), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("create_user", Identifier(100), nullable=False),
    Column("updated_user", Identifier(100), nullable=False),
    Column("deleted_at", UtcDateTime),
    UniqueConstraint("name", "version", name="uq_flow_name_version"),
)

transaction = Table(
    "task_group_instance",
    metadata,
    Column("seq", BigKey, primary_key=True, autoincrement=True),
    Column("id", Identifier(128), nullable=False),
    Column("flow_id", Identifier(120), nullable=False),
    Column("status", ascii_word(16), nullable=False),
    Column("health", ascii_word(16), nullable=False),
    Column("params", Json, nullable=False),  # as sent
    Column("params_bytes", Integer, nullable=False),  # bounds a batch without reading params
    Column("request_hash", ascii_word(64), nullable=False),
    Column("batch_id", BigKey),  # the batch that owns it; NULL: nobody does
    Column("run_id", ascii_word(36)),  # the Dagster run that carried it last
    Column("next_due_at", UtcDateTime),  # when something may be called; NULL: nothing, or owned
    Column("lease_losses", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error_message", Words),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    UniqueConstraint("id", name="uq_instance_id"),
    # What dispatch asks: equality columns, then its order.
    Index("ix_instance_due", "status", "flow_id", "next_due_at", "seq"),
    Index("ix_instance_batch", "batch_id"),
    # What lists ask; newest first within equal columns.
    Index("ix_instance_state", "status", "health", "seq"),
    Index("ix_instance_flow", "flow_id", "status", "health", "seq"),
)

batch = Table(
    "batch",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("flow_id", Identifier(120), nullable=False),
    Column("run_id", ascii_word(36)),  # the run that may take it, or has; NULL: any may
    Column("parent_run_id", ascii_word(36)),  # of a batch of one: the run before this retry
    Column("picked_status", ascii_word(16)),  # its transactions' at dispatch; NULL: a person's run
    Column("worker", Identifier(255)),
    Column("members", Json, nullable=False),  # seqs of its transactions, in key order
    Column("size", Integer, nullable=False),
    Column("lease_expires_at", UtcDateTime, nullable=False),
    Column("stop_requested", Boolean, nullable=False),
    Column("dispatched_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("end_reason", ascii_word(16)),
    Index("ix_batch_open", "ended_at", "flow_id", "lease_expires_at"),
    Index("ix_batch_run", "run_id"),
)

# The processes that execute runs, each of which says every few seconds that it is there.
worker = Table(
    "worker",
    metadata,
    Column("name", Identifier(255), primary_key=True),
    Column("host", Identifier(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("runs", Integer, nullable=False),  # it executes at this moment
    Column("started_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
)

# Which worker executes a run that no batch was dispatched for: a person's. One row, one execution.
run_claim = Table(
    "run_claim",
    metadata,
    Column("run_id", ascii_word(36), primary_key=True),
    Column("worker", Identifier(255), nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
)

task = Table(
    "dist_task",
    metadata,
    Column("seq", BigKey, primary_key=True, autoincrement=False),
    Column("task_id", Identifier(64), primary_key=True),
    Column("name", Identifier(100), nullable=False),
    Column("type", Identifier(50), nullable=False),
    Column("status", ascii_word(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_retry", Integer, nullable=False),
    Column("granted_by", ascii_word(16)),
    Column("grant_due_at", UtcDateTime),
    Column("handled", Boolean, nullable=False),  # a person settled its exception
    Column("idempotency_key", Words, nullable=False),
    Column("request", Json),  # frozen at the first attempt, secrets not filled in
    Column("input_data", Json),
    Column("output_data", Json),
    Column("applied", ascii_word(8)),
    Column("error_type", Label),
    Column("error_code", Label),
    Column("error_message", Words),
    Column("error_stack", Words),
    Column("started_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
)

exception = Table(
    "exception_record",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("seq", BigKey),  # NULL: of a message that became no transaction
    Column("task_id", Identifier(64), nullable=False),  # empty without a transaction
    Column("flow_id", Identifier(120), nullable=False),
    Column("task_name", Identifier(100), nullable=False),
    Column("error_type", Label, nullable=False),
    Column("error_code", Label, nullable=False),
    Column("message", Words, nullable=False),
    Column("stack", Words, nullable=False),
    Column("fingerprint", ascii_word(32), nullable=False),
    Column("retry_strategy", ascii_word(16), nullable=False),
    Column("retry_times", Integer, nullable=False),  # automatic retries granted so far
    Column("retry_max", Integer, nullable=False),
    Column("retry_interval", Double, nullable=False),  # seconds
    Column("retry_next_at", UtcDateTime),
    Column("handled", Boolean, nullable=False),
    Column("is_open", Boolean),  # TRUE or NULL, so that a task has at most one open
    Column("handled_by", Label),
    Column("handled_at", UtcDateTime),
    Column("handled_remark", Words),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("message_id", Label(128)),  # the broker's
    Column("source", Json),  # the message: its topic and its body
    UniqueConstraint("seq", "task_id", "is_open", name="uq_exception_open"),
    UniqueConstraint("message_id", name="uq_exception_message"),
    Index("ix_exception_handled", "handled", "id"),
    Index("ix_exception_flow", "flow_id", "handled", "id"),
    Index("ix_exception_task", "task_name", "handled", "id"),
    Index("ix_exception_cause", "fingerprint", "handled", "id"),
    Index("ix_exception_occurred", "occurred_at", "flow_id"),
)

log = Table(
    "execution_log",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("seq", BigKey, nullable=False),
    Column("task_id", Identifier(64)),  # NULL: of the transaction itself
    Column("action", ascii_word(16), nullable=False),
    Column("message", Words, nullable=False),
    Column("details", Json),  # at most 4 KB
    Column("run_id", ascii_word(36)),
    Column("attempt", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_log_seq", "seq", "id"),
)

operator_action = Table(
    "operator_action",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("actor", Label, nullable=False),
    Column("action", ascii_word(16), nullable=False),
    Column("target", Identifier(255), nullable=False),  # `transaction:<id>`, `exception:<id>`
    Column("reason", Words, nullable=False),
    Column("before", Json, nullable=False),
    Column("after", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_operator_action_target", "target", "id"),
)

flow_stats = Table(
    "flow_stats",
    metadata,
    Column("flow_id", Identifier(120), primary_key=True),
    Column("minute", UtcDateTime, primary_key=True),
    Column("measure", ascii_word(32), primary_key=True),  # `success`, `duration_le_0.5`, ...
    Column("total", BigKey, nullable=False),
)

# The same by day and for all time, so that a look at either reads a few rows.
flow_totals = Table(
    "flow_totals",
    metadata,
    Column("period", ascii_word(10), primary_key=True),  # a day, `2030-01-31`; or `all`
    Column("flow_id", Identifier(120), primary_key=True),
    Column("task_id", Identifier(64), primary_key=True),  # empty: of the transactions
    Column("measure", ascii_word(32), primary_key=True),  # those of `flow_stats`; `duration_ms`
    Column("total", BigKey, nullable=False),
)


def along_the_due_index(query: Select[Any]) -> Select[Any]:
    """The query of transactions, made to read `ix_instance_due`: another index would have to sort.

    A claim that sorts locks everything that is pending.
    """
    return query.with_hint(transaction, "FORCE INDEX (ix_instance_due)", "mysql")
