"""REST over the platform in memory: from a request to its answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from dist_task_pipelines import schemas
from dist_task_pipelines.client.transport import Request, Response
from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import DistTaskError, InvalidInput
from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.domain.status import Health, TransactionStatus
from dist_task_pipelines.flows.faults import faults_of
from dist_task_pipelines.testing.memory import Memory
from dist_task_pipelines.testing.rows import ExceptionRow, TransactionRow
from dist_task_pipelines.testing.statistics import flow_stats, overview

DEFAULT_ACTOR = "api"

Body = TypeVar("Body", bound=BaseModel)
Item = TypeVar("Item")
Answer = BaseModel | Sequence[BaseModel]


@dataclass(frozen=True, slots=True)
class Call:
    """A request, taken apart."""

    parts: tuple[str, ...]  # of the path that a route leaves open: ids
    query: Mapping[str, str]
    actor: str
    content: bytes | None

    def body(self, model: type[Body]) -> Body:
        """The body as the model.

        Raises:
            InvalidInput: it is none, and all that is wrong.
        """
        value = json.loads(self.content) if self.content else {}
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise InvalidInput(faults_of(error.errors(include_url=False), "", model)) from None


Handler = Callable[[Memory, Call], Answer]


@dataclass(slots=True)
class Routes:
    """Handlers by method and path; `{}` in a path stands for an id."""

    handlers: dict[tuple[str, ...], Handler] = field(default_factory=dict)

    def __call__(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Declare a handler."""

        def declare(handler: Handler) -> Handler:
            self.handlers[(method, *path.split("/"))] = handler
            return handler

        return declare

    def find(self, method: str, segments: Sequence[str]) -> tuple[Handler, tuple[str, ...]] | None:
        """The handler for a path, and the ids in it, as they stand there."""
        wanted = (method, *segments)
        for pattern, handler in self.handlers.items():
            if len(pattern) == len(wanted) and all(
                part in ("{}", given) for part, given in zip(pattern, wanted, strict=True)
            ):
                pairs = zip(pattern, wanted, strict=True)
                return handler, tuple(given for part, given in pairs if part == "{}")
        return None


route = Routes()


def answer(memory: Memory, request: Request) -> Response:
    """The answer to a request."""
    segments = request.path.removeprefix("/api/v1").removeprefix("/").split("/")
    found = route.find(request.method, segments)
    if found is None:
        return _failure(404, f"no such call: {request.method} {request.path}")
    handler, quoted = found
    actor = request.headers.get("X-Actor", DEFAULT_ACTOR)
    try:
        parts = tuple(_unquoted(part) for part in quoted)
        data = handler(memory, Call(parts, request.query, actor, request.body))
    except DistTaskError as error:
        faults = error.faults if isinstance(error, InvalidInput) else ()
        return _failure(schemas.status_of(error), str(error), faults)
    return _response(200, {"code": 0, "message": "success", "data": _plain(data)})


# --- flows -----------------------------------------------------------------------------------


@route("POST", "flows")
def create_flow(memory: Memory, call: Call) -> Answer:
    body = call.body(schemas.FlowCreate)
    row = memory.create_flow(
        body.name,
        body.definition,
        flow_type=body.flow_type,
        user=body.create_user or call.actor,
        description=body.description or "",
    )
    return row.view(with_definition=True)


@route("PUT", "flows/{}")
def update_flow(memory: Memory, call: Call) -> Answer:
    body = call.body(schemas.FlowUpdate)
    before = memory.flow(call.parts[0])
    row = memory.create_flow(
        before.flow.name,
        body.definition,
        flow_type=before.flow_type if body.flow_type is None else body.flow_type,
        user=body.updated_user or call.actor,
        description=body.description or "",
    )
    return row.view(with_definition=True)


@route("GET", "flows")
def list_flows(memory: Memory, call: Call) -> Answer:
    named, active = call.query.get("name"), call.query.get("is_active")
    present = (row for row in memory.flows.values() if not row.is_deleted)
    rows = sorted(present, key=lambda row: (row.flow.name, -row.flow.version))
    found = [
        row.view(with_definition=False)
        for row in rows
        if named in (None, row.flow.name) and active in (None, str(row.is_active).lower())
    ]
    return _page(found, call)


@route("GET", "flows/{}")
def get_flow(memory: Memory, call: Call) -> Answer:
    return memory.flow(call.parts[0]).view(with_definition=True)


@route("DELETE", "flows/{}")
def delete_flow(memory: Memory, call: Call) -> Answer:
    memory.delete_flow(call.parts[0])
    return schemas.FlowDeleted(flow_id=call.parts[0])


@route("POST", "flows/{}/activate")
def activate_flow(memory: Memory, call: Call) -> Answer:
    row = memory.switch_flow(call.parts[0], call.actor, active=True)
    return row.view(with_definition=True)


@route("POST", "flows/{}/deactivate")
def deactivate_flow(memory: Memory, call: Call) -> Answer:
    row = memory.switch_flow(call.parts[0], call.actor, active=False)
    return row.view(with_definition=True)


@route("GET", "task-definitions")
def list_task_definitions(memory: Memory, call: Call) -> Answer:
    found = memory.catalog.definitions.items()
    return [schemas.TaskDefinition(name=name, **definition) for name, definition in found]


# --- transactions ----------------------------------------------------------------------------


@route("POST", "transactions")
def submit(memory: Memory, call: Call) -> Answer:
    body = call.body(schemas.Submit)
    return memory.submit(body.instance_id, body.flow_id, body.params).accepted()


@route("POST", "transactions/batch")
def submit_batch(memory: Memory, call: Call) -> Answer:
    results = [_one(memory, each) for each in call.body(schemas.SubmitBatch).transactions]
    accepted = sum(result.code == 0 for result in results)
    return schemas.SubmitResults(
        accepted=accepted, refused=len(results) - accepted, results=results
    )


@route("GET", "transactions")
def list_transactions(memory: Memory, call: Call) -> Answer:
    rows = reversed(memory.transactions.values())
    return _page([row.view(whole=False) for row in rows if _is_wanted(row, call.query)], call)


@route("GET", "transactions/{}")
def get_transaction(memory: Memory, call: Call) -> Answer:
    return memory.transaction(call.parts[0]).view(whole=True)


@route("GET", "transactions/{}/tasks")
def get_tasks(memory: Memory, call: Call) -> Answer:
    return memory.transaction(call.parts[0]).task_views()


@route("GET", "transactions/{}/logs")
def get_logs(memory: Memory, call: Call) -> Answer:
    return memory.transaction(call.parts[0]).logs


@route("POST", "transactions/{}/retry")
def retry_transaction(memory: Memory, call: Call) -> Answer:
    call.body(schemas.Reason)
    row, tasks = memory.retry(call.parts[0])
    return schemas.Retried(instance_id=row.id, status=row.status, tasks=tasks)


@route("POST", "transactions/{}/cancel")
def cancel_transaction(memory: Memory, call: Call) -> Answer:
    row = memory.cancel(call.parts[0], call.body(schemas.Reason).reason, call.actor)
    return schemas.Cancelled(instance_id=row.id, status=row.status)


# --- exceptions ------------------------------------------------------------------------------


@route("GET", "exceptions")
def list_exceptions(memory: Memory, call: Call) -> Answer:
    views = [row.view() for row in reversed(memory.exceptions.values())]
    names = ("flow_id", "instance_id", "task_name", "fingerprint", "handled")
    filters = {name: call.query[name] for name in names if name in call.query}
    found = [
        view
        for view in views
        if all(_query_text(getattr(view, name)) == value for name, value in filters.items())
    ]
    return _page(found, call)


@route("GET", "exceptions/{}")
def get_exception(memory: Memory, call: Call) -> Answer:
    return _exception(memory, call).view()


@route("POST", "exceptions/{}/handle")
def handle_exception(memory: Memory, call: Call) -> Answer:
    record = _exception(memory, call)
    memory.handle(record.id, call.actor, call.body(schemas.Handle).remark)
    return schemas.Handled(exception_id=record.id)


@route("POST", "exceptions/{}/retry")
def retry_exception(memory: Memory, call: Call) -> Answer:
    call.body(schemas.Reason)
    record = memory.retry_exception(_exception(memory, call).id)
    due = record.view().retry_next_at
    assert due
    return schemas.RetryScheduled(exception_id=record.id, retry_next_at=due)


# --- statistics and health -------------------------------------------------------------------


@route("GET", "stats/overview")
def get_overview(memory: Memory, call: Call) -> Answer:
    return overview(memory)


@route("GET", "stats/flows/{}")
def get_flow_stats(memory: Memory, call: Call) -> Answer:
    return flow_stats(memory, memory.flow(call.parts[0]).flow.id)


@route("GET", "health")
def get_health(memory: Memory, call: Call) -> Answer:
    part = schemas.PartHealth(ok=True, message="in memory")
    workers = schemas.WorkersHealth(ok=True, message="in memory")
    return schemas.HealthReport(
        status="ok", version="in memory", database=part, workers=workers, daemon=part
    )


# --- below -----------------------------------------------------------------------------------


def _unquoted(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput.at("path", "is not valid UTF-8") from None


def _one(memory: Memory, request: schemas.Submit) -> schemas.SubmitResult:
    identifier = request.instance_id
    try:
        row = memory.submit(identifier, request.flow_id, request.params)
    except DistTaskError as error:
        faults = error.faults if isinstance(error, InvalidInput) else ()
        envelope = schemas.error(schemas.status_of(error), str(error), faults)
        return schemas.SubmitResult(
            instance_id=identifier,
            code=envelope.code,
            message=envelope.message,
            data=envelope.data,
        )
    return schemas.SubmitResult(instance_id=identifier, code=0, data=row.accepted())


def _is_wanted(row: TransactionRow, query: Mapping[str, str]) -> bool:
    since, until = (_time(query.get(name)) for name in ("since", "until"))
    return (
        query.get("flow_id") in (None, row.flow.id)
        and _enum(TransactionStatus, query.get("status")) in (None, row.status)
        and _enum(Health, query.get("health")) in (None, row.health)
        and (since is None or row.created_at >= since)
        and (until is None or row.created_at < until)
    )


def _enum(kind: Callable[[str], Item], text: str | None) -> Item | None:
    try:
        return None if text is None else kind(text)
    except ValueError as error:
        raise InvalidInput.at("query", str(error)) from None


def _time(text: str | None) -> datetime | None:
    return _enum(datetime.fromisoformat, text)


def _exception(memory: Memory, call: Call) -> ExceptionRow:
    identifier = call.parts[0]
    if not identifier.isdecimal():
        raise InvalidInput.at("exception_id", "should be a number")
    return memory.exception(int(identifier))


def _page(items: Sequence[BaseModel], call: Call) -> Answer:
    size = min(_number(call, "page_size", schemas.DEFAULT_PAGE_SIZE), schemas.MAX_PAGE_SIZE)
    page = _number(call, "page", 1)
    start = _number(call, "cursor", (page - 1) * size, least=0)
    end = start + size
    pagination = schemas.Pagination(
        page=None if "cursor" in call.query else page,
        page_size=size,
        total=len(items),
        total_is_capped=False,
        next_cursor=str(end) if end < len(items) else None,
    )
    return schemas.Page[Any](list=list(items[start:end]), pagination=pagination)


def _number(call: Call, name: str, default: int, least: int = 1) -> int:
    text = call.query.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise InvalidInput.at(name, f"should be a number of at least {least}")
    return int(text)


def _query_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _failure(status: int, message: str, faults: Iterable[object] = ()) -> Response:
    return _response(status, _plain(schemas.error(status, message, faults)))


def _plain(data: Answer) -> Any:
    """As JSON values; pydantic's own mode for them would spoil keys with lone surrogates."""
    return data.model_dump() if isinstance(data, BaseModel) else [_plain(each) for each in data]


def _response(status: int, value: JsonValue) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(value).encode())
