"""`dist-task` in the process of the tests."""

from collections.abc import Iterator
from functools import partial

import pytest
import structlog

from tests.acceptance.command_line import Command, dist_task


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`dist-task` in this process: `command(home, *arguments, exit_code=0, stdin="")`."""
    yield partial(dist_task, monkeypatch)
    structlog.reset_defaults()
