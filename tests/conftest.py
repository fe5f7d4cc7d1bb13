"""A clean environment for all tests: nothing of the user's settings, home or proxies."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

pytest_plugins = ["tests.services.fixtures", "tests.acceptance.fixtures"]

_HOMES = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")


def pytest_configure(config: pytest.Config) -> None:
    """Scrub the environment before any module under test is imported."""
    before = dict(os.environ)
    config.add_cleanup(lambda: _restore(before))
    home = tempfile.TemporaryDirectory(prefix="dist-task-home-")
    config.add_cleanup(home.cleanup)
    # Servers that tests download are kept from one session to the next.
    os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    for name in filter(_is_the_users, before):
        del os.environ[name]
    os.environ.update(dict.fromkeys(_HOMES, home.name))


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """No test logs where one before it did: to a captured stream that is closed by then."""
    yield
    structlog.reset_defaults()


def _is_the_users(name: str) -> bool:
    return (
        name.startswith(("DIST_TASK__", "DAGSTER_"))
        or name in ("DIST_TASK_CONFIG", "DIST_TASK_HOME")
        or name.lower().endswith("_proxy")
    )


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
