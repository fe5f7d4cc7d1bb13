"""The platform with everything it keeps in MySQL: its ledger, and what Dagster stores."""

from pathlib import Path

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import flow, register, submit, task
from tests.services.participant import Participant
from tests.services.platform import running_platform


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
