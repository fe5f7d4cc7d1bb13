"""What an `rpc` task may say in its config."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.domain.keys import KEY_HEADER
from dist_task_pipelines.executors.base import ExecutorConfig, Service
from dist_task_pipelines.executors.scalars import is_scalar, written

_NAME = re.compile(r"[0-9A-Za-z_.-]+")
_VALUE = re.compile(r"[ -~]*")  # what both gRPC metadata and HTTP headers carry
_RESERVED = frozenset(
    ["connection", "content-length", "content-type", "host", "te", "transfer-encoding"]
)


class RpcConfig(ExecutorConfig):
    """The config of an `rpc` task."""

    service: str = Field(
        min_length=1, description="The service's name, as the configuration's [services] has it."
    )
    method: str = Field(
        min_length=1,
        description="The method to call. Over gRPC it is `package.Service/Method`, and the input "
        'makes its request. Over HTTP the request is `{"method": <it>, "params": <the input>}`.',
    )
    metadata: dict[str, Any] = Field(
        default={},
        description="Sent along with the call: gRPC metadata, or HTTP headers. Values are strings, "
        "numbers or booleans. It is laid over the `metadata` of the service.",
    )

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, value: dict[str, Any]) -> dict[str, Any]:
        return checked_metadata(value)


def checked_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """The metadata, if it can be sent over gRPC and over HTTP.

    Raises:
        ValueError: it cannot; names everything that is wrong.
    """
    faults = [
        f"{name!r} {fault}" for name, item in value.items() if (fault := _unsendable(name, item))
    ]
    names = [name.lower() for name in value]
    faults += [f"{name!r} stands there twice" for name in set(names) if names.count(name) > 1]
    if faults:
        raise ValueError("; ".join(faults))
    return value


def metadata_of(service: Service, config: RpcConfig) -> Mapping[str, str]:
    """What goes along with a call, by lower-case name: the service's and the task's."""
    both = ({**service.metadata}, config.metadata)
    return {name.lower(): written(value) for part in both for name, value in part.items()}


def _unsendable(name: str, value: JsonValue) -> str | None:
    lower = name.lower()
    if not _NAME.fullmatch(name):
        return "must hold letters, digits, '_', '-' and '.' only"
    if lower == KEY_HEADER.lower():
        return "is set by the platform, the same on every attempt"
    if lower in _RESERVED or lower.startswith("grpc-"):
        return "belongs to the protocol"
    if lower.endswith("-bin"):
        return "would be binary, which is not supported"
    if not is_scalar(value):
        return "must be a string, a number or a boolean"
    return None if _VALUE.fullmatch(written(value)) else "must hold printable ASCII only"
