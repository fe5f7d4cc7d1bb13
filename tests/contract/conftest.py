"""The ledger on each database: migrated once, emptied for every test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from dist_task_pipelines.ledger import Ledger, schema, tables
from dist_task_pipelines.ledger.database import Database
from tests.contract.steps import SteppableClock, build

MIGRATIONS = Path(__file__).parents[2] / "migrations"


@pytest.fixture(scope="session", params=["sqlite", "mysql"])
def ledger_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a migrated ledger, which the tests share."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
        _migrate(url)
        yield url
        return
    server = sa.make_url(request.getfixturevalue("mysql_url"))
    name = f"contract_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    url = server.set(database=name).render_as_string(hide_password=False)
    try:
        _migrate(url)
        yield url
    finally:
        _execute(server, f"DROP DATABASE {name}")


@pytest.fixture
def clock() -> SteppableClock:
    """The time of `ledger`."""
    return SteppableClock()


@pytest.fixture
def ledger(ledger_url: str, clock: SteppableClock) -> Iterator[Ledger]:
    """An empty ledger. The test fails when it leaves a connection checked out."""
    ledger = Ledger(ledger_url, build, clock=clock)
    _empty(ledger.database)
    yield ledger
    _close(ledger)


@pytest.fixture
def another_ledger(ledger: Ledger, ledger_url: str, clock: SteppableClock) -> Iterator[Ledger]:
    """The same ledger as another process holds it."""
    other = Ledger(ledger_url, build, clock=clock)
    yield other
    _close(other)


def _close(ledger: Ledger) -> None:
    pool = ledger.database.engine.pool
    assert isinstance(pool, QueuePool)
    left = pool.checkedout()
    ledger.close()
    assert left == 0, f"{left} connections were not given back"


def _migrate(url: str) -> None:
    database = Database(url)
    schema.migrate(database, MIGRATIONS)
    database.dispose()


def _empty(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        for table in tables.metadata.tables.values():
            if table is not tables.ledger_identity:
                connection.execute(sa.delete(table))

    database.write(work)


def _execute(server: sa.URL, statement: str) -> None:
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
