"""A batch of which some orders fail, and the Re-execute buttons over it."""

import pytest

from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.making import audited, flow, left_alone, open_exception, submit, task
from tests.services.dagster_ui import Event, Run
from tests.services.participant import Participant
from tests.services.platform import Platform

FLOWS = {
    "batch_all": flow(task("deduct"), task("notify", "deduct")),
    "batch_from_failure": flow(task("deduct"), task("notify", "deduct")),
    "batch_steps": flow(task("deduct"), task("notify", "deduct")),
    "batch_mixed": flow(task("deduct"), task("notify", "deduct")),
    "batch_told": flow(task("deduct"), task("notify", "deduct")),
    "batch_hopeless": flow(task("deduct"), task("notify", "deduct")),
    "batch_settled": flow(task("deduct", retry={"strategy": "no_retry"})),
}


BATCHES = {
    "batch_all": [f"again-all-{number}" for number in range(1, 6)],
    "batch_from_failure": [f"again-from_failure-{number}" for number in range(1, 6)],
    "batch_steps": ["steps-a", "steps-b"],
    "batch_mixed": ["left-done", "left-failed", "left-handled", "left-cancelled", "left-leased"],
    "batch_told": [f"told-{number}" for number in range(1, 6)],
    "batch_hopeless": ["hopeless-1", "hopeless-2"],
    "batch_settled": ["settled-1"],
}
FAIL_ONCE = {
    "told-2:deduct": 422,
    "told-4:deduct": 503,
    "told-5:notify": 422,
    "hopeless-1:deduct": 422,
    "hopeless-2:deduct": 422,
    "steps-b:deduct": 422,
    "left-failed:deduct": 422,
    "left-handled:deduct": 422,
    "left-cancelled:deduct": 422,
    "left-leased:deduct": 422,
    "settled-1:deduct": 422,
}


def broken(name: str) -> list[str]:
    """The calls of one of the batches `again-...` that fail until they are repaired."""
    ids = BATCHES[f"batch_{name}"]
    return [f"{ids[1]}:deduct", f"{ids[3]}:deduct", f"{ids[4]}:notify"]


@pytest.fixture(scope="module", autouse=True)
def batches(platform: Platform, participant: Participant) -> None:
    """The batches of this module, submitted together."""
    for key, status in FAIL_ONCE.items():
        participant.fail(key, status)
    participant.break_down(*broken("all"), *broken("from_failure"))
    for flow_name, ids in BATCHES.items():
        submit(platform, flow_name, ids)


def run_of(platform: Platform, flow_name: str) -> Run:
    """The run of one of the batches, at its end."""
    ids = BATCHES[flow_name]
    run = platform.wait_for_run_of(ids[0])
    assert run.tags["dist_task/batch_size"] == str(len(ids))
    return run


def failures(platform: Platform, run_id: str) -> dict[str, Event]:
    """The failures of the run's steps, by step."""
    events = platform.events(run_id)
    return {each.step: each for each in events if each.step and each.type == "STEP_FAILURE"}


def test_a_red_op_names_what_failed_and_the_healthy_go_on(platform: Platform) -> None:
    run = run_of(platform, "batch_told")
    assert run.status == "FAILURE"
    assert "dist_task/transaction_id" not in run.tags
    statuses = [platform.transaction(each).status for each in BATCHES["batch_told"]]
    assert statuses == ["success", "failed", "success", "failed", "failed"]
    red = failures(platform, run.id)
    assert set(red) == {"deduct", "notify"}
    assert "2 of 5 transactions failed" in red["deduct"].error
    assert "1 of 3 transactions failed" in red["notify"].error
    told = {row["transaction"]: row for row in red["deduct"].metadata["failed transactions"]}
    assert set(told) == {"told-2", "told-4"}
    for each, status in (("told-2", "422"), ("told-4", "503")):
        assert told[each]["exception"] == str(open_exception(platform, each).id)
        assert told[each]["next retry"] == "by a person"
        assert status in told[each]["error"]


def test_without_any_success_nothing_goes_on(platform: Platform, participant: Participant) -> None:
    run = run_of(platform, "batch_hopeless")
    assert run.status == "FAILURE"
    assert set(failures(platform, run.id)) == {"deduct"}
    started = [each.step for each in platform.events(run.id) if each.type == "STEP_START"]
    assert started == ["deduct"]
    assert not [key for key in participant.calls if key.startswith("hopeless") and "notify" in key]


@pytest.mark.parametrize("from_failure", [False, True], ids=["all", "from-failure"])
def test_re_executing_finishes_what_failed_and_repeats_nothing(
    platform: Platform, participant: Participant, from_failure: bool
) -> None:
    name = "from_failure" if from_failure else "all"
    ids, failing = BATCHES[f"batch_{name}"], broken(name)
    run = run_of(platform, f"batch_{name}")
    still_broken = platform.reexecute(run.id, from_failure=from_failure)
    assert platform.wait_for_run(still_broken).status == "FAILURE"
    assert "2 of 2 transactions failed" in failures(platform, still_broken)["deduct"].error

    participant.repair(*failing)
    repaired = platform.wait_for_run(platform.reexecute(still_broken, from_failure=from_failure))
    assert repaired.status == "SUCCESS"
    assert (repaired.parent_id, repaired.root_id) == (still_broken, run.id)
    for each in ids:
        assert platform.transaction(each).status is TransactionStatus.SUCCESS
        for step in ("deduct", "notify"):
            key = f"{each}:{step}"
            assert (key, participant.calls[key]) == (key, 3 if key in failing else 1)
    for each in (ids[1], ids[3], ids[4]):
        trail = audited(platform, f"transaction:{each}")
        assert [(actor, action) for actor, action, _ in trail] == [("dagster", "re_execute")] * 2
        assert [reason for _, _, reason in trail] == [f"run {still_broken}", f"run {repaired.id}"]
    for each in (ids[0], ids[2]):
        assert audited(platform, f"transaction:{each}") == []


def test_re_executing_one_step_leads_to_no_call_that_may_not_be(
    platform: Platform, participant: Participant
) -> None:
    run = run_of(platform, "batch_steps")
    again = platform.wait_for_run(platform.reexecute_steps(run, "notify"))
    assert not [each for each in platform.events(again.id) if each.step == "deduct"]
    platform.wait_for("steps-b", TransactionStatus.SUCCESS)
    calls = {key: participant.calls[key] for key in participant.calls if key.startswith("steps-")}
    assert calls.pop("steps-b:deduct") == 2
    assert set(calls.values()) == {1}


def test_what_people_settled_and_what_others_work_on_is_left_alone(
    platform: Platform, participant: Participant
) -> None:
    run = run_of(platform, "batch_mixed")
    done, failed, handled, cancelled, leased = ids = BATCHES["batch_mixed"]
    operators = platform.ledger.operators
    operators.handle(open_exception(platform, handled).id, actor="ann", remark="paid in cash")
    operators.cancel(cancelled, actor="ann")
    participant.hold(f"{leased}:deduct")
    operators.retry_transaction(leased, actor="ann")
    participant.wait_for_call(f"{leased}:deduct", 2)

    again = platform.wait_for_run(platform.reexecute(run.id, from_failure=False))
    assert again.status == "SUCCESS"
    assert platform.transaction(failed).status is TransactionStatus.SUCCESS
    assert platform.transaction(handled).status is TransactionStatus.FAILED
    assert platform.transaction(cancelled).status is TransactionStatus.CANCELLED
    assert platform.transaction(leased).status is TransactionStatus.RUNNING
    assert "success" in left_alone(platform, again.id, done)
    assert "handled" in left_alone(platform, again.id, handled)
    assert "cancelled" in left_alone(platform, again.id, cancelled)
    assert "another run is working on it" in left_alone(platform, again.id, leased)
    assert not left_alone(platform, again.id, failed)
    assert [action for _, action, _ in audited(platform, f"transaction:{failed}")] == ["re_execute"]
    assert [action for _, action, _ in audited(platform, f"transaction:{handled}")] == []

    participant.release(f"{leased}:deduct")
    platform.wait_for(leased, TransactionStatus.SUCCESS)
    assert [participant.calls[f"{each}:deduct"] for each in ids] == [1, 2, 1, 1, 2]
    assert [participant.calls[f"{each}:notify"] for each in ids] == [1, 1, 0, 0, 1]


def test_with_nothing_left_to_do_re_executing_does_nothing_and_says_why(
    platform: Platform, participant: Participant
) -> None:
    run = run_of(platform, "batch_settled")
    again = platform.reexecute(run.id, from_failure=True)
    platform.wait_for_run(again)
    assert "no_retry" in left_alone(platform, again, "settled-1")
    assert participant.calls["settled-1:deduct"] == 1
    assert platform.transaction("settled-1").status is TransactionStatus.FAILED
