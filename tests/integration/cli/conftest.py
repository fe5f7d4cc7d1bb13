"""Commands before a real API, whose work is done when a test says so."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.settings import Settings
from tests.acceptance.command_line import Command
from tests.acceptance.command_line import dist_task as run
from tests.contract.client.servers import RealApi, flow, real_api, task


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealApi]:
    """The API, with the flow `shop`: deduct, then ship."""
    migrate_ledger(Settings.load(None, tmp_path))
    with real_api(tmp_path) as server:
        server.client().flows.apply(flow(task("deduct"), task("ship", "deduct")), name="shop")
        yield server


@pytest.fixture
def dist_task(
    server: RealApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., object]:
    """A command on that server."""
    monkeypatch.setenv("DIST_TASK_URL", server.url)
    command: Command = partial(run, monkeypatch, tmp_path)
    return command
