"""uvicorn's HTTP protocol, with an end to its patience: a request's head must arrive in time.

uvicorn bounds how long a connection may idle between requests, not how long one may take to
send its first line.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dist_task_pipelines.api.envelope import failure

HEAD_PATIENCE = 20.0  # seconds


class PatientProtocol(HttpToolsProtocol):
    """Hangs up on who does not send the head of a request in HEAD_PATIENCE."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody is there, and should say what they want."""
        super().connection_made(transport)
        self._wait_for_head()

    def on_message_begin(self) -> None:
        """A request has begun."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Tell who sends no HTTP so, in JSON as all errors."""
        body = failure(400, msg).body
        head = (
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + bytes(body))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._giving_up = self.loop.call_later(HEAD_PATIENCE, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
