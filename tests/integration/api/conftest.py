"""An API for each test, over a copy of one migrated ledger."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.settings import Settings
from tests.integration.api.serving import Api, serving


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a migrated ledger, to be copied."""
    home = tmp_path_factory.mktemp("home")
    migrate_ledger(Settings.load(None, home))
    return home


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    """A home with an empty ledger; a test may put a configuration file into it."""
    return Path(shutil.copytree(empty_home, tmp_path / "home"))


@pytest.fixture
def api(home: Path) -> Iterator[Api]:
    """The API, served."""
    with serving(home) as api:
        yield api


@pytest.fixture
def order(api: Api) -> Flow:
    """The flow `order_v1`."""
    return api.a_flow()
