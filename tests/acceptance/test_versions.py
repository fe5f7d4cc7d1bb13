"""Flow versions that come and go while the platform runs."""

import json
from pathlib import Path

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.making import addressed, flow, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform, marked_processes


def apply(
    platform: Platform, file: Path, name: str, definition: JsonObject, url: str
) -> JsonObject:
    file.write_text(json.dumps({"name": name, **addressed(definition, url)}))
    applied: JsonObject = platform.cli_json("flow", "apply", str(file))
    return applied


def servers(platform: Platform) -> set[int]:
    """The pids of the code server, the server and the daemon."""
    names = ("code server: ", "server: ", "daemon: ")
    processes = marked_processes(platform.mark).items()
    found = {pid for pid, name in processes if name.startswith(names)}
    assert len(found) == len(names)
    return found


def test_a_flow_registered_meanwhile_runs_without_a_restart(
    platform: Platform, participant: Participant, tmp_path: Path
) -> None:
    before = servers(platform)
    applied = apply(
        platform, tmp_path / "flow.json", "late-comer", flow(task("only")), participant.url
    )
    assert (applied["flow_id"], applied["is_active"]) == ("late_comer_v1", True)
    submit(platform, "late-comer", ["late-1"])  # before anyone knows the job
    platform.wait_for_job("late_comer_v1")
    assert platform.launch_transaction("late_comer_v1", "late-2").status == "SUCCESS"
    assert platform.wait_for_run_of("late-1").status == "SUCCESS"
    assert servers(platform) == before


def test_an_order_stays_on_the_version_it_began_with(
    platform: Platform, participant: Participant, tmp_path: Path
) -> None:
    file, url = tmp_path / "flow.json", participant.url
    apply(platform, file, "growing", flow(task("one"), task("two", "one")), url)
    participant.hold("old-1:one")
    participant.fail("old-1:two", 422)
    submit(platform, "growing", ["old-1"])
    participant.wait_for_call("old-1:one")

    second = flow(task("one"), task("three", "one"))
    assert apply(platform, file, "growing", second, url)["flow_id"] == "growing_v2"
    assert apply(platform, file, "growing", second, url)["flow_id"] == "growing_v2"  # nothing new
    platform.wait_for_job("growing_v2")
    platform.ledger.flows.set_active("growing_v1", False)
    submit(platform, "growing", ["new-1"])
    assert platform.wait_for_run_of("new-1").job == "growing_v2"

    participant.release("old-1:one")
    assert platform.wait_for_run_of("old-1").job == "growing_v1"
    platform.ledger.operators.retry_transaction("old-1", actor="test")
    platform.wait_for("old-1", TransactionStatus.SUCCESS)
    assert participant.calls["old-1:two"] == 2
    assert participant.calls["old-1:three"] == 0
    assert participant.calls["new-1:two"] == 0
    assert platform.transaction("old-1").flow_id == "growing_v1"
