"""What failed is called again: by itself, or because a person says so on the command line."""

from functools import partial

import pytest

from dist_task_pipelines.domain.status import Health, TransactionStatus
from tests.acceptance.command_line import Command
from tests.acceptance.making import audited, flow, open_exception, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform

MANY_TIMES = {"strategy": "auto", "max_attempts": 5, "interval": 0}
ONCE = {"strategy": "auto", "max_attempts": 1, "interval": 0}
LATER = {"strategy": "auto", "max_attempts": 5, "interval": 3600}

FLOWS = {
    "auto": flow(task("deduct", retry=MANY_TIMES), task("ship", "deduct")),
    "auto_once": flow(task("deduct", retry=ONCE)),
    "auto_later": flow(task("deduct", retry=LATER), task("aside", retry={"strategy": "manual"})),
    "manual": flow(task("left"), task("right"), task("ship", "left", "right")),
    "never": flow(task("deduct", retry={"strategy": "no_retry"})),
    "unwanted": flow(task("left"), task("ship", "left")),
}
ORDERS = {
    "auto": ["auto-1"],
    "auto_once": ["once-1", "once-2"],
    "auto_later": ["later-1", "handled-1"],
    "manual": ["manual-1"],
    "never": ["never-1"],
}
FAILURES = {
    "auto-1:deduct": (503, 429),
    "once-1:deduct": (503, 503),
    "once-2:deduct": (422,),
    "later-1:deduct": (503,),
    "later-1:aside": (422,),
    "handled-1:deduct": (503,),
    "manual-1:left": (422,),
    "never-1:deduct": (503,),
}


@pytest.fixture(scope="module", autouse=True)
def orders(platform: Platform, participant: Participant) -> None:
    """The orders of this module, submitted together."""
    for key, statuses in FAILURES.items():
        participant.fail(key, *statuses)
    for flow_name, ids in ORDERS.items():
        submit(platform, flow_name, ids)


@pytest.fixture
def dist_task(platform: Platform, command: Command) -> Command:
    """A command on the platform's home."""
    return partial(command, platform.home)


def log_of(platform: Platform, transaction_id: str) -> list[tuple[str | None, str, int | None]]:
    """Task, action and attempt of each row of the execution log."""
    rows = platform.ledger.transactions.logs(transaction_id)
    return [(row.task_id, row.action, row.attempt) for row in rows]


def test_an_automatic_retry_repeats_until_it_succeeds(
    platform: Platform, participant: Participant
) -> None:
    platform.wait_for("auto-1", TransactionStatus.SUCCESS)
    assert participant.calls["auto-1:deduct"] == 3
    assert participant.calls["auto-1:ship"] == 1
    assert log_of(platform, "auto-1") == [
        (None, "submit", None),
        ("deduct", "start", 1),
        ("deduct", "failed", 1),
        ("deduct", "retry", 2),
        ("deduct", "failed", 2),
        ("deduct", "retry", 3),
        ("deduct", "success", 3),
        ("ship", "start", 1),
        ("ship", "success", 1),
        (None, "complete", None),
    ]
    [record] = platform.ledger.exceptions.page(transaction_id="auto-1")
    assert (record.retry_times, record.handled, record.handled_by) == (2, True, "system")
    assert record.retry_next_at is None
    assert platform.transaction("auto-1").health is Health.HEALTHY
    runs = {row.run_id for row in platform.ledger.transactions.logs("auto-1") if row.task_id}
    assert len(runs) == 3  # each attempt can be looked at in the UI
    assert {platform.wait_for_run(run).job for run in runs if run} == {"auto_v1"}


def test_automatic_retries_end_and_a_person_goes_on(
    platform: Platform, participant: Participant
) -> None:
    for each, retries in (("once-1", 1), ("once-2", 0)):
        record = platform.wait_for(each, TransactionStatus.FAILED)
        assert record.health is Health.NEEDS_HUMAN
        assert participant.calls[f"{each}:deduct"] == 1 + retries
        exception = open_exception(platform, each)
        assert (exception.retry_times, exception.retry_next_at) == (retries, None)
    done = platform.cli_json("retry", "once-1", "--reason", "was down")
    assert done == {"instance_id": "once-1", "tasks": ["deduct"]}
    platform.wait_for("once-1", TransactionStatus.SUCCESS)
    assert participant.calls["once-1:deduct"] == 3
    assert participant.calls["once-2:deduct"] == 1


def test_a_person_may_retry_before_it_is_due(
    platform: Platform, participant: Participant, dist_task: Command
) -> None:
    participant.wait_for_call("later-1:aside")
    record = platform.wait_for("later-1", TransactionStatus.RUNNING)
    assert record.run_id
    platform.wait_for_run(record.run_id)
    [aside, deduct] = sorted(
        platform.ledger.exceptions.page(transaction_id="later-1"), key=lambda each: each.task_id
    )
    assert aside.retry_next_at is None
    assert deduct.retry_next_at is not None
    dist_task("retry", "--exception", str(deduct.id))
    participant.wait_for_call("later-1:deduct", 2)
    platform.wait_for("later-1", TransactionStatus.FAILED)
    assert platform.task("later-1", "deduct").status == "success"
    assert participant.calls["later-1:aside"] == 1  # a sibling's retry is not its own


def test_a_manual_retry_calls_the_failed_tasks_only(
    platform: Platform, participant: Participant, dist_task: Command
) -> None:
    first = platform.wait_for_run_of("manual-1")
    exception = open_exception(platform, "manual-1")
    [listed] = dist_task("exceptions", "--transaction", "manual-1", "--json").json
    assert (listed["exception_id"], listed["task_id"]) == (exception.id, "left")
    said = dist_task("retry", "manual-1", "--reason", "mended", "--actor", "ann").out
    assert "manual-1 (left) will be called again now" in said
    platform.wait_for("manual-1", TransactionStatus.SUCCESS)
    calls = [participant.calls[f"manual-1:{each}"] for each in ("left", "right", "ship")]
    assert calls == [2, 1, 1]
    assert audited(platform, "transaction:manual-1") == [("ann", "retry", "mended")]
    assert platform.transaction("manual-1").run_id != first.id
    again = dist_task("retry", "manual-1", exit_code=1)
    assert "only a failed one can be retried" in again.err
    assert again.out == ""


def test_no_retry_can_only_be_handled(
    platform: Platform, participant: Participant, dist_task: Command
) -> None:
    platform.wait_for("never-1", TransactionStatus.FAILED)
    exception = str(open_exception(platform, "never-1").id)
    assert "no_retry" in dist_task("retry", "never-1", exit_code=1).err
    assert "no_retry" in dist_task("retry", "--exception", exception, exit_code=1).err
    done = dist_task("handle", exception, "--remark", "refunded", "--actor", "ann", "--json")
    assert done.json == {"exception_id": int(exception), "handled": True}
    assert dist_task("exceptions", "--transaction", "never-1", "--json").json == []
    [handled] = dist_task("exceptions", "--transaction", "never-1", "--handled", "--json").json
    assert (handled["handled_by"], handled["handled_remark"]) == ("ann", "refunded")
    assert audited(platform, f"exception:{exception}") == [("ann", "handle", "refunded")]
    assert "handled by ann" in dist_task("handle", exception, exit_code=1).err
    assert platform.transaction("never-1").status is TransactionStatus.FAILED
    assert participant.calls["never-1:deduct"] == 1


def test_what_is_handled_is_not_called_again(
    platform: Platform, participant: Participant, dist_task: Command
) -> None:
    participant.wait_for_call("handled-1:aside")
    record = platform.wait_for("handled-1", TransactionStatus.RUNNING)
    assert record.run_id
    platform.wait_for_run(record.run_id)
    exception = open_exception(platform, "handled-1")
    dist_task("handle", str(exception.id), "--remark", "done by hand")
    record = platform.transaction("handled-1")
    assert (record.status, record.next_due_at) == (TransactionStatus.FAILED, None)
    assert "handled" in dist_task("retry", "handled-1", exit_code=1).err
    assert "handled" in dist_task("retry", "--exception", str(exception.id), exit_code=1).err
    assert participant.calls["handled-1:deduct"] == 1


def test_cancelling(platform: Platform, participant: Participant, dist_task: Command) -> None:
    participant.fail("cancel-1:left", 422)
    participant.hold("cancel-2:left")
    submit(platform, "unwanted", ["cancel-1", "cancel-2", "cancel-3"])

    platform.wait_for("cancel-1", TransactionStatus.FAILED)
    done = dist_task("cancel", "cancel-1", "--reason", "unwanted", "--actor", "ann", "--json")
    assert done.json == {"instance_id": "cancel-1", "status": "cancelled"}
    assert audited(platform, "transaction:cancel-1") == [("ann", "cancel", "unwanted")]
    assert "is cancelled" in dist_task("cancel", "cancel-1").out
    assert "only a failed one" in dist_task("retry", "cancel-1", exit_code=1).err

    participant.wait_for_call("cancel-2:left")
    assert "before its next task" in dist_task("cancel", "cancel-2").out
    participant.release("cancel-2:left")
    platform.wait_for("cancel-2", TransactionStatus.CANCELLED)
    assert platform.task("cancel-2", "left").status == "success"
    assert participant.calls["cancel-2:ship"] == 0

    platform.wait_for("cancel-3", TransactionStatus.SUCCESS)
    assert "has succeeded" in dist_task("cancel", "cancel-3", exit_code=1).err
