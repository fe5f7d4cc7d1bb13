"""Reading a stored definition back: into the flow that the engine runs, and for people to see.

A stored definition was checked when it was made; nothing here checks it again.
"""

from dataclasses import asdict, replace

from dist_task_pipelines.domain.flow import Flow, InputField, RetrySettings, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Backoff, RetryStrategy

TASK_DEFINITIONS, DEFAULT_RETRY = "task_definitions", "default_retry"  # added when it is stored

_ENUMS = {"strategy": RetryStrategy, "backoff": Backoff}


def stored(resolved: JsonObject, default_retry: RetrySettings) -> JsonObject:
    """What `resolve_definition` made, with the retry settings of tasks that have none."""
    return {**resolved, DEFAULT_RETRY: asdict(default_retry)}


def flow_from(definition: JsonObject, *, id: str, version: int) -> Flow:
    """The flow of a stored definition.

    What a task says goes before what its task definition says; of `retry`, key by key, and
    both before the default. At each of the two, `timeout` goes before `config.timeout`.
    """
    default_retry = _retry(definition.get(DEFAULT_RETRY, {}), {}, RetrySettings())
    definitions = definition[TASK_DEFINITIONS]
    return Flow(
        id=id,
        name=definition["name"],
        version=version,
        description=definition.get("description") or "",
        tasks=tuple(
            _task(_said(task), _said(definitions[task["task_name"]]), default_retry)
            for task in definition["tasks"]
        ),
    )


def split_stored(definition: JsonObject) -> JsonObject:
    """A stored definition as it is shown: `definition`, as it was sent, and what was added."""
    added = {key: definition.get(key) for key in (TASK_DEFINITIONS, DEFAULT_RETRY)}
    sent = {key: value for key, value in definition.items() if key not in added}
    return {"definition": sent, **added}


def _task(own: JsonObject, base: JsonObject, default_retry: RetrySettings) -> Task:
    both = {**base, **own}
    config = {**base["config"], **own.get("config", {})}
    config.pop("timeout", None)
    fields = both.get("input_fields")
    options = {key: both[key] for key in ("description", "idempotent") if key in both}
    return Task(
        id=own["id"],
        name=own["task_name"],
        type=base["type"],
        depends_on=tuple(own.get("depends_on", ())),
        config=config,
        input_fields=None if fields is None else tuple(InputField(**_said(f)) for f in fields),
        input_from=own.get("input_from", {}),
        retry=_retry(own.get("retry", {}), base.get("retry", {}), default_retry),
        **options,
        **_timeout(own, base),
    )


def _retry(own: JsonObject, base: JsonObject, default: RetrySettings) -> RetrySettings:
    said = {**_said(base), **_said(own)}
    if "max_interval" not in said:  # a default never cuts short an interval that is asked for
        said["max_interval"] = max(default.max_interval, said.get("interval", 0))
    for key, enum in _ENUMS.items():
        if key in said:
            said[key] = enum(said[key])
    return replace(default, **said)


def _timeout(*levels: JsonObject) -> JsonObject:
    """The first timeout that any of them says, as `{"timeout": seconds}`; else `{}`."""
    places = (place for level in levels for place in (level, level.get("config", {})))
    said = ({"timeout": place["timeout"]} for place in places if place.get("timeout") is not None)
    return next(said, {})


def _said(values: JsonObject) -> JsonObject:
    """Without nulls, which stand for absent keys."""
    return {key: value for key, value in values.items() if value is not None}
