"""What the demo's services have in common: books, a server, a clean start and stop.

A service is an outside system. It knows nothing of the platform that calls it, only the header
`Idempotency-Key`: a call with a key that it has seen take effect gets the first reply again and
changes nothing.
"""

import argparse
import asyncio
import json
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

HOST = "127.0.0.1"
KEY_HEADER = "Idempotency-Key"
STOP_TIMEOUT = 1.0  # seconds that calls under way may still take

JsonObject = dict[str, Any]
Routes = Iterable[web.RouteDef]

# Not unique on purpose: should a service ever do a thing twice, its books must show it.
TABLES = """
PRAGMA synchronous = OFF; -- the books need to outlive the process, not a power cut
CREATE TABLE IF NOT EXISTS calls (key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS effects (key TEXT NOT NULL, reply TEXT NOT NULL);
"""
SUMMARY = """
SELECT key, COUNT(*), (SELECT COUNT(*) FROM effects WHERE effects.key = calls.key)
FROM calls GROUP BY key ORDER BY MIN(rowid)
"""


class Refused(Exception):
    """The service does not do what was asked; nothing changed."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Books:
    """What one service was asked and what it did, by idempotency key, in an SQLite file."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(TABLES)

    def reply(self, key: str) -> JsonObject | None:
        """What the call that took effect with this key was answered."""
        row = self._database.execute("SELECT reply FROM effects WHERE key = ?", [key]).fetchone()
        return json.loads(row[0]) if row else None

    def once(self, key: str, effect: Callable[[], JsonObject]) -> JsonObject:
        """Count the call; give the first reply with this key, or make `effect` and its reply.

        An effect that raises `Refused` leaves nothing behind but the call.
        """
        self._database.execute("INSERT INTO calls VALUES (?)", [key])
        reply = self.reply(key)
        if reply is None:
            reply = effect()
            self._database.execute("INSERT INTO effects VALUES (?, ?)", [key, json.dumps(reply)])
        return reply

    def next_number(self) -> int:
        """The number of the next effect, from 1 on."""
        (count,) = self._database.execute("SELECT COUNT(*) FROM effects").fetchone()
        return int(count) + 1

    def summary(self) -> dict[str, dict[str, int]]:
        """How many calls and effects there were for each key."""
        return {
            key: {"calls": calls, "effects": effects}
            for key, calls, effects in self._database.execute(SUMMARY)
        }

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def key_of(request: web.Request) -> str:
    """The call's idempotency key.

    Raises:
        Refused: it has none.
    """
    key = request.headers.get(KEY_HEADER)
    if not key:
        raise Refused(400, f"the header {KEY_HEADER} is missing")
    return key


def options(description: str) -> argparse.ArgumentParser:
    """The command line that every service has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="on loopback; 0: a free one")
    parser.add_argument("--books", type=Path, required=True, metavar="FILE")
    return parser


def run(arguments: argparse.Namespace, routes: Callable[[Books], Routes]) -> None:
    """Serve the routes and `GET /books` until SIGTERM or SIGINT, even if these were ignored.

    Prints `ready HOST:PORT` once it serves.
    """
    books = Books(arguments.books)
    try:
        asyncio.run(_serve(arguments.port, [*routes(books), web.get("/books", _showing(books))]))
    finally:
        books.close()


async def _serve(port: int, routes: Routes) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    app = web.Application(middlewares=[_refusals])
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        print(f"ready {HOST}:{runner.addresses[0][1]}", flush=True)
        await ended.wait()
    finally:
        await runner.cleanup()


def _showing(books: Books) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def show(_: web.Request) -> web.Response:
        return web.json_response(books.summary())

    return show


@web.middleware
async def _refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refusal:
        return web.json_response({"error": str(refusal)}, status=refusal.status)
