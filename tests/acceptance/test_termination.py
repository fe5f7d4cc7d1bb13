"""Runs that a person terminates, and what becomes of their orders."""

from dist_task_pipelines.domain.status import Applied, Health, TaskStatus, TransactionStatus
from tests.acceptance.making import flow, open_exception, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform

HANGS = 600  # seconds, longer than anything here is waited for

FLOWS = {
    "stopped": flow(task("deduct"), task("ship", "deduct")),
    "stopped_at_once": flow(task("deduct"), task("ship", "deduct")),
    "stopped_retry": flow(
        task("deduct", retry={"strategy": "auto", "interval": 0}), task("ship", "deduct")
    ),
    "stopped_hanging": flow(task("deduct", timeout=HANGS), task("ship", "deduct")),
    "stopped_shown": flow(task("deduct"), task("ship", "deduct")),
}


def test_what_a_terminated_run_had_not_finished_waits_for_a_person(
    platform: Platform, participant: Participant
) -> None:
    runs: dict[str, str] = {}
    for force in (False, True):
        ids = [f"stop-{force}-1", f"stop-{force}-2"]
        participant.hold(f"{ids[0]}:deduct")
        submit(platform, "stopped_at_once" if force else "stopped", ids)
        for each in ids:
            participant.wait_for_call(f"{each}:deduct")
        run_id = platform.transaction(ids[0]).run_id
        assert run_id
        platform.terminate(run_id, force=force)
        participant.release(f"{ids[0]}:deduct")
        runs |= dict.fromkeys(ids, run_id)
    for each, run_id in runs.items():
        assert platform.wait_for_run(run_id).status == "CANCELED"
        record = platform.wait_for(each, TransactionStatus.FAILED)
        assert (record.health, record.next_due_at) == (Health.NEEDS_HUMAN, None)
        assert platform.task(each, "deduct").status is TaskStatus.SUCCESS  # known, so recorded
        exception = open_exception(platform, each)
        assert (exception.task_id, exception.error_type) == ("ship", "Stopped")
        assert run_id in exception.message

    platform.wait_for_ticks()
    for each, run_id in runs.items():
        assert platform.transaction(each).status is TransactionStatus.FAILED
        assert platform.run(run_id).status == "CANCELED"
        platform.ledger.operators.retry_transaction(each, actor="ann")
    for each in runs:
        platform.wait_for(each, TransactionStatus.SUCCESS)
        assert participant.calls[f"{each}:deduct"] == 1
        assert participant.calls[f"{each}:ship"] == 1


def begun(platform: Platform, participant: Participant, flow_name: str, each: str) -> str:
    """The run of a new order whose first call is held."""
    participant.hold(f"{each}:deduct")
    submit(platform, flow_name, [each])
    participant.wait_for_call(f"{each}:deduct")
    run_id = platform.transaction(each).run_id
    assert run_id
    return run_id


def test_a_run_whose_participant_hangs_ends_without_it(
    platform: Platform, participant: Participant
) -> None:
    run_id = begun(platform, participant, "stopped_hanging", "stop-hanging")
    platform.terminate(run_id)
    assert platform.wait_for_run(run_id).status == "CANCELED"
    participant.release("stop-hanging:deduct")
    assert platform.transaction("stop-hanging").status is TransactionStatus.FAILED
    assert platform.task("stop-hanging", "deduct").applied is Applied.MAYBE
    assert open_exception(platform, "stop-hanging").error_type == "Stopped"


def test_a_stopped_order_does_not_retry_by_itself(
    platform: Platform, participant: Participant
) -> None:
    participant.fail("stop-retry:deduct", 503)
    run_id = begun(platform, participant, "stopped_retry", "stop-retry")
    platform.terminate(run_id)
    participant.release("stop-retry:deduct")
    assert platform.wait_for_run(run_id).status == "CANCELED"
    record = platform.wait_for("stop-retry", TransactionStatus.FAILED)
    assert record.next_due_at is None
    assert "503" in open_exception(platform, "stop-retry").message
    assert participant.calls["stop-retry:deduct"] == 1


def test_a_terminated_run_can_be_re_executed(platform: Platform, participant: Participant) -> None:
    run_id = begun(platform, participant, "stopped_shown", "stop-shown")
    platform.terminate(run_id)
    participant.release("stop-shown:deduct")
    platform.wait_for_run(run_id)
    again = platform.wait_for_run(platform.reexecute(run_id, from_failure=False))
    assert again.status == "SUCCESS"
    assert platform.transaction("stop-shown").status is TransactionStatus.SUCCESS
    calls = [participant.calls[f"stop-shown:{each}"] for each in ("deduct", "ship")]
    assert calls == [1, 1]
