"""Flows over REST: versions made, found, switched, deleted."""

import json
from typing import Any

import pytest

from dist_task_pipelines.domain.flow import Flow
from tests.contract.steps import acquire, call, dispatch, failure
from tests.integration.api.serving import DEFINITION, Answer, Api

OTHER: dict[str, Any] = {"tasks": [DEFINITION["tasks"][0]]}


def create(api: Api, name: str = "order", **fields: Any) -> Answer:
    return api.post("flows", {"name": name, "definition": DEFINITION, **fields})


def test_a_flow_is_created_with_an_id_and_a_version(api: Api) -> None:
    data = create(api, flow_type="order", create_user="ann").data
    assert (data["flow_id"], data["version"], data["is_active"]) == ("order_v1", 1, True)
    assert (data["flow_type"], data["create_user"]) == ("order", "ann")
    assert data["description"] == DEFINITION["description"]
    assert data["definition"]["tasks"] == DEFINITION["tasks"]
    assert data == api.get("flows/order_v1").data


def test_what_is_got_can_be_put_back(api: Api) -> None:
    got = create(api).data
    assert set(got["task_definitions"]) == {"http_request"}
    assert got["default_retry"]["strategy"] == "manual"
    put = api.call("PUT", "flows/order_v1", {"definition": got["definition"]})
    assert put.data["flow_id"] == "order_v1"


def test_a_definition_may_be_sent_as_text(api: Api) -> None:
    sent = create(api).data
    again = create(api, definition=json.dumps(DEFINITION)).data
    assert again == sent


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{", "definition: line 1 column 2"),
        ('{"a": 1, "a": 2}', "definition: a"),
        ("[]", ""),
        ('{"tasks": [{}], "x": 1}', "tasks[0].id"),
    ],
)
def test_a_text_that_is_no_definition(api: Api, text: str, path: str) -> None:
    answer = create(api, definition=text)
    assert (answer.status, answer.paths[0]) == (400, path)


def test_all_faults_of_a_definition_at_once(api: Api) -> None:
    tasks = [
        {"id": "a", "task_name": "nope"},
        {"id": "b", "task_name": "http_request", "depends_on": ["c"], "config": {"url": 1}},
    ]
    answer = create(api, definition={"tasks": tasks})
    assert answer.status == 400
    assert {"tasks[0].task_name", "tasks[1].depends_on[0]", "tasks[1].config.url"} <= {
        *answer.paths
    }


def test_the_same_name_makes_the_next_version(api: Api) -> None:
    create(api)
    assert create(api, definition=OTHER).data["flow_id"] == "order_v2"
    same = create(api, definition=OTHER, description="in other words").data
    assert (same["flow_id"], same["description"]) == ("order_v2", "in other words")


def test_a_name_that_would_be_the_same_job(api: Api) -> None:
    create(api, "a-b")
    assert create(api, "a_b", definition=OTHER).status == 409


def test_an_update_is_a_new_version(api: Api) -> None:
    create(api, flow_type="order")
    data = api.call("PUT", "flows/order_v1", {"definition": OTHER, "updated_user": "bob"}).data
    assert (data["flow_id"], data["flow_type"], data["create_user"]) == ("order_v2", "order", "bob")
    assert api.get("flows/order_v1").data["definition"]["tasks"] == DEFINITION["tasks"]
    assert api.call("PUT", "flows/nope_v1", {"definition": OTHER}).status == 404
    named = {"definition": {**OTHER, "name": "another"}}
    assert api.call("PUT", "flows/order_v1", named).status == 400


def test_a_version_is_switched_off_and_on(api: Api, order: Flow) -> None:
    off = api.post("flows/order_v1/deactivate", headers={"X-Actor": "ann"}).data
    assert (off["is_active"], off["updated_user"]) == (False, "ann")
    assert api.submit("a").status == 400
    assert api.post("flows/order_v1/activate").data["is_active"] is True
    assert api.submit("a").status == 200
    assert api.post("flows/nope_v1/activate").status == 404


def test_a_version_is_deleted_once_its_transactions_have_settled(api: Api, order: Flow) -> None:
    api.submit("a")
    answer = api.call("DELETE", "flows/order_v1")
    assert (answer.status, api.get("flows/order_v1").status) == (409, 200)
    [dispatched] = dispatch(api.ledger, order)
    call(api.ledger, acquire(api.ledger, dispatched), "deduct", failure())
    assert api.call("DELETE", "flows/order_v1").data == {"flow_id": "order_v1", "deleted": True}
    assert api.call("DELETE", "flows/order_v1").status == 404
    assert api.get("flows/order_v1").status == 404
    assert api.get("flows").data["list"] == []
    assert api.submit("b").status == 404
    assert api.get("transactions/a").data["flow_id"] == "order_v1"
    assert api.post("transactions/a/retry").status == 200
    assert create(api).data["flow_id"] == "order_v2"


def test_lists_of_flows(api: Api) -> None:
    for name, definition in [("b", DEFINITION), ("a", DEFINITION), ("b", OTHER)]:
        create(api, name, definition=definition)
    api.post("flows/b_v2/deactivate")

    def listed(query: str) -> list[str]:
        return [each["flow_id"] for each in api.get(f"flows?{query}").data["list"]]

    assert listed("") == ["a_v1", "b_v2", "b_v1"]
    assert listed("name=b") == ["b_v2", "b_v1"]
    assert listed("is_active=false") == ["b_v2"]
    assert listed("page=2&page_size=2") == ["b_v1"]
    first = api.get("flows?page_size=2").data
    assert "definition" not in first["list"][0]
    assert first["pagination"]["total"] == 3
    assert listed(f"cursor={first['pagination']['next_cursor']}") == ["b_v1"]
    assert api.get("flows?is_active=0").paths == ["is_active"]


def test_the_task_definitions(api: Api) -> None:
    found = {each["name"]: each for each in api.get("task-definitions").data}
    assert {"deduct", "notify", "http_request", "db"} <= set(found)
    assert found["deduct"]["type"] == "rpc"
    assert found["deduct"]["input_fields"][0]["name"] == "user_id"
