"""The engine on a SQLite ledger of its own for every test."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy.pool import QueuePool

from dist_task_pipelines.ledger import schema
from dist_task_pipelines.ledger.database import Database
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import Bench

MIGRATIONS = Path(__file__).parents[3] / "migrations"


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite ledger, to be copied."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def ledger_url(empty_ledger: Path, tmp_path: Path) -> str:
    """The URL of an empty ledger."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(empty_ledger, path)
    return f"sqlite:///{path}"


@pytest.fixture
def clock() -> SteppableClock:
    """The ledger's time."""
    return SteppableClock()


@pytest.fixture
def bench(ledger_url: str, clock: SteppableClock) -> Iterator[Bench]:
    """The engine; its clock stands still. Fails when it leaves a connection or a call behind."""
    yield from opened(ledger_url, clock)


@pytest.fixture
def another_bench(bench: Bench, ledger_url: str, clock: SteppableClock) -> Iterator[Bench]:
    """Another process over the same ledger."""
    yield from opened(ledger_url, clock)


@pytest.fixture
def mysql_bench(mysql_database: str) -> Iterator[Bench]:
    """The engine on MySQL."""
    migrated(mysql_database)
    yield from opened(mysql_database)


def opened(
    url: str,
    clock: SteppableClock | None = None,
    databases: Mapping[str, str] | None = None,
) -> Iterator[Bench]:
    bench = Bench(url, clock, databases)
    try:
        yield bench
    finally:
        pool = bench.ledger.database.engine.pool
        assert isinstance(pool, QueuePool)
        left = pool.checkedout()
        bench.close()
    assert left == 0, f"{left} connections were not given back"
    assert bench.executor.under_way == 0, "a call was left running"


def migrated(url: str) -> None:
    database = Database(url)
    schema.migrate(database, MIGRATIONS)
    database.dispose()
