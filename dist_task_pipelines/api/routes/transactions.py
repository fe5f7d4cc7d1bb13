"""Transactions: submitting, finding, retrying, cancelling."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from dist_task_pipelines import schemas
from dist_task_pipelines.api import views
from dist_task_pipelines.api.body import read, takes
from dist_task_pipelines.api.envelope import success
from dist_task_pipelines.api.paging import Moment, PageQuery, page_of
from dist_task_pipelines.api.routes.common import (
    WITH_BODY,
    Actor,
    InstanceId,
    OnPlatform,
    RunsAddress,
    errors,
)
from dist_task_pipelines.domain.counts import COUNTED_AT_MOST
from dist_task_pipelines.domain.errors import DistTaskError, InvalidInput
from dist_task_pipelines.domain.status import Health, TransactionStatus
from dist_task_pipelines.engine.submit import Result, SubmitRequest, submit_many
from dist_task_pipelines.schemas import Envelope, Page, Reason, Submit, SubmitBatch

SUBMIT_PATH = "/api/v1/transactions"

router = APIRouter(prefix=SUBMIT_PATH, tags=["transactions"])


class TransactionQuery(PageQuery):
    """Which transactions."""

    status: TransactionStatus | None = Field(None, description="only those")
    health: Health | None = Field(None, description="only those")
    flow_id: str | None = Field(None, description="only this flow id's")
    since: Moment | None = Field(None, description="created then or later")
    until: Moment | None = Field(None, description="created before")


@router.post(
    "",
    summary="Submit a transaction",
    response_model=Envelope[schemas.Accepted],
    responses=errors(*WITH_BODY, 404, 409),
    openapi_extra=takes(Submit),
)
async def submit(request: Request, platform: OnPlatform) -> Response:
    """Accept a transaction; it is in the ledger when this answers.

    The same request again returns its current state; a different request under the same id is a
    409.
    """
    sent = await read(request, Submit)
    size = len(await request.body())
    return success(views.accepted(await platform.submits.submit(_request(sent), size)))


@router.post(
    "/batch",
    summary="Submit many transactions",
    response_model=Envelope[schemas.SubmitResults],
    responses=errors(*WITH_BODY),
    openapi_extra=takes(SubmitBatch),
)
async def submit_batch(request: Request, platform: OnPlatform) -> Response:
    """Accept up to 1,000 transactions in one commit; each has its own result.

    A refused one does not affect the others.
    """
    sent = await read(request, SubmitBatch)
    results = await platform.run(
        submit_many,
        platform.ledger,
        [_request(each) for each in sent.transactions],
        max_params_bytes=platform.settings.limits.max_params_bytes,
    )
    platform.on_accepted()
    return success(_results(sent, results))


@router.get(
    "",
    summary="List the transactions",
    response_model=Envelope[Page[schemas.Transaction]],
    responses=errors(400),
)
async def list_(
    platform: OnPlatform, runs: RunsAddress, query: Annotated[TransactionQuery, Query()]
) -> Response:
    """The transactions, newest first, without params and tasks."""
    transactions, filters = platform.ledger.transactions, query.filters()
    rows = query.slice(int)
    before = rows.after[0] if rows.after else None
    found = await platform.run(
        transactions.page, **filters, before=before, offset=rows.offset, limit=rows.limit
    )
    total = await platform.run(transactions.count, COUNTED_AT_MOST, **filters)
    view = partial(views.transaction, runs=runs)
    return success(page_of(query, found, total, view=view, key=lambda each: (each.seq,)))


@router.get(
    "/{instance_id}",
    summary="Get a transaction",
    response_model=Envelope[schemas.Transaction],
    responses=errors(400, 404),
)
async def get(instance_id: InstanceId, platform: OnPlatform, runs: RunsAddress) -> Response:
    """A transaction with its params and its tasks."""
    transactions = platform.ledger.transactions
    record = await platform.run(transactions.get, instance_id)
    tasks = await platform.run(transactions.tasks, instance_id)
    return success(views.transaction(record, runs, tasks))


@router.get(
    "/{instance_id}/tasks",
    summary="List a transaction's tasks",
    response_model=Envelope[list[schemas.TaskView]],
    responses=errors(400, 404),
)
async def tasks(instance_id: InstanceId, platform: OnPlatform) -> Response:
    """Every task, in the flow's order, including those not started."""
    found = await platform.run(platform.ledger.transactions.tasks, instance_id)
    return success([views.task(each) for each in found])


@router.get(
    "/{instance_id}/logs",
    summary="List a transaction's log",
    response_model=Envelope[list[schemas.LogEntry]],
    responses=errors(400, 404),
)
async def logs(instance_id: InstanceId, platform: OnPlatform) -> Response:
    """What happened to the transaction, oldest first."""
    found = await platform.run(platform.ledger.transactions.logs, instance_id)
    return success([views.log_entry(each) for each in found])


@router.post(
    "/{instance_id}/retry",
    summary="Retry a failed transaction",
    response_model=Envelope[schemas.Retried],
    responses=errors(*WITH_BODY, 404, 409),
    openapi_extra=takes(Reason, required=False),
)
async def retry(
    request: Request, instance_id: InstanceId, platform: OnPlatform, actor: Actor
) -> Response:
    """Call the failed tasks once more, now, with the original params.

    Only a failed transaction can be retried (400); one that a run is working on is a 409.
    """
    sent = await read(request, Reason)
    granted = await platform.run(
        platform.ledger.operators.retry_transaction, instance_id, actor=actor, reason=sent.reason
    )
    platform.on_accepted()
    return success(
        schemas.Retried(instance_id=instance_id, status=TransactionStatus.RUNNING, tasks=granted)
    )


@router.post(
    "/{instance_id}/cancel",
    summary="Cancel a transaction",
    response_model=Envelope[schemas.Cancelled],
    responses={
        202: {
            "model": Envelope[schemas.Cancelled],
            "description": "A run is working on it; it stops before its next task.",
        },
        **errors(*WITH_BODY, 404),
    },
    openapi_extra=takes(Reason, required=False),
)
async def cancel(
    request: Request, instance_id: InstanceId, platform: OnPlatform, actor: Actor
) -> Response:
    """Cancel at once, or before the next task when a run is working on it (202).

    One that is already cancelled stays so (200); one that has succeeded is a 400.
    """
    sent = await read(request, Reason)
    status = await platform.run(
        platform.ledger.operators.cancel, instance_id, actor=actor, reason=sent.reason
    )
    code = 200 if status is TransactionStatus.CANCELLED else 202
    return success(schemas.Cancelled(instance_id=instance_id, status=status), code)


def _request(sent: Submit) -> SubmitRequest:
    return SubmitRequest(sent.instance_id, sent.flow_id, sent.params)


def _results(sent: SubmitBatch, results: list[Result]) -> schemas.SubmitResults:
    each = [
        _result(one.instance_id, result)
        for one, result in zip(sent.transactions, results, strict=True)
    ]
    accepted = sum(result.code == 0 for result in each)
    return schemas.SubmitResults(accepted=accepted, refused=len(each) - accepted, results=each)


def _result(instance_id: str, result: Result) -> schemas.SubmitResult:
    if not isinstance(result, DistTaskError):
        return schemas.SubmitResult(instance_id=instance_id, code=0, data=views.accepted(result))
    faults = result.faults if isinstance(result, InvalidInput) else ()
    return schemas.SubmitResult(
        instance_id=instance_id,
        code=schemas.status_of(result),
        message=str(result),
        data=schemas.error(0, "", faults).data,
    )
