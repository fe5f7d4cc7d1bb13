"""The files that commands read: definitions, and requests one a line."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import Fault, InvalidInput
from dist_task_pipelines.domain.json import JsonObject

if TYPE_CHECKING:
    from dist_task_pipelines.schemas import Submit


def read(file: Path) -> bytes:
    """The file, or standard input for `-`.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InvalidInput([Fault(str(file), f"cannot be read: {error.strerror}")]) from None


def definition_of(file: Path, name: str | None) -> tuple[str, JsonObject]:
    """The flow's name and its definition.

    Raises:
        InvalidInput: the file cannot be read, is no JSON object, or there is no name.
    """
    definition = object_of(read(file), str(file))
    name = name or definition.get("name")
    if not isinstance(name, str):
        raise InvalidInput([Fault(str(file), "has no `name`; add one or give --name")])
    return name, definition


def object_of(text: str | bytes, where: str) -> JsonObject:
    """The JSON object.

    Raises:
        InvalidInput: it is none.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise InvalidInput([Fault(where, "must be a JSON object")])
    return value


def orders_of(file: Path) -> "list[Submit]":
    """The requests of a file's lines: `{"instance_id", "flow_id", "params"}` each.

    Raises:
        InvalidInput: some lines are none: every fault of each.
    """
    from dist_task_pipelines import client  # noqa: PLC0415 - only when a command runs
    from dist_task_pipelines.client.submitting import checked  # noqa: PLC0415

    requests: list[Submit] = []
    faults: list[Fault] = []
    for number, line in enumerate(read(file).splitlines(), 1):
        if line.strip():
            try:
                requests.append(checked(object_of(line, "")))
            except (InvalidInput, client.InvalidInput) as error:
                faults += _placed(number, error.faults)
    if faults:
        raise InvalidInput(faults)
    return requests


def _placed(number: int, faults: Iterable[Fault]) -> list[Fault]:
    place = f"line {number}"
    return [
        Fault(f"{place}, {fault.path}" if fault.path else place, fault.message) for fault in faults
    ]
