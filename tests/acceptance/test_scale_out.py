"""Two hosts over one MySQL and one broker: the platform, and a worker with a home of its own."""

import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import flow, register, submit, task
from tests.services.participant import Participant
from tests.services.platform import (
    COMMAND,
    MarkedProcess,
    Platform,
    child_environment,
    running_platform,
)
from tests.services.waiting import eventually

RUNS_AT_A_TIME = 4  # two on each host: the dispatched one, and the one kept for people


def config(ledger: str, storage: str, broker: str) -> str:
    return f"""
[database]
url = "{ledger}"
[dagster]
storage_url = "{storage}"
[workers]
count = 1
concurrency = 1
broker = "{broker}"
[dispatch]
max_batch = 1
max_runs_in_flight = {RUNS_AT_A_TIME + 2}
max_runs_in_flight_per_flow = {RUNS_AT_A_TIME}
"""


def workers_of(platform: Platform, orders: list[str]) -> set[str]:
    """The workers that had the orders."""
    owner = tables.batch.c.run_id == tables.transaction.c.run_id
    query = sa.select(tables.batch.c.worker).join(tables.transaction, owner)
    with platform.ledger.database.read() as connection:
        return set(connection.scalars(query.where(tables.transaction.c.id.in_(orders))))


@pytest.mark.parametrize("broker", ["redis_url", "rabbitmq_url"])
def test_two_hosts_share_the_load_and_nothing_is_done_twice(
    broker: str,
    databases: list[str],
    participant: Participant,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    held = [f"{broker}-spread-{number}" for number in range(RUNS_AT_A_TIME)]
    more = [f"{broker}-shared-{number}" for number in range(20)]
    here, there = tmp_path / "here", tmp_path / "there"
    ledger, storage = databases
    url = request.getfixturevalue(broker)
    for home in (here, there):
        home.mkdir()
        (home / "dist_task.toml").write_text(config(ledger, storage, url))
    migrate_ledger(Settings.load(None, here))
    register(here, {"spread": flow(task("deduct"), task("ship", "deduct"))}, participant.url)
    worker = [*COMMAND, "worker", "--home", str(there)]
    with running_platform(here) as platform, MarkedProcess(worker, child_environment()) as host:
        eventually(lambda: len(platform.ledger.workers.alive()) == 2, "both workers are there")
        participant.hold(*(f"{each}:deduct" for each in held))
        submit(platform, "spread", held)
        for each in held:
            participant.wait_for_call(f"{each}:deduct")
        assert len(workers_of(platform, held)) == 2
        participant.release(*(f"{each}:deduct" for each in held))
        submit(platform, "spread", more)
        for each in (*held, *more):
            platform.wait_for(each, TransactionStatus.SUCCESS)
        host.process.send_signal(signal.SIGTERM)
        _, errors = host.process.communicate(timeout=60)
        assert host.process.returncode == 0, errors
        eventually(lambda: len(platform.ledger.workers.alive()) == 1, "it is off the list")
    calls = [
        participant.calls[f"{each}:{step}"] for each in held + more for step in ("deduct", "ship")
    ]
    assert calls == [1] * len(calls)
