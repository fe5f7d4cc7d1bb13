"""One call of REST: from a path and a body to a typed answer or an error."""

import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from dist_task_pipelines.client.errors import (
    ClientError,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from dist_task_pipelines.client.retrying import Retries, send, wait_asked_for
from dist_task_pipelines.client.transport import Request, Response, Transport
from dist_task_pipelines.domain import errors as domain
from dist_task_pipelines.domain import json as strict_json
from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.schemas import Envelope, ErrorEnvelope, FaultView, HealthReport, Page

ROOT = "/api/v1"
Model = TypeVar("Model", bound=BaseModel)
Query = Mapping[str, object]

_ERRORS: dict[int, type[ClientError]] = {
    400: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    413: TooLarge,
    415: InvalidInput,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class Calls:
    """Makes calls.

    Args:
        headers: sent with every call.
    """

    def __init__(self, transport: Transport, retries: Retries, headers: Mapping[str, str]) -> None:
        self.transport = transport
        self._retries = retries
        self._headers = headers

    def get(self, path: str, answer: type[Model], **query: object) -> Model:
        """Ask for something. What is None in the query is left out.

        Raises:
            ClientError: it was refused, or there is no proper answer.
        """
        return _data(self._send("GET", path, query=query, is_safe=True), answer)

    def every(self, path: str, item: type[Model]) -> list[Model]:
        """Ask for all of something, of which there is never much.

        Raises:
            ClientError: it was refused, or there is no proper answer.
        """
        response = self._send("GET", path, is_safe=True)
        return _validated(response, Envelope[list[item]]).data  # type: ignore[valid-type]

    def act(
        self,
        path: str,
        answer: type[Model],
        body: BaseModel | None = None,
        *,
        method: str = "POST",
        is_safe: bool = False,
    ) -> Model:
        """Do something; only what is safe to repeat is repeated.

        Raises:
            ClientError: it was refused, or there is no proper answer.
        """
        try:
            return _data(self._send(method, path, body=body, is_safe=is_safe), answer)
        except Unreachable as error:
            if is_safe or not error.may_have_arrived:
                raise
            raise Unreachable(f"{error}; it may have been carried out all the same") from error

    def pages(self, path: str, item: type[Model], **query: object) -> Iterator[Model]:
        """Everything in a list, asked for page by page as it is taken.

        Raises:
            ClientError: it was refused, or there is no proper answer.
        """
        cursor: str | None = None
        while True:
            page = self.get(path, Page[item], cursor=cursor, **query)  # type: ignore[valid-type]
            yield from page.list
            cursor = page.pagination.next_cursor
            if cursor is None:
                return

    def health(self) -> HealthReport:
        """How the server does; a bad report is a report too.

        Raises:
            ClientError: there is no proper answer.
        """
        response = self._send("GET", "/health", is_safe=False)
        unwell = HTTPStatus.SERVICE_UNAVAILABLE
        return _validated(response, Envelope[HealthReport], even_if=unwell).data

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: BaseModel | None = None,
        is_safe: bool,
    ) -> Response:
        headers = dict(self._headers)
        content = None
        if body is not None:
            content = as_json(body)
            headers["Content-Type"] = "application/json"
        request = Request(method, path, _texts(query or {}), headers, content)
        return send(self.transport, request, self._retries, is_safe=is_safe)


def path_of(*parts: object) -> str:
    """The path of these parts under `/api/v1`, each percent-encoded."""
    return "/".join((ROOT, *(_quoted(str(part)) for part in parts)))


def as_json(body: BaseModel) -> bytes:
    """The body as JSON, in ASCII; what is absent stays absent.

    Raises:
        InvalidInput: it holds what JSON cannot.
    """
    try:
        return strict_json.dumps(body.model_dump(exclude_unset=True)).encode()
    except domain.InvalidInput as error:
        raise InvalidInput(str(error), error.faults) from None


def error_of(status: int, message: str, views: Sequence[FaultView] = ()) -> ClientError:
    """The error that an HTTP status stands for; a 400 that names faults is about the input."""
    kind = _ERRORS.get(status, UnexpectedAnswer)
    if views and kind is NotAllowed:
        kind = InvalidInput
    if issubclass(kind, InvalidInput):
        return kind(message, [Fault(view.path, view.message) for view in views])
    return kind(message)


def _quoted(part: str) -> str:
    quoted = quote(part, safe="", errors="surrogatepass")
    # `.` and `..` would be taken for folders on the way.
    return quoted.replace(".", "%2E") if not part.strip(".") else quoted


def _texts(query: Query) -> dict[str, str]:
    return {name: _text(value) for name, value in query.items() if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _data(response: Response, answer: type[Model]) -> Model:
    return _validated(response, Envelope[answer]).data  # type: ignore[valid-type]


def _validated(response: Response, answer: type[Model], *, even_if: int = 0) -> Model:
    """The answer; one with the status `even_if` is no error."""
    document = _document(response)
    if response.status >= HTTPStatus.MULTIPLE_CHOICES and response.status != even_if:
        raise _error(response, document)
    try:
        return answer.model_validate(document)
    except ValidationError as error:
        raise _unexpected(response, f"not what was asked for: {error}") from error


def _error(response: Response, document: JsonObject) -> ClientError:
    try:
        envelope = ErrorEnvelope.model_validate(document)
    except ValidationError:
        return _unexpected(response, "an error without its envelope")
    views = envelope.data.errors if envelope.data else []
    error = error_of(response.status, envelope.message, views)
    if isinstance(error, Unavailable):
        error.retry_after = wait_asked_for(response)
    return error


def _document(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        pass
    if _ERRORS.get(response.status) is Unavailable:  # a proxy in front of the server says so
        raise Unavailable(retry_after=wait_asked_for(response))
    raise _unexpected(response, "not JSON; is this the platform's URL?")


def _unexpected(response: Response, what: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"the server answered {response.status} with {what}")
