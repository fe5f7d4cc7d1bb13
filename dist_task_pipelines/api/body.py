"""Request bodies: strict JSON, fitted to a model."""

from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from pydantic import ValidationError

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import InvalidRequest, WrongMediaType
from dist_task_pipelines.flows.faults import faults_of
from dist_task_pipelines.schemas import Request

R = TypeVar("R", bound=Request)

JSON = "application/json"


def takes(model: type[Request], *, required: bool = True) -> dict[str, Any]:
    """What OpenAPI is told of a call's body; `openapi.document` adds the model."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {JSON: {"schema": schema}}}}


async def read(request: HttpRequest, model: type[R]) -> R:
    """The request's body as the model; an absent one as `{}`.

    Raises:
        WrongMediaType: its Content-Type is not JSON.
        InvalidJson: it is not JSON, or not without loss.
        InvalidRequest: it does not fit; every fault.
    """
    content = await request.body()
    if content:
        _check_media_type(request.headers.get("content-type", ""))
    value = json.loads(content) if content else {}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise InvalidRequest(faults_of(errors, "", model)) from None


def _check_media_type(header: str) -> None:
    """Only JSON: a page in a browser cannot send that to another site unasked; see `origin.py`."""
    kind = header.partition(";")[0].strip().lower()
    if kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        raise WrongMediaType(f"the body must be sent as Content-Type: {JSON}, not {header!r}")
