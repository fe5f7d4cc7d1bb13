import copy

import pytest

from dist_task_pipelines.domain.errors import InvalidParams
from dist_task_pipelines.domain.flow import Flow, InputField
from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.flows import check_params
from dist_task_pipelines.flows.parameters import task_params
from tests.unit.flows.making import faults_of, fields, flow, task

USER = InputField("user_id", "string", required=True)
AMOUNT = InputField("amount", "float", required=True)
NOTE = InputField("note", "string")
SIZE = InputField("size", "int", required=True, default=3)

DEDUCT = task("deduct", **fields(USER, AMOUNT, NOTE, SIZE))
OPEN = task("open")


def faults(flow: Flow, params: JsonValue) -> list[tuple[str, str]]:
    return faults_of(InvalidParams, check_params, flow, params)


@pytest.mark.parametrize(
    "params",
    [
        {"deduct": {"user_id": "u1", "amount": 99}},
        {"deduct": {"user_id": 1, "amount": "99.5", "note": None, "size": None}},
        {"deduct": {"user_id": "u1", "amount": 1}, "open": {"any": [None, {}], "x y": 1}},
        {"deduct": {"user_id": "u1", "amount": 1}, "open": None},
    ],
)
def test_params_that_fit(params: JsonValue) -> None:
    sent = copy.deepcopy(params)
    check_params(flow(DEDUCT, OPEN), params)
    assert params == sent


@pytest.mark.parametrize("params", [None, {}])
def test_no_params_where_none_are_needed(params: JsonValue) -> None:
    check_params(flow(OPEN, task("closed", **fields(NOTE))), params)


def test_all_faults_at_once() -> None:
    params = {"deduct": {"amount": "x", "gross": 1, "size": 1.5}, "deuct": {}, "open": [1]}
    assert faults(flow(DEDUCT, OPEN), params) == [
        ("params.deuct", "names no task of this flow; its tasks are: deduct, open"),
        ("params.deduct.amount", "must be a number, not 'x'"),
        (
            "params.deduct.gross",
            "is not declared; the fields are: user_id, amount, note, size",
        ),
        ("params.deduct.size", "must be an integer, not 1.5"),
        ("params.deduct.user_id", "is required (type string)"),
        ("params.open", "must be an object, not a list"),
    ]


def test_absent_params_of_a_task_are_asked_for_by_its_id() -> None:
    charge = task("charge", name="deduct", **fields(USER))
    assert faults(flow(charge), {}) == [("params.charge.user_id", "is required (type string)")]


@pytest.mark.parametrize("params", [[], "x", 1, False])
def test_params_must_be_an_object(params: JsonValue) -> None:
    [(path, message)] = faults(flow(OPEN), params)
    assert path == "params"
    assert message.startswith("must be an object, not ")


def test_a_field_that_input_from_supplies_may_be_absent_but_not_wrong() -> None:
    wired = task("wired", input_from={"amount": "$.up.x"}, **fields(AMOUNT))
    check_params(flow(wired), {})
    assert faults(flow(wired), {"wired": {"amount": "x"}}) == [
        ("params.wired.amount", "must be a number, not 'x'")
    ]


def test_the_definitions_name_stands_for_every_task_of_that_name() -> None:
    first, second = task("a", name="deduct", **fields(USER)), task("b", name="deduct")
    params = {"deduct": {"user_id": "u1"}}
    check_params(flow(first, second), params)
    assert [task_params(each, params) for each in (first, second)] == [{"user_id": "u1"}] * 2


def test_faults_that_tasks_of_one_name_share_are_named_once() -> None:
    two = flow(task("a", name="d", **fields(USER)), task("b", name="d", **fields(USER)))
    assert faults(two, {"d": {}}) == [("params.d.user_id", "is required (type string)")]


def test_the_id_wins_over_the_name() -> None:
    charge = task("charge", name="deduct", **fields(USER))
    params = {"deduct": {"wrong": 1}, "charge": {"user_id": "by id"}}
    check_params(flow(charge), params)
    assert task_params(charge, params) == {"user_id": "by id"}


def test_null_by_id_is_absent() -> None:
    charge = task("charge", name="deduct", **fields(USER))
    assert task_params(charge, {"charge": None, "deduct": {"user_id": "u"}}) == {"user_id": "u"}
    assert task_params(charge, {"charge": None}) == {}


def test_a_key_that_means_two_tasks_is_refused() -> None:
    two = flow(task("deduct"), task("again", name="deduct"))
    assert faults(two, {"deduct": {"amount": 1}}) == [
        (
            "params.deduct",
            "is the id of one task and the definition of 'again'; key the latter by id",
        )
    ]
    check_params(two, {"deduct": {"amount": 1}, "again": {}})
