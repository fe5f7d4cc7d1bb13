"""Databases to migrate."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_task_pipelines.ledger.database import Database


@pytest.fixture
def migrations() -> Path:
    """The project's migrations."""
    return Path(__file__).parents[2] / "migrations"


@pytest.fixture(params=["sqlite", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("mysql_database"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An empty database."""
    database = Database(url)
    yield database
    database.dispose()
