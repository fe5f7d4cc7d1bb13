"""The participants of the demo as processes of their own, and what their books say.

Knows where each is and how to start it, not what is expected of them.
"""

import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dist_task_pipelines.orchestration.processes import CommandProcess
from examples import warehouse
from examples.orders import ARTICLES
from examples.participant import HOST
from examples.reckoning import Books, Entry, entries, message_entries, reservation_entries

ROOT = Path(__file__).resolve().parents[1]
TOPIC = "order_shipped"
REQUEST_TOPIC = "order_requests"
STOP_TIMEOUT = 5  # seconds
REPLY_TIMEOUT = 5  # seconds

SERVICES = ("payment", "fraud check", "north", "south")
WAREHOUSE, BROKER, BROKER_BOOKS = "warehouse", "rocketmq", "messages"
PARTICIPANTS = ("payment", WAREHOUSE, "fraud check", "north", "south", BROKER)

Await = Callable[[CommandProcess], None]


class Shop:
    """Payment, warehouse, fraud check, the carriers north and south, and the broker.

    The ports are its own while the `with` block runs, whether or not a process listens there;
    at the block's end every process that was started has ended.

    Args:
        folder: for databases and logs.
        frozen: the accounts that the payment service finds frozen.
    """

    def __init__(self, folder: Path, frozen: list[str]) -> None:
        self.stock_file = folder / "warehouse.db"
        self._folder = folder
        self._frozen = frozen
        self._stack = ExitStack()
        self._ports: dict[str, int] = {}
        self._processes: dict[str, CommandProcess] = {}

    def __enter__(self) -> Self:
        for name in (*SERVICES, BROKER, BROKER_BOOKS):
            self._ports[name] = self._stack.enter_context(reserved_port())
        self._stack.callback(self._stop)
        warehouse.create(self.stock_file, ARTICLES)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def address(self, name: str) -> str:
        """Where a participant listens, or will: `host:port`."""
        return f"{HOST}:{self._ports[name]}"

    def start(self, *names: str) -> list[CommandProcess]:
        """Start participants; they print `ready ...` in their logs once they serve."""
        started = [self._process(name) for name in names]
        for process in started:
            process.start()
        return started

    def unfreeze(self, user: str) -> None:
        """What a person at the bank does."""
        call = {"method": "unfreeze", "params": {"user_id": user}}
        _http_json(f"http://{self.address('payment')}/rpc", call)

    def books(self) -> Books:
        """The books of every participant; empty for one that is down."""
        reservations = warehouse.reservations(self.stock_file)
        services = {name: self._service_books(name) for name in SERVICES}
        others = {WAREHOUSE: reservation_entries(reservations), BROKER: self._message_books()}
        return {name: (services | others)[name] for name in PARTICIPANTS}

    def articles_taken(self) -> int:
        """How many articles are gone from the warehouse's stock."""
        return warehouse.taken(self.stock_file)

    def _service_books(self, name: str) -> Mapping[str, Entry]:
        return entries(_or_empty(f"http://{self.address(name)}/books", {}))

    def _message_books(self) -> Mapping[str, Entry]:
        url = f"http://{self.address(BROKER_BOOKS)}/messages?topic={TOPIC}"
        return message_entries(_or_empty(url, []))

    def _process(self, name: str) -> CommandProcess:
        command = [sys.executable, "-m", *self._command(name)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = CommandProcess(name, command, environment, self._folder / "logs")
        self._processes[name] = process
        return process

    def _command(self, name: str) -> list[str]:
        port = ["--port", str(self._ports[name])]
        books = ["--books", str(self._folder / f"{name.replace(' ', '_')}.db")]
        if name == BROKER:
            books_port = ["--books-port", str(self._ports[BROKER_BOOKS])]
            topics = ["--topic", TOPIC, "--topic", REQUEST_TOPIC]
            return ["examples.rocketmq_stand_in", *port, *books_port, *topics]
        if name == "payment":
            frozen = [word for user in self._frozen for word in ("--frozen", user)]
            return ["examples.payment_service", *port, *books, *frozen]
        if name == "fraud check":
            return ["examples.fraud_service", *port, *books]
        return ["examples.shipping_service", *port, *books, "--name", name]

    def _stop(self) -> None:
        for process in self._processes.values():
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in self._processes.values():
            process.end(deadline)


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port on loopback that no other program is given during the block.

    It is bound but not listened on: calls are refused until a server of ours listens there,
    which Linux allows beside a socket that reuses its address, too.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind((HOST, 0))
        yield reservation.getsockname()[1]


def _or_empty(url: str, empty: Any) -> Any:
    try:
        return _http_json(url)
    except OSError:
        return empty


def _http_json(url: str, body: Any = None) -> Any:
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=REPLY_TIMEOUT) as reply:
        return json.load(reply)
