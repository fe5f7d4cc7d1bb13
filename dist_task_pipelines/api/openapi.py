"""The OpenAPI document: what FastAPI derives, and the request bodies read by hand."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from dist_task_pipelines import schemas

ABOUT = """\
Distributed transactions on Dagster: define flows, submit transactions, see what failed, repair it.

Every answer is `{"code": 0, "message": "success", "data": ...}`; an error has the HTTP status in
`code`, and each fault with its place in `data.errors`. Times are RFC 3339 in UTC. `X-Actor` says
who acts. Unknown fields are refused, numbers are kept exactly. Ids in paths are percent-encoded.
"""
TAGS = {
    "flows": "Definitions and their versions.",
    "transactions": "One execution of one flow version each.",
    "exceptions": "Tasks that need a retry or a person.",
    "statistics": "Counts, rates and durations.",
    "service": "The server itself.",
}
BODIES = (
    schemas.FlowCreate,
    schemas.FlowUpdate,
    schemas.Submit,
    schemas.SubmitBatch,
    schemas.Reason,
    schemas.Handle,
)


def document(app: FastAPI) -> dict[str, Any]:
    """The document; made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _make(app)
    return app.openapi_schema


def _make(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title="dist_task_pipelines",
        version=version("dist-task-pipelines"),
        summary="Distributed transactions on Dagster",
        description=ABOUT,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    components = made["components"]["schemas"]
    _, bodies = models_json_schema(
        [(model, "validation") for model in BODIES], ref_template="#/components/schemas/{model}"
    )
    components.update(bodies["$defs"])
    for operation in operations(made):
        operation["responses"].pop("422", None)  # what FastAPI adds; here that is a 400
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    made["components"]["schemas"] = dict(sorted(components.items()))
    return made


def operations(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Every call of the document."""
    return [call for path in made["paths"].values() for call in path.values()]
