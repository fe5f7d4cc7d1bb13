"""Config values that become text: headers, metadata, parameters of a query."""

from dist_task_pipelines.domain.json import JsonValue, dumps


def is_scalar(value: JsonValue) -> bool:
    """Whether it is a string, a number or a boolean."""
    return isinstance(value, str | int | float)


def written(value: JsonValue) -> str:
    """A scalar as JSON writes it: true, 1.5; a string as it is."""
    return value if isinstance(value, str) else dumps(value)
