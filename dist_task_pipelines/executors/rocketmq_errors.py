"""What an error of the official RocketMQ client means for the message that was sent.

The client's classes are known once its package is loaded, so the tables are functions.
"""

import concurrent.futures
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.base import Progress
from dist_task_pipelines.executors.rocketmq_package import BadSetup, load_client

# How gRPC says that a call was never sent.
_NOT_CONNECTED = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")


@dataclass(frozen=True, slots=True)
class Meaning:
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


def failure_of(error: Exception, progress: Progress) -> Outcome:
    """The outcome of a send that ended with this error.

    Raises:
        Exception: the error itself, when no one foresaw it.
    """
    meaning = meaning_of(error)
    if meaning is None:
        raise error
    message, code = _told(error)
    return Outcome.failure(
        meaning.type,
        message,
        code=code,
        retryable=meaning.retryable,
        applied=Applied.NO if meaning.refused else progress.applied,
    )


def meaning_of(error: Exception) -> Meaning | None:
    """What the error means, None when no one foresaw it."""
    import grpc

    if isinstance(error, BadSetup):  # perhaps there is no client to know errors of
        return _BAD_SETUP
    if isinstance(error, grpc.RpcError):
        never_sent = str(error.details()).startswith(_NOT_CONNECTED)
        return _UNREACHABLE if never_sent else grpc_meanings().get(error.code())
    known = meanings()
    if type(error) is Exception:
        return known[Exception]
    return next((known[kind] for kind in type(error).__mro__[:-3] if kind in known), None)


_UNREACHABLE = Meaning("ConnectionFailed", retryable=True, broken=True)
_LOST = Meaning("ConnectionLost", retryable=True, refused=False, broken=True)
_LATE = Meaning("Timeout", retryable=True, refused=False, broken=True)
# Of every topic, by a proxy whose broker has not signed in yet.
_UNKNOWN_TOPIC = Meaning("UnknownTopic", retryable=True)
_BUSY = Meaning("Throttled", retryable=True)
_BROKER = Meaning("BrokerError", retryable=True, refused=False)
_REFUSED = Meaning("BrokerError", retryable=False)
_UNCLEAR = Meaning("BrokerError", retryable=False, refused=False)
_BAD_MESSAGE = Meaning("InvalidMessage", retryable=False)
_NOT_PERMITTED = Meaning("NotPermitted", retryable=False)
_BAD_SETUP = Meaning("InvalidConfig", retryable=False)


@cache
def meanings() -> Mapping[type[BaseException], Meaning]:
    """What the errors mean that the client raises; the most specific class decides."""
    load_client()
    from rocketmq.v5 import exception as rocketmq

    return {
        # said by the broker
        rocketmq.BadRequestException: _BAD_MESSAGE,
        rocketmq.PayloadTooLargeException: _BAD_MESSAGE,
        rocketmq.PayloadEmptyException: _BAD_MESSAGE,
        rocketmq.RequestHeaderFieldsTooLargeException: _BAD_MESSAGE,
        rocketmq.NotFoundException: _UNKNOWN_TOPIC,
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
    }


@cache
def grpc_meanings() -> Mapping[Any, Meaning]:
    """What the codes mean with which a call breaks off below the broker."""
    from grpc import StatusCode

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


def _told(error: Exception) -> tuple[str, str]:
    """The error's message and code."""
    import grpc

    if isinstance(error, grpc.RpcError):
        return str(error.details()), error.code().name
    message = str(error.args[0]) if error.args else type(error).__name__
    code = getattr(error, "code", None)
    return message, "" if code is None else _code_name(code)


def _code_name(code: int) -> str:
    from rocketmq.grpc_protocol import Code

    return Code.Name(code) if code in Code.values() else str(code)
