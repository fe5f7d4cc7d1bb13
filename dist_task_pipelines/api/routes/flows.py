"""Flows: creating versions, finding and switching them; the task definitions they may name."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from dist_task_pipelines import schemas
from dist_task_pipelines.api import views
from dist_task_pipelines.api.body import read, takes
from dist_task_pipelines.api.envelope import success
from dist_task_pipelines.api.paging import PageQuery, Switch, page_of
from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.api.routes.common import (
    WITH_BODY,
    Actor,
    FlowId,
    OnPlatform,
    errors,
)
from dist_task_pipelines.assembly import open_catalog, resolve_flow
from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.counts import COUNTED_AT_MOST
from dist_task_pipelines.domain.errors import Fault, InvalidJson
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.ledger.records import FlowRecord
from dist_task_pipelines.schemas import Envelope, FlowCreate, FlowUpdate, Page

router = APIRouter(prefix="/api/v1", tags=["flows"])


class FlowQuery(PageQuery):
    """Which flow versions."""

    name: str | None = Field(None, description="only this flow's")
    is_active: Switch | None = Field(None, description="only those that take new transactions")


@router.post(
    "/flows",
    summary="Create a flow, or its next version",
    response_model=Envelope[schemas.FlowVersion],
    responses=errors(*WITH_BODY, 409),
    openapi_extra=takes(FlowCreate),
)
async def create(request: Request, platform: OnPlatform, actor: Actor) -> Response:
    """Check a definition and store it, active, as the next version of its name.

    An identical definition makes no new version. An invalid one is a 400 with all its faults,
    each with its path.
    """
    sent = await read(request, FlowCreate)
    record = await platform.run(
        _store,
        platform,
        sent.name,
        sent.definition,
        description=sent.description,
        flow_type=sent.flow_type,
        user=sent.create_user or actor,
    )
    return success(views.flow(record))


@router.get(
    "/flows",
    summary="List the flow versions",
    response_model=Envelope[Page[schemas.FlowVersion]],
    responses=errors(400),
)
async def list_(platform: OnPlatform, query: Annotated[FlowQuery, Query()]) -> Response:
    """The versions by name, the newest of each first, without their definitions."""
    flows, filters = platform.ledger.flows, query.filters()
    rows = query.slice(str, int)
    after = (rows.after[0], rows.after[1]) if rows.after else None
    found = await platform.run(
        flows.page, **filters, after=after, offset=rows.offset, limit=rows.limit
    )
    total = await platform.run(flows.count, COUNTED_AT_MOST, **filters)
    page = page_of(query, found, total, view=views.flow, key=lambda each: (each.name, each.version))
    return success(page)


@router.get(
    "/flows/{flow_id}",
    summary="Get a flow version",
    response_model=Envelope[schemas.FlowVersion],
    responses=errors(400, 404),
)
async def get(flow_id: FlowId, platform: OnPlatform) -> Response:
    """A version with its definition, and the task definitions that it uses."""
    return success(views.flow(await platform.run(platform.ledger.flows.get, flow_id)))


@router.put(
    "/flows/{flow_id}",
    summary="Make a flow's next version",
    response_model=Envelope[schemas.FlowVersion],
    responses=errors(*WITH_BODY, 404, 409),
    openapi_extra=takes(FlowUpdate),
)
async def update(request: Request, flow_id: FlowId, platform: OnPlatform, actor: Actor) -> Response:
    """Store a definition as the next version of this version's flow.

    Versions never change; transactions stay on the one they began with.
    """
    sent = await read(request, FlowUpdate)
    before = await platform.run(platform.ledger.flows.get, flow_id)
    record = await platform.run(
        _store,
        platform,
        before.name,
        sent.definition,
        description=sent.description,
        flow_type=before.flow_type if sent.flow_type is None else sent.flow_type,
        user=sent.updated_user or actor,
    )
    return success(views.flow(record))


@router.delete(
    "/flows/{flow_id}",
    summary="Delete a flow version",
    response_model=Envelope[schemas.FlowDeleted],
    responses=errors(400, 404, 409),
)
async def delete(flow_id: FlowId, platform: OnPlatform, actor: Actor) -> Response:
    """Withdraw a version; its transactions and their records stay.

    One with transactions that have not settled is a 409.
    """
    await platform.run(platform.ledger.flows.delete, flow_id, user=actor)
    return success(schemas.FlowDeleted(flow_id=flow_id))


@router.post(
    "/flows/{flow_id}/activate",
    summary="Activate a flow version",
    response_model=Envelope[schemas.FlowVersion],
    responses=errors(400, 404),
)
async def activate(flow_id: FlowId, platform: OnPlatform, actor: Actor) -> Response:
    """Take new transactions again."""
    return await _switch(platform, flow_id, actor, active=True)


@router.post(
    "/flows/{flow_id}/deactivate",
    summary="Deactivate a flow version",
    response_model=Envelope[schemas.FlowVersion],
    responses=errors(400, 404),
)
async def deactivate(flow_id: FlowId, platform: OnPlatform, actor: Actor) -> Response:
    """Refuse new transactions; existing ones go on."""
    return await _switch(platform, flow_id, actor, active=False)


@router.get(
    "/task-definitions",
    summary="List the task definitions",
    response_model=Envelope[list[schemas.TaskDefinition]],
    responses=errors(),
)
async def task_definitions(platform: OnPlatform) -> Response:
    """What the tasks of new flows may name, as configured."""
    catalog = await platform.run(open_catalog, platform.settings, platform.registry)
    return success([views.task_definition(*each) for each in catalog.definitions.items()])


async def _switch(platform: Platform, flow_id: str, actor: str, *, active: bool) -> Response:
    set_active = platform.ledger.flows.set_active
    return success(views.flow(await platform.run(set_active, flow_id, active, user=actor)))


def _store(
    platform: Platform,
    name: str,
    sent: JsonObject | str,
    *,
    description: str | None,
    flow_type: str,
    user: str,
) -> FlowRecord:
    definition = _parsed(sent)
    resolved = resolve_flow(platform.settings, platform.registry, definition, name=name)
    return platform.ledger.flows.create(
        name=name,
        definition=resolved,
        description=resolved.get("description", "") if description is None else description,
        flow_type=flow_type,
        user=user,
    )


def _parsed(sent: JsonObject | str) -> JsonValue:
    """The definition, which may be sent as text."""
    if not isinstance(sent, str):
        return sent
    try:
        return json.loads(sent)
    except InvalidJson as error:
        faults = [Fault(f"definition: {each.path}", each.message) for each in error.faults]
        raise InvalidJson(faults) from None
