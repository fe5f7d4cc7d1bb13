"""What a browser asks for in the name of another site's page."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from dist_task_pipelines.api.origin import SameSite

HOST = "flows.example:3000"
ANOTHER = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
BY_OLD_BROWSER = {"origin": "http://evil.example"}
BY_A_NEIGHBOUR = {"sec-fetch-site": "same-site", "origin": "http://flows.example:8888"}
OWN = {"sec-fetch-site": "same-origin", "origin": f"http://{HOST}"}


def reaches_the_app(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Whether the request gets through; otherwise it is answered with a 403."""
    reached: list[str] = []
    said: list[Message] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope["path"])

    async def ask() -> None:
        kind = "websocket" if method == "CONNECT" else "http"
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        bare, _, query = path.partition("?")
        scope = {
            "type": kind,
            "method": method,
            "path": bare,
            "query_string": query.encode(),
            "headers": sent,
        }
        await SameSite(app)(scope, _nothing, lambda message: _keep(said, message))

    asyncio.run(ask())
    if not reached:
        assert said[0].get("status", said[0].get("code")) in (403, 1008)
    return bool(reached)


async def _nothing() -> Any:
    raise AssertionError("no body is needed")


async def _keep(said: list[Message], message: Message) -> None:
    said.append(message)


@pytest.mark.parametrize(
    "headers", [ANOTHER, BY_OLD_BROWSER, BY_A_NEIGHBOUR, {"origin": "null"}, {"origin": "["}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/exceptions/1/handle"),
        ("DELETE", "/api/v1/flows/shop_v1"),
        ("POST", "/graphql"),
        ("CONNECT", "/graphql"),
    ],
)
def test_a_page_of_another_site_does_not_act(
    method: str, path: str, headers: Mapping[str, str]
) -> None:
    assert not reaches_the_app(method, path, {"host": HOST, **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a program
        {"origin": f"http://{HOST}", "sec-fetch-site": "same-site"},  # Host names the port
        {"origin": f"http://{HOST}"},
        {"origin": "https://flows.example", "x-forwarded-host": "flows.example"},
        {"origin": "https://flows.example", "sec-fetch-site": "same-origin"},  # Host was rewritten
        {"sec-fetch-site": "none"},  # typed by hand
        OWN,
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "CONNECT"])
def test_the_platforms_own_pages_and_programs_do(method: str, headers: Mapping[str, str]) -> None:
    assert reaches_the_app(method, "/graphql", {"host": HOST, **headers})


@pytest.mark.parametrize("headers", [{}, OWN, ANOTHER])
def test_nobody_acts_by_a_mere_address(headers: Mapping[str, str]) -> None:
    """An image's, loaded by plain HTTP, comes with nothing that says whose page it is in."""
    path = "/graphql?variables={}&query=mutation{deletePipelineRun}"
    for method in ("GET", "HEAD"):
        assert not reaches_the_app(method, path, {"host": HOST, **headers})
    assert reaches_the_app("GET", "/graphql", {"host": HOST, **headers}), "the playground"


@pytest.mark.parametrize("path", ["/", "/runs/1", "/api/v1/transactions", "/docs"])
def test_a_link_from_another_site_opens(path: str) -> None:
    assert reaches_the_app("GET", path, {"host": HOST, **ANOTHER})
