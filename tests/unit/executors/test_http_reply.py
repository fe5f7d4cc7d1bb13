"""What an HTTP reply means, without a server."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.http_reply import Reply, outcome_of, retry_after

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def answered(status: int, body: bytes = b"", reason: str = "", **headers: str) -> Outcome:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return outcome_of(Reply(status, reason, named, body), "POST http://h/p", NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("999999999", 999999999.0),
        ("9999999999", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        ("soon", None),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
        ("Sat, 31 Jan 2026 12:00:30 -0000", 30.0),
        ("Sat, 31 Jan 2026 13:00:30 +0100", 30.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("Sat, 99 Jan 2026 11:00:00 GMT", None),
        ("Sat, 31 Jan 99999999999 11:00:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9 ]+[A-Z][a-z]{2}[0-9 :+-]+(GMT)?\Z"))
def test_garbage_in_retry_after_does_no_harm(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


def test_every_status_has_a_meaning() -> None:
    for status in range(100, 1000):
        outcome = answered(status, Retry_After="7")
        assert outcome.succeeded is (200 <= status < 300)
        if status < 200 or status >= 600:
            assert (outcome.retryable, outcome.applied) == (False, Applied.MAYBE)
        elif 300 <= status < 500:
            assert outcome.applied is Applied.NO
        assert outcome.retry_after == (7.0 if outcome.retryable else None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "500 Oops"),
        (b'{"error": "no stock"}', "500 Oops: no stock"),
        (b'{"error": {"code": 7, "message": "no stock"}}', "500 Oops: no stock"),
        (b'{"error": {"code": 7}}', '500 Oops: {"code":7}'),
        (b'{"message": "no stock", "error": ""}', "500 Oops: no stock"),
        (b'{"detail": ["a"]}', '500 Oops: ["a"]'),
        (b'{"other": 1}', '500 Oops: {"other":1}'),
        (b"<html>", "500 Oops: <html>"),
        (b"\xff", "500 Oops: 1 bytes (no content type) are not text"),
    ],
)
def test_an_error_says_what_the_participant_said(body: bytes, said: str) -> None:
    outcome = answered(500, body, "Oops")
    assert outcome.error is not None
    assert outcome.error.message == f"POST http://h/p was answered with {said}"
    assert outcome.error.code == "500"


def test_a_redirect_without_a_target() -> None:
    error: Any = answered(304, reason="Not Modified").error
    assert "304 Not Modified, a redirect to nowhere, which is not followed" in error.message
