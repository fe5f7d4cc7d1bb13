"""The same client before every kind of server, each with participants that a test scripts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.settings import Settings
from tests.contract.client.servers import InMemory, Server, real_api


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a migrated ledger, to be copied."""
    home = tmp_path_factory.mktemp("home")
    migrate_ledger(Settings.load(None, home))
    return home


@pytest.fixture(params=["in memory", "real API"])
def server(request: pytest.FixtureRequest, empty_home: Path, tmp_path: Path) -> Iterator[Server]:
    """A platform that nothing was submitted to."""
    if request.param == "in memory":
        yield InMemory()
        return
    shutil.copyfile(empty_home / "ledger.db", tmp_path / "ledger.db")
    with real_api(tmp_path) as server:
        yield server
