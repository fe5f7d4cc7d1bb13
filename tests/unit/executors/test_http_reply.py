"""What an HTTP reply means, without a server."""

from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.http_reply import Reply, outcome_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def answered(status: int, body: bytes = b"", reason: str = "", **headers: str) -> Outcome:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return outcome_of(Reply(status, reason, named, body), "POST http://h/p", NOW)


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
