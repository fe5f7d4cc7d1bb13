"""A real HTTP proxy on loopback: it forwards requests, tunnels TLS, and asks who is there."""

import asyncio
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class HttpProxy:
    """A proxy; `start` lets it serve on the running loop.

    Attributes:
        user: name and password that it asks for; empty: anybody may use it.
        requests: the first line of every request.
    """

    user: str = ""
    requests: list[str] = field(default_factory=list)
    port: int = 0

    async def start(self) -> asyncio.Server:
        """Serve until the server is closed."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._exchange(reader, writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *headers = head.split("\r\n")
        self.requests.append(line)
        if self.user and self._wanted not in headers:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        method, target, version = line.split(" ")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            ahead = b""
        else:
            url = urlsplit(target)
            host, port = url.hostname or "", str(url.port or 80)
            kept = [each for each in headers if not each.startswith("Proxy-")]
            path = target.split("/", 3)[3]
            ahead = "\r\n".join([f"{method} /{path} {version}", *kept]).encode("latin-1")
        others = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        others[1].write(ahead)
        await asyncio.gather(_copied(reader, others[1]), _copied(others[0], writer))

    @property
    def _wanted(self) -> str:
        return f"Proxy-Authorization: Basic {b64encode(self.user.encode()).decode()}"


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
