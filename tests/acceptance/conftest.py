"""`dist-task` in the process of the tests."""

import secrets
from collections.abc import Iterator
from functools import partial

import pytest
import sqlalchemy as sa
import structlog

from tests.acceptance.command_line import Command, dist_task


@pytest.fixture
def databases(mysql_url: str) -> Iterator[list[str]]:
    """The URLs of two fresh databases."""
    server = sa.make_url(mysql_url)
    names = [f"acceptance_{secrets.token_hex(6)}" for _ in range(2)]
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for name in names:
            connection.execute(sa.text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    yield [server.set(database=name).render_as_string(hide_password=False) for name in names]
    with engine.begin() as connection:
        for name in names:
            connection.execute(sa.text(f"DROP DATABASE {name}"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`dist-task` in this process: `command(home, *arguments, exit_code=0, stdin="")`."""
    yield partial(dist_task, monkeypatch)
    structlog.reset_defaults()
