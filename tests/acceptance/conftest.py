"""One platform for the whole session, with the flows of all test modules, and one participant."""

from collections.abc import Iterator
from functools import partial

import pytest
import structlog

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.settings import Settings
from tests.acceptance.command_line import Command, dist_task
from tests.acceptance.making import register
from tests.services.participant import Participant
from tests.services.platform import Platform, running_platform

MANY_RUNS = "[dispatch]\nmax_runs_in_flight = 16\n"  # tests do not wait for each other's runs


@pytest.fixture(scope="session")
def participant() -> Iterator[Participant]:
    """Where the tasks of the flows go."""
    with Participant().running() as running:
        yield running


@pytest.fixture(scope="session")
def platform(
    request: pytest.FixtureRequest,
    participant: Participant,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    """A platform that knows the `FLOWS` of every test module from its start."""
    home = tmp_path_factory.mktemp("platform")
    migrate_ledger(Settings.load(None, home))
    modules = {item.getparent(pytest.Module) for item in request.session.items}
    for module in modules:
        register(home, getattr(module and module.obj, "FLOWS", {}), participant.url)
    with running_platform(home, config=MANY_RUNS) as running:
        yield running


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`dist-task` in this process: `command(home, *arguments, exit_code=0, stdin="")`."""
    yield partial(dist_task, monkeypatch)
    structlog.reset_defaults()
