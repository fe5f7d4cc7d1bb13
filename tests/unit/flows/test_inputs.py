import copy
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import InvalidParams
from dist_task_pipelines.domain.flow import InputField
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows import outputs_read, task_config, task_input
from tests.unit.flows.making import faults_of, fields, task

OUTPUTS: dict[str, JsonObject] = {
    "deduct": {"receipt": "r1", "amount": 99, "none": None, "items": [{"n": 1}, {"n": 2}]},
    "lost": {"unreadable": "9 MB"},
}
F = "f"


def field(type: str = "int", **options: Any) -> InputField:
    return InputField(F, type, **options)


@pytest.mark.parametrize(
    ("declared", "params", "made"),
    [
        (field(), {}, {}),
        (field(), {F: None}, {}),
        (field(), {F: "7"}, {F: 7}),
        (field(required=True, default=3), {}, {F: 3}),
        (field(default=3), {F: None}, {F: 3}),
        (field(default=3), {F: 0}, {F: 0}),
        (field(default="3"), {}, {F: 3}),
        (field("bool", default=False, required=True), {}, {F: False}),
    ],
)
def test_a_declared_field(declared: InputField, params: JsonObject, made: JsonObject) -> None:
    assert task_input(task("t", **fields(declared)), {"t": params}, {}) == made


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({}, ("input.f", "is required (type int)")),
        ({F: None}, ("input.f", "is required (type int)")),
        ({F: 1.9}, ("input.f", "must be an integer, not 1.9")),
        ({F: 1, "g": 1}, ("input.g", "is not declared; the fields are: f")),
    ],
)
def test_a_declared_field_that_does_not_fit(params: JsonObject, fault: tuple[str, str]) -> None:
    one = task("t", **fields(field(required=True)))
    assert faults_of(InvalidParams, task_input, one, {"t": params}, {}) == [fault]


def test_an_open_input_is_taken_as_it_was_sent() -> None:
    sent = {"z": "${input.a}", "a": None, "n": 1.0, "deep": {"y": [1]}}
    made = task_input(task("t"), {"t": sent}, {})
    assert list(made.items()) == list(sent.items())


def test_params_may_be_keyed_by_the_definitions_name() -> None:
    assert task_input(task("t", name="deduct"), {"deduct": {"a": 1}}, {}) == {"a": 1}


def test_an_input_keeps_the_order_of_the_params_then_defaults() -> None:
    declared = [InputField(name, "*", default=0) for name in ("a", "b", "c")]
    made = task_input(task("t", **fields(*declared)), {"t": {"c": 1, "b": 2}}, {})
    assert list(made) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.deduct.receipt", "r1"),
        ("$.deduct.none", None),
        ("$.deduct.items[*].n", [1, 2]),
        ("$.deduct.items[?@.n > 5]", []),
    ],
)
def test_input_from_reads_upstream_outputs(path: str, found: JsonValue) -> None:
    wired = task("t", input_from={"f": path})
    assert task_input(wired, {"t": {"g": 1}}, OUTPUTS) == {"g": 1, "f": found}


def test_what_input_from_finds_is_converted() -> None:
    wired = task("t", input_from={F: "$.deduct.amount"}, **fields(field("string")))
    assert task_input(wired, {}, OUTPUTS) == {F: "99"}
    wrong = task("t", input_from={F: "$.deduct.receipt"}, **fields(field()))
    assert faults_of(InvalidParams, task_input, wrong, {}, OUTPUTS) == [
        ("input.f", "must be an integer, not 'r1'")
    ]


def test_a_param_goes_before_input_from_unless_it_is_null() -> None:
    wired = task("t", input_from={F: "$.deduct.receipt"})
    assert task_input(wired, {"t": {F: "mine"}}, OUTPUTS) == {F: "mine"}
    assert task_input(wired, {"t": {F: None}}, OUTPUTS) == {F: "r1"}


@pytest.mark.parametrize("path", ["$.deduct.nothing", "$.skipped.receipt", "$.deduct.none"])
def test_a_declared_field_that_is_not_found(path: str) -> None:
    def wired(**options: Any) -> JsonObject:
        each = task("t", input_from={F: path}, **fields(field(**options)))
        return task_input(each, {}, OUTPUTS)

    assert wired() == {}
    assert wired(default=3) == {F: 3}
    assert wired(default=3, required=True) == {F: 3}
    assert faults_of(InvalidParams, wired, required=True) == [("input.f", f"{path} found no value")]


def test_a_field_of_an_open_input_that_is_not_found_is_named() -> None:
    wired = task("t", input_from={"f": "$.deduct.nothing", "g": "$.skipped.x"})
    assert faults_of(InvalidParams, task_input, wired, {}, OUTPUTS) == [
        ("input.f", "$.deduct.nothing found no value"),
        ("input.g", "$.skipped.x found no value"),
    ]


def test_an_output_that_could_not_be_kept_fails_by_name() -> None:
    wired = task("t", input_from={F: "$.lost.x"}, **fields(field(required=True)))
    assert faults_of(InvalidParams, task_input, wired, {}, OUTPUTS) == [
        ("input.f", "the output of 'lost' could not be kept: 9 MB")
    ]
    config = {"a": "${tasks.lost.output.x}"}
    assert faults_of(InvalidParams, task_config, task(config=config), {}, OUTPUTS) == [
        ("config.a", "the output of 'lost' could not be kept: 9 MB")
    ]


INPUT: JsonObject = {
    "text": "a ${input.n} b",
    "n": 5,
    "f": 1e21,
    "yes": True,
    "null": None,
    "list": ["${secret.X}"],
    "deep": {"er": {"x y": -0.5}},
}


def test_the_tasks_whose_outputs_are_read() -> None:
    reading = task(
        "t",
        input_from={"f": "$.deduct.amount", "g": "$.lines[?@.sku == $.stock.sku]"},
        config={
            "url": "http://h/${input.id}/${tasks.ship.output.id}?${secret.KEY}",
            "headers": {"X": ["$${tasks.escaped.output.id}", "${tasks.pay.output.receipt.no}"]},
        },
    )
    assert outputs_read(reading) == {"deduct", "lines", "stock", "ship", "pay"}
    assert outputs_read(task("t", config={"url": "http://h"})) == frozenset()


@pytest.mark.parametrize(
    ("config", "made"),
    [
        ("plain $5 {x}", "plain $5 {x}"),
        ("${input.n}", 5),
        ("${input.null}", None),
        ("${input.yes}", True),
        ("${input.list}", ["$${secret.X}"]),
        ("${input.deep}", {"er": {"x y": -0.5}}),
        ("${input.deep.er.x y}", -0.5),
        ("${input.text}", "a $${input.n} b"),
        ("<${input.text}>", "<a $${input.n} b>"),
        ("${input.n}/${input.f}/${input.yes}", "5/1e+21/true"),
        ("${tasks.deduct.output.receipt}-${input.n}", "r1-5"),
        ("${tasks.deduct.output.items}", [{"n": 1}, {"n": 2}]),
        ("${secret.KEY}", "${secret.KEY}"),
        ("Bearer ${secret.KEY} ${input.n}", "Bearer ${secret.KEY} 5"),
        ("$${input.n} $$${input.n}", "$${input.n} $5"),
        ({"a": [{"b": "${input.n}"}, 1, None]}, {"a": [{"b": 5}, 1, None]}),
    ],
)
def test_placeholders_are_filled_in_once_as_values(config: JsonValue, made: JsonValue) -> None:
    whole = {"c": config}
    before = copy.deepcopy(whole)
    assert task_config(task(config=whole), INPUT, OUTPUTS) == {"c": made}
    assert whole == before


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("${input.x}", ["${input.x} has no value: there is no 'x'"]),
        ("${input.n.x}", ["${input.n.x} has no value: there is no 'x'"]),
        ("${input.deep.x}", ["${input.deep.x} has no value: there is no 'x'"]),
        ("${tasks.up.output.x}", ["${tasks.up.output.x} has no value: 'up' has no output"]),
        ("a${input.null}", ["${input.null} is null, which cannot stand inside a longer string"]),
        (
            "${input.list}${input.deep}",
            [
                "${input.list} is a list, which cannot stand inside a longer string",
                "${input.deep} is an object, which cannot stand inside a longer string",
            ],
        ),
        ("${what}", ["${what} is none of ${input.x}, ${tasks.<id>.output.x} and ${secret.NAME}"]),
    ],
)
def test_a_placeholder_without_a_value_is_named(text: str, messages: list[str]) -> None:
    one = task(config={"ok": "${input.n}", "deep": {"er": [0, text]}})
    assert faults_of(InvalidParams, task_config, one, INPUT, OUTPUTS) == [
        ("config.deep.er[1]", message) for message in messages
    ]


def test_every_string_that_cannot_be_filled_in_is_named() -> None:
    one = task(config={"a": "${input.x}", "b": ["${input.y}"]})
    paths = [path for path, _ in faults_of(InvalidParams, task_config, one, {}, {})]
    assert paths == ["config.a", "config.b[0]"]


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("${input.url}", "http://h/a b?c=d"),
        ("${input.url}/${input.odd}", "http://h/a b?c=d/a%2Fb%3F%C3%BC%25%20%24%7Bx%7D"),
        ("http://h/${input.odd}/x", "http://h/a%2Fb%3F%C3%BC%25%20%24%7Bx%7D/x"),
        ("http://h/?a=${input.odd}&b=${input.n}", "http://h/?a=a%2Fb%3F%C3%BC%25%20%24%7Bx%7D&b=7"),
        ("http://h/${secret.S}/${input.n}", "http://h/${secret.S}/7"),
        ("http://h/a b/${tasks.deduct.output.receipt}", "http://h/a b/r1"),
    ],
)
def test_a_value_inside_a_url_is_percent_encoded(url: str, made: str) -> None:
    values: JsonObject = {"url": "http://h/a b?c=d", "odd": "a/b?ü% ${x}", "n": 7}
    config = task_config(task("t", config={"url": url}), values, OUTPUTS)
    assert config == {"url": made}


def test_only_the_url_of_the_task_is_one() -> None:
    config = {"body": "http://h/${input.x}", "json": {"url": "http://h/${input.x}"}}
    made = task_config(task("t", config=config), {"x": "a/b"}, {})
    assert made == {"body": "http://h/a/b", "json": {"url": "http://h/a/b"}}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("..", "${input.x} is '..', which would change the URL's path"),
        (".", "${input.x} is '.', which would change the URL's path"),
        ("\ud800", "${input.x} holds a lone surrogate, which cannot stand in a URL"),
    ],
)
def test_a_value_that_no_url_can_hold_is_named(value: str, why: str) -> None:
    called = task("t", config={"url": "http://h/${input.x}/y"})
    assert faults_of(InvalidParams, task_config, called, {"x": value}, {}) == [("config.url", why)]
