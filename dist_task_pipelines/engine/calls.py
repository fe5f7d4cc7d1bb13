"""One call of a participant: the request as frozen, secrets filled in, nothing leaked."""

import asyncio
import os
from collections.abc import Callable

from dist_task_pipelines.domain.errors import InvalidInput
from dist_task_pipelines.domain.flow import Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.engine.redaction import presentable
from dist_task_pipelines.engine.requests import refused
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.executors.base import unforeseen
from dist_task_pipelines.flows import fill_secrets

SecretLookup = Callable[[str], str | None]

ADVICE = "; set the environment variable {name} for the workers, restart them, then retry"


class Caller:
    """Calls participants.

    Args:
        secrets: the value of a `${secret.NAME}`, None when there is none.
    """

    def __init__(self, executors: Registry, secrets: SecretLookup = os.environ.get) -> None:
        self._executors = executors
        self._secrets = secrets

    async def call(self, task: Task, request: JsonObject, *, idempotency_key: str) -> Outcome:
        """Call the task's participant with a frozen request; always returns."""
        try:
            config, filled_in = fill_secrets(request["config"], self._secrets, advice=ADVICE)
            executor = self._executors.get(task.type)
        except InvalidInput as error:
            return refused(error)
        secrets = filled_in | self._executors.secrets
        try:
            outcome = await executor.execute(
                config, request["input"], idempotency_key=idempotency_key, timeout=task.timeout
            )
            return presentable(_checked(outcome), secrets)
        except (Exception, asyncio.CancelledError, SystemExit) as error:  # it broke its contract
            if _is_being_cancelled():
                raise
            return presentable(unforeseen(error, Applied.MAYBE), secrets)


def _is_being_cancelled() -> bool:
    """Whether the cancellation came from outside, not out of the executor."""
    task = asyncio.current_task()
    return bool(task and task.cancelling())


def _checked(outcome: object) -> Outcome:
    if not isinstance(outcome, Outcome) or not _is_sound(outcome):
        raise TypeError("the executor gave something that is no Outcome, or one of wrong types")
    return outcome


def _is_sound(outcome: Outcome) -> bool:
    """Whether every part has its type; those that are not must not reach the ledger."""
    error = outcome.error
    texts = (error.type, error.message, error.code, error.stack) if error else ()
    return (
        isinstance(outcome.output, dict)
        and isinstance(outcome.details, dict)
        and isinstance(outcome.applied, Applied)
        and isinstance(outcome.retry_after, int | float | None)
        and all(isinstance(text, str) for text in texts)
    )
