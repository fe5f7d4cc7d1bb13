"""The official RocketMQ client with its peculiarities hidden; blocking, for threads.

What it keeps from the rest of the platform:

- Importing the client makes a log folder in the home directory; here it logs to the
  standard logger `rocketmq-python-client`, and the folder is never made.
- It is not fork-safe: a process that used it must not fork and use it in the child. The
  client is imported and started at the first send, and a child that inherits a started
  one is refused.
- It sends again by itself, which hides what became of the first try. Here a send is one
  send; repeating is the ledger's business.
- It reports an unknown topic and an unreachable broker alike, as a bare `Exception`.
- After a broken connection it does not register again for minutes, so it is replaced.
"""

import concurrent.futures
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.base import Progress, RocketMQ

REQUEST_SECONDS = 10  # for one request to a broker, whatever the task's timeout

_LOG_MODULE = "rocketmq.v5.log.log_config"
_MAX_BODY_BYTES = 4 * 1024 * 1024  # until the broker says otherwise
_ENDPOINTS = re.compile(r"[^\s:;/]+:[0-9]{1,5}(;[^\s:;/]+:[0-9]{1,5})*;?")
_NOT_CONNECTED = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")


@dataclass(frozen=True, slots=True)
class MqMessage:
    """A message to send. `delay` is in seconds; a `group` makes it FIFO."""

    topic: str
    body: bytes
    keys: tuple[str, ...]
    tag: str | None = None
    group: str | None = None
    delay: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a broker answered: it has the message."""

    message_id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means.

    Attributes:
        type: the class of causes.
        retryable: whether sending again can help.
        refused: the broker, or the client before it, did not take the message; otherwise
            whether it did follows from how far the send got.
        broken: the client is of no use any more.
    """

    type: str
    retryable: bool
    refused: bool = True
    broken: bool = False


class BadSetup(Exception):
    """The client cannot work as it is configured or used; says what to do."""


class RocketMQProducer:
    """Sends messages; connects at the first one. Every method is for threads, not loops.

    Args:
        settings: where the brokers are and who signs in.
    """

    def __init__(self, settings: RocketMQ) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._ending: list[threading.Thread] = []

    def send(self, message: MqMessage, progress: Progress) -> Receipt:
        """Send once, within two times REQUEST_SECONDS.

        Raises:
            Exception: the client's own errors; `failure_of` knows what they mean.
        """
        with self._borrowed() as client:
            client.find_route(message.topic)
            prepared = _native(message)
            progress.send()
            receipt = client.producer.send(prepared)
        return Receipt(receipt.message_id, receipt.offset)

    def close(self, grace: float) -> None:
        """Sign off at the brokers and end the client's threads, in `grace` seconds at most."""
        with self._lock:
            if self._client:
                self._retire(self._client)
            ending, self._ending = self._ending, []
        give_up = time.monotonic() + grace
        for thread in ending:
            thread.join(max(0.0, give_up - time.monotonic()))

    @contextmanager
    def _borrowed(self) -> Iterator["_Client"]:
        with self._lock:
            client = self._client = self._client or _Client(self._settings)
            client.users += 1
        broken = False
        try:
            yield client
        except Exception as error:
            verdict = verdict_of(error)
            broken = verdict is not None and verdict.broken
            raise
        finally:
            with self._lock:
                client.users -= 1
                if broken or client.retired:
                    self._retire(client)

    def _retire(self, client: "_Client") -> None:
        """Use the client no more; the last one to use it ends it. Holds the lock."""
        client.retired = True
        if self._client is client:
            self._client = None
        if not client.users:
            thread = threading.Thread(target=client.end, name="rocketmq-end", daemon=True)
            self._ending = [other for other in self._ending if other.is_alive()] + [thread]
            thread.start()


class _Client:
    """One started producer of the official client, and how many sends are using it."""

    _started_in = 0  # the process that has the client's threads

    def __init__(self, settings: RocketMQ) -> None:
        if not _ENDPOINTS.fullmatch(settings.endpoints):
            raise BadSetup(
                f"the endpoints {settings.endpoints!r} in [rocketmq] must be like 127.0.0.1:8081, "
                "several IP addresses separated by ';'"
            )
        if _Client._started_in not in (0, os.getpid()):
            raise BadSetup(
                "the RocketMQ client was used before this process was forked, which it does not "
                "survive: send the first message after the fork"
            )
        _Client._started_in = os.getpid()
        self.users = 0
        self.retired = False
        self.producer = _started_producer(settings)

    def find_route(self, topic: str) -> None:
        """Find the brokers of the topic, or why there are none."""
        routes = self.producer.route_manager
        try:
            routes.retrieve_topic_route_data(topic)
        except Exception:
            self._ask_why(topic)
            routes.retrieve_topic_route_data(topic)

    def end(self) -> None:
        """Sign off and end the threads."""
        try:
            self.producer.shutdown()
        except Exception:  # its connections may be broken already
            logging.getLogger(__name__).warning("a RocketMQ client did not end well", exc_info=True)

    def _ask_why(self, topic: str) -> None:
        """Ask for the route again, in a way that does not hide the answer."""
        from rocketmq.grpc_protocol import QueryRouteRequest, Resource  # noqa: PLC0415
        from rocketmq.v5.util import MessagingResultChecker  # noqa: PLC0415

        endpoints = self.producer.client_configuration.rpc_endpoints
        request = QueryRouteRequest(topic=Resource(name=topic), endpoints=endpoints.endpoints)
        answer = self.producer.rpc_client.query_topic_route_async(
            endpoints, request, metadata=self.producer.sign(), timeout=REQUEST_SECONDS
        )
        MessagingResultChecker.check(answer.result().status)


class _ClientLog(logging.LoggerAdapter[logging.Logger]):
    """The client's logger; it still calls `warn`, which Python is about to drop."""

    def warn(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.warning(msg, *args, **kwargs)


def load_client() -> ModuleType:
    """The official client's package, imported without its set-up of logging."""
    quiet = ModuleType(_LOG_MODULE)
    quiet.__dict__["logger"] = _ClientLog(logging.getLogger("rocketmq-python-client"))
    sys.modules.setdefault(_LOG_MODULE, quiet)
    import rocketmq  # noqa: PLC0415

    return rocketmq  # type: ignore[no-any-return]


def failure_of(error: Exception, progress: Progress) -> Outcome:
    """The outcome of a send that ended with this error.

    Raises:
        Exception: the error itself, when no one foresaw it.
    """
    verdict = verdict_of(error)
    if verdict is None:
        raise error
    message, code = _told(error)
    return Outcome.failure(
        verdict.type,
        message,
        code=code,
        retryable=verdict.retryable,
        applied=Applied.NO if verdict.refused else progress.applied,
    )


def verdict_of(error: Exception) -> Verdict | None:
    """What the error means, None when no one foresaw it."""
    import grpc  # noqa: PLC0415

    if isinstance(error, grpc.RpcError):
        never_sent = str(error.details()).startswith(_NOT_CONNECTED)
        return _UNREACHABLE if never_sent else grpc_verdicts().get(error.code())
    known = verdicts()
    if type(error) is Exception:
        return known[Exception]
    return next((known[kind] for kind in type(error).__mro__[:-3] if kind in known), None)


_UNREACHABLE = Verdict("ConnectionFailed", retryable=True, broken=True)
_LOST = Verdict("ConnectionLost", retryable=True, refused=False, broken=True)
_LATE = Verdict("Timeout", retryable=True, refused=False, broken=True)
_BUSY = Verdict("Throttled", retryable=True)
_BROKER = Verdict("BrokerError", retryable=True, refused=False)
_REFUSED = Verdict("BrokerError", retryable=False)
_UNCLEAR = Verdict("BrokerError", retryable=False, refused=False)
_BAD_MESSAGE = Verdict("InvalidMessage", retryable=False)
_NOT_PERMITTED = Verdict("NotPermitted", retryable=False)
_BAD_SETUP = Verdict("InvalidConfig", retryable=False)


@cache
def verdicts() -> Mapping[type[BaseException], Verdict]:
    """What the errors mean that the client raises; the most specific class decides."""
    load_client()
    from rocketmq.v5 import exception as rocketmq  # noqa: PLC0415

    return {
        # said by the broker
        rocketmq.BadRequestException: _BAD_MESSAGE,
        rocketmq.PayloadTooLargeException: _BAD_MESSAGE,
        rocketmq.PayloadEmptyException: _BAD_MESSAGE,
        rocketmq.RequestHeaderFieldsTooLargeException: _BAD_MESSAGE,
        rocketmq.NotFoundException: Verdict("UnknownTopic", retryable=False),
        rocketmq.UnauthorizedException: _NOT_PERMITTED,
        rocketmq.PaymentRequiredException: _NOT_PERMITTED,
        rocketmq.ForbiddenException: _NOT_PERMITTED,
        rocketmq.TooManyRequestsException: _BUSY,
        rocketmq.LiteTopicQuotaExceededException: _REFUSED,
        rocketmq.LiteSubscriptionQuotaExceededException: _REFUSED,
        rocketmq.InternalErrorException: _BROKER,
        rocketmq.ProxyTimeoutException: _BROKER,
        rocketmq.UnsupportedException: _UNCLEAR,  # also for every status it does not know
        rocketmq.ClientException: _BROKER,
        # said by the client itself
        rocketmq.IllegalArgumentException: _BAD_MESSAGE,
        rocketmq.IllegalStateException: _LOST,
        concurrent.futures.CancelledError: _LOST,
        AssertionError: _BROKER,  # a reply with no receipt, or several
        Exception: _LOST,  # the client's bare ones
        BadSetup: _BAD_SETUP,
    }


@cache
def grpc_verdicts() -> Mapping[Any, Verdict]:
    """What the codes mean with which a call breaks off below the broker."""
    from grpc import StatusCode  # noqa: PLC0415

    return {
        StatusCode.UNAVAILABLE: _LOST,
        StatusCode.DEADLINE_EXCEEDED: _LATE,
        StatusCode.CANCELLED: _LOST,
        StatusCode.UNKNOWN: _LOST,
        StatusCode.INTERNAL: _LOST,
        StatusCode.ABORTED: _LOST,
        StatusCode.DATA_LOSS: _LOST,
        StatusCode.RESOURCE_EXHAUSTED: _BUSY,
        StatusCode.UNAUTHENTICATED: _NOT_PERMITTED,
        StatusCode.PERMISSION_DENIED: _NOT_PERMITTED,
        StatusCode.INVALID_ARGUMENT: _BAD_MESSAGE,
        StatusCode.OUT_OF_RANGE: _BAD_MESSAGE,
        StatusCode.NOT_FOUND: _REFUSED,
        StatusCode.ALREADY_EXISTS: _REFUSED,
        StatusCode.FAILED_PRECONDITION: _REFUSED,
        StatusCode.UNIMPLEMENTED: _REFUSED,  # no RocketMQ proxy listens there
    }


@cache
def _one_send_producer() -> Any:
    """A producer that does not send again by itself, as its settings would have it."""
    client = load_client()
    from rocketmq.grpc_protocol import Settings  # noqa: PLC0415

    class OneSendProducer(client.Producer):  # type: ignore[name-defined, misc]
        def reset_setting(self, settings: Any) -> None:
            own = Settings()
            own.CopyFrom(settings)
            own.backoff_policy.max_attempts = 1
            own.backoff_policy.exponential_backoff.multiplier = 1  # the kind it listens to
            super().reset_setting(own)

    return OneSendProducer


def _started_producer(settings: RocketMQ) -> Any:
    client = load_client()
    from rocketmq.grpc_protocol import Publishing, Settings  # noqa: PLC0415

    producer = _one_send_producer()(
        client.ClientConfiguration(
            settings.endpoints,
            client.Credentials(settings.access_key, settings.secret_key),
            request_timeout=REQUEST_SECONDS,
        )
    )
    until_told = Publishing(max_body_size=_MAX_BODY_BYTES, validate_message_type=True)
    producer.reset_setting(Settings(publishing=until_told))
    producer.startup()
    return producer


def _native(message: MqMessage) -> Any:
    native = load_client().Message()
    native.topic = message.topic
    native.body = message.body
    for key in message.keys:
        native.keys = key  # which adds it to the others
    if message.tag is not None:
        native.tag = message.tag
    if message.group is not None:
        native.message_group = message.group
    if message.delay is not None:
        native.delivery_timestamp = math.ceil(time.time()) + message.delay  # in seconds
    return native


def _told(error: Exception) -> tuple[str, str]:
    """The error's message and code."""
    import grpc  # noqa: PLC0415

    if isinstance(error, grpc.RpcError):
        return str(error.details()), error.code().name
    message = str(error.args[0]) if error.args else type(error).__name__
    return message, _code_name(getattr(error, "code", None))


def _code_name(code: int | None) -> str:
    from rocketmq.grpc_protocol import Code  # noqa: PLC0415

    return Code.Name(code) if code in Code.values() else str(code or "")
