"""The envelope around every answer, and the answers' JSON."""

from collections.abc import Mapping, Sequence

from fastapi import Response
from pydantic import BaseModel

from dist_task_pipelines import schemas
from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonValue


class JsonResponse(Response):
    """JSON in ASCII, so that numbers, key order and lone surrogates come through."""

    media_type = "application/json"

    def render(self, content: JsonValue) -> bytes:
        """The bytes of the value."""
        return json.dumps(content).encode()


def success(data: BaseModel | Sequence[BaseModel], status: int = 200) -> Response:
    """The answer to a call that did what was asked."""
    return JsonResponse({"code": 0, "message": "success", "data": plain(data)}, status)


def failure(
    code: int,
    message: str,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a call that did not."""
    envelope = schemas.error(code, message, faults)
    return JsonResponse(plain(envelope), code, headers)


def plain(data: BaseModel | Sequence[BaseModel]) -> JsonValue:
    """The model as JSON values; pydantic's own mode for them spoils keys with lone surrogates."""
    return (
        data.model_dump() if isinstance(data, BaseModel) else [each.model_dump() for each in data]
    )
