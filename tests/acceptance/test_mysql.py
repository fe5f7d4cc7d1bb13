"""The platform with everything it keeps in MySQL: its ledger, and what Dagster stores."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import flow, register, submit, task
from tests.services.participant import Participant
from tests.services.platform import running_platform


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


def test_orders_go_through_and_are_repaired(
    databases: list[str], participant: Participant, tmp_path: Path
) -> None:
    ledger, storage = databases
    config = f'[database]\nurl = "{ledger}"\n[dagster]\nstorage_url = "{storage}"\n'
    (tmp_path / "dist_task.toml").write_text(config)
    migrate_ledger(Settings.load(None, tmp_path))
    flows = {"kept": flow(task("deduct"), task("ship", "deduct"))}
    register(tmp_path, flows, participant.url)
    ids = ["kept-1", "kept-2", "kept-🛒"]
    participant.fail("kept-1:deduct", 422)
    with running_platform(tmp_path) as platform:
        submit(platform, "kept", ids)
        run = platform.wait_for_run_of("kept-1")
        assert run.status == "FAILURE"
        again = platform.reexecute(run.id, from_failure=True)
        assert platform.wait_for_run(again).status == "SUCCESS"
        for each in ids:
            assert platform.transaction(each).status is TransactionStatus.SUCCESS
            assert participant.calls[f"{each}:ship"] == 1
    assert not list(tmp_path.rglob("*.db"))
