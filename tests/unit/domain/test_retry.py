"""The retry policy: what becomes of a task after an attempt, and when it is called again."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.flow import RetrySettings, Task
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.retry import decide, wait
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import Applied, Backoff, GrantedBy, RetryStrategy
from dist_task_pipelines.domain.status import TaskStatus as S

NOW = datetime(2030, 1, 31, tzinfo=UTC)
AUTO, MANUAL, NO_RETRY = RetryStrategy.AUTO, RetryStrategy.MANUAL, RetryStrategy.NO_RETRY
NO, YES, MAYBE = Applied.NO, Applied.YES, Applied.MAYBE
FIXED, DOUBLING = Backoff.FIXED, Backoff.EXPONENTIAL


def failure(
    *, retryable: bool = True, applied: Applied = NO, retry_after: float | None = None
) -> Outcome:
    return Outcome.failure(
        "HttpStatus", "no", retryable=retryable, applied=applied, retry_after=retry_after
    )


@pytest.mark.parametrize("strategy", RetryStrategy)
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_success_is_a_success(strategy: RetryStrategy, idempotent: bool) -> None:
    task = Task("pay", "pay", "http", retry=RetrySettings(strategy), idempotent=idempotent)
    verdict = decide(task, Outcome.success({}), 0, NOW)
    assert (verdict.status, verdict.grant) == (S.SUCCESS, None)


@pytest.mark.parametrize(
    ("strategy", "idempotent", "retryable", "applied", "retry_times", "status", "again"),
    [
        # An automatic retry: for what is worth it, up to max_attempts after the first call.
        (AUTO, True, True, NO, 0, S.FAILED, True),
        (AUTO, True, True, NO, 2, S.FAILED, True),
        (AUTO, True, True, NO, 3, S.FAILED, False),
        (AUTO, True, True, NO, 4, S.FAILED, False),
        (AUTO, True, False, NO, 0, S.FAILED, False),
        (AUTO, True, True, MAYBE, 0, S.FAILED, True),
        (AUTO, True, False, MAYBE, 0, S.FAILED, False),
        # A person decides.
        (MANUAL, True, True, NO, 0, S.FAILED, False),
        (MANUAL, True, True, MAYBE, 0, S.FAILED, False),
        (NO_RETRY, True, True, NO, 0, S.FAILED, False),
        # Not to be repeated blindly: the strategy has no say once it may have taken effect.
        (AUTO, False, True, MAYBE, 0, S.UNKNOWN, False),
        (AUTO, False, False, MAYBE, 0, S.UNKNOWN, False),
        (MANUAL, False, True, MAYBE, 0, S.UNKNOWN, False),
        (NO_RETRY, False, True, MAYBE, 0, S.UNKNOWN, False),
        (AUTO, False, True, NO, 0, S.FAILED, True),
        (AUTO, False, False, YES, 0, S.FAILED, False),
    ],
)
def test_what_becomes_of_a_failed_call(
    *,
    strategy: RetryStrategy,
    idempotent: bool,
    retryable: bool,
    applied: Applied,
    retry_times: int,
    status: S,
    again: bool,
) -> None:
    retry = RetrySettings(strategy, max_attempts=3, interval=7)
    task = Task("pay", "pay", "http", retry=retry, idempotent=idempotent)
    verdict = decide(task, failure(retryable=retryable, applied=applied), retry_times, NOW)
    assert verdict.status == status
    expected = Grant(GrantedBy.POLICY, NOW + timedelta(seconds=7))
    assert verdict.grant == (expected if again else None)


def test_without_attempts_there_is_no_automatic_retry() -> None:
    task = Task("pay", "pay", "http", retry=RetrySettings(AUTO, max_attempts=0))
    assert decide(task, failure(), 0, NOW).grant is None


@pytest.mark.parametrize(
    ("backoff", "interval", "max_interval", "retry_times", "retry_after", "seconds"),
    [
        (FIXED, 5, 300, 0, None, 5),
        (FIXED, 5, 300, 9, None, 5),
        (DOUBLING, 5, 300, 0, None, 5),
        (DOUBLING, 5, 300, 1, None, 10),
        (DOUBLING, 5, 300, 5, None, 160),
        (DOUBLING, 5, 300, 6, None, 300),
        (DOUBLING, 5, 300, 10**6, None, 300),
        (DOUBLING, 0.5, 300, 1, None, 1),
        (FIXED, 60, 30, 0, None, 30),
        (FIXED, 0, 300, 0, None, 0),
        # What the participant asks for lengthens the wait, up to the cap; it never shortens it.
        (FIXED, 5, 300, 0, 20, 20),
        (FIXED, 5, 300, 0, 1, 5),
        (FIXED, 5, 300, 0, 86400, 300),
        (FIXED, 5, 300, 0, math.inf, 300),
        (FIXED, 5, 300, 0, math.nan, 5),
        (FIXED, 5, 300, 0, -10, 5),
        (FIXED, 5, 300, 0, 0, 5),
    ],
)
def test_the_wait(
    *,
    backoff: Backoff,
    interval: float,
    max_interval: float,
    retry_times: int,
    retry_after: float | None,
    seconds: float,
) -> None:
    retry = RetrySettings(AUTO, interval=interval, backoff=backoff, max_interval=max_interval)
    assert wait(retry, retry_times, retry_after) == seconds


@pytest.mark.parametrize(
    ("chance", "retry_after", "seconds"), [(0, None, 5), (0.5, None, 7.5), (1, None, 10), (0, 9, 9)]
)
def test_jitter_takes_half_to_all_of_the_wait(
    chance: float, retry_after: float | None, seconds: float
) -> None:
    retry = RetrySettings(AUTO, interval=10, jitter=True)
    assert wait(retry, 0, retry_after, lambda: chance) == seconds


def test_jitter_differs_from_time_to_time() -> None:
    retry = RetrySettings(AUTO, interval=10, jitter=True)
    assert len({wait(retry, 0, None) for _ in range(20)}) > 1


def test_a_participant_s_wish_is_granted_through_decide() -> None:
    task = Task("pay", "pay", "http", retry=RetrySettings(AUTO, interval=5))
    grant = decide(task, failure(retry_after=33), 0, NOW).grant
    assert grant == Grant(GrantedBy.POLICY, NOW + timedelta(seconds=33))


seconds_ = st.floats(0, 1e9)


@given(
    interval=seconds_,
    max_interval=seconds_,
    backoff=st.sampled_from(Backoff),
    jitter=st.booleans(),
    retry_times=st.integers(0, 10**9),
    retry_after=st.none() | st.floats(),
    chance=st.floats(0, 1),
)
def test_the_wait_stays_within_its_bounds(
    *,
    interval: float,
    max_interval: float,
    backoff: Backoff,
    jitter: bool,
    retry_times: int,
    retry_after: float | None,
    chance: float,
) -> None:
    retry = RetrySettings(AUTO, 3, interval, backoff, max_interval, jitter)
    seconds = wait(retry, retry_times, retry_after, lambda: chance)
    assert min(interval, max_interval) / 2 <= seconds <= max_interval
    if not jitter:
        assert seconds >= min(interval, max_interval)
    if retry_after is not None and 0 <= retry_after <= max_interval:
        assert seconds >= retry_after


@given(interval=seconds_, max_interval=seconds_, retry_times=st.integers(0, 200))
def test_an_exponential_wait_never_shrinks(
    interval: float, max_interval: float, retry_times: int
) -> None:
    retry = RetrySettings(AUTO, 3, interval, DOUBLING, max_interval)
    assert wait(retry, retry_times, None) <= wait(retry, retry_times + 1, None)
