"""The FastAPI application over a ledger and settings."""

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dist_task_pipelines.api.asgi import Guard
from dist_task_pipelines.api.errors import add_error_handlers, answer_to
from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.api.routes import exceptions, flows, service, stats, transactions
from dist_task_pipelines.domain.errors import DistTaskError

OWN_PATHS = ("/api", "/docs", "/openapi.json", "/health", "/metrics")


def create_app(platform: Platform) -> ASGIApp:
    """The API: everything under OWN_PATHS.

    Whoever makes the platform closes it, after the last request.
    """
    routes = SubmitsFirst(create_routes(platform), platform)
    return Guard(routes, platform.settings.limits.max_body_bytes)


class SubmitsFirst:
    """Hands submits to their route directly; everything else goes through FastAPI.

    Finding the route and its dependencies takes FastAPI longer than everything else that a
    submit needs.
    """

    def __init__(self, app: ASGIApp, platform: Platform) -> None:
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if (scope["method"], scope["path"]) != ("POST", transactions.SUBMIT_PATH):
            await self._app(scope, receive, send)
            return
        try:
            response = await transactions.submit(Request(scope, receive), self._platform)
        except DistTaskError as error:
            response = answer_to(error)
        await response(scope, receive, send)


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
