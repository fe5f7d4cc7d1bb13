"""What an HTTP reply means: a success, or which kind of failure.

Pure; shared by every executor that speaks HTTP. The classes of statuses follow RFC 9110
(section 15) and what gateways are known to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dist_task_pipelines.domain.json import JsonObject, dumps
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.retry_after import retry_after
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.capture import captured, unreadable

_WORTH_REPEATING = frozenset({408, 425, 429})  # and every 5xx
_REFUSED = frozenset({501, 503, 505})  # the 5xx that say that nothing was done
_WORDS = ("error", "message", "detail")  # where error bodies say what is wrong
_NOT_LOGGED = frozenset({"set-cookie", "set-cookie2", "www-authenticate"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP reply."""

    status: int
    reason: str
    headers: Mapping[str, str]  # looked up without regard to case
    body: bytes
    unread: str = ""  # why the body was not kept, if it was not

    def output(self) -> JsonObject:
        """The body as a task's output."""
        if self.unread:
            return unreadable(self.unread)
        return captured(self.body, self.headers.get("Content-Type", ""))


def outcome_of(reply: Reply, call: object, now: datetime) -> Outcome:
    """The outcome that a reply to `call` makes; as a text, that is `POST http://host/path`."""
    details: JsonObject = {"status": reply.status, "headers": _logged(reply.headers)}
    output = reply.output()
    if 200 <= reply.status < 300:
        return Outcome.success(output, **details)
    if output:
        details["reply"] = output
    retryable = is_retryable(reply.status)
    wait = retry_after(reply.headers.get("Retry-After", ""), now) if retryable else None
    return Outcome.failure(
        "HttpStatus",
        f"{call} was answered with {_words(reply, output)}",
        code=str(reply.status),
        retryable=retryable,
        applied=applied(reply.status),
        retry_after=wait,
        details=details,
    )


def is_retryable(status: int) -> bool:
    """Whether the same request, sent again, can get a better status."""
    return status in _WORTH_REPEATING or 500 <= status < 600


def applied(status: int) -> Applied:
    """Whether a request that got this failing status may have taken effect.

    A redirect or a refusal did nothing. 500, 502, 504 and the statuses that gateways add
    to them do not tell.
    """
    if 300 <= status < 500 or status in _REFUSED:
        return Applied.NO
    return Applied.MAYBE


def _words(reply: Reply, output: JsonObject) -> str:
    status = f"{reply.status} {reply.reason}".rstrip()
    if 300 <= reply.status < 400:
        target = reply.headers.get("Location", "nowhere")
        return f"{status}, a redirect to {target}, which is not followed"
    said = _said(output)
    return f"{status}: {said}" if said else status


def _said(output: JsonObject) -> str:
    error = next((output[word] for word in _WORDS if output.get(word)), None)
    if isinstance(error, dict):
        error = error.get("message") or error
    said = error or output.get("value") or output.get("unreadable") or output
    return said if isinstance(said, str) else dumps(said) if said else ""


def _logged(headers: Mapping[str, str]) -> JsonObject:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_LOGGED}
