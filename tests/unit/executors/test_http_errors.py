"""Every error that aiohttp can raise in a call has a meaning of its own."""

import ssl

import aiohttp
import pytest
from aiohttp import client_exceptions

from dist_task_pipelines.executors.http_client import MEANINGS, ConnectionLost, meaning_of

NOT_OF_OUR_CALLS = {
    "UnixClientConnectorError",  # connects to a path instead of a host
    "UploadAbortedError",  # sends a stream instead of bytes
    "WSMessageTypeError",  # speaks WebSocket
    "WSServerHandshakeError",
}


def of_aiohttp() -> list[type[BaseException]]:
    return [
        kind
        for name, kind in vars(client_exceptions).items()
        if isinstance(kind, type)
        and issubclass(kind, BaseException)
        and kind.__module__ == client_exceptions.__name__
        and name not in NOT_OF_OUR_CALLS
    ]


@pytest.mark.parametrize(
    "kind", [*of_aiohttp(), ConnectionLost, OSError, TimeoutError, ssl.SSLError]
)
def test_the_error_stands_in_the_table(kind: type[BaseException]) -> None:
    assert kind in MEANINGS


@pytest.mark.parametrize(
    ("error", "type", "retryable"),
    [
        (ConnectionLost("gone"), "ConnectionLost", True),
        (aiohttp.ServerDisconnectedError(), "ConnectionLost", True),
        (aiohttp.ClientPayloadError(), "ConnectionLost", True),
        (ConnectionResetError(104, "reset"), "ConnectionLost", True),
        (aiohttp.SocketTimeoutError(), "Timeout", True),
        (aiohttp.ConnectionTimeoutError(), "ConnectionFailed", True),
        (ssl.SSLCertVerificationError("bad"), "TlsError", True),
        (aiohttp.InvalidURL("x"), "InvalidRequest", False),
        (aiohttp.NonHttpUrlRedirectClientError("x"), "BadRedirect", False),
        (ValueError("header injection"), "InvalidRequest", False),
    ],
)
def test_the_most_specific_class_decides(error: Exception, type: str, retryable: bool) -> None:
    meaning = meaning_of(error)
    assert meaning is not None
    assert (meaning.type, meaning.retryable) == (type, retryable)


def test_a_bug_is_not_taken_for_the_participants_fault() -> None:
    assert meaning_of(KeyError("x")) is None
