"""Sending a request again: which may be, how often, and after what wait.

Only what is safe to repeat is: questions, and submits, which their id makes idempotent. An
operator's action never is: repeated, it might act twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dist_task_pipelines.client.errors import Unreachable
from dist_task_pipelines.client.transport import Request, Response, Transport
from dist_task_pipelines.domain.retry_after import retry_after

_WORTH_A_REPEAT = frozenset({408, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """How safe requests are repeated. Times are in seconds.

    Attributes:
        times: repeats after the first try.
        interval: the first wait, doubled for each one after it.
        longest: the longest wait; a server that asks for a longer one gets no repeat.
    """

    times: int = 3
    interval: float = 0.2
    longest: float = 30

    def wait(self, repeat: int, retry_after: float | None) -> float | None:
        """Seconds before a repeat, counted from 0; None when there shall be none."""
        if repeat >= self.times or (retry_after or 0) > self.longest:
            return None
        return max(min(self.interval * 2.0**repeat, self.longest), retry_after or 0)


def send(
    transport: Transport,
    request: Request,
    retries: Retries,
    *,
    is_safe: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Response:
    """Send a request, and if it is safe send it again while there is no proper answer.

    Raises:
        Unreachable: no answer came, to the last try either.
    """
    repeat = 0
    while True:
        response, failure = _try(transport, request)
        if not is_safe or (response and response.status not in _WORTH_A_REPEAT):
            break
        seconds = retries.wait(repeat, wait_asked_for(response) if response else None)
        if seconds is None:
            break
        sleep(seconds)
        repeat += 1
    if response is None:
        raise failure or Unreachable()
    return response


def wait_asked_for(response: Response) -> float | None:
    """Seconds that the server asks to wait, if it does."""
    return retry_after(response.headers.get("retry-after", ""), datetime.now(UTC))


def _try(transport: Transport, request: Request) -> tuple[Response | None, Unreachable | None]:
    try:
        return transport.send(request), None
    except Unreachable as error:
        return None, error
