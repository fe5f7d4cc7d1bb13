"""Workers and platforms that go away in the middle of a batch."""

import os
import re
import signal
from pathlib import Path

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import Flows, flow, register, submit, task
from tests.services.dagster_ui import eventually
from tests.services.participant import Participant
from tests.services.platform import Platform, is_listening, running_platform

SHORT_LEASE = "[dispatch]\nlease_seconds = 2\n"
QUICK = 8  # seconds that a call may take: the lease outlasts it by its own time
PATIENT = 15  # less than a platform that ends waits for its workers
SLOW = 28  # more than that

OWN_FLOWS: Flows = {
    "lost": flow(task("deduct", timeout=QUICK), task("ship", "deduct", timeout=QUICK)),
    "handed": flow(task("deduct", timeout=PATIENT), task("ship", "deduct", timeout=PATIENT)),
    "stuck": flow(
        task("deduct", timeout=SLOW, retry={"strategy": "auto", "max_attempts": 1, "interval": 0})
    ),
}


@pytest.fixture
def home(tmp_path: Path, participant: Participant) -> Path:
    """A home with the flows of this module and a short lease."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dist_task.toml").write_text(SHORT_LEASE)
    migrate_ledger(Settings.load(None, folder))
    register(folder, OWN_FLOWS, participant.url)
    return folder


def worker_of(platform: Platform, run_id: str) -> int:
    """The pid of the process that executes the run."""
    messages = "\n".join(each.message for each in platform.events(run_id))
    [pid] = re.findall(r"Started process for run \(pid: (\d+)\)", messages)
    return int(pid)


def test_the_orders_of_a_killed_worker_are_finished_by_another(
    home: Path, participant: Participant
) -> None:
    with running_platform(home, ended_by=signal.SIGKILL) as platform:
        lost, through = ids = ["lost-1", "lost-2"]
        participant.hold(f"{lost}:ship")
        submit(platform, "lost", ids)
        participant.wait_for_call(f"{lost}:ship")
        platform.wait_for(through, TransactionStatus.SUCCESS)
        run_id = platform.transaction(lost).run_id
        assert run_id
        os.kill(worker_of(platform, run_id), signal.SIGKILL)
        participant.wait_for_call(f"{lost}:ship", 2)
        participant.release(f"{lost}:ship")
        record = platform.wait_for(lost, TransactionStatus.SUCCESS)
        assert platform.wait_for_run(run_id).status == "FAILURE"
        assert record.run_id
        assert record.run_id != run_id
        assert platform.wait_for_run(record.run_id).tags["dist_task/batch_size"] == "1"
        calls = [participant.calls[f"{each}:{step}"] for each in ids for step in ("deduct", "ship")]
        assert calls == [1, 2, 1, 1]
        actions = [row.action for row in platform.ledger.transactions.logs(lost) if row.task_id]
        assert actions == ["start", "success", "start", "lost", "retry", "success"]


def test_a_platform_that_ends_leaves_its_work_to_the_next(
    home: Path, participant: Participant
) -> None:
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
