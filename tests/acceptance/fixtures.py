"""One platform for the whole session, with the flows of all test modules, and one participant.

A pytest plugin, for the browser tests share it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.settings import Settings
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
    """A platform that knows from its start what every test module has of these:

    `FLOWS` by name, `CONFIG` for the configuration file, `ENVIRONMENT` for its processes, and
    `BESIDE`, which makes a context that it runs in.
    """
    home = tmp_path_factory.mktemp("platform")
    migrate_ledger(Settings.load(None, home))
    config, environment, beside = MANY_RUNS, dict[str, str](), ExitStack()
    for module in {item.getparent(pytest.Module) for item in request.session.items}:
        tests = module and module.obj
        register(home, getattr(tests, "FLOWS", {}), participant.url)
        config += getattr(tests, "CONFIG", "")
        environment |= getattr(tests, "ENVIRONMENT", {})
        beside.enter_context(getattr(tests, "BESIDE", nullcontext)())
    # The environment is patched for those, too, who read the file in this process.
    with beside, pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        with running_platform(home, config=config) as running:
            yield running
