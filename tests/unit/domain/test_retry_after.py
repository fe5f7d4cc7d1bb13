"""`Retry-After`: seconds or a date, and whatever else a server may send."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.retry_after import retry_after

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


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
