"""What gRPC statuses and what comes with them mean, without a server."""

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.grpc_status import (
    MEANINGS,
    failure_of,
    retry_after,
    status_details,
)


def details_of(*details: AnyMessage) -> list[tuple[str, str | bytes]]:
    return [("grpc-status-details-bin", Status(details=details).SerializeToString())]


def retry_info(**delay: int) -> AnyMessage:
    info = RetryInfo()
    info.retry_delay.seconds = delay.get("seconds", 0)
    info.retry_delay.nanos = delay.get("nanos", 0)
    packed = AnyMessage()
    packed.Pack(info)
    return packed


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ([], None),
        (details_of(), None),
        (details_of(retry_info(seconds=2, nanos=500_000_000)), 2.5),
        (details_of(retry_info(seconds=-2)), 0.0),
        (details_of(AnyMessage(type_url="x/google.rpc.RetryInfo", value=b"\xff")), None),
        ([("grpc-status-details-bin", b"\xff\xff")], None),
        ([("grpc-retry-pushback-ms", "1500")], 1.5),
        ([("grpc-retry-pushback-ms", "-1")], None),
        ([("grpc-retry-pushback-ms", "soon")], None),
    ],
)
def test_when_to_come_again(metadata: Any, seconds: float | None) -> None:
    assert retry_after(metadata) == seconds


def test_details_of_an_unknown_kind_are_named() -> None:
    metadata = details_of(AnyMessage(type_url="type.googleapis.com/shop.v1.Secret", value=b"x"))
    assert status_details(metadata) == [{"@type": "type.googleapis.com/shop.v1.Secret"}]


def test_every_status_has_a_meaning() -> None:
    assert set(MEANINGS) == set(StatusCode) - {StatusCode.OK}


@pytest.mark.parametrize("code", MEANINGS)
def test_what_was_not_sent_had_no_effect(code: StatusCode) -> None:
    error = AioRpcError(code, Metadata(), Metadata(), "oops")
    assert failure_of(error, "call", sent=False).applied is Applied.NO
    assert failure_of(error, "call").applied is MEANINGS[code].applied


@pytest.mark.parametrize(
    "words",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: refused",
        "DNS resolution failed for nowhere.invalid:1: C-ares status is not ARES_SUCCESS",
    ],
)
def test_without_a_connection_nothing_was_sent(words: str) -> None:
    outcome = failure_of(AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata(), words), "call")
    assert outcome.error
    assert (outcome.error.type, outcome.error.code) == ("ConnectionFailed", "UNAVAILABLE")
    assert (outcome.retryable, outcome.applied) == (True, Applied.NO)
