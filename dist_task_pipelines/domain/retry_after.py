"""The header `Retry-After`, in both of its forms (RFC 9110, section 10.2.3)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 9  # digits of a number of seconds that means anything


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait, given as such or as a date; None where the value is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= LONGEST else None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC, of unknown origin
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
