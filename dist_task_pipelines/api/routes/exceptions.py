"""Exceptions: finding them, retrying their tasks, settling them by hand."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from dist_task_pipelines import schemas
from dist_task_pipelines.api import views
from dist_task_pipelines.api.body import read, takes
from dist_task_pipelines.api.envelope import success
from dist_task_pipelines.api.paging import Number, PageQuery, Switch, page_of
from dist_task_pipelines.api.routes.common import WITH_BODY, Actor, OnPlatform, errors
from dist_task_pipelines.domain.counts import COUNTED_AT_MOST
from dist_task_pipelines.engine.intake import retry_exception
from dist_task_pipelines.schemas import Envelope, Handle, Page, Reason

router = APIRouter(prefix="/api/v1/exceptions", tags=["exceptions"])

ExceptionId: TypeAlias = Annotated[Number, Path(description="an exception's id", examples=[7])]


class ExceptionQuery(PageQuery):
    """Which exceptions."""

    handled: Switch | None = Field(None, description="only those handled, or only the open ones")
    flow_id: str | None = Field(None, description="only this flow id's")
    task_name: str | None = Field(None, description="only those of this task definition")
    fingerprint: str | None = Field(None, description="only those with one cause")
    instance_id: str | None = Field(None, description="only this transaction's")


@router.get(
    "",
    summary="List the exceptions",
    response_model=Envelope[Page[schemas.ExceptionView]],
    responses=errors(400),
)
async def list_(platform: OnPlatform, query: Annotated[ExceptionQuery, Query()]) -> Response:
    """The tasks that need or needed a retry or a person, newest first."""
    exceptions, filters = platform.ledger.exceptions, query.filters()
    if "instance_id" in filters:
        filters["transaction_id"] = filters.pop("instance_id")
    rows = query.slice(int)
    before = rows.after[0] if rows.after else None
    found = await platform.run(
        exceptions.page, **filters, before=before, offset=rows.offset, limit=rows.limit
    )
    total = await platform.run(exceptions.count, COUNTED_AT_MOST, **filters)
    page = page_of(query, found, total, view=views.exception, key=lambda each: (each.id,))
    return success(page)


@router.get(
    "/{exception_id}",
    summary="Get an exception",
    response_model=Envelope[schemas.ExceptionView],
    responses=errors(400, 404),
)
async def get(exception_id: ExceptionId, platform: OnPlatform) -> Response:
    """One exception."""
    return success(
        views.exception(await platform.run(platform.ledger.exceptions.get, exception_id))
    )


@router.post(
    "/{exception_id}/handle",
    summary="Handle an exception",
    response_model=Envelope[schemas.Handled],
    responses=errors(*WITH_BODY, 404, 409),
    openapi_extra=takes(Handle, required=False),
)
async def handle(
    request: Request, exception_id: ExceptionId, platform: OnPlatform, actor: Actor
) -> Response:
    """Settle it by hand: its task is not called again, and a planned retry is withdrawn.

    If it is already handled, that is a 400; if a run is working on its transaction, a 409.
    """
    sent = await read(request, Handle)
    await platform.run(
        platform.ledger.operators.handle, exception_id, actor=actor, remark=sent.remark
    )
    return success(schemas.Handled(exception_id=exception_id))


@router.post(
    "/{exception_id}/retry",
    summary="Retry an exception's task",
    response_model=Envelope[schemas.RetryScheduled],
    responses=errors(*WITH_BODY, 404, 409),
    openapi_extra=takes(Reason, required=False),
)
async def retry(
    request: Request, exception_id: ExceptionId, platform: OnPlatform, actor: Actor
) -> Response:
    """Call its task once more, now, whatever its strategy but `no_retry`.

    The message of an exception without a transaction is submitted again; if it is refused
    again, the error is that of a submit.

    If it is already handled, or its strategy is `no_retry`, that is a 400; if a run is working
    on its transaction, a 409.
    """
    sent = await read(request, Reason)
    due = await platform.run(
        retry_exception,
        platform.ledger,
        exception_id,
        max_params_bytes=platform.settings.limits.max_params_bytes,
        actor=actor,
        reason=sent.reason,
    )
    platform.on_accepted()
    return success(schemas.RetryScheduled(exception_id=exception_id, retry_next_at=due))
