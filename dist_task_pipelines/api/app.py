"""The FastAPI application over a ledger and settings."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from dist_task_pipelines.api.asgi import Guard
from dist_task_pipelines.api.errors import add_error_handlers
from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.api.routes import exceptions, flows, service, stats, transactions

OWN_PATHS = ("/api", "/docs", "/openapi.json", "/health", "/metrics")


def create_app(platform: Platform) -> ASGIApp:
    """The API: everything under OWN_PATHS.

    Whoever makes the platform closes it, after the last request.
    """
    return Guard(create_routes(platform), platform.settings.limits.max_body_bytes)


def create_routes(platform: Platform | None = None) -> FastAPI:
    """The routes alone; without a platform they only describe themselves."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.platform = platform
    for module in (flows, transactions, exceptions, stats, service):
        app.router.routes.extend(module.router.routes)
    add_error_handlers(app)
    return app


def owns(path: str) -> bool:
    """Whether the path is the API's; every other one is the Dagster UI's."""
    return any(path == own or path.startswith(f"{own}/") for own in OWN_PATHS)
