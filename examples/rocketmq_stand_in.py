"""A RocketMQ 5 broker in one process, in memory, for the demo and the tests.

It speaks the real gRPC protocol on loopback, so the official client runs against it unmodified:
normal, FIFO and delayed messages, tags, invisible times. Transactions, recall, dead letters and SQL
filters are left out. Like the real broker it does not deduplicate: whoever counts, counts by key.

    python -m examples.rocketmq_stand_in --port 8081 --topic payment_completed --topic orders:FIFO

With `--books-port`, `GET /messages?topic=...` lists every message accepted, as JSON.
"""

import argparse
import json
import logging
import signal
import sys
import threading
import time
import uuid
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from types import ModuleType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import grpc

# The client's own set-up of its log makes a folder in the home directory when it is imported.
_quiet = ModuleType("rocketmq.v5.log.log_config")
_quiet.__dict__["logger"] = logging.getLogger("rocketmq-python-client")
sys.modules.setdefault(_quiet.__name__, _quiet)

from rocketmq.grpc_protocol import definition_pb2 as d  # noqa: E402
from rocketmq.grpc_protocol import service_pb2 as s  # noqa: E402

Protobuf = Any  # a generated message: those modules carry no types

HOST = "127.0.0.1"
SERVICE = "apache.rocketmq.v2.MessagingService"
KINDS = ("NORMAL", "FIFO", "DELAY")
WORKERS = 64  # a client keeps one of these threads for its settings and one while it waits
MAX_BODY_BYTES = 4 * 1024 * 1024
SEND_ATTEMPTS = 3  # what a real broker tells its producers, too


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one send: kept or not, answered after `delay` seconds with the status `code`.

    Without a code the call breaks off, and its sender cannot know whether the message was kept.
    """

    kept: bool = False
    code: str | None = "INTERNAL_SERVER_ERROR"
    delay: float = 0.0


@dataclass(slots=True)
class Delivery:
    """Where one message stands for one consumer group; gone once acknowledged."""

    message: Protobuf
    due: float  # seconds since the epoch; until then invisible
    attempt: int = 0
    handle: str = ""

    def hide(self, seconds: float) -> None:
        """Make the message invisible for a while, under a new receipt handle."""
        self.due, self.handle = time.time() + seconds, uuid.uuid4().hex

    def receipt(self) -> Protobuf:
        """The message as the consumer gets it."""
        copy = d.Message()
        copy.CopyFrom(self.message)
        copy.system_properties.receipt_handle = self.handle
        copy.system_properties.delivery_attempt = self.attempt
        return copy


@dataclass(slots=True)
class Backlog:
    """What a consumer group has not yet acknowledged of one topic, oldest first."""

    seen: int = 0
    open: dict[int, Delivery] = field(default_factory=dict)

    def fill(self, accepted: Sequence[Protobuf]) -> None:
        """Take in what was accepted since the last time."""
        for message in accepted[self.seen :]:
            due = message.system_properties.delivery_timestamp.ToMilliseconds() / 1000
            self.open[self.seen] = Delivery(message, due)
            self.seen += 1

    def take(self, tags: Collection[str], hidden: float) -> Iterator[Delivery]:
        """Hand out what is due; nothing overtakes an earlier message of its message group."""
        now = time.time()
        held: set[str] = set()
        for delivery in self.open.values():
            properties = delivery.message.system_properties
            if delivery.due > now:
                held.update(filter(None, [properties.message_group]))
            elif properties.message_group not in held and (not tags or properties.tag in tags):
                delivery.attempt += 1
                delivery.hide(hidden)
                yield delivery

    def next_due(self) -> float:
        """When the next hidden message appears, in seconds since the epoch."""
        now = time.time()
        return min((x.due for x in self.open.values() if x.due > now), default=float("inf"))

    def held_by(self, handle: str) -> int | None:
        """The place of the message whose receipt handle is still good."""
        now = time.time()
        return next((i for i, x in self.open.items() if x.handle == handle and x.due > now), None)


class RocketMQStandIn:
    """A broker on a loopback port that serves while the `with` block runs.

    `topics` maps each name to NORMAL, FIFO or DELAY; port 0 picks a free one. `start` after `stop`
    serves the same port and the same messages again, as a broker's restart does.
    """

    def __init__(self, topics: Mapping[str, str], port: int = 0) -> None:
        self.topics = dict(topics)
        self.port = port
        self._accepted: dict[str, list[Protobuf]] = {name: [] for name in topics}
        self._backlogs: defaultdict[tuple[str, str], Backlog] = defaultdict(Backlog)
        self._faults: deque[Fault] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()

    @property
    def endpoints(self) -> str:
        """What a client's configuration takes."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Serve. Raises `RuntimeError` when the port is taken."""
        self._stopped.clear()
        self._threads = ThreadPoolExecutor(WORKERS, "rocketmq-stand-in")
        self._server = grpc.server(self._threads, options=[("grpc.so_reuseport", 0)])
        handlers = grpc.method_handlers_generic_handler(SERVICE, self._handlers())
        self._server.add_generic_rpc_handlers((handlers,))
        self.port = self._server.add_insecure_port(self.endpoints)
        self._server.start()

    def stop(self) -> None:
        """Break off every call at once, as the end of a broker's process does."""
        self._stopped.set()
        self._wake()
        self._server.stop(None).wait()
        self._threads.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def spoil_next_sends(self, *faults: Fault) -> None:
        """Give each of the next sends its fault, in this order."""
        self._faults.extend(faults)

    def messages(self, topic: str) -> list[dict[str, Any]]:
        """Every message accepted, oldest first. Raises `KeyError` for an unknown topic."""
        with self._changed:
            return [_listed(message) for message in self._accepted[topic]]

    def _handlers(self) -> dict[str, Any]:
        """The calls served; gRPC answers UNIMPLEMENTED to any other."""
        unary = grpc.unary_unary_rpc_method_handler
        calls = {
            "QueryRoute": (unary, self._query_route),
            "QueryAssignment": (unary, self._query_assignment),
            "Telemetry": (grpc.stream_stream_rpc_method_handler, _agree),
            "Heartbeat": (unary, lambda *_: s.HeartbeatResponse(status=OK)),
            "SendMessage": (unary, self._send),
            "ReceiveMessage": (grpc.unary_stream_rpc_method_handler, self._receive),
            "AckMessage": (unary, self._acknowledge),
            "ChangeInvisibleDuration": (unary, self._change_invisible_duration),
            "NotifyClientTermination": (
                unary,
                lambda *_: s.NotifyClientTerminationResponse(status=OK),
            ),
        }
        return {name: _handler(name, make, method) for name, (make, method) in calls.items()}

    def _query_route(self, request: Protobuf, _: grpc.ServicerContext) -> Protobuf:
        if request.topic.name not in self.topics:
            return s.QueryRouteResponse(status=_status("TOPIC_NOT_FOUND", request.topic.name))
        return s.QueryRouteResponse(status=OK, message_queues=[self._queue(request.topic)])

    def _query_assignment(self, request: Protobuf, _: grpc.ServicerContext) -> Protobuf:
        assigned = d.Assignment(message_queue=self._queue(request.topic))
        return s.QueryAssignmentResponse(status=OK, assignments=[assigned])

    def _queue(self, topic: Protobuf) -> Protobuf:
        address = d.Address(host=HOST, port=self.port)
        endpoints = d.Endpoints(scheme=d.AddressScheme.IPv4, addresses=[address])
        return d.MessageQueue(
            topic=topic,
            permission=d.Permission.READ_WRITE,
            broker=d.Broker(name="stand-in", endpoints=endpoints),
            accept_message_types=[self.topics[topic.name]],
        )

    def _send(self, request: Protobuf, context: grpc.ServicerContext) -> Protobuf:
        with self._changed:
            fault = self._faults.popleft() if self._faults else None
        if fault is None:
            return self._keep(request.messages)
        answer = self._keep(request.messages) if fault.kept else s.SendMessageResponse()
        self._stopped.wait(fault.delay)
        if fault.code is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken off on purpose")
        else:
            answer.status.CopyFrom(_status(fault.code, "on purpose"))
        return answer

    def _keep(self, messages: Sequence[Protobuf]) -> Protobuf:
        with self._changed:
            for message in messages:
                if message.topic.name not in self.topics:
                    return s.SendMessageResponse(status=_status("TOPIC_NOT_FOUND"))
            entries = [self._append(message) for message in messages]
            self._changed.notify_all()
        return s.SendMessageResponse(status=OK, entries=entries)

    def _append(self, message: Protobuf) -> Protobuf:
        accepted = self._accepted[message.topic.name]
        properties = message.system_properties
        properties.queue_offset = len(accepted)
        properties.store_timestamp.GetCurrentTime()
        properties.body_digest.type = d.DigestType.CRC32
        properties.body_digest.checksum = f"{zlib.crc32(message.body):08X}"
        accepted.append(message)
        offset = properties.queue_offset
        return s.SendResultEntry(status=OK, message_id=properties.message_id, offset=offset)

    def _receive(self, request: Protobuf, context: grpc.ServicerContext) -> Iterator[Protobuf]:
        context.add_callback(self._wake)  # a consumer that left must not take messages with it
        topic = request.message_queue.topic.name
        if topic not in self.topics:
            yield s.ReceiveMessageResponse(status=_status("TOPIC_NOT_FOUND", topic))
        elif request.filter_expression.type == d.FilterType.SQL:
            yield s.ReceiveMessageResponse(status=_status("ILLEGAL_FILTER_EXPRESSION", "SQL"))
        elif messages := self._await_messages(request, context.is_active):
            yield s.ReceiveMessageResponse(status=OK)
            yield from (s.ReceiveMessageResponse(message=message) for message in messages)
        else:
            yield s.ReceiveMessageResponse(status=_status("MESSAGE_NOT_FOUND"))

    def _await_messages(self, request: Protobuf, active: Callable[[], bool]) -> list[Protobuf]:
        topic = request.message_queue.topic.name
        expression = request.filter_expression.expression.replace("*", "")
        tags = {tag.strip() for tag in expression.split("||") if tag.strip()}
        hidden = request.invisible_duration.ToMilliseconds() / 1000
        give_up = time.time() + request.long_polling_timeout.ToMilliseconds() / 1000
        with self._changed:
            backlog = self._backlogs[request.group.name, topic]
            while active() and not self._stopped.is_set():
                backlog.fill(self._accepted[topic])
                due = islice(backlog.take(tags, hidden), request.batch_size)
                messages = [delivery.receipt() for delivery in due]
                if messages or time.time() > give_up:
                    return messages
                self._changed.wait(max(min(give_up, backlog.next_due()) - time.time(), 0))
        return []

    def _acknowledge(self, request: Protobuf, _: grpc.ServicerContext) -> Protobuf:
        with self._changed:
            backlog = self._backlogs[request.group.name, request.topic.name]
            entries = [_acknowledged(backlog, entry) for entry in request.entries]
            self._changed.notify_all()
        answers = {entry.status.code: entry.status for entry in entries}
        status = next(iter(answers.values())) if len(answers) == 1 else _status("MULTIPLE_RESULTS")
        return s.AckMessageResponse(status=status, entries=entries)

    def _change_invisible_duration(self, request: Protobuf, _: grpc.ServicerContext) -> Protobuf:
        with self._changed:
            backlog = self._backlogs[request.group.name, request.topic.name]
            place = backlog.held_by(request.receipt_handle)
            if place is None:
                return s.ChangeInvisibleDurationResponse(status=BAD_HANDLE)
            delivery = backlog.open[place]
            delivery.hide(request.invisible_duration.ToMilliseconds() / 1000)
            self._changed.notify_all()
        return s.ChangeInvisibleDurationResponse(status=OK, receipt_handle=delivery.handle)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _status(code: str, message: str = "") -> Protobuf:
    return d.Status(code=code, message=message or code)


OK = _status("OK")
BAD_HANDLE = _status("INVALID_RECEIPT_HANDLE")


def _acknowledged(backlog: Backlog, entry: Protobuf) -> Protobuf:
    place = backlog.held_by(entry.receipt_handle)
    if place is not None:
        del backlog.open[place]
    return s.AckMessageResultEntry(
        message_id=entry.message_id,
        receipt_handle=entry.receipt_handle,
        status=BAD_HANDLE if place is None else OK,
    )


def _handler(name: str, make: Callable[..., Any], method: Callable[..., Any]) -> Any:
    request = getattr(s, f"{name}Request", s.TelemetryCommand)
    response = getattr(s, f"{name}Response", s.TelemetryCommand)
    return make(method, request.FromString, response.SerializeToString)


def _agree(commands: Iterator[Protobuf], _: grpc.ServicerContext) -> Iterator[Protobuf]:
    """Answer a client's settings with what a broker decides filled in."""
    for command in commands:
        settings = command.settings
        if settings.HasField("publishing"):
            settings.publishing.validate_message_type = True
            settings.publishing.max_body_size = MAX_BODY_BYTES
            settings.backoff_policy.max_attempts = SEND_ATTEMPTS
            settings.backoff_policy.exponential_backoff.multiplier = 1
        yield s.TelemetryCommand(status=OK, settings=settings)


def _listed(message: Protobuf) -> dict[str, Any]:
    properties = message.system_properties
    return {
        "topic": message.topic.name,
        "tag": properties.tag,
        "keys": list(properties.keys),
        "body": message.body.decode(errors="backslashreplace"),
        "message_id": properties.message_id,
        "group": properties.message_group,
    }


class Books(BaseHTTPRequestHandler):
    """Lists what the broker accepted: `GET /messages?topic=NAME`."""

    def __init__(self, broker: RocketMQStandIn, *connection: Any) -> None:
        self._broker = broker
        super().__init__(*connection)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        topic = parse_qs(url.query).get("topic", [""])[0]
        if url.path != "/messages" or topic not in self._broker.topics:
            known = ", ".join(f"/messages?topic={name}" for name in self._broker.topics)
            self.send_error(HTTPStatus.NOT_FOUND, explain=f"There is: {known}")
            return
        body = json.dumps(self._broker.messages(topic)).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet: the demo's terminal is for the demo."""


@contextmanager
def books(broker: RocketMQStandIn, port: int) -> Iterator[int]:
    """Serve the broker's books on loopback during the block; gives the port (0: a free one)."""
    with ThreadingHTTPServer((HOST, port), partial(Books, broker)) as server:
        thread = threading.Thread(target=server.serve_forever, name="rocketmq-stand-in-books")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _topic(text: str) -> tuple[str, str]:
    name, _, kind = text.partition(":")
    if kind not in ("", *KINDS):
        raise argparse.ArgumentTypeError(f"{text}: after the colon goes one of {', '.join(KINDS)}")
    return name, kind or KINDS[0]


def main() -> None:
    """Serve until SIGTERM or SIGINT, even where the starter had these ignored."""
    parser = argparse.ArgumentParser(description="A RocketMQ broker in memory, on loopback.")
    parser.add_argument("--port", type=int, default=8081, help="0: a free one")
    parser.add_argument(
        "--topic", type=_topic, action="append", required=True, metavar="NAME[:KIND]"
    )
    parser.add_argument("--books-port", type=int, help="serve the messages accepted over HTTP, too")
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        broker = stack.enter_context(RocketMQStandIn(dict(arguments.topic), arguments.port))
        if arguments.books_port is not None:
            stack.enter_context(books(broker, arguments.books_port))
        print(f"ready {broker.endpoints}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
