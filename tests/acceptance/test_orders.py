"""An order, from the submit to the end of its run."""

import json

from dist_task_pipelines.domain.status import TaskStatus, TransactionStatus
from tests.acceptance.making import flow, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform

LONG = 300  # seconds: more than the test waits for a call

FLOWS = {
    "shop-order": flow(
        task("deduct", description="charge the account"),
        task("ship", "deduct"),
        description="charge, then ship",
    ),
    "two_sides": flow(
        task("left", timeout=LONG), task("right", timeout=LONG), task("joined", "left", "right")
    ),
    "chain": flow(task("first"), task("second", "first"), task("aside")),
}


def test_a_submitted_order_goes_through_its_flow(
    platform: Platform, participant: Participant
) -> None:
    params = {"deduct": {"amount": 12.5}, "ship": {"to": "Kraków"}}
    submitted = platform.cli_json("submit", "shop-order", "order-1", "--params", json.dumps(params))
    assert (submitted["instance_id"], submitted["status"]) == ("order-1", "pending")
    run = platform.wait_for_run_of("order-1")
    assert (run.job, run.status) == ("shop_order_v1", "SUCCESS")
    shown = platform.cli_json("status", "order-1")
    assert shown["transaction"]["status"] == "success"
    assert [task["status"] for task in shown["tasks"]] == ["success", "success"]
    assert participant.bodies["order-1:deduct"] == [{"amount": 12.5}]
    assert participant.bodies["order-1:ship"] == [{"to": "Kraków"}]


def test_a_run_says_what_it_carries(platform: Platform) -> None:
    submit(platform, "shop-order", ["tagged-1"])
    run = platform.wait_for_run_of("tagged-1")
    ours = {key: value for key, value in run.tags.items() if key.startswith("dist_task/")}
    batch_id = ours.pop("dist_task/batch_id")
    assert ours == {
        "dist_task/flow": "shop-order",
        "dist_task/flow_version": "1",
        "dist_task/batch_size": "1",
        "dist_task/transaction_id": "tagged-1",
    }
    assert platform.ledger.batches.run_of(int(batch_id)) == run.id
    assert run.config == {"resources": {"batch": {"config": {"batch_id": int(batch_id)}}}}


def test_a_flow_is_a_job_whose_ops_are_its_tasks(platform: Platform) -> None:
    job = platform.job("shop_order_v1")
    assert job["description"] == "charge, then ship"
    ops = {op["name"]: op["definition"] for op in job["solids"]}
    assert list(ops) == ["deduct", "ship"]
    assert ops["deduct"]["description"] == "charge the account"
    for op in ops.values():
        assert {"key": "kind", "value": "http"} in op["metadata"]
    run = platform.launch_transaction("shop_order_v1", "steps-1")
    ended = [each.step for each in platform.events(run.id) if each.type == "STEP_SUCCESS"]
    assert ended == ["deduct", "ship"]


def test_tasks_that_do_not_wait_for_each_other_run_at_the_same_time(
    platform: Platform, participant: Participant
) -> None:
    participant.hold("sides-1:left", "sides-1:right")
    submit(platform, "two_sides", ["sides-1"])
    participant.wait_for_call("sides-1:left")
    participant.wait_for_call("sides-1:right")
    assert participant.calls["sides-1:joined"] == 0
    participant.release("sides-1:left", "sides-1:right")
    assert platform.wait_for("sides-1").status is TransactionStatus.SUCCESS
    assert platform.wait_for_run_of("sides-1").status == "SUCCESS"
    assert participant.calls["sides-1:joined"] == 1


def test_what_waits_for_a_failed_task_is_not_called(
    platform: Platform, participant: Participant
) -> None:
    participant.fail("chain-1:first", 422)
    submit(platform, "chain", ["chain-1"])
    assert platform.wait_for_run_of("chain-1").status == "FAILURE"
    record = platform.transaction("chain-1")
    assert record.status is TransactionStatus.FAILED
    assert record.error_message
    assert "first" in record.error_message
    assert "422" in record.error_message
    assert platform.task("chain-1", "first").status is TaskStatus.FAILED
    assert platform.task("chain-1", "second").status is TaskStatus.PENDING
    assert platform.task("chain-1", "aside").status is TaskStatus.SUCCESS
    assert participant.calls["chain-1:second"] == 0
