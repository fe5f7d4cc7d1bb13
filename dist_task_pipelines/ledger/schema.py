"""The ledger's schema: bringing a database up to date, and refusing one that is not."""

import uuid
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from dist_task_pipelines.domain.errors import LedgerOutOfStep
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database

REVISION = "0006"  # the migration that this code needs; a test holds it against migrations/
VERSION_TABLE = "ledger_version"  # Alembic's own name may stand for Dagster in the same database


def migrate(database: Database, scripts: Path) -> None:
    """Apply every migration that is missing; give a new ledger its identity.

    Several processes may do so at once: they take turns, and the later ones find it done.

    Args:
        scripts: the folder `migrations/`.

    Raises:
        LedgerUnavailable: the database cannot be reached.
        LedgerOutOfStep: it was migrated by a newer version of the platform.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with database.alone() as connection:
        found = _revision(connection)
        if found and found > REVISION:
            raise LedgerOutOfStep(_ahead(database, found))
        config.attributes["connection"] = connection
        command.upgrade(config, REVISION)
        _identify(connection, database.clock.now())


def check(database: Database) -> None:
    """Refuse a ledger whose schema or server is not the one this code needs.

    Raises:
        LedgerUnavailable: the database cannot be reached, or its server's limits are too low.
        LedgerOutOfStep: it is behind, ahead, or was never migrated.
    """
    found = revision(database)
    if found is None or found < REVISION:
        state = f"at revision {found}" if found else "not migrated yet"
        raise LedgerOutOfStep(
            f"the ledger {database.display_url} is {state}, this version needs {REVISION}; "
            "run `dist-task migrate`"
        )
    if found > REVISION:
        raise LedgerOutOfStep(_ahead(database, found))
    database.check_limits()


def revision(database: Database) -> str | None:
    """The newest migration applied; None for a database without a ledger."""
    with database.read() as connection:
        return _revision(connection)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def _ahead(database: Database, found: str) -> str:
    return (
        f"the ledger {database.display_url} is at revision {found}, this version of the platform "
        f"knows {REVISION} and nothing newer; upgrade dist-task-pipelines"
    )


def _identify(connection: sa.Connection, now: datetime) -> None:
    if connection.scalar(sa.select(tables.ledger_identity.c.id)) is None:
        row = {"id": 1, "uuid": str(uuid.uuid4()), "created_at": now}
        connection.execute(sa.insert(tables.ledger_identity), row)
