"""Transactions over REST: submitted, found, retried, cancelled."""

import re

import pytest

from dist_task_pipelines.domain.flow import Flow
from tests.contract.steps import acquire, call, dispatch, failure, success, take
from tests.integration.api.serving import Api, encoded

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ODD_IDS = [
    "a/b",
    "a/tasks",
    "/",
    "a%2Fb",
    "%",
    "ä ö",
    "🛒",
    "'\"`;--",
    "a?b#c&d",
    "tasks",
    "x" * 128,
]


def test_a_submit_answers_what_is_in_the_ledger(api: Api, order: Flow) -> None:
    answer = api.submit("order_001", params={"deduct": {"amount": 1e2, "big": 2**70}})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    created = answer.data.pop("created_at")
    record = api.ledger.transactions.get("order_001")
    assert answer.body["data"] | {"created_at": ""} == {
        "instance_id": "order_001",
        "flow_id": "order_v1",
        "status": "pending",
        "created_at": "",
    }
    assert TIME.fullmatch(created)
    assert record.params == {"deduct": {"amount": 100.0, "big": 2**70}}
    assert api.accepted == 1


def test_the_same_request_again_answers_with_the_present_state(api: Api, order: Flow) -> None:
    first = api.submit("a", params={"deduct": {"x": 1, "y": 2}}).data
    [dispatched] = dispatch(api.ledger, order)
    call(api.ledger, acquire(api.ledger, dispatched), "deduct", success())
    again = api.submit("a", params={"deduct": {"y": 2.0, "x": 1}})
    assert (again.status, again.data) == (200, {**first, "status": "running"})


@pytest.mark.parametrize("other", [{"flow_id": "order_v1"}, {"params": {"deduct": {"x": 2}}}])
def test_another_request_under_the_same_id_is_a_conflict(
    api: Api, order: Flow, other: dict[str, object]
) -> None:
    sent = {"instance_id": "a", "flow_id": "order", "params": {"deduct": {"x": 1}}}
    assert api.post("transactions", sent).status == 200
    answer = api.post("transactions", {**sent, **other})
    assert (answer.status, answer.body["code"]) == (409, 409)


def test_a_submit_to_no_flow_or_to_an_inactive_one(api: Api, order: Flow) -> None:
    assert api.submit("a", "nope").status == 404
    api.post("flows/order_v1/deactivate")
    answer = api.submit("a")
    assert (answer.status, answer.body["code"]) == (400, 400)
    assert "not active" in answer.body["message"]


@pytest.mark.parametrize("identifier", ODD_IDS)
def test_an_id_of_any_kind_is_found_again(api: Api, order: Flow, identifier: str) -> None:
    assert api.submit(identifier).status == 200
    path = f"transactions/{encoded(identifier)}"
    found = api.get(path).data
    assert found["instance_id"] == identifier
    assert api.get(f"{path}/tasks").data == found["tasks"]
    assert api.get(f"{path}/logs").data[0]["action"] == "submit"
    assert api.post(f"{path}/cancel").data == {"instance_id": identifier, "status": "cancelled"}


@pytest.mark.parametrize("identifier", ["", " a", "a\n", "x" * 129])
def test_an_id_that_none_can_have(api: Api, order: Flow, identifier: str) -> None:
    answer = api.submit(identifier)
    assert (answer.status, answer.paths) == (400, ["instance_id"])
    assert api.get(f"transactions/{encoded(identifier)}x").status == 404


def test_a_batch_gives_each_its_result(api: Api, order: Flow) -> None:
    api.submit("known", params={"deduct": {"x": 1}})
    sent = [
        {"instance_id": "a", "flow_id": "order"},
        {"instance_id": "b", "flow_id": "nope"},
        {"instance_id": " c", "flow_id": "order"},
        {"instance_id": "known", "flow_id": "order"},
        {"instance_id": "a", "flow_id": "order", "params": {}},
        {"instance_id": "d", "flow_id": "order", "params": {"nobody": {}}},
    ]
    data = api.post("transactions/batch", {"transactions": sent}).data
    assert [(each["instance_id"], each["code"]) for each in data["results"]] == [
        ("a", 0),
        ("b", 404),
        (" c", 400),
        ("known", 409),
        ("a", 0),
        ("d", 400),
    ]
    assert (data["accepted"], data["refused"]) == (2, 4)
    assert data["results"][0]["data"]["status"] == "pending"
    assert data["results"][2]["data"]["errors"][0]["path"] == "instance_id"
    assert {each.id for each in api.ledger.transactions.page()} == {"known", "a"}


def test_a_batch_is_bounded(api: Api, order: Flow) -> None:
    sent = [{"instance_id": str(number), "flow_id": "order"} for number in range(1001)]
    assert api.post("transactions/batch", {"transactions": sent}).status == 400
    answer = api.post("transactions/batch", {"transactions": sent[1:]})
    assert answer.data["accepted"] == 1000
    assert api.ledger.transactions.count(5000).count == 1000


def test_a_transaction_with_its_tasks_and_log(api: Api, order: Flow) -> None:
    batch = take(api.ledger, order, "a", run_id="6f0c4f2e")
    call(api.ledger, batch, "deduct", success({"receipt": "r1"}))
    call(api.ledger, batch, "notify", failure("no such topic"))
    found = api.get("transactions/a").data
    assert (found["status"], found["health"]) == ("failed", "needs_human")
    assert found["run_url"] == f"http://127.0.0.1:{api.port}/runs/6f0c4f2e"
    deduct, notify = found["tasks"]
    assert (deduct["status"], deduct["output"], deduct["error"]) == (
        "success",
        {"receipt": "r1"},
        None,
    )
    assert notify["error"] == {"type": "HttpStatus", "code": "500", "message": "no such topic"}
    logs = api.get("transactions/a/logs").data
    actions = [(each["task_id"], each["action"], each["attempt"]) for each in logs]
    assert actions == [
        (None, "submit", None),
        ("deduct", "start", 1),
        ("deduct", "success", 1),
        ("notify", "start", 1),
        ("notify", "failed", 1),
        (None, "complete", None),
    ]
    [listed] = api.get("transactions").data["list"]
    assert listed == {key: found[key] for key in found if key not in ("params", "tasks")}


def test_a_failed_transaction_is_retried(api: Api, order: Flow) -> None:
    call(api.ledger, take(api.ledger, order, "a"), "deduct", failure())
    told = api.accepted
    headers = {"X-Actor": "ann"}
    answer = api.post("transactions/a/retry", {"reason": "topped up"}, headers=headers)
    assert answer.data == {"instance_id": "a", "status": "running", "tasks": ["deduct"]}
    assert api.accepted == told + 1
    action = api.ledger.audit.page("transaction:a")[0]
    assert (action.actor, action.action, action.reason) == ("ann", "retry", "topped up")
    assert api.post("transactions/a/retry").status == 400


def test_what_cannot_be_retried(api: Api, order: Flow) -> None:
    assert api.post("transactions/nope/retry").status == 404
    take(api.ledger, order, "a")
    assert api.post("transactions/a/retry").status == 409
    batch = take(api.ledger, order, "b")
    call(api.ledger, batch, "deduct", success())
    call(api.ledger, batch, "notify", failure())
    answer = api.post("transactions/b/retry")
    assert (answer.status, "no_retry" in answer.body["message"]) == (400, True)


def test_cancelling_says_whether_it_is_done(api: Api, order: Flow) -> None:
    assert api.post("transactions/nope/cancel").status == 404
    api.submit("idle")
    assert api.post("transactions/idle/cancel").status == 200
    assert api.post("transactions/idle/cancel").status == 200
    batch = take(api.ledger, order, "leased")
    answer = api.post("transactions/leased/cancel", {"reason": "changed her mind"})
    assert (answer.status, answer.data["status"]) == (202, "running")
    batch = take(api.ledger, order, "done")
    call(api.ledger, batch, "deduct", success())
    call(api.ledger, batch, "notify", success())
    assert api.post("transactions/done/cancel").status == 400


@pytest.fixture
def listed(api: Api, order: Flow) -> Api:
    """Five transactions: d and e failed, a to c wait."""
    other = api.a_flow("other")
    for identifier in "abc":
        api.submit(identifier)
    batch = take(api.ledger, other, "d", "e")
    call(api.ledger, batch, "deduct", failure())
    return api


def ids(api: Api, query: str) -> str:
    """The ids that a list gives."""
    return "".join(each["instance_id"] for each in api.get(f"transactions?{query}").data["list"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "edcba"),
        ("status=failed", "ed"),
        ("status=pending&page_size=2", "cb"),
        ("flow_id=order_v1", "cba"),
        ("flow_id=order_v1&status=failed", ""),
        ("flow_id=other_v1&health=needs_human", "ed"),
        ("health=healthy", "cba"),
        ("since=2020-01-01T00:00:00Z&until=2200-01-01T00:00:00%2B01:00", "edcba"),
        ("until=2020-01-01T00:00:00Z", ""),
        ("since=2200-01-01T00:00:00Z", ""),
        ("flow_id=nope", ""),
    ],
)
def test_lists_hold_what_was_asked_for(listed: Api, query: str, found: str) -> None:
    assert ids(listed, query) == found
    if "page_size" not in query:
        assert listed.get(f"transactions?{query}").data["pagination"]["total"] == len(found)


@pytest.mark.parametrize("query", ["", "flow_id=order_v1", "status=pending"])
def test_pages_and_cursors_meet(api: Api, order: Flow, query: str) -> None:
    expected = [str(number) for number in range(7)][::-1]
    for identifier in reversed(expected):
        api.submit(identifier)
    seen, cursor = [], ""
    for page in (1, 2, 3, 4):
        numbered = api.get(f"transactions?{query}&page_size=2&page={page}").data
        followed = api.get(f"transactions?{query}&page_size=2{cursor}").data
        assert followed["list"] == numbered["list"]
        assert numbered["pagination"]["page"] == page
        seen += [each["instance_id"] for each in followed["list"]]
        cursor = f"&cursor={followed['pagination']['next_cursor']}"
    assert seen == expected
    assert cursor == "&cursor=None"


def test_since_and_until_bound_the_time_of_creation(api: Api, order: Flow) -> None:
    moments = [api.submit(identifier).data["created_at"] for identifier in "abc"]
    assert ids(api, f"since={moments[1]}") == "cb"
    assert ids(api, f"until={moments[1]}") == "a"
    assert ids(api, f"since={moments[0]}&until={moments[2]}&status=pending") == "ba"


def test_a_large_page_is_capped_and_says_so(listed: Api) -> None:
    pagination = listed.get("transactions?page_size=100000").data["pagination"]
    assert (pagination["page_size"], pagination["page_size_is_capped"]) == (500, True)


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("page=0", ["page"]),
        ("page=-1&page_size=0", ["page", "page_size"]),
        ("page=1.0", ["page"]),
        ("page=501", ["page"]),
        ("page_size=x&nope=1", ["page_size", "nope"]),
        ("status=done", ["status"]),
        ("since=yesterday", ["since"]),
        ("since=2026-01-01T00:00:00", ["since"]),
        ("since=1700000000", ["since"]),
        ("cursor=abc", ["cursor"]),
        ("cursor=WyJhIl0", ["cursor"]),
        ("cursor=WzFd&page=1", ["cursor"]),
        ("cursor=%C3%A4", ["cursor"]),
    ],
)
def test_a_query_that_does_not_fit(api: Api, query: str, paths: list[str]) -> None:
    answer = api.get(f"transactions?{query}")
    assert (answer.status, answer.paths) == (400, paths)
