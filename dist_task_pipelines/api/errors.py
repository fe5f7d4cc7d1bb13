"""Every error as an answer, and never a stack trace.

What the platform raises is translated here alone; routes let it pass.
"""

from collections.abc import Iterator

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from dist_task_pipelines.api.envelope import failure
from dist_task_pipelines.domain.errors import DistTaskError, InvalidInput, InvalidRequest
from dist_task_pipelines.flows.faults import faults_of
from dist_task_pipelines.schemas import status_of

log = structlog.get_logger(__name__)

RETRY_AFTER = "1"  # seconds, where the ledger cannot be used
INTERNAL = "the server failed; its log says why"


def answer_to(error: DistTaskError) -> Response:
    """The answer that tells of an error."""
    status = status_of(error)
    if status == 500:
        log.error("a request failed", exc_info=error)
        return failure(status, INTERNAL)
    faults = error.faults if isinstance(error, InvalidInput) else ()
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
    return failure(status, str(error), faults, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error that a route or the routing raises."""
    app.add_exception_handler(DistTaskError, _platform_error)
    app.add_exception_handler(RequestValidationError, _invalid_query)
    app.add_exception_handler(HTTPException, _routing_error)
    app.add_exception_handler(Exception, _unforeseen)


async def _platform_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DistTaskError)
    return answer_to(error)


async def _invalid_query(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = [_without_source(each) for each in error.errors()]
    return answer_to(InvalidRequest(faults_of(details, "")))


def _without_source(details: ErrorDetails) -> ErrorDetails:
    """The error's place without FastAPI's first word, `query` or `path`."""
    return {**details, "loc": details["loc"][1:]}


async def _routing_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 404:
        return failure(404, f"no such call: {request.method} {path}; /docs lists them")
    if error.status_code == 405:
        allowed = ", ".join(sorted(set(_methods(request))))
        message = f"{path} does not take {request.method}, but {allowed}"
        return failure(405, message, headers={"Allow": allowed})
    return failure(error.status_code, str(error.detail), headers=error.headers)


async def _unforeseen(_request: Request, _error: Exception) -> Response:
    """Around this, Starlette raises the error once more, and `asgi.Guard` logs it."""
    return failure(500, INTERNAL)


def _methods(request: Request) -> Iterator[str]:
    """The methods that the path takes, by the first route that it fits and those beside it."""
    fitting = [
        route
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    for route in fitting:
        if route.path == fitting[0].path:
            yield from route.methods or ()
