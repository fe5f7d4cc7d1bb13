"""Statistics: how all flows stand, or one."""

from fastapi import APIRouter, Response

from dist_task_pipelines import schemas
from dist_task_pipelines.api import views
from dist_task_pipelines.api.envelope import success
from dist_task_pipelines.api.routes.common import FlowId, OnPlatform, errors
from dist_task_pipelines.domain.counts import COUNTED_AT_MOST
from dist_task_pipelines.schemas import Envelope

router = APIRouter(prefix="/api/v1/stats", tags=["statistics"])


@router.get(
    "/overview",
    summary="Numbers of all flows",
    response_model=Envelope[schemas.Overview],
    responses=errors(),
)
async def overview(platform: OnPlatform) -> Response:
    """The numbers of all flows together. Days begin at midnight UTC."""
    ledger = platform.ledger
    flows = await platform.run(ledger.flows.count, COUNTED_AT_MOST, is_active=True)
    return success(views.overview(flows.count, await platform.run(ledger.stats.overview)))


@router.get(
    "/flows/{flow_id}",
    summary="Numbers of a flow version",
    response_model=Envelope[schemas.FlowStats],
    responses=errors(400, 404),
)
async def flow(flow_id: FlowId, platform: OnPlatform) -> Response:
    """The numbers of one flow version."""
    await platform.run(platform.ledger.flows.get, flow_id)
    return success(views.flow_stats(await platform.run(platform.ledger.stats.flow, flow_id)))
