"""A full batch, of which every third order fails."""

import json

from tests.acceptance.making import flow, open_exception, task
from tests.services.participant import Participant
from tests.services.platform import Platform

FLOWS = {
    "large": flow(
        task("deduct", retry={"strategy": "auto", "max_attempts": 2, "interval": 0}),
        task("stock", "deduct"),
        task("ship", "stock"),
    )
}
COUNT = 300


def test_300_orders_in_one_run_do_not_mix_up(platform: Platform, participant: Participant) -> None:
    ids = [f"large-{number:03}" for number in range(COUNT)]
    declined, short, flaky = ids[0::6], ids[2::6], ids[4::6]
    participant.break_down(*(f"{each}:deduct" for each in declined))
    participant.break_down(*(f"{each}:stock" for each in short))
    for each in flaky:
        participant.fail(f"{each}:deduct", 503)
    lines = [
        json.dumps({"instance_id": each, "flow_id": "large", "params": {"ship": {"to": each}}})
        for each in ids
    ]
    done = platform.cli("submit", "--file", "-", stdin="\n".join(lines))
    assert f"{COUNT} accepted, 0 refused" in done.stdout
    first = {platform.wait_for(each).id: platform.transaction(each) for each in ids}

    failed = {each for each, record in first.items() if record.status == "failed"}
    assert failed == {*declined, *short}
    assert {record.status for each, record in first.items() if each not in failed} == {"success"}
    for each in ids:
        expected = {
            "deduct": 2 if each in flaky else 1,
            "stock": 0 if each in declined else 1,
            "ship": 0 if each in failed else 1,
        }
        calls = {step: participant.calls[f"{each}:{step}"] for step in expected}
        assert (each, calls) == (each, expected)
    assert {step: participant.bodies[f"{ids[1]}:{step}"] for step in ("deduct", "ship")} == {
        "deduct": [{}],
        "ship": [{"to": ids[1]}],
    }
    for each in failed:
        exception = open_exception(platform, each)
        assert exception.task_id == ("deduct" if each in declined else "stock")
    assert len(platform.cli_json("exceptions", "--flow", "large_v1", "--limit", "200")) == 100

    runs = {record.run_id for each, record in first.items() if each not in flaky}
    [run_id] = runs
    assert run_id
    run = platform.wait_for_run(run_id)
    assert (run.status, run.tags["dist_task/batch_size"]) == ("FAILURE", str(COUNT))
    red = {each.step: each for each in platform.events(run.id) if each.type == "STEP_FAILURE"}
    assert set(red) == {"deduct", "stock"}
    assert "100 of 300 transactions failed" in red["deduct"].error
    assert "50 of 200 transactions failed" in red["stock"].error
    told = [row["transaction"] for row in red["deduct"].metadata["failed transactions"]]
    assert sorted(told) == sorted([*declined, *flaky])
