"""HTTP over aiohttp: one exchange at a time becomes an outcome.

Knows connections and their errors, not what is called or why. The executors that speak
HTTP share one pool of connections for each event loop.
"""

import asyncio
import re
import ssl
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import ContentEncodingError
from multidict import CIMultiDict
from yarl import URL

from dist_task_pipelines.domain.errors import by_class
from dist_task_pipelines.domain.keys import KEY_HEADER
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import Progress, Proxy, Request, Tls, invalid_config
from dist_task_pipelines.executors.capture import too_long
from dist_task_pipelines.executors.http_reply import Reply, outcome_of
from dist_task_pipelines.executors.tls import UnusableTls, ssl_context

_CONNECTIONS = 600  # below the usual limit of 1024 open files
_CONNECTIONS_PER_HOST = 300
_KEEP_ALIVE = 4.0  # seconds; many servers drop idle connections after five
_MAX_REDIRECTS = 5
_CHUNK = 65536
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_progress: ContextVar[Progress] = ContextVar("progress")  # of the call that is made


class ConnectionLost(aiohttp.ClientError):
    """The connection broke after the request may have been sent."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error means: its class of causes, and whether repeating the call can help."""

    type: str
    retryable: bool


_UNREACHABLE = Meaning("ConnectionFailed", retryable=True)
_TLS = Meaning("TlsError", retryable=True)
_LOST = Meaning("ConnectionLost", retryable=True)
_LATE = Meaning("Timeout", retryable=True)
_BAD_REPLY = Meaning("BadReply", retryable=True)
_BAD_REDIRECT = Meaning("BadRedirect", retryable=False)
_BAD_REQUEST = Meaning("InvalidRequest", retryable=False)

# The most specific class decides. Whether the call took effect follows from whether a
# connection was there to send it on.
MEANINGS: Mapping[type[BaseException], Meaning] = {
    # no connection was made
    aiohttp.ClientConnectorError: _UNREACHABLE,
    aiohttp.ClientConnectorDNSError: _UNREACHABLE,
    aiohttp.ClientProxyConnectionError: _UNREACHABLE,
    aiohttp.ConnectionTimeoutError: _UNREACHABLE,
    aiohttp.ClientSSLError: _TLS,
    aiohttp.ClientConnectorSSLError: _TLS,
    aiohttp.ClientConnectorCertificateError: _TLS,
    aiohttp.ServerFingerprintMismatch: _TLS,
    ssl.SSLError: _TLS,
    # the connection broke
    ConnectionLost: _LOST,
    aiohttp.ClientConnectionError: _LOST,
    aiohttp.ClientConnectionResetError: _LOST,
    aiohttp.ClientOSError: _LOST,
    aiohttp.ServerConnectionError: _LOST,
    aiohttp.ServerDisconnectedError: _LOST,
    aiohttp.ClientPayloadError: _LOST,  # the reply ended before its end
    OSError: _LOST,
    # nothing came in time
    aiohttp.ServerTimeoutError: _LATE,
    aiohttp.SocketTimeoutError: _LATE,
    TimeoutError: _LATE,
    # what came was not HTTP, or not what was asked for
    aiohttp.ClientError: _BAD_REPLY,
    aiohttp.ClientResponseError: _BAD_REPLY,
    aiohttp.ContentTypeError: _BAD_REPLY,
    aiohttp.ClientHttpProxyError: _BAD_REPLY,
    # a redirect that was to be followed leads nowhere
    aiohttp.TooManyRedirects: _BAD_REDIRECT,
    aiohttp.RedirectClientError: _BAD_REDIRECT,
    aiohttp.InvalidUrlRedirectClientError: _BAD_REDIRECT,
    aiohttp.NonHttpUrlRedirectClientError: _BAD_REDIRECT,
    # the request cannot be sent by anybody
    aiohttp.InvalidURL: _BAD_REQUEST,
    aiohttp.InvalidUrlClientError: _BAD_REQUEST,
    aiohttp.NonHttpUrlClientError: _BAD_REQUEST,
    ValueError: _BAD_REQUEST,
}


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request, complete but for its idempotency key."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None = None
    follow_redirects: bool = False
    tls: Tls | None = None
    proxy: Proxy | None = None

    @property
    def via(self) -> str | None:
        """The proxy's URL, if the call goes through one."""
        host = self.url.host or ""
        return self.proxy.url if self.proxy and self.proxy.is_for(host) else None

    def __str__(self) -> str:
        """Method and address, without what may be secret: user, password and query."""
        return f"{self.method} {self.url.origin()}{self.url.raw_path}"


@lru_cache(maxsize=256)
def http_url(text: str) -> URL:
    """The URL that the text is.

    Raises:
        ValueError: it is not an absolute http or https URL, and why.
    """
    if _CONTROL.search(text):
        raise ValueError("holds control characters")
    try:
        text.encode()  # yarl drops lone surrogates
        url = URL(text)
        complete = url.scheme in ("http", "https") and url.host and url.port is not None
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if not complete:
        raise ValueError("must begin with http:// or https:// and a host")
    return url


class Connections:
    """A share in the connections of the running event loop, taken at the first call."""

    def __init__(self) -> None:
        self._pool: _Pool | None = None

    async def exchange(self, call: HttpCall, request: Request[Any], limit: int) -> Outcome:
        """Send the call, read at most `limit` bytes of the reply, and classify both."""
        request.progress.prepare()
        if self._pool is None:
            self._pool = _Pool.of_running_loop()
        try:
            reply = await _sent(self._pool.session, call, request, limit)
        except UnusableTls as error:
            return invalid_config(str(error))
        except Exception as error:
            return _failure(error, call, request.progress)
        return outcome_of(reply, call, datetime.now(UTC))

    async def close(self) -> None:
        """Give the share back; the last one closes the connections."""
        pool, self._pool = self._pool, None
        if pool:
            await pool.leave()


class _Pool:
    """The connections of one event loop and how many hold them."""

    _lock = threading.Lock()
    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "_Pool"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.session = new_session()
        self._shares = 0

    @classmethod
    def of_running_loop(cls) -> "_Pool":
        loop = asyncio.get_running_loop()
        with cls._lock:
            pool = cls._of_loop.get(loop) or cls()
            cls._of_loop[loop] = pool
            pool._shares += 1
        return pool

    async def leave(self) -> None:
        with self._lock:
            self._shares -= 1
            if self._shares:
                return
            del self._of_loop[asyncio.get_running_loop()]
        await self.session.close()


def meaning_of(error: Exception) -> Meaning | None:
    """What the error means, None when no one foresaw it."""
    return by_class(MEANINGS, error)


def new_session() -> aiohttp.ClientSession:
    """A session with the settings that every call shares."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_CONNECTIONS,
            limit_per_host=_CONNECTIONS_PER_HOST,
            keepalive_timeout=_KEEP_ALIVE,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),  # transactions share nothing
        headers={"User-Agent": "dist-task-pipelines"},
        middlewares=(_send_once,),
        request_class=_Noticeable,
        timeout=aiohttp.ClientTimeout(total=None),  # the executor bounds the call
        trust_env=False,
    )


class _Noticeable(aiohttp.ClientRequest):
    """A request that says when it has a connection, and the participant may notice it."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if progress := _progress.get(None):
            progress.send()
        return await super().send(conn)


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending again by itself, as it does with PUT, DELETE and GET.

    It repeats after the errors caught here; with another one it lets the call fail.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionLost(str(error)) from error


def _at_home(call: HttpCall) -> aiohttp.ClientMiddlewareType:
    """Keep the call's headers, which may hold secrets, from other hosts it is redirected to."""
    home, its_own = call.url.origin(), call.headers.keys() - {"Content-Type"}

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.url.origin() != home:
            for name in its_own & request.headers.keys():
                del request.headers[name]
        return await handler(request)

    return middleware


async def _sent(
    session: aiohttp.ClientSession, call: HttpCall, request: Request[Any], limit: int
) -> Reply:
    headers = CIMultiDict(call.headers)
    headers[KEY_HEADER] = request.idempotency_key
    _progress.set(request.progress)
    async with session.request(
        call.method,
        call.url,
        headers=headers,
        data=call.body,
        allow_redirects=call.follow_redirects,
        max_redirects=_MAX_REDIRECTS,
        middlewares=(_at_home(call), _send_once) if call.follow_redirects else None,
        proxy=call.via,
        ssl=ssl_context(call.tls) if call.tls else True,
        skip_auto_headers=("Content-Type",),  # a request without a body has none
    ) as response:
        body, unread = await _read(response.content, limit)
        return Reply(response.status, response.reason or "", response.headers, body, unread)


async def _read(stream: aiohttp.StreamReader, limit: int) -> tuple[bytes, str]:
    """The body, or nothing and why; stops as soon as it is longer than `limit` bytes."""
    body = bytearray()
    try:
        while chunk := await stream.read(_CHUNK):
            body += chunk
            if len(body) > limit:
                return b"", too_long(limit)
    except aiohttp.ClientPayloadError as error:
        if isinstance(error.__cause__, ContentEncodingError):  # it is all there
            return b"", error.__cause__.message
        raise
    return bytes(body), ""


def _failure(error: Exception, call: HttpCall, progress: Progress) -> Outcome:
    meaning = meaning_of(error)
    if meaning is None:
        raise error
    return Outcome.failure(
        meaning.type,
        f"{call}: {_told(error)}",
        retryable=meaning.retryable,
        applied=progress.applied,
    )


def _told(error: Exception) -> str:
    """The error's own words, without the URL of a proxy, which may hold its password."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status} {error.message}".rstrip()
        case aiohttp.ClientResponseError():
            return error.message or type(error).__name__
    return str(error) or type(error).__name__
