"""A real HTTP participant on loopback, whose replies a test scripts and whose calls it counts."""

import asyncio
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web

PATIENCE = 90.0  # seconds that a test waits for a call
STARTED_WITHIN = 10.0  # seconds


class Participant:
    """Counts the calls of every idempotency key, and replies 200 unless told otherwise.

    Keys are read as `transaction:task`, percent-decoded.

    Attributes:
        url: where it listens.
        calls: how often each key was called.
        bodies: what each key was sent, as JSON.
        echoed: what `/echo/{status}` and `/cut` were sent.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls: Counter[str] = Counter()
        self.bodies: dict[str, list[Any]] = defaultdict(list)
        self.echoed: list[Any] = []
        self._scripts: dict[str, deque[int]] = defaultdict(deque)
        self._broken: dict[str, int] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._called = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()

    def fail(self, key: str, *statuses: int) -> None:
        """Reply to the next calls of the key with these statuses."""
        self._scripts[key].extend(statuses)

    def break_down(self, *keys: str, status: int = 422) -> None:
        """Reply to every call of the keys with this status, until `repair`."""
        self._broken.update(dict.fromkeys(keys, status))

    def repair(self, *keys: str) -> None:
        """Let the keys succeed again."""
        for key in keys:
            del self._broken[key]

    def hold(self, *keys: str) -> None:
        """Keep callers of the keys waiting until `release`."""
        self._gates.update({key: asyncio.Event() for key in keys})

    def release(self, *keys: str) -> None:
        """Let the callers of the keys have their reply."""
        for key in keys:
            self._loop.call_soon_threadsafe(self._gates.pop(key).set)

    def wait_for_call(self, key: str, count: int = 1) -> None:
        """Wait until the key was called so often."""
        with self._called:
            enough = self._called.wait_for(lambda: self.calls[key] >= count, PATIENCE)
        assert enough, f"{key}: {self.calls[key]} calls, not {count}, within {PATIENCE} s"

    async def _reply(self, request: web.Request) -> web.Response:
        key = unquote(request.headers["Idempotency-Key"])
        body = await request.json()
        with self._called:
            self.calls[key] += 1
            self.bodies[key].append(body)
            self._called.notify_all()
        if gate := self._gates.get(key):
            await gate.wait()
        script = self._scripts[key]
        status = script.popleft() if script else self._broken.get(key, 200)
        return web.json_response({"key": key, "status": status}, status=status)

    async def _echo(self, request: web.Request) -> web.Response:
        """A reply of this status that repeats the request wherever a reply can."""
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        token = headers.get("X-Token") or headers.get("Authorization", "")
        body: dict[str, Any] = {
            "headers": headers,
            "url": str(request.url),
            "sent": await request.text(),
        }
        self.echoed.append(body)
        assert request.transport
        body["peer"] = str(request.transport.get_extra_info("peername"))
        said = {"error": f"not {json.dumps(body)}", token: token, **body}
        status = int(request.match_info["status"])
        repeated = {"X-Token": token, "X-Url": str(request.rel_url)}
        return web.json_response(said, status=status, reason=f"No {token}", headers=repeated)

    async def _cut(self, request: web.Request) -> web.Response:
        """A failure so long that any excerpt of it ends within the token."""
        token = request.headers["X-Token"]
        self.echoed.append({"token": token})
        long = token * 300
        return web.json_response({"error": long}, status=422, headers={"X-Long": long[:4000]})

    async def _serve(self, started: threading.Event) -> None:
        app = web.Application()
        app.router.add_post("/cut", self._cut)
        app.router.add_post("/echo/{status}", self._echo)
        app.router.add_post("/{task}", self._reply)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        started.set()
        await self._done.wait()
        for gate in self._gates.values():
            gate.set()
        await runner.cleanup()

    @contextmanager
    def running(self) -> Iterator["Participant"]:
        """Serve on a thread of its own."""
        started = threading.Event()
        thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve(started)])
        thread.start()
        try:
            assert started.wait(STARTED_WITHIN)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._done.set)
            thread.join()
            self._loop.close()
