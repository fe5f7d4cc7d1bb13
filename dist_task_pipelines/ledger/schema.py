"""The ledger's schema: bringing a database up to date, and refusing one that is not."""

import uuid
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from dist_task_pipelines.domain.errors import LedgerOutOfStep
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database

REVISION = "0001"  # the migration that this code needs; a test holds it against migrations/


def migrate(database: Database, scripts: Path) -> None:
    """Apply every migration that is missing; give a new ledger its identity.

    Args:
        scripts: the folder `migrations/`.

    Raises:
        LedgerUnavailable: the database cannot be reached.
        LedgerOutOfStep: it was migrated by a newer version of the platform.
    """
    found = revision(database)
    if found and found > REVISION:
        raise LedgerOutOfStep(_ahead(database, found))
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, REVISION)
        connection.commit()
    _identify(database)


def check(database: Database) -> None:
    """Refuse a ledger whose schema is not the one this code needs.

    Raises:
        LedgerUnavailable: the database cannot be reached.
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


def revision(database: Database) -> str | None:
    """The newest migration applied; None for a database without a ledger."""
    with database.read() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def _ahead(database: Database, found: str) -> str:
    return (
        f"the ledger {database.display_url} is at revision {found}, this version of the platform "
        f"knows {REVISION} and nothing newer; upgrade dist-task-pipelines"
    )


def _identify(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        if connection.scalar(sa.select(tables.ledger_identity.c.id)) is None:
            row = {"id": 1, "uuid": str(uuid.uuid4()), "created_at": database.clock.now()}
            connection.execute(sa.insert(tables.ledger_identity), row)

    database.write(work)
