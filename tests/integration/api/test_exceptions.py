"""Exceptions over REST: found, retried, handled."""

import pytest

from dist_task_pipelines.domain.flow import Flow
from tests.contract.steps import call, failure, success, take
from tests.integration.api.serving import Api


@pytest.fixture
def failed(api: Api, order: Flow) -> Api:
    """Transaction `a` failed at `deduct`; `b` failed at `notify`, which is no_retry."""
    call(api.ledger, take(api.ledger, order, "a"), "deduct", failure("no such account"))
    batch = take(api.ledger, order, "b")
    call(api.ledger, batch, "deduct", success())
    call(api.ledger, batch, "notify", failure("no such topic"))
    return api


def id_of(api: Api, transaction: str) -> int:
    [found] = api.get(f"exceptions?instance_id={transaction}").data["list"]
    number: int = found["exception_id"]
    return number


def test_an_exception_says_what_happened(failed: Api) -> None:
    number = id_of(failed, "b")
    found = failed.get(f"exceptions/{number}").data
    assert (found["instance_id"], found["task_id"], found["message"], found["handled"]) == (
        "b",
        "notify",
        "no such topic",
        False,
    )
    assert found["retry_strategy"] == "no_retry"


@pytest.mark.parametrize("path", ["exceptions/99", f"exceptions/{2**64}"])
def test_an_exception_that_is_not_there(api: Api, path: str) -> None:
    assert api.get(path).status == 404
    assert api.post(f"{path}/handle").status == 404
    assert api.post(f"{path}/retry").status == 404


@pytest.mark.parametrize("identifier", ["x", "1.0", "1e3", "9" * 101, "%20"])
def test_an_id_that_is_no_number(api: Api, identifier: str) -> None:
    answer = api.get(f"exceptions/{identifier}")
    assert (answer.status, answer.paths) == (400, ["exception_id"])


def test_lists_hold_what_was_asked_for(failed: Api) -> None:
    def listed(query: str) -> list[str]:
        return [each["instance_id"] for each in failed.get(f"exceptions?{query}").data["list"]]

    assert listed("") == ["b", "a"]
    failed.post(f"exceptions/{id_of(failed, 'a')}/handle")
    assert listed("handled=true") == ["a"]
    assert listed("handled=false") == ["b"]
    assert listed("flow_id=order_v1&page_size=1&page=2") == ["a"]
    assert listed("task_name=http_request") == ["b", "a"]
    fingerprint = failed.get(f"exceptions/{id_of(failed, 'b')}").data["fingerprint"]
    assert listed(f"fingerprint={fingerprint}") == ["b"]
    assert listed("fingerprint=nope") == []
    first = failed.get("exceptions?page_size=1").data["pagination"]
    assert first["total"] == 2
    assert listed(f"cursor={first['next_cursor']}") == ["a"]


def test_a_retry_makes_the_task_due_now(failed: Api) -> None:
    number, told = id_of(failed, "a"), failed.accepted
    answer = failed.post(f"exceptions/{number}/retry", {"reason": "topped up"})
    assert answer.status == 200
    assert answer.data["retry_scheduled"] is True
    task = failed.get("transactions/a").data["tasks"][0]
    assert task["next_retry_at"] == answer.data["retry_next_at"]
    assert failed.accepted == told + 1


def test_what_cannot_be_retried(failed: Api) -> None:
    answer = failed.post(f"exceptions/{id_of(failed, 'b')}/retry")
    assert (answer.status, "no_retry" in answer.body["message"]) == (400, True)
    number = id_of(failed, "a")
    failed.post(f"exceptions/{number}/handle")
    assert failed.post(f"exceptions/{number}/retry").status == 400


def test_handling_is_told_of_in_the_record(failed: Api) -> None:
    number = id_of(failed, "a")
    body, headers = {"remark": "refunded by hand"}, {"X-Actor": "Änne".encode().decode("latin-1")}
    answer = failed.post(f"exceptions/{number}/handle", body, headers=headers)
    assert answer.data == {"exception_id": number, "handled": True}
    found = failed.get(f"exceptions/{number}").data
    assert (found["handled"], found["handled_by"], found["handled_remark"]) == (
        True,
        "Änne",
        "refunded by hand",
    )
    assert failed.post(f"exceptions/{number}/handle").status == 400


def test_what_a_run_works_on_is_left_alone(api: Api, order: Flow) -> None:
    call(api.ledger, take(api.ledger, order, "a"), "deduct", failure())
    number = id_of(api, "a")
    api.ledger.batches.adopt(
        order.id,
        [api.ledger.transactions.get("a").seq],
        run_id="run-2",
        worker="w",
        lease=30,
        actor="ann",
    )
    assert api.post(f"exceptions/{number}/handle").status == 409
    assert api.post(f"exceptions/{number}/retry").status == 409
