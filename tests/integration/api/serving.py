"""The API over a ledger of its own, served by uvicorn on a loopback port, in this process."""

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn

from dist_task_pipelines.api import create_app
from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.api.protocol import PatientProtocol
from dist_task_pipelines.assembly import open_ledger, resolve_flow
from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.settings import Settings

DEFINITION = {
    "description": "charge, then tell",
    "tasks": [
        {"id": "deduct", "task_name": "http_request", "config": {"url": "http://127.0.0.1:1/a"}},
        {
            "id": "notify",
            "task_name": "http_request",
            "depends_on": ["deduct"],
            "config": {"url": "http://127.0.0.1:1/b"},
            "retry": {"strategy": "no_retry"},
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The envelope."""
        return json.loads(self.content)

    @property
    def data(self) -> Any:
        """What a call that succeeded answered."""
        assert self.body["code"] == 0, self.body
        return self.body["data"]

    @property
    def paths(self) -> list[str]:
        """Where the faults of a refused request are."""
        return [fault["path"] for fault in self.body["data"]["errors"]]


def request(
    port: int,
    method: str,
    url: str,
    content: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request over a connection of its own, its body said to be JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        sent = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, url, content, sent)
        reply = connection.getresponse()
        return Answer(reply.status, dict(reply.headers), reply.read())
    finally:
        connection.close()


class Api:
    """A client of the API that sends whatever it is told to."""

    def __init__(self, platform: Platform, port: int, told: "Told") -> None:
        self.platform = platform
        self.port = port
        self._told = told

    @property
    def accepted(self) -> int:
        """How often the dispatcher was told of work."""
        return self._told.times

    @property
    def ledger(self) -> Ledger:
        """The ledger behind it."""
        return self.platform.ledger

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; `path` without `/api/v1` where it begins with no slash."""
        if body is not None:
            content = json.dumps(body).encode()
        url = path if path.startswith("/") else f"/api/v1/{path}"
        return request(self.port, method, url, content, headers)

    def get(self, path: str) -> Answer:
        """A GET."""
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, **how: Any) -> Answer:
        """A POST."""
        return self.call("POST", path, body, **how)

    def submit(self, identifier: str, flow: str = "order", **more: Any) -> Answer:
        """Submit a transaction."""
        return self.post("transactions", {"instance_id": identifier, "flow_id": flow, **more})

    def a_flow(self, name: str = "order") -> Flow:
        """A flow of the tasks `deduct` and then `notify`, stored."""
        platform = self.platform
        resolved = resolve_flow(platform.settings, platform.registry, DEFINITION, name=name)
        record = self.ledger.flows.create(name=name, definition=resolved)
        return self.ledger.flows.load(record.id)


class Told:
    """What the API calls after a commit that made work due."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def encoded(identifier: str) -> str:
    """The id as it stands in a path."""
    return quote(identifier, safe="")


@contextmanager
def serving(home: Path) -> Iterator[Api]:
    """The API over the migrated ledger of this home."""
    settings = Settings.load(None, home)
    ledger = open_ledger(settings)
    told = Told()
    platform = Platform(ledger, settings, on_accepted=told)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = Api(platform, listening.getsockname()[1], told)
        config = uvicorn.Config(
            create_app(platform),
            http=PatientProtocol,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield api
        finally:
            server.should_exit = True
            thread.join()
            platform.close()
            ledger.close()
