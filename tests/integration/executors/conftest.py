"""A participant on loopback that can be as bad as real ones are, and a loop to call it on."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors import Executor

KEY = "order%201:deduct"
NO_LINGER = struct.pack("ii", 1, 0)  # closing the socket then sends a reset

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop; tasks that go on after the test fail it."""
    with asyncio.Runner() as loop:
        yield loop
        left = loop.run(_unfinished_tasks())
    assert not left


async def _unfinished_tasks() -> set[asyncio.Task[Any]]:
    tasks = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    return (await asyncio.wait(tasks, timeout=5))[1] if tasks else set()


@dataclass(frozen=True)
class Received:
    """A request as the participant saw it."""

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass
class Participant:
    """An HTTP server whose paths each have a handler of their own."""

    handlers: dict[str, Handler] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def answer(self, path: str, **response: Any) -> str:
        """Give the path a fixed reply; returns its URL."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(**response)

        return self.handle(path, handler)

    def stall(self, path: str) -> str:
        """Let the path take requests and not answer them; returns its URL."""

        async def handler(request: web.Request) -> web.StreamResponse:
            self.arrived.set()
            await self.over.wait()
            return web.Response()

        return self.handle(path, handler)

    def handle(self, path: str, handler: Handler) -> str:
        self.handlers[path] = handler
        return self.url(path)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        raw = request.raw_path.partition("?")
        self.received.append(Received(request.method, raw[0], raw[2], request.headers, body))
        return await self.handlers[request.path](request)

    async def start(self, tls: ssl.SSLContext | None = None) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        serving = web.AppRunner(app, shutdown_timeout=0.1)
        await serving.setup()
        await web.TCPSite(serving, "127.0.0.1", 0, ssl_context=tls).start()
        self.port = serving.addresses[0][1]
        return serving


@pytest.fixture
def participant(runner: asyncio.Runner) -> Iterator[Participant]:
    server = Participant()
    serving = runner.run(server.start())
    yield server
    server.over.set()
    runner.run(serving.cleanup())


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that takes no more connections: its queue is full and nobody serves it."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


class Calls:
    """Executes calls on the test's loop."""

    def __init__(self, runner: asyncio.Runner, executor: Executor[Any]) -> None:
        self.run = runner.run
        self.executor = executor

    def __call__(
        self,
        config: JsonObject,
        input: JsonObject | None = None,
        *,
        key: str = KEY,
        timeout: float = 20,
    ) -> Outcome:
        return self.run(self.later(config, input, key=key, timeout=timeout))

    def later(
        self,
        config: JsonObject,
        input: JsonObject | None = None,
        *,
        key: str = KEY,
        timeout: float = 20,
    ) -> Coroutine[Any, Any, Outcome]:
        return self.executor.execute(config, input or {}, idempotency_key=key, timeout=timeout)

    def together(self, *calls: Coroutine[Any, Any, Outcome]) -> list[Outcome]:
        async def gathered() -> list[Outcome]:
            return await asyncio.gather(*calls)

        return self.run(gathered())


def reset(request: web.Request) -> None:
    """Break the connection off, as a crash does."""
    assert request.transport is not None
    sock = request.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    request.transport.abort()
