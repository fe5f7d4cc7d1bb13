import json
import keyword
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import InvalidDefinition
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.flows import Catalog, resolve_definition
from dist_task_pipelines.flows.checks import RESERVED_IDS
from tests.unit.flows.making import MODELS, faults_of, nested

CATALOG = Catalog.parse(
    {
        "tasks": {
            "open": {"type": "open"},
            "pay": {"type": "call", "config": {"service": "Pay"}},
            "closed": {
                "type": "call",
                "config": {"service": "${input.who}"},
                "input_fields": [{"name": "who", "type": "string"}],
            },
            "foreign": {"type": "soap", "retry": {"interval": 100}},
        }
    }
)


def resolve(definition: Any, name: str = "pay") -> JsonObject:
    return resolve_definition(definition, name=name, catalog=CATALOG, config_models=MODELS)


def faults(definition: Any, name: str = "pay") -> list[tuple[str, str]]:
    return faults_of(InvalidDefinition, resolve, definition, name)


def tasks(*tasks: JsonObject) -> JsonObject:
    return {"tasks": [{"task_name": "open", **task} for task in tasks]}


def after(*names: str, **options: Any) -> JsonObject:
    """A flow of `up`, `side` and a task `t` that depends on the names."""
    task = {"id": "t", "depends_on": [*names], **options}
    return tasks({"id": "up"}, {"id": "side"}, task)


def test_the_stored_form_adds_the_name_and_the_definitions_used() -> None:
    given = {
        "description": "d",
        "tasks": [
            {"id": "a", "task_name": "closed"},
            {"id": "b", "task_name": "pay", "depends_on": ["a"]},
            {"id": "c", "task_name": "pay", "depends_on": None},
        ],
    }
    resolved = resolve(given)
    assert resolved == {
        **given,
        "name": "pay",
        "task_definitions": {
            "closed": CATALOG.definitions["closed"],
            "pay": CATALOG.definitions["pay"],
        },
    }
    assert "name" not in given
    assert resolve(json.dumps(given)) == resolved


def test_a_definition_may_say_its_own_name() -> None:
    assert resolve({**tasks({"id": "a"}), "name": "pay"})["name"] == "pay"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"tasks": [\n  {,}]}', ("line 2 column 4", "not valid JSON")),
        ('{"tasks": [], "tasks": []}', ("tasks", "this key stands twice")),
        ("[]", ("", "must be a JSON object, not a list")),
        ([], ("", "must be a JSON object, not a list")),
        ({"tasks": {"a": float("nan")}}, ("tasks.a", "nan is not a JSON number")),
        (nested(99), ("", "nested deeper than")),
    ],
)
def test_what_is_not_a_json_object(text: Any, fault: tuple[str, str]) -> None:
    [(path, message)] = faults(text)
    assert path == fault[0]
    assert message.startswith(fault[1])


@pytest.mark.parametrize(
    ("definition", "fault"),
    [
        ({}, ("tasks", "is required")),
        ({"tasks": None}, ("tasks", "is required")),
        ({"tasks": []}, ("tasks", "a flow needs at least one task")),
        ({"tasks": {}}, ("tasks", "must be a valid list, not an object")),
        ({"tasks": [5]}, ("tasks[0]", "must be an object, not 5")),
        (tasks({"id": 5}), ("tasks[0].id", "must be a valid string, not 5")),
        (tasks({}), ("tasks[0].id", "is required")),
        ({"tasks": [{"id": "a"}]}, ("tasks[0].task_name", "is required")),
        (
            {**tasks({"id": "a"}), "task_definitions": {}},
            ("task_definitions", "unknown key; known here: name, description, tasks"),
        ),
        (
            tasks({"id": "a", "dependson": []}),
            (
                "tasks[0].dependson",
                "unknown key; known here: description, config, input_fields, retry, timeout, "
                "idempotent, id, task_name, depends_on, input_from",
            ),
        ),
        (
            tasks({"id": "a", "task_name": "opne"}),
            (
                "tasks[0].task_name",
                "there is no task definition 'opne'; there are: closed, foreign, open, pay",
            ),
        ),
        (
            tasks({"id": "a", "task_name": "foreign"}),
            (
                "tasks[0].task_name",
                "there is no executor of type 'soap'; there are: call, open "
                "(from the task definition 'foreign')",
            ),
        ),
        (
            {**tasks({"id": "a"}), "name": "other"},
            ("name", "is 'other' here, but the flow's is 'pay'; they must be equal"),
        ),
        (tasks({"id": "a", "config": []}), ("tasks[0].config", "must be an object, not a list")),
        (
            tasks({"id": "a", "input_fields": [{"name": "x", "type": "int", "default": "y"}]}),
            ("tasks[0].input_fields[0].default", "must be an integer, not 'y'"),
        ),
        (
            tasks({"id": "a", "input_fields": [{"name": "x", "type": "str", "default": 1}]}),
            (
                "tasks[0].input_fields[0].type",
                "'str' is not a type; the types are: string, int, int64, float, float64, bool, "
                "[]string, []int, []float, object, array, time, *",
            ),
        ),
        (
            tasks({"id": "a", "input_fields": [{"name": "", "type": "int"}]}),
            ("tasks[0].input_fields[0].name", "String should have at least 1 character"),
        ),
        (
            tasks({"id": "a", "timeout": True}),
            ("tasks[0].timeout", "must be a valid number, not true"),
        ),
    ],
)
def test_the_shape(definition: JsonObject, fault: tuple[str, str]) -> None:
    assert faults(definition) == [fault]


def test_a_malformed_flow_name() -> None:
    [(path, message)] = faults(tasks({"id": "a"}), name="pay_v2")
    assert path == "name"
    assert message.startswith("'pay_v2' must not end in")


def test_at_most_a_hundred_tasks() -> None:
    many = [{"id": f"t{number}"} for number in range(101)]
    assert len(resolve(tasks(*many[:100]))["tasks"]) == 100
    assert faults(tasks(*many)) == [("tasks", "are 101, the most is 100")]
    many[99]["id"] = "t0"
    assert faults(tasks(*many[:100])) == [("tasks[99].id", "'t0' is already the id of tasks[0]")]


@pytest.mark.parametrize(
    ("id", "why"),
    [
        ("", "must begin with a letter"),
        ("1a", "must begin with a letter"),
        ("_a", "must begin with a letter"),
        ("a-b", "must begin with a letter"),
        ("a\n", "must begin with a letter"),
        ("é", "must begin with a letter"),
        ("a" * 65, "is 65 characters long, the most is 64"),
        ("input", "is a reserved word"),
        ("class", "is a reserved word"),
        ("None", "is a reserved word"),
    ],
)
def test_malformed_ids(id: str, why: str) -> None:
    [(path, message)] = faults(tasks({"id": id}))
    assert path == "tasks[0].id"
    assert message.startswith(f"{id!r} {why}")


def test_a_long_id_with_underscores_and_digits() -> None:
    assert resolve(tasks({"id": "A_1" + "b" * 61}))


def test_the_reserved_words_are_dagsters() -> None:
    from dagster._core.definitions.utils import DISALLOWED_NAMES  # noqa: PLC0415

    assert RESERVED_IDS | set(keyword.kwlist) == DISALLOWED_NAMES


def test_equal_ids() -> None:
    assert faults(tasks({"id": "a"}, {"id": "b"}, {"id": "a"}, {"id": "a"})) == [
        ("tasks[2].id", "'a' is already the id of tasks[0]"),
        ("tasks[3].id", "'a' is already the id of tasks[0]"),
    ]


@pytest.mark.parametrize(
    ("depends_on", "fault"),
    [
        (
            ["up", "x"],
            ("tasks[2].depends_on[1]", "there is no task 'x'; the tasks are: up, side, t"),
        ),
        (["up", "t"], ("tasks[2].depends_on[1]", "'t' cannot depend on itself")),
        (["up", "up"], ("tasks[2].depends_on[1]", "'up' is named twice")),
        (["up", 1], ("tasks[2].depends_on[1]", "must be a valid string, not 1")),
        ("up", ("tasks[2].depends_on", "must be a valid list, not 'up'")),
    ],
)
def test_dependencies(depends_on: Any, fault: tuple[str, str]) -> None:
    assert faults(after(depends_on=depends_on)) == [fault]


@pytest.mark.parametrize(
    ("edges", "cycles"),
    [
        ({"a": "b", "b": "a"}, [("tasks[1].depends_on[0]", "a -> b -> a")]),
        (
            {"a": "b", "b": "c", "c": "da", "d": ""},
            [("tasks[2].depends_on[1]", "a -> b -> c -> a")],
        ),
        ({"x": "a", "a": "b", "b": "a"}, [("tasks[2].depends_on[0]", "a -> b -> a")]),
        (
            {"a": "bc", "b": "a", "c": "a"},
            [("tasks[1].depends_on[0]", "a -> b -> a"), ("tasks[2].depends_on[0]", "a -> c -> a")],
        ),
    ],
)
def test_cycles_are_named(edges: dict[str, str], cycles: list[tuple[str, str]]) -> None:
    definition = tasks(*({"id": id, "depends_on": [*names]} for id, names in edges.items()))
    assert faults(definition) == [
        (path, f"the dependencies form a cycle: {cycle}") for path, cycle in cycles
    ]


def test_a_diamond_is_no_cycle() -> None:
    edges = {"a": "bc", "b": "d", "c": "d", "d": ""}
    assert resolve(tasks(*({"id": id, "depends_on": [*names]} for id, names in edges.items())))


@pytest.mark.parametrize(
    ("retry", "path", "why"),
    [
        ({"strategy": "autoo"}, "strategy", "must be 'auto', 'manual' or 'no_retry', not 'autoo'"),
        ({"max_attempts": -1}, "max_attempts", "must be greater than or equal to 0, not -1"),
        ({"max_attempts": 1.5}, "max_attempts", "must be a valid integer, not 1.5"),
        ({"max_attempts": 1001}, "max_attempts", "must be less than or equal to 1000, not 1001"),
        ({"max_attempts": True}, "max_attempts", "must be a valid integer, not true"),
        ({"interval": -1}, "interval", "must be greater than or equal to 0, not -1"),
        ({"interval": "5"}, "interval", "must be a valid number, not '5'"),
        ({"interval": 10**400}, "interval", "must be a valid number"),
        ({"max_interval": 1e9}, "max_interval", "must be less than or equal to 2592000"),
        ({"backoff": "linear"}, "backoff", "must be 'fixed' or 'exponential', not 'linear'"),
        ({"jitter": 1}, "jitter", "must be a valid boolean, not 1"),
        ({"times": 1}, "times", "unknown key; known here: strategy, max_attempts"),
        (
            {"interval": 9, "max_interval": 8},
            "max_interval",
            "is 8 s, which is less than the interval of 9 s",
        ),
    ],
)
def test_bad_retry_values(retry: JsonObject, path: str, why: str) -> None:
    [(where, message)] = faults(tasks({"id": "a", "retry": retry}))
    assert where == f"tasks[0].retry.{path}"
    assert message.startswith(why)


def test_waits_are_compared_after_the_definitions_are_overlaid() -> None:
    path = "tasks[0].retry.max_interval"
    task = {"id": "a", "task_name": "foreign", "retry": {"max_interval": 5}}
    assert (path, "is 5 s, which is less than the interval of 100 s") in faults(tasks(task))
    task["retry"] = {"max_interval": 5, "interval": 5}
    assert path not in dict(faults(tasks(task)))


def pay(**config: Any) -> JsonObject:
    return tasks({"id": "a", "task_name": "pay", "config": config})


def test_a_config_is_checked_after_the_definitions_is_overlaid() -> None:
    assert resolve(pay(method="refund", json={"any": 1}))
    assert faults(pay(service=5, method="x", retries=1.5, metod="y")) == [
        ("tasks[0].config.service", "must be a valid string, not 5"),
        ("tasks[0].config.method", "must be 'deduct' or 'refund', not 'x'"),
        ("tasks[0].config.retries", "must be a valid integer, not 1.5"),
        (
            "tasks[0].config.metod",
            "unknown key; known here: service, method, retries, headers, rows, json",
        ),
    ]


def test_faults_that_come_from_the_definition_say_so() -> None:
    own = [{"name": "whom", "type": "string"}]
    assert faults(tasks({"id": "a", "task_name": "closed", "input_fields": own})) == [
        (
            "tasks[0].config.service",
            "${input.who}: the input has no field 'who'; the fields are: whom "
            "(from the task definition 'closed')",
        )
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"service": "${input.x}", "method": "${input.x}", "retries": "${input.x}"},
        {"method": "re${input.x}", "headers": "${input.x}", "rows": "${secret.X}"},
        {"headers": {"a": "${input.x}"}, "rows": [1, "${input.x}"]},
    ],
)
def test_a_placeholder_may_stand_for_what_a_field_can_hold(config: JsonObject) -> None:
    assert resolve(pay(**config))


def test_a_placeholder_excuses_nothing_else() -> None:
    config = {"metod": "${input.x}", "retries": "$${input.x}", "rows": ["${input.x}", "1"]}
    assert [path for path, _ in faults(pay(**config))] == [
        "tasks[0].config.retries",
        "tasks[0].config.rows[1]",
        "tasks[0].config.metod",
    ]


@pytest.mark.parametrize("timeout", [0, -1, "3", True, 3601, "${input.x}"])
def test_a_timeout_in_the_config_must_be_one(timeout: Any) -> None:
    assert resolve(pay(timeout=3))
    assert resolve(pay(timeout=None))
    assert [path for path, _ in faults(pay(timeout=timeout))] == ["tasks[0].config.timeout"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "${foo}",
            "${foo} is none of ${input.x}, ${tasks.<id>.output.x} and ${secret.NAME}; for "
            "the text itself write $${foo}",
        ),
        ("a ${input.x", "${input.x is none of"),
        (
            "${tasks.nope.output.x}",
            "${tasks.nope.output.x}: there is no task 'nope'; the tasks are: up, side, t",
        ),
        ("${tasks.side.output.x}", "${tasks.side.output.x}: 'side' is not upstream; add it"),
        ("${tasks.t.output.x}", "${tasks.t.output.x}: 't' is not upstream"),
    ],
)
def test_placeholders_that_can_never_be_filled_in(text: str, why: str) -> None:
    [(path, message)] = faults(after("up", config={"a": [{"b": text}]}))
    assert path == "tasks[2].config.a[0].b"
    assert message.startswith(why)


def test_placeholders_of_an_open_input_and_of_everything_upstream() -> None:
    config = {"a": "${input.x.y} ${tasks.up.output.x} ${tasks.side.output.x} ${secret.K} $${foo}"}
    chain = after("up", config=config)
    chain["tasks"][0]["depends_on"] = ["side"]
    assert resolve(chain)


def test_a_placeholder_in_a_key_is_refused() -> None:
    [(path, message)] = faults(after(config={"a": [{"${input.x}": 1}]}))
    assert path == 'tasks[2].config.a[0]["${input.x}"]'
    assert "a key is taken as it is written" in message


def test_a_placeholder_for_a_field_that_a_closed_input_lacks() -> None:
    closed = {"task_name": "closed", "config": {"service": "${input.who.name} ${input.whom}"}}
    assert faults(after(**closed)) == [
        (
            "tasks[2].config.service",
            "${input.whom}: the input has no field 'whom'; the fields are: who",
        )
    ]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("$.up[", "'$.up[' is not a JSONPath: unexpected end of query"),
        ("$..x", "'$..x' must begin with a task, as in $.deduct.receipt_no"),
        ("$.side.x", "'side' is not upstream; add it to depends_on"),
        ("$.nope.x", "there is no task 'nope'; the tasks are: up, side, t"),
        ("$.up[?@ == $.side.x]", "'side' is not upstream; add it to depends_on"),
    ],
)
def test_input_from_that_can_never_be_found(path: str, why: str) -> None:
    assert faults(after("up", input_from={"x": path})) == [("tasks[2].input_from.x", why)]


def test_input_from_for_a_field_that_a_closed_input_lacks() -> None:
    wired = {"task_name": "closed", "input_from": {"who": "$.up.x", "whom": "$.up.x"}}
    assert faults(after("up", **wired)) == [
        ("tasks[2].input_from.whom", "the input has no field 'whom'; the fields are: who")
    ]


def test_all_faults_at_once() -> None:
    definition = {
        "name": "other",
        "colour": "red",
        "tasks": [
            {"id": "a", "task_name": "open", "depends_on": ["c"], "retry": {"interval": "x"}},
            {"id": "a", "task_name": "pay", "depends_on": ["b"], "config": {"retries": "x"}},
            {"id": "b-b", "task_name": "nope", "input_from": {"x": 5, "y": "$["}},
            {"id": "c", "task_name": "closed", "depends_on": ["a"], "config": {"x": "${foo}"}},
            {"task_name": "open", "input_fields": [{"name": "x", "type": "integer"}]},
            None,
        ],
    }
    assert sorted(path for path, _ in faults(definition)) == [
        "colour",
        "name",
        "tasks[0].retry.interval",
        "tasks[1].config.retries",
        "tasks[1].depends_on[0]",
        "tasks[1].id",
        "tasks[2].id",
        "tasks[2].input_from.x",
        "tasks[2].input_from.y",
        "tasks[2].task_name",
        "tasks[3].config.x",
        "tasks[3].config.x",
        "tasks[3].depends_on[0]",
        "tasks[4].id",
        "tasks[4].input_fields[0].type",
        "tasks[5]",
    ]


@pytest.mark.parametrize("broken", [{"depends_on": "up"}, {"input_fields": 5}])
def test_what_depends_on_a_misshapen_part_is_not_judged(broken: JsonObject) -> None:
    config = {"service": "${tasks.side.output.x} ${input.whom}"}
    closed = {"task_name": "closed", "config": config, "input_from": {"whom": "$.side.x"}}
    sound = after("up", "side", **closed, input_fields=[{"name": "whom", "type": "*"}])
    assert resolve(sound)
    sound["tasks"][2].update(broken)
    assert [path for path, _ in faults(sound)] == [f"tasks[2].{key}" for key in broken]


def test_who_is_upstream_of_a_task_whose_dependencies_are_misshapen_is_not_judged() -> None:
    below = {"id": "u", "depends_on": ["t"], "input_from": {"x": "$.side.x"}}
    definition = after("side")
    definition["tasks"].append({"task_name": "open", **below})
    assert resolve(definition)
    definition["tasks"][2]["depends_on"] = "side"
    assert [path for path, _ in faults(definition)] == ["tasks[2].depends_on"]
