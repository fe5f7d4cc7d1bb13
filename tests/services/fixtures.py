"""Fixtures for real servers, one per session, started when the first test asks; a pytest plugin.

Without a server the tests that need it are skipped with the reason, also in the closing summary.
Where servers are a must (`CI=true` or `DIST_TASK_REQUIRE_SERVICES=1`) those tests fail instead.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.services import ServiceUnavailable
from tests.services.mysql import default_cache_dir, mysql_server

_MISSING = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def mysql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a MySQL or MariaDB server on which databases may be created."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(mysql_server(default_cache_dir()))
        except ServiceUnavailable as reason:
            request.config.stash[_MISSING] = str(reason)
            _give_up(f"MySQL is unavailable: {reason}")
        yield url


@pytest.fixture
def mysql_database(mysql_url: str) -> Iterator[str]:
    """The URL of a fresh, empty utf8mb4 database, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    server = make_url(mysql_url)
    _execute(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        # A transaction left open holds a lock on its tables: better an error than a long wait.
        _execute(server, "SET SESSION lock_wait_timeout = 10", f"DROP DATABASE {name}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say at the end of the run what was not tested."""
    if reason := config.stash.get(_MISSING, None):
        terminalreporter.section("WARNING: no MySQL, its tests did not run", yellow=True)
        terminalreporter.write_line(reason)


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true" or os.environ.get("DIST_TASK_REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _execute(server: URL, *statements: str) -> None:
    engine = create_engine(server, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
