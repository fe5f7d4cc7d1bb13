"""Fixtures for real servers, one per session, started when the first test asks; a pytest plugin.

Without a server the tests that need it are skipped with the reason, also in the closing summary.
Where servers are a must (`CI=true` or `DIST_TASK_REQUIRE_SERVICES=1`) those tests fail instead.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.services import ServiceUnavailable
from tests.services.mysql import mariadb_server, mysql_server
from tests.services.postgresql import postgresql_server
from tests.services.process import default_cache_dir
from tests.services.rabbitmq import rabbitmq_server
from tests.services.redis import redis_server
from tests.services.rocketmq import OwnRocketMQ, RocketMQServer, own_rocketmq, rocketmq_server
from tests.services.rocketmq_topics import Keys

Server = TypeVar("Server")
Start = Callable[[Path], AbstractContextManager[Server]]

_MISSING = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def mysql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a MySQL or MariaDB server on which databases may be created."""
    yield from _served(request, "MySQL", mysql_server)


@pytest.fixture(scope="session")
def mariadb_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a MariaDB server on which databases may be created."""
    yield from _served(request, "MariaDB", mariadb_server)


@pytest.fixture(scope="session")
def postgresql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be created."""
    yield from _served(request, "PostgreSQL", postgresql_server)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a Redis server's first database. Who leaves something behind clears it up."""
    yield from _served(request, "Redis", redis_server)


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a RabbitMQ server's first virtual host."""
    yield from _served(request, "RabbitMQ", rabbitmq_server)


@pytest.fixture(scope="session")
def rocketmq(request: pytest.FixtureRequest) -> Iterator[RocketMQServer]:
    """A RocketMQ 5 with its proxy; a test makes the topics it needs, under names of its own."""
    yield from _served(request, "RocketMQ", rocketmq_server)


@pytest.fixture(scope="module")  # it takes a quarter of a core while it is there
def strict_rocketmq(request: pytest.FixtureRequest) -> Iterator[OwnRocketMQ]:
    """A RocketMQ that wants keys, and that a test may kill if it starts it again."""
    start = partial(own_rocketmq, keys=Keys("tester", "test-secret"))
    yield from _served(request, "RocketMQ", start)


@pytest.fixture
def mysql_database(mysql_url: str) -> Iterator[str]:
    """The URL of a fresh, empty utf8mb4 database, dropped after the test."""
    with _mysql_database(make_url(mysql_url)) as url:
        yield url


@pytest.fixture
def mariadb_database(mariadb_url: str) -> Iterator[str]:
    """The URL of a fresh, empty utf8mb4 database, dropped after the test."""
    with _mysql_database(make_url(mariadb_url)) as url:
        yield url


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped after the test."""
    server, name = make_url(postgresql_url), _fresh_name()
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield _within(server, name)
    finally:
        # Connections left open are cut: the test that left them is done.
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say at the end of the run what was not tested."""
    for kind, reason in config.stash.get(_MISSING, {}).items():
        terminalreporter.section(f"WARNING: no {kind}, its tests did not run", yellow=True)
        terminalreporter.write_line(reason)


def _served(request: pytest.FixtureRequest, kind: str, start: Start[Server]) -> Iterator[Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start(default_cache_dir()))
        except ServiceUnavailable as reason:
            request.config.stash.setdefault(_MISSING, {})[kind] = str(reason)
            _give_up(f"{kind} is unavailable: {reason}")
        yield server


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true" or os.environ.get("DIST_TASK_REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def _mysql_database(server: URL) -> Iterator[str]:
    name = _fresh_name()
    _execute(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield _within(server, name)
    finally:
        # A transaction left open holds a lock on its tables: better an error than a long wait.
        _execute(server, "SET SESSION lock_wait_timeout = 10", f"DROP DATABASE {name}")


def _fresh_name() -> str:
    return f"test_{secrets.token_hex(6)}"


def _within(server: URL, database: str) -> str:
    return server.set(database=database).render_as_string(hide_password=False)


def _execute(server: URL, *statements: str) -> None:
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
