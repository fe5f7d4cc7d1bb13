"""What a gRPC status means: whether calling again can help, and whether the call took effect.

The table follows the statuses' own definitions (https://grpc.github.io/grpc/core/md_doc_statuscodes.html)
and is documented in `docs/task-types.md`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError

from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status means."""

    retryable: bool
    applied: Applied


_FINAL = Meaning(retryable=False, applied=Applied.NO)
_REFUSED = Meaning(retryable=True, applied=Applied.NO)
_UNCLEAR = Meaning(retryable=True, applied=Applied.MAYBE)
_UNREADABLE = Meaning(retryable=False, applied=Applied.MAYBE)

MEANINGS: Mapping[StatusCode, Meaning] = {
    # the service refused; the same request will be refused again
    StatusCode.INVALID_ARGUMENT: _FINAL,
    StatusCode.NOT_FOUND: _FINAL,
    StatusCode.ALREADY_EXISTS: _FINAL,
    StatusCode.PERMISSION_DENIED: _FINAL,
    StatusCode.UNAUTHENTICATED: _FINAL,
    StatusCode.FAILED_PRECONDITION: _FINAL,
    StatusCode.OUT_OF_RANGE: _FINAL,
    StatusCode.UNIMPLEMENTED: _FINAL,
    # it refused for now
    StatusCode.RESOURCE_EXHAUSTED: _REFUSED,
    StatusCode.ABORTED: _REFUSED,
    # it does not say what became of the call
    StatusCode.CANCELLED: _UNCLEAR,
    StatusCode.UNKNOWN: _UNCLEAR,
    StatusCode.DEADLINE_EXCEEDED: _UNCLEAR,
    StatusCode.INTERNAL: _UNCLEAR,
    StatusCode.UNAVAILABLE: _UNCLEAR,
    StatusCode.DATA_LOSS: _UNREADABLE,
}

_NOT_CONNECTED = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
_TOO_LARGE = "Received message larger than max"
_STATUS = "grpc-status-details-bin"
_PUSHBACK = "grpc-retry-pushback-ms"
_DETAILS: Mapping[str, type[Message]] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.BadRequest,
        error_details_pb2.DebugInfo,
        error_details_pb2.ErrorInfo,
        error_details_pb2.Help,
        error_details_pb2.LocalizedMessage,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RequestInfo,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
    )
}


def failure_of(error: AioRpcError, call: str, *, sent: bool = True) -> Outcome:
    """The outcome of a call that ended with this error.

    Args:
        call: what was called, for the message.
        sent: whether the participant can have seen the call at all.
    """
    if never_sent(error):
        return Outcome.failure(
            "ConnectionFailed",
            f"{call}: {error.details()}",
            code=error.code().name,
            retryable=True,
            applied=Applied.NO,
        )
    meaning = meaning_of(error)
    metadata = list(error.trailing_metadata() or ())
    said = status_details(metadata)
    details: JsonObject = {"status": error.code().name, "metadata": logged(metadata)}
    if said:
        details["status_details"] = said
    return Outcome.failure(
        "GrpcStatus",
        f"{call} ended with {error.code().name}: {error.details()}".removesuffix(": "),
        code=error.code().name,
        retryable=meaning.retryable,
        applied=meaning.applied if sent else Applied.NO,
        retry_after=retry_after(metadata) if meaning.retryable else None,
        details=details,
    )


def never_sent(error: AioRpcError) -> bool:
    """Whether gRPC found no connection to send the call on."""
    return error.code() is StatusCode.UNAVAILABLE and str(error.details()).startswith(
        _NOT_CONNECTED
    )


def meaning_of(error: AioRpcError) -> Meaning:
    """What the error means.

    A message that is too long is refused by the side that receives it, under one status and
    with the same words, so a reply may have been on its way.
    """
    if error.code() is StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in str(error.details()):
        return _UNREADABLE
    return MEANINGS[error.code()]


def retry_after(metadata: Metadata) -> float | None:
    """Seconds that the service asks to wait, by `google.rpc.RetryInfo` or by gRPC's pushback."""
    for detail in _status(metadata).details:
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR):
            with suppress(DecodeError):
                detail.Unpack(info)
                delay = info.retry_delay
                return float(max(0, delay.seconds + delay.nanos / 1e9))
    pushback = dict(metadata).get(_PUSHBACK)
    if isinstance(pushback, str) and pushback.isascii() and pushback.isdigit():
        return int(pushback[:12]) / 1000
    return None


def status_details(metadata: Metadata) -> list[JsonValue]:
    """The `google.rpc.Status` details that a service sent, as JSON; others by their type."""
    return [_detail_json(detail) for detail in _status(metadata).details]


def logged(metadata: Metadata) -> JsonObject:
    """The metadata for the log, without what is binary."""
    return {key: value for key, value in metadata if isinstance(value, str)}


def _status(metadata: Metadata) -> status_pb2.Status:
    status = status_pb2.Status()
    value = dict(metadata).get(_STATUS)
    if isinstance(value, bytes):
        with suppress(DecodeError):
            status.ParseFromString(value)
    return status


def _detail_json(detail: Message) -> JsonValue:
    url = str(getattr(detail, "type_url", ""))
    kind = _DETAILS.get(url.rpartition("/")[2])
    if kind is not None:
        with suppress(Error, DecodeError):
            return MessageToDict(detail, preserving_proto_field_name=True)
    return {"@type": url}
