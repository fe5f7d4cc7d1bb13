"""Whether things stand as they should: the numbers held against limits, with the reason why."""

from dataclasses import dataclass
from datetime import datetime

from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.stats import Statistics

STUCK = "nothing_stuck"
SUCCESS_RATE = "success_rate"
OLD_EXCEPTIONS = "no_old_exceptions"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still in order.

    Attributes:
        stuck_seconds: that a transaction may wait for a run, or outlast its worker's lease.
        success_rate: the least share of those settled in the last hour.
        success_rate_of: of how many at the least; fewer say nothing.
        exception_seconds: that an exception may stay open.
    """

    stuck_seconds: float
    success_rate: float
    success_rate_of: int
    exception_seconds: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one check came to.

    Attributes:
        why: what was found, in words.
        numbers: what it rests on, by name.
    """

    check: str
    passed: bool
    why: str
    numbers: dict[str, float]


def judge_flow(ledger: Ledger, name: str, stands: Statistics, limits: Limits) -> list[Judgement]:
    """Whether a flow is in order, all its versions together.

    Args:
        stands: its statistics.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    return [_stuck(ledger, name, stands, limits), _success_rate(stands, limits)]


def judge_exceptions(stands: Statistics, limits: Limits, now: datetime) -> list[Judgement]:
    """Whether the exceptions of all flows are in order.

    Args:
        stands: the statistics of all flows together.
    """
    age = exception_age(stands, now) or 0.0
    passed = age <= limits.exception_seconds
    why = "no exception is open"
    if age:
        why = f"of {stands.exceptions_open} open exceptions the oldest is {duration(age)} old"
    if not passed:
        why += f", the limit is {duration(limits.exception_seconds)}: retry or handle it"
    numbers = {"oldest_seconds": round(age, 3), "limit_seconds": limits.exception_seconds}
    return [Judgement(OLD_EXCEPTIONS, passed, why, numbers)]


def exception_age(stands: Statistics, now: datetime) -> float | None:
    """Seconds that the oldest exception has been open; None when none is."""
    oldest = stands.oldest_exception_at
    return (now - oldest).total_seconds() if oldest else None


def _stuck(ledger: Ledger, name: str, stands: Statistics, limits: Limits) -> Judgement:
    stuck = ledger.stats.stuck(longer_than=limits.stuck_seconds, name=name)
    allowed = duration(limits.stuck_seconds)
    if stuck.count:
        why = (
            f"{stuck} transactions should have moved more than {allowed} ago; look whether the "
            "sensors are on and the workers alive"
        )
    else:
        why = f"nothing has waited longer than {allowed}; {stands.backlog} wait for a run"
    numbers = {"stuck": stuck.count, "limit_seconds": limits.stuck_seconds}
    return Judgement(STUCK, not stuck.count, why, numbers)


def _success_rate(stands: Statistics, limits: Limits) -> Judgement:
    hour = stands.last_hour
    ended = hour.success + hour.failed
    rate = hour.success_rate
    numbers = {"success": hour.success, "failed": hour.failed, "limit": limits.success_rate}
    if rate is None or ended < limits.success_rate_of:
        why = f"{ended} settled in the last hour, fewer than {limits.success_rate_of} say nothing"
        return Judgement(SUCCESS_RATE, passed=True, why=why, numbers=numbers)
    why = f"{rate:.1%} of {ended} settled in the last hour succeeded, {hour.failed} failed"
    passed = rate >= limits.success_rate
    if not passed:
        why += f"; the limit is {limits.success_rate:.1%}"
    return Judgement(SUCCESS_RATE, passed, why, {**numbers, "rate": round(rate, 4)})


def duration(seconds: float) -> str:
    """Seconds as a person says them: `45 s`, `12 min`, `3 h`, `2 d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
