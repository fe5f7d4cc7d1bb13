"""A flow whose participant does not answer, and the orders of other flows."""

from dist_task_pipelines import Client
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import flow, task
from tests.services.participant import Participant
from tests.services.platform import Platform

FLOWS = {"crowd": flow(task("deduct")), "aside": flow(task("deduct"))}


def test_a_flow_that_hangs_does_not_keep_another_waiting(
    platform: Platform, participant: Participant
) -> None:
    most = Settings.load(None, platform.home).dispatch.max_runs_in_flight_per_flow
    crowd = [f"crowd-{number}" for number in range(most + 1)]
    keys = [f"{each}:deduct" for each in crowd]
    client = Client(platform.url)
    participant.hold(*keys)
    try:
        for order, key in zip(crowd[:most], keys, strict=False):  # a run each
            client.submit("crowd", order)
            participant.wait_for_call(key)
        client.submit("crowd", crowd[most])
        client.submit("aside", "aside-1").wait(timeout=60)
        last = platform.transaction(crowd[most])
        assert (last.status, participant.calls[keys[most]]) == (TransactionStatus.PENDING, 0)
    finally:
        participant.release(*keys)
    for each in crowd:
        assert platform.wait_for(each).status is TransactionStatus.SUCCESS
