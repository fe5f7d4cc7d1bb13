"""One platform for the whole session, with the flows of all test modules, and one participant.

A pytest plugin, for the browser tests share it.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import register
from tests.services import free_port
from tests.services.participant import Participant
from tests.services.platform import Platform, is_listening, running_platform
from tests.services.process import running

BROKER_PORT = free_port()
REQUEST_TOPIC = "dist_task_requests"
CANARY = "cAnArY"  # in every secret of these tests, so that no part of one goes unnoticed
ENVIRONMENT = {"BROKER_SECRET": f"{CANARY}{secrets.token_hex(8)}/+&"}
CONFIG = f"""
[workers]
concurrency = 8
[dispatch]
max_runs_in_flight = 16  # tests do not wait for each other's runs
[rocketmq]
endpoints = "127.0.0.1:{BROKER_PORT}"
request_topic = "{REQUEST_TOPIC}"
access_key = "joe"
secret_key = "${{BROKER_SECRET}}"
"""
ROOT = Path(__file__).parents[2]


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
    """A platform that knows from its start what every module with a test of it has of these:

    `FLOWS` by name, `CONFIG` for the configuration file, and `ENVIRONMENT` for its processes.
    """
    home = tmp_path_factory.mktemp("platform")
    migrate_ledger(Settings.load(None, home))
    config, environment = CONFIG, dict(ENVIRONMENT)
    for tests in _modules(request.session):
        register(home, getattr(tests, "FLOWS", {}), participant.url)
        config += getattr(tests, "CONFIG", "")
        environment |= getattr(tests, "ENVIRONMENT", {})
    # The environment is patched for those, too, who read the file in this process.
    with broker(), pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        with running_platform(home, config=config) as running:
            yield running


def _modules(session: pytest.Session) -> set[ModuleType]:
    """Those of the session with tests of the platform."""
    tests = (item for item in session.items if isinstance(item, pytest.Function))
    return {test.module for test in tests if "platform" in test.fixturenames}


def broker() -> AbstractContextManager[object]:
    """The stand-in for RocketMQ, at the place that the configuration names."""
    options = ("--port", str(BROKER_PORT), "--topic", REQUEST_TOPIC)
    return served(BROKER_PORT, "-m", "examples.rocketmq_stand_in", *options)


def served(port: int, *arguments: str) -> AbstractContextManager[object]:
    """A Python program that serves on the port."""

    def why_not() -> str | None:
        return None if is_listening(port) else "it does not listen"

    environment = {"PYTHONPATH": str(ROOT)}
    log = Path(os.devnull)
    return running([sys.executable, *arguments], log, why_not, environment=environment)
