"""Around the routes: raw paths, bounded bodies, patience with slow clients, no stack traces."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import structlog
from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dist_task_pipelines.api.envelope import failure
from dist_task_pipelines.api.errors import INTERNAL, answer_to
from dist_task_pipelines.domain.errors import InvalidRequest, TooLarge

log = structlog.get_logger(__name__)

BODY_PATIENCE = 30.0  # seconds that a request's body may take to arrive
LINGER = 5.0  # seconds that the rest of a refused body is taken in and thrown away
MOST_IN_FLIGHT = 1000  # requests


class Guard:
    """Answers what goes wrong around the routes, and what they failed to foresee."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._in_flight >= MOST_IN_FLIGHT:
            response = failure(503, "too many requests at once", headers={"Retry-After": "1"})
            await response(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._guarded(scope, receive, send)
        finally:
            self._in_flight -= 1

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            scope = {**scope, "path": routing_path(scope)}
            body = await _read_body(scope, receive, self._max_body_bytes)
            await self._app(scope, _replay(body, receive), watched_send)
        except Refused as refusal:
            await refusal.response(scope, receive, send)
        except Exception:
            log.exception("a request failed", path=scope["path"], method=scope["method"])
            if not started:
                await failure(500, INTERNAL)(scope, receive, send)


class Refused(Exception):
    """The request is answered before it reaches a route."""

    def __init__(self, response: ASGIApp) -> None:
        super().__init__()
        self.response = response


class Lingering:
    """An answer to who is still sending: a connection that is closed on them would lose it."""

    def __init__(self, response: Response) -> None:
        response.headers["Connection"] = "close"
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and take in what comes until they stop, or for LINGER seconds."""

        async def send_unfinished(message: Message) -> None:
            await send({"more_body": True, **message})

        await self._response(scope, receive, send_unfinished)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})


def routing_path(scope: Scope) -> str:
    """The path with its percent-encoding undone, but for `%2F` and `%25`.

    So an id that holds a slash, sent as `%2F`, stays one segment; `decoded` finishes the work
    for a single segment.

    Raises:
        Refused: it is not UTF-8.
    """
    raw = unquote_to_bytes(
        scope["raw_path"]
        .replace(b"%25", b"%2525")
        .replace(b"%2f", b"%2F")
        .replace(b"%2F", b"%252F")
    )
    try:
        return raw.decode()
    except UnicodeDecodeError:
        error = InvalidRequest.at("path", "is not valid UTF-8 where it is percent-encoded")
        raise Refused(answer_to(error)) from None


def decoded(segment: str) -> str:
    """A segment of a `routing_path` as the client meant it."""
    return segment.replace("%2F", "/").replace("%25", "%")


async def _read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body.

    Raises:
        Refused: it is too large, too slow, or its sender has gone.
    """
    length = _content_length(scope)
    if length == 0:
        return b""
    if length is not None and length > most:
        raise Refused(_too_large(most))
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            return await _gather(receive, most)
    except TimeoutError:
        message = f"the body did not arrive within {BODY_PATIENCE:g} s"
        raise Refused(failure(408, message, headers={"Connection": "close"})) from None


def _content_length(scope: Scope) -> int | None:
    """The length told ahead: 0 where there is no body, None where nobody knows."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    return int(headers.get(b"content-length", b"0"))


async def _gather(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(failure(400, "the client went away"))
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise Refused(_too_large(most))
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(most: int) -> Lingering:
    error = TooLarge(f"the body is larger than {most} bytes (limits.max_body_bytes)")
    return Lingering(answer_to(error))


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A `receive` that gives the body once, then what the server says."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
