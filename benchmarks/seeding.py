"""Many settled transactions, made by the database itself out of one that really ran."""

from collections.abc import Callable

import sqlalchemy as sa

STEP = 50_000  # rows of transactions in one statement
_COLUMNS = (
    "flow_id, status, health, params, params_bytes, request_hash, run_id, lease_losses, "
    "cancel_requested, created_at, updated_at, started_at, completed_at"
)


def settled_copies(
    ledger: sa.Engine, model: str, prefix: str, count: int, tell: Callable[[int], None]
) -> None:
    """Copies of the transaction `model` with its tasks and its log, each with an id of its own."""
    for start in range(0, count, STEP):
        with ledger.begin() as connection:
            low = _copies(connection, model, prefix, start, min(STEP, count - start))
            _rows_of(connection, "dist_task", model, low)
            _rows_of(connection, "execution_log", model, low)
        tell(min(start + STEP, count))
    with ledger.begin() as connection:
        connection.execute(sa.text("ANALYZE TABLE task_group_instance, dist_task, execution_log"))


def pending_copies(ledger: sa.Engine, model: str, prefix: str, count: int) -> None:
    """Copies of the transaction `model` as if they had just been accepted, in one commit."""
    with ledger.begin() as connection:
        low = _copies(connection, model, prefix, 0, count)
        connection.execute(
            sa.text(
                "UPDATE task_group_instance SET status = 'pending', run_id = NULL, "
                "started_at = NULL, completed_at = NULL, created_at = UTC_TIMESTAMP(6), "
                "updated_at = UTC_TIMESTAMP(6), next_due_at = UTC_TIMESTAMP(6) WHERE seq >= :low"
            ),
            {"low": low},
        )


def _copies(connection: sa.Connection, model: str, prefix: str, start: int, count: int) -> int:
    """Copies of one transaction's row; gives the seq of the first."""
    highest = sa.text("SELECT MAX(seq) FROM task_group_instance")
    before: int = connection.scalar(highest) or 0
    connection.execute(sa.text(f"SET SESSION cte_max_recursion_depth = {count + 1}"))
    connection.execute(
        sa.text(
            f"INSERT INTO task_group_instance (id, {_COLUMNS}) "
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "
            f"WHERE n < {count}) "
            f"SELECT CONCAT(:prefix, LPAD(n + {start}, 8, '0')), {_COLUMNS} "
            "FROM numbers CROSS JOIN (SELECT * FROM task_group_instance WHERE id = :model) m"
        ),
        {"prefix": prefix, "model": model},
    )
    return before + 1


def _rows_of(connection: sa.Connection, table: str, model: str, low: int) -> None:
    """The model's rows in a table, for every transaction from the seq `low` on."""
    columns = [each["name"] for each in sa.inspect(connection).get_columns(table)]
    names = ", ".join(f"`{name}`" for name in columns if name not in ("seq", "id"))
    values = ", ".join(f"r.`{name}`" for name in columns if name not in ("seq", "id"))
    connection.execute(
        sa.text(
            f"INSERT INTO {table} (seq, {names}) SELECT t.seq, {values} "
            f"FROM task_group_instance t JOIN {table} r ON r.seq = "
            "(SELECT seq FROM (SELECT seq FROM task_group_instance WHERE id = :model) m) "
            "WHERE t.seq >= :low"
        ),
        {"model": model, "low": low},
    )
