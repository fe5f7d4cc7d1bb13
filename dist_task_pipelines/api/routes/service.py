"""What the server says of itself: its health, its metrics, its documentation."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from dist_task_pipelines import schemas
from dist_task_pipelines.api.envelope import JsonResponse, plain
from dist_task_pipelines.api.health import report
from dist_task_pipelines.api.metrics import CONTENT_TYPE, exposition
from dist_task_pipelines.api.openapi import document
from dist_task_pipelines.api.page import html
from dist_task_pipelines.api.routes.common import OnPlatform, errors

router = APIRouter(tags=["service"])


@router.get(
    "/health",
    summary="Health",
    response_model=schemas.Envelope[schemas.HealthReport],
    responses={
        503: {
            "model": schemas.Envelope[schemas.HealthReport],
            "description": "The ledger cannot be written.",
        }
    },
)
async def health(platform: OnPlatform) -> Response:
    """200 while transactions are accepted, with any other problem; 503 when they are not."""
    found = await report(platform)
    code = 200 if found.database.ok else 503
    message = "success" if found.database.ok else found.database.message
    envelope = {"code": 0 if code == 200 else code, "message": message, "data": plain(found)}
    return JsonResponse(envelope, code)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses=errors(),
)
async def metrics(platform: OnPlatform) -> Response:
    """Transactions by flow and status, durations, exceptions, backlog, runs in flight."""
    text = await platform.run(exposition, platform.ledger)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JsonResponse(document(request.app))


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The documentation as a page that needs nothing from elsewhere."""
    page = await asyncio.to_thread(html, document(request.app))
    return Response(page, media_type="text/html; charset=utf-8")
