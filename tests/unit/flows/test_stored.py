from typing import Any

import pytest

from dist_task_pipelines.domain.flow import Flow, InputField, RetrySettings, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Backoff, RetryStrategy
from dist_task_pipelines.flows import Catalog, flow_from, resolve_definition
from dist_task_pipelines.flows.stored import stored
from tests.unit.flows.making import MODELS

DEFAULT = RetrySettings(max_attempts=7, interval=9, max_interval=90)


def flow_of(task: JsonObject, **definition: Any) -> Flow:
    """The flow of one task, from its definition through the stored form."""
    catalog = Catalog.parse({"tasks": {"each": {"type": "open", **definition}}})
    given = {"tasks": [{"id": "t", "task_name": "each", **task}]}
    resolved = resolve_definition(given, name="pay", catalog=catalog, config_models=MODELS)
    return flow_from(stored(resolved, DEFAULT), id="pay_v3", version=3)


def only(task: JsonObject, **definition: Any) -> Task:
    return flow_of(task, **definition).tasks[0]


def test_a_flow_carries_its_identity_and_its_tasks_in_order() -> None:
    catalog = Catalog.parse({"tasks": {"each": {"type": "open"}}})
    given = {
        "description": "two",
        "tasks": [
            {"id": "b", "task_name": "each", "depends_on": ["a"]},
            {"id": "a", "task_name": "each"},
        ],
    }
    resolved = resolve_definition(given, name="pay-all", catalog=catalog, config_models=MODELS)
    flow = flow_from(stored(resolved, DEFAULT), id="pay_all_v3", version=3)
    assert (flow.id, flow.name, flow.version, flow.description) == (
        "pay_all_v3",
        "pay-all",
        3,
        "two",
    )
    assert [(task.id, task.name, task.type, task.depends_on) for task in flow.tasks] == [
        ("b", "each", "open", ("a",)),
        ("a", "each", "open", ()),
    ]


def test_what_nobody_says_has_defaults() -> None:
    assert only({}) == Task("t", "each", "open", retry=DEFAULT)


def test_null_is_absent() -> None:
    both = ("description", "config", "input_fields", "retry", "timeout", "idempotent")
    nulls = dict.fromkeys(both)
    assert only({**nulls, "depends_on": None, "input_from": None}, **nulls) == only({})


def test_the_task_goes_before_its_definition() -> None:
    definition = {"description": "base", "idempotent": True, "config": {"a": 1, "b": {"x": 1}}}
    assert only({}, **definition).description == "base"
    task = only({"description": "", "idempotent": False, "config": {"b": {"y": 2}}}, **definition)
    assert (task.description, task.idempotent) == ("", False)
    assert task.config == {"a": 1, "b": {"y": 2}}  # laid over key by key, not deeper


def test_input_fields_of_the_task_replace_its_definitions() -> None:
    declared = {"name": "a", "type": "int", "required": True, "default": 3, "description": "d"}
    base = {"input_fields": [declared]}
    assert only({}, **base).input_fields == (InputField("a", "int", True, 3, "d"),)
    own = [{"name": "b", "type": "*", "default": None}]
    assert only({"input_fields": own}, **base).input_fields == (InputField("b", "*"),)
    assert only({"input_fields": []}, **base).input_fields == ()


def test_input_from_is_kept() -> None:
    wired = {"id": "u", "task_name": "each", "depends_on": ["t"], "input_from": {"a": "$.t.x"}}
    catalog = Catalog.parse({"tasks": {"each": {"type": "open"}}})
    given = {"tasks": [{"id": "t", "task_name": "each"}, wired]}
    resolved = resolve_definition(given, name="pay", catalog=catalog, config_models=MODELS)
    flow = flow_from(stored(resolved, DEFAULT), id="pay_v1", version=1)
    assert flow.by_id["u"].input_from == {"a": "$.t.x"}


def test_retry_is_laid_over_key_by_key() -> None:
    base = {"retry": {"strategy": "auto", "interval": 5, "backoff": "exponential"}}
    own = {"retry": {"interval": 6, "max_interval": 60, "jitter": True, "backoff": None}}
    assert only(own, **base).retry == RetrySettings(
        strategy=RetryStrategy.AUTO,
        max_attempts=7,
        interval=6,
        backoff=Backoff.EXPONENTIAL,
        max_interval=60,
        jitter=True,
    )


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        ({}, (9, 90)),
        ({"interval": 500}, (500, 500)),
        ({"interval": 50}, (50, 90)),
        ({"max_interval": 4}, (9, 4)),
    ],
)
def test_a_default_never_cuts_short_an_interval_that_is_asked_for(
    retry: JsonObject, waits: tuple[int, int]
) -> None:
    settings = only({"retry": retry}).retry
    assert (settings.interval, settings.max_interval) == waits


@pytest.mark.parametrize(
    ("task", "definition", "timeout"),
    [
        ({"timeout": 1, "config": {"timeout": 2}}, {"timeout": 3, "config": {"timeout": 4}}, 1),
        ({"config": {"timeout": 2}}, {"timeout": 3, "config": {"timeout": 4}}, 2),
        ({}, {"timeout": 3, "config": {"timeout": 4}}, 3),
        ({"config": {"timeout": None}}, {"config": {"timeout": 4.5}}, 4.5),
        ({}, {}, 30),
    ],
)
def test_the_timeout_nearest_to_the_task_counts(
    task: JsonObject, definition: JsonObject, timeout: float
) -> None:
    made = only(task, **definition)
    assert made.timeout == timeout
    assert "timeout" not in made.config
