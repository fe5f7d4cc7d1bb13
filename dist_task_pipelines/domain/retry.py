"""The retry policy, whole: what becomes of a task after an attempt, and who may repeat it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dist_task_pipelines.domain.flow import RetrySettings, Task
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import (
    Applied,
    Backoff,
    GrantedBy,
    RetryStrategy,
    TaskStatus,
)

SHORTEST_JITTER = 0.5  # of the interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task after an attempt.

    Attributes:
        status: success, failed or unknown.
        grant: the automatic retry, when there will be one.
    """

    status: TaskStatus
    grant: Grant | None = None


def decide(
    task: Task,
    outcome: Outcome,
    retry_times: int,
    now: datetime,
    chance: Callable[[], float] = random.random,
) -> Verdict:
    """What becomes of the task.

    Args:
        retry_times: automatic retries granted since its exception was opened.
        chance: a number from 0 to 1, for jitter.
    """
    if outcome.succeeded:
        return Verdict(TaskStatus.SUCCESS)
    if outcome.applied is Applied.MAYBE and not task.idempotent:
        return Verdict(TaskStatus.UNKNOWN)
    if not _retries_by_itself(task.retry, outcome, retry_times):
        return Verdict(TaskStatus.FAILED)
    seconds = wait(task.retry, retry_times, outcome.retry_after, chance)
    return Verdict(TaskStatus.FAILED, Grant(GrantedBy.POLICY, now + timedelta(seconds=seconds)))


def _retries_by_itself(retry: RetrySettings, outcome: Outcome, retry_times: int) -> bool:
    return (
        retry.strategy is RetryStrategy.AUTO
        and outcome.retryable
        and retry_times < retry.max_attempts
    )


def wait(
    retry: RetrySettings,
    retry_times: int,
    retry_after: float | None,
    chance: Callable[[], float] = random.random,
) -> float:
    """Seconds until the next automatic retry.

    The interval, doubled for each retry before when the backoff is exponential, and a random
    half to all of it with jitter; no less than the participant asked for, and never more than
    `max_interval`.
    """
    doublings = min(retry_times, 64) if retry.backoff is Backoff.EXPONENTIAL else 0
    seconds = min(retry.interval * 2.0**doublings, retry.max_interval)
    if retry.jitter:
        seconds *= SHORTEST_JITTER + (1 - SHORTEST_JITTER) * chance()
    return min(max(seconds, retry_after or 0), retry.max_interval)


def may_be_retried(strategy: RetryStrategy, attempts: int) -> bool:
    """Whether a person may have a task called that was called `attempts` times before."""
    return strategy is not RetryStrategy.NO_RETRY or attempts == 0
