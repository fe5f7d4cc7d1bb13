"""Pages of other sites do not act through a person's browser (cross-site request forgery).

Whoever reaches the port may act, and a person's browser reaches it for every page that it shows. It
says for whom: in `Sec-Fetch-Site` (https://www.w3.org/TR/fetch-metadata/) where it trusts the
connection, and in `Origin`, but with neither when it loads an image by plain HTTP. Programs send
neither. A name that another site lets point at this host (DNS rebinding) is not noticed.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dist_task_pipelines.api.envelope import failure

READING = ("GET", "HEAD", "OPTIONS")
GRAPHQL = "/graphql"
REFUSAL = (
    "a page of another site must not act here; if this is the platform's own page behind a proxy, "
    "let the proxy pass the header Host on"
)
BY_URL = "send the query in the body of a POST: one in the URL might be another site's image"


class SameSite:
    """Refuses what a page of another site asks for, unless it only reads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""
        reads = scope["type"] == "http" and scope["method"] in READING
        if reads and _is_query_by_url(scope):
            await failure(403, BY_URL)(scope, receive, send)
        elif reads or not _is_of_another_site(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await failure(403, REFUSAL)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "another site"})


def _is_query_by_url(scope: Scope) -> bool:
    """Whether a GraphQL query stands in the URL, from where Dagster takes mutations, too."""
    return scope["path"].startswith(GRAPHQL) and b"query=" in scope.get("query_string", b"")


def _is_of_another_site(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site", "same-site")
    if site != "same-site":  # which another port of this host is, too
        return site == "cross-site"
    origin = headers.get("origin")
    if origin is None:
        return False
    return _host_of(origin) not in (headers.get("host"), headers.get("x-forwarded-host"))


def _host_of(origin: str) -> str:
    """Its host and port; what is no address, as `null`, has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
