"""Workers and platforms that go away in the middle of a batch."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.orchestration.platform import NICENESS
from dist_task_pipelines.orchestration.readiness import is_ready
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import Flows, flow, register, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform, is_listening, marked_processes, running_platform
from tests.services.waiting import eventually

SHORT_LEASE = "[dispatch]\nlease_seconds = 2\n"
QUICK = 8  # seconds that a call may take: the lease outlasts it by its own time
PATIENT = 15  # less than a platform that ends waits for its workers
SLOW = 28  # more than that

PARTS = ("code server", "server", "daemon")
WORKER = "worker"

OWN_FLOWS: Flows = {
    "parts": flow(task("deduct", timeout=PATIENT), task("ship", "deduct", timeout=PATIENT)),
    "lost": flow(task("deduct", timeout=QUICK), task("ship", "deduct", timeout=QUICK)),
    "handed": flow(task("deduct", timeout=PATIENT), task("ship", "deduct", timeout=PATIENT)),
    "stuck": flow(
        task("deduct", timeout=SLOW, retry={"strategy": "auto", "max_attempts": 1, "interval": 0})
    ),
}


def home_in(folder: Path, participant: Participant) -> Path:
    """A home with the flows of this module and a short lease."""
    (folder / "dist_task.toml").write_text(SHORT_LEASE)
    migrate_ledger(Settings.load(None, folder))
    register(folder, OWN_FLOWS, participant.url)
    return folder


@pytest.fixture(scope="module")
def fragile(
    tmp_path_factory: pytest.TempPathFactory, participant: Participant
) -> Iterator[Platform]:
    """A platform to kill parts of; it is killed itself in the end, and must leave nobody behind."""
    home = home_in(tmp_path_factory.mktemp("fragile"), participant)
    with running_platform(home, ended_by=signal.SIGKILL) as platform:
        yield platform


def parts_of(platform: Platform, part: str) -> list[int]:
    """The pids of the processes of this name, whatever their number."""
    found = marked_processes(platform.mark)
    return [pid for pid, name in found.items() if re.match(rf"{part}( \d+)?: ", name)]


def worker_of(platform: Platform, run_id: str) -> int:
    """The pid of the process that executes the run."""
    query = sa.select(tables.worker.c.pid).join(
        tables.batch, tables.batch.c.worker == tables.worker.c.name
    )
    with platform.ledger.database.read() as connection:
        pid = connection.scalar(query.where(tables.batch.c.run_id == run_id))
    assert pid
    return int(pid)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_dies_is_started_again(
    fragile: Platform, participant: Participant, part: str
) -> None:
    order = f"parts-{PARTS.index(part)}"
    participant.hold(f"{order}:deduct")
    submit(fragile, "parts", [order])
    participant.wait_for_call(f"{order}:deduct")
    [before] = parts_of(fragile, part)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: parts_of(fragile, part) not in ([before], []), f"{part} is back")
    participant.release(f"{order}:deduct")
    fragile.wait_for(order, TransactionStatus.SUCCESS)
    eventually(lambda: is_ready(fragile.url), "it serves again")
    calls = [participant.calls[f"{order}:{step}"] for step in ("deduct", "ship")]
    assert calls == [1, 1]


def test_accepting_comes_before_working(fragile: Platform) -> None:
    [server] = parts_of(fragile, "server")
    niceness = {os.getpriority(os.PRIO_PROCESS, pid) for pid in parts_of(fragile, WORKER)}
    assert niceness == {os.getpriority(os.PRIO_PROCESS, server) + NICENESS}
    assert {os.getsid(pid) for pid in parts_of(fragile, WORKER)} == {os.getsid(server)}


def test_workers_that_die_are_started_again(fragile: Platform) -> None:
    before = parts_of(fragile, WORKER)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    submit(fragile, "parts", ["parts-later"])
    fragile.wait_for("parts-later", TransactionStatus.SUCCESS)
    eventually(lambda: len(parts_of(fragile, WORKER)) == len(before), "all are back")
    assert not set(parts_of(fragile, WORKER)) & set(before)


def test_the_orders_of_a_killed_worker_are_finished_by_another(
    fragile: Platform, participant: Participant
) -> None:
    lost, through = ids = ["lost-1", "lost-2"]
    participant.hold(f"{lost}:ship")
    submit(fragile, "lost", ids)
    participant.wait_for_call(f"{lost}:ship")
    fragile.wait_for(through, TransactionStatus.SUCCESS)
    run_id = fragile.transaction(lost).run_id
    assert run_id
    os.kill(worker_of(fragile, run_id), signal.SIGKILL)
    participant.wait_for_call(f"{lost}:ship", 2)
    participant.release(f"{lost}:ship")
    record = fragile.wait_for(lost, TransactionStatus.SUCCESS)
    assert fragile.wait_for_run(run_id).status == "FAILURE"
    assert record.run_id
    assert record.run_id != run_id
    assert fragile.wait_for_run(record.run_id).tags["dist_task/batch_size"] == "1"
    calls = [participant.calls[f"{each}:{step}"] for each in ids for step in ("deduct", "ship")]
    assert calls == [1, 2, 1, 1]
    actions = [row.action for row in fragile.ledger.transactions.logs(lost) if row.task_id]
    assert actions == ["start", "success", "start", "lost", "retry", "success"]


def test_a_platform_that_ends_leaves_its_work_to_the_next(
    tmp_path: Path, participant: Participant
) -> None:
    home = home_in(tmp_path, participant)
    handed, stuck = ["handed-1", "handed-2"], "stuck-1"
    participant.hold("handed-1:deduct", f"{stuck}:deduct")
    with running_platform(home) as platform:
        submit(platform, "handed", handed)
        submit(platform, "stuck", [stuck])
        for each in (*handed, stuck):
            participant.wait_for_call(f"{each}:deduct")
        platform.process.send_signal(signal.SIGTERM)
        eventually(lambda: not is_listening(platform.port), "the UI is closed")
        participant.release("handed-1:deduct")
    participant.release(f"{stuck}:deduct")
    with running_platform(home, sigint_ignored=True, ended_by=signal.SIGINT) as platform:
        for each in (*handed, stuck):
            platform.wait_for(each, TransactionStatus.SUCCESS)
        for each in handed:
            assert participant.calls[f"{each}:deduct"] == 1
            assert participant.calls[f"{each}:ship"] == 1
            assert platform.transaction(each).lease_losses == 0
        assert participant.calls[f"{stuck}:deduct"] == 2
