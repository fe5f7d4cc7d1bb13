"""The job `intervene`: what a person does about an order without leaving the Dagster UI."""

from typing import Any

import pytest

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.making import audited, flow, open_exception, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform

FLOWS = {"mended": flow(task("deduct"))}


def intervention(**config: Any) -> JsonObject:
    return {"ops": {"carry_out": {"config": config}}}


def failed_orders(platform: Platform, participant: Participant, *ids: str) -> None:
    for each in ids:
        participant.fail(f"{each}:deduct", 422)
    submit(platform, "mended", ids)
    for each in ids:
        platform.wait_for(each, TransactionStatus.FAILED)


def test_retry_handle_and_cancel(platform: Platform, participant: Participant) -> None:
    by_id, by_exception, handled, cancelled = ids = [f"mend-{number}" for number in range(1, 5)]
    failed_orders(platform, participant, *ids)
    exception, other = (open_exception(platform, each).id for each in (by_exception, handled))
    configs: list[JsonObject] = [
        {"action": "retry", "transaction_id": by_id, "reason": "mended", "actor": "ann"},
        {"action": "retry", "exception_id": exception, "reason": "mended"},
        {"action": "handle", "exception_id": other, "reason": "by hand", "actor": "ann"},
        {"action": "cancel", "transaction_id": cancelled, "reason": "too late", "actor": "ann"},
    ]
    for run_id in [platform.launch("intervene", intervention(**each)) for each in configs]:
        assert platform.wait_for_run(run_id).status == "SUCCESS"
    for each in (by_id, by_exception):
        platform.wait_for(each, TransactionStatus.SUCCESS)
    assert platform.transaction(handled).status is TransactionStatus.FAILED
    assert platform.ledger.exceptions.get(other).handled_by == "ann"
    assert platform.transaction(cancelled).status is TransactionStatus.CANCELLED
    assert [participant.calls[f"{each}:deduct"] for each in ids] == [2, 2, 1, 1]
    assert audited(platform, f"transaction:{by_id}") == [("ann", "retry", "mended")]
    assert audited(platform, f"exception:{exception}") == [("dagster", "retry", "mended")]
    assert audited(platform, f"exception:{other}") == [("ann", "handle", "by hand")]
    assert audited(platform, f"transaction:{cancelled}") == [("ann", "cancel", "too late")]


def test_the_config_is_typed(platform: Platform) -> None:
    right = intervention(action="retry", transaction_id="a", reason="mended", actor="ann")
    assert platform.config_errors("intervene", right) == []
    for wrong in (
        {},
        {"action": "delete", "transaction_id": "a"},
        {"action": "handle", "exception_id": "twelve"},
        {"action": "retry", "transaction": "a"},
    ):
        assert platform.config_errors("intervene", intervention(**wrong)), wrong


@pytest.mark.parametrize(
    "config",
    [
        {"action": "retry", "transaction_id": "mend-none", "reason": {"env": "HOME"}},
        {"action": "retry", "transaction_id": {"env": "HOME"}},
        {"action": "retry", "transaction_id": "mend-none", "actor": {"env": "HOME"}},
    ],
    ids=["reason", "transaction_id", "actor"],
)
def test_the_worker_s_environment_cannot_be_read(platform: Platform, config: JsonObject) -> None:
    assert platform.config_errors("intervene", intervention(**config))


def test_what_does_not_fit_fails_and_says_why(platform: Platform) -> None:
    cases: list[tuple[JsonObject, str]] = [
        ({"action": "retry"}, "retry takes transaction_id or exception_id"),
        ({"action": "retry", "transaction_id": "a", "exception_id": 1}, "retry takes"),
        ({"action": "handle", "transaction_id": "a"}, "handle takes exception_id"),
        ({"action": "cancel", "exception_id": 1}, "cancel takes transaction_id"),
        ({"action": "cancel", "transaction_id": "mend-none"}, "no transaction 'mend-none'"),
        ({"action": "handle", "exception_id": 987_654}, "no exception 987654"),
    ]
    runs = [platform.launch("intervene", intervention(**config)) for config, _ in cases]
    for run_id, (_, words) in zip(runs, cases, strict=True):
        assert words in platform.failure_of(run_id)


def test_a_refusal_of_the_ledger_is_the_run_s_failure(
    platform: Platform, participant: Participant
) -> None:
    failed_orders(platform, participant, "mend-refused")
    exception = open_exception(platform, "mend-refused").id
    platform.ledger.operators.handle(exception, actor="ann")
    configs: list[JsonObject] = [
        {"action": "retry", "transaction_id": "mend-refused"},
        {"action": "retry", "exception_id": exception},
        {"action": "handle", "exception_id": exception},
    ]
    for run_id in [platform.launch("intervene", intervention(**each)) for each in configs]:
        assert "handled" in platform.failure_of(run_id)
    assert audited(platform, "transaction:mend-refused") == []
    assert len(audited(platform, f"exception:{exception}")) == 1
