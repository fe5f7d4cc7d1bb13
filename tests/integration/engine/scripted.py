"""A real executor whose outcomes a test scripts, and which it can hold until it says so."""

import asyncio
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ConfigDict

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Executor, ExecutorConfig, Participants, Request

WAIT = 20  # seconds until a test gives up on an event


class AnyConfig(ExecutorConfig):
    """Takes any keys."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class Call:
    """What the executor got, the texts as the very characters of their JSON."""

    key: str
    config: str
    input: str


class ScriptedExecutor(Executor[AnyConfig]):
    """Succeeds with `{"key": <idempotency key>}` unless told otherwise.

    Attributes:
        calls: in the order in which they came.
        effects: how often each key took effect: once, however often it is called.
        under_way: calls that have not ended.
        most: the most calls that were ever under way together.
    """

    task_type = "scripted"
    config_model = AnyConfig

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.effects: Counter[str] = Counter()
        self.under_way = 0
        self.most = 0
        self._script: dict[str, deque[Any]] = defaultdict(deque)
        self._held: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = threading.Condition()

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        return cls()

    def script(self, key: str, *replies: Outcome | BaseException | Callable[[], Any]) -> None:
        """What the next calls of the key come to; after them it succeeds again."""
        self._script[key] += replies

    def hold(self, *keys: str) -> None:
        """Let calls of these keys wait until they are released."""
        self._held |= {key: asyncio.Event() for key in keys}

    def release(self, *keys: str) -> None:
        """Let the calls of these keys end."""
        assert self._loop
        for key in keys:
            self._loop.call_soon_threadsafe(self._held.pop(key).set)

    def release_all(self) -> None:
        """Let every call end: a test that fails must not wait for them."""
        if self._loop:
            self.release(*self._held)

    def wait_for(self, *keys: str) -> None:
        """Wait until each of these keys has been called."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(keys) <= set(self.called), WAIT)

    @property
    def called(self) -> list[str]:
        """The keys of the calls, in order."""
        return [call.key for call in self.calls]

    async def call(self, request: Request[AnyConfig]) -> Outcome:
        key = request.idempotency_key
        self._loop = asyncio.get_running_loop()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        with self._changed:
            config = json.dumps(request.config.model_extra)
            self.calls.append(Call(key, config, json.dumps(request.input)))
            self._changed.notify_all()
        try:
            if key in self._held:
                await self._held[key].wait()
            reply = self._script[key].popleft() if self._script[key] else done(key)
            reply = reply() if callable(reply) else reply
            if isinstance(reply, BaseException):
                raise reply
            if not isinstance(reply, Outcome) or reply.applied is not Applied.NO:
                self.effects[key] = 1
            return reply
        finally:
            self.under_way -= 1


def done(key: str) -> Outcome:
    """What a call comes to by default."""
    return Outcome.success({"key": key})


def failed(
    message: str = "out of stock",
    *,
    retryable: bool = True,
    applied: Applied = Applied.NO,
    retry_after: float | None = None,
    details: JsonObject | None = None,
) -> Outcome:
    """A call that failed."""
    return Outcome.failure(
        "Refused",
        message,
        retryable=retryable,
        applied=applied,
        code="409",
        retry_after=retry_after,
        details=details,
    )
