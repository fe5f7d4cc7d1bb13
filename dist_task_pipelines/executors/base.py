"""What an executor is: one asynchronous call with an outcome for every case.

The base does what every protocol needs: it checks the config, bounds the time, measures
it, and turns whatever was not foreseen into an outcome. An executor adds the call itself
and the classification of its protocol's errors: what is worth repeating, and whether the
call took effect.
"""

import asyncio
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied


class ExecutorConfig(BaseModel):
    """The config of a task of one type. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Config = TypeVar("Config", bound=ExecutorConfig)


@dataclass(frozen=True, slots=True)
class Request(Generic[Config]):
    """One call of a participant.

    Attributes:
        config: the task's config, placeholders and secrets filled in.
        input: the task's input, as frozen at the first attempt.
        idempotency_key: the same on every attempt of this task for this transaction.
        timeout: seconds for the whole call.
    """

    config: Config
    input: JsonObject
    idempotency_key: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Service:
    """Where an rpc task finds a service."""

    address: str  # host:port
    protocol: str = "http"


@dataclass(frozen=True, slots=True)
class RocketMQ:
    """Where an mq task finds the brokers."""

    endpoints: str  # host:port of the proxy
    access_key: str = ""
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Participants:
    """The outside systems that executors call, and how much of a reply they keep.

    Attributes:
        services: for rpc tasks, by name.
        databases: SQLAlchemy URLs for db tasks, by name.
        rocketmq: for mq tasks; None when there is none.
        ledger_uuid: marks this ledger's barrier rows in participants' databases.
        max_response_bytes: replies longer than this are not kept.
    """

    services: Mapping[str, Service] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    rocketmq: RocketMQ | None = None
    ledger_uuid: str = ""
    max_response_bytes: int = 65536


class Executor(ABC, Generic[Config]):
    """Calls participants of one type. One instance serves one event loop."""

    task_type: ClassVar[str]  # as task definitions name it
    config_model: type[Config]

    @classmethod
    @abstractmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for these participants; must not touch the network yet."""

    @abstractmethod
    async def call(self, request: Request[Config]) -> Outcome:
        """Make the call. May raise only for what it does not foresee."""

    async def close(self) -> None:
        """Let go of connections. The default has none."""

    async def execute(
        self, config: JsonObject, input: JsonObject, *, idempotency_key: str, timeout: float
    ) -> Outcome:
        """Check the config, make the call within `timeout` seconds, and always return."""
        try:
            checked = self.config_model.model_validate(config)
        except ValidationError as error:
            return _refused(error)
        began = time.monotonic()
        outcome = await self._bounded(Request(checked, input, idempotency_key, timeout))
        outcome.details.setdefault("duration_ms", round((time.monotonic() - began) * 1000, 1))
        return outcome

    async def _bounded(self, request: Request[Config]) -> Outcome:
        try:
            async with asyncio.timeout(request.timeout):
                return await self.call(request)
        except TimeoutError:
            return Outcome.failure(
                "Timeout",
                f"no reply within {request.timeout:g} s",
                retryable=True,
                applied=Applied.MAYBE,
            )
        except Exception as error:  # an executor must never take its batch down
            return Outcome.failure(
                type(error).__name__,
                str(error) or repr(error),
                retryable=False,
                applied=Applied.MAYBE,
                stack=traceback.format_exc(),
            )


def _refused(error: ValidationError) -> Outcome:
    faults = "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
    )
    return Outcome.failure("InvalidConfig", faults, retryable=False, applied=Applied.NO)
