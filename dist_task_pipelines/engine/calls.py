"""One call of a participant: the request as frozen, secrets filled in, nothing leaked."""

import os
from collections.abc import Callable

from dist_task_pipelines.domain.errors import InvalidInput
from dist_task_pipelines.domain.flow import Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome, TaskError
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.flows import fill_secrets, redact

SecretLookup = Callable[[str], str | None]


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
            config, secrets = fill_secrets(request["config"], self._secrets)
            executor = self._executors.get(task.type)
        except InvalidInput as error:
            return refused(error)
        outcome = await executor.execute(
            config, request["input"], idempotency_key=idempotency_key, timeout=task.timeout
        )
        return _redacted(outcome, secrets) if secrets else outcome


def refused(error: InvalidInput) -> Outcome:
    """The outcome of an attempt whose request could not be made."""
    return Outcome.failure(
        type(error).__name__,
        "; ".join(str(fault) for fault in error.faults),
        retryable=False,
        applied=Applied.NO,
    )


def _redacted(outcome: Outcome, secrets: set[str]) -> Outcome:
    error = outcome.error
    return Outcome(
        output=redact(outcome.output, secrets),
        error=error
        and TaskError(
            error.type,
            redact(error.message, secrets),
            redact(error.code, secrets),
            redact(error.stack, secrets),
        ),
        retryable=outcome.retryable,
        applied=outcome.applied,
        retry_after=outcome.retry_after,
        details=redact(outcome.details, secrets),
    )
