"""What a call of a participant came to."""

from dataclasses import dataclass, field

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Applied


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a call failed, in words for a person."""

    type: str  # a class of causes: `HttpStatus`, `Timeout`, `InvalidParams`, ...
    message: str
    code: str = ""  # the participant's own code: `404`, `UNAVAILABLE`, `1062`, ...
    stack: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: it succeeded with an output, or failed with an error.

    Attributes:
        output: the participant's reply; a JSON object, or `{"value": ...}` for anything else.
        error: None when the call succeeded.
        retryable: whether calling again, with nothing changed, can help.
        applied: whether it took effect at the participant.
        retry_after: seconds the participant asked to wait, if it did.
        details: status, headers, timing: for the log, at most 4 KB as JSON.
    """

    output: JsonObject = field(default_factory=dict)
    error: TaskError | None = None
    retryable: bool = False
    applied: Applied = Applied.YES
    retry_after: float | None = None
    details: JsonObject = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None

    @classmethod
    def success(cls, output: JsonObject, **details: object) -> "Outcome":
        """A call that succeeded."""
        return cls(output=output, details=dict(details))

    @classmethod
    def failure(
        cls,
        type: str,
        message: str,
        *,
        retryable: bool,
        applied: Applied,
        code: str = "",
        stack: str = "",
        retry_after: float | None = None,
        details: JsonObject | None = None,
    ) -> "Outcome":
        """A call that failed."""
        return cls(
            error=TaskError(type, message, code, stack),
            retryable=retryable,
            applied=applied,
            retry_after=retry_after,
            details=details or {},
        )
