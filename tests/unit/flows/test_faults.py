import math
from datetime import date
from typing import Any

import pytest

from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.flows.faults import errors_of, faults_of, join, listed, not_json, shown
from tests.unit.flows.making import CallConfig, Config


def test_paths_quote_keys_that_are_no_words() -> None:
    assert join("tasks", 1, "config", "a.b", "", 'q"') == 'tasks[1].config["a.b"][""]["q\\""]'
    assert join("", "tasks") == "tasks"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("x", "'x'"),
        ("x" * 99, "'" + "x" * 39 + "..."),
        ("x" * 38, "'" + "x" * 38 + "'"),
        (2**63, "9223372036854775808"),
        ([1], "a list"),
        ({"a": 1}, "an object"),
        (10**4000, "a number of more than 128 bits"),
    ],
)
def test_values_are_shown_short(value: JsonValue, text: str) -> None:
    assert shown(value) == text


def test_lists_of_names_are_bounded() -> None:
    assert listed([]) == "none"
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(20)]).endswith("18, 19")
    assert listed([str(n) for n in range(23)]).endswith("18, 19 and 3 more")


def test_what_is_not_json_is_named_at_any_depth() -> None:
    value: Any = {"a": [1, math.nan, {"d": date(2024, 1, 31)}], "b": {3: 4}, "c": (1,), "ok": None}
    assert list(not_json(value, "config")) == [
        Fault("config.a[1]", "nan is not a JSON number"),
        Fault("config.a[2].d", "a date is not a JSON value; write it as a string"),
        Fault("config.b", "the key 3 must be a string"),
        Fault("config.c", "a tuple is not a JSON value; write it as a string"),
    ]


def test_errors_are_put_in_the_platforms_words() -> None:
    config = {"retries": "5", "headers": [], "jsn": 1, "rows": [1, "2"]}
    assert faults_of(errors_of(CallConfig, config), "config", CallConfig) == [
        Fault("config.service", "is required"),
        Fault("config.retries", "must be a valid integer, not '5'"),
        Fault("config.headers", "must be an object, not a list"),
        Fault("config.rows[1]", "must be a valid integer, not '2'"),
        Fault(
            "config.jsn",
            "unknown key; known here: service, method, retries, headers, rows, json",
        ),
    ]


def test_known_keys_are_named_where_the_model_tells_them() -> None:
    class Inner(Config):
        size: int = 0

    class Outer(Config):
        inner: list[Inner] | None = None

    errors = errors_of(Outer, {"inner": [{"x": 1}]})
    assert faults_of(errors, "", Outer) == [Fault("inner[0].x", "unknown key; known here: size")]
    assert faults_of(errors, "") == [Fault("inner[0].x", "unknown key")]
