"""What an executor is: one asynchronous call with an outcome for every case.

The base does what every protocol needs: it checks the config, bounds the time, measures
it, and turns whatever was not foreseen into an outcome. An executor adds the call itself
and the classification of its protocol's errors: what is worth repeating, and whether the
call took effect.
"""

import asyncio
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied


class ExecutorConfig(BaseModel):
    """The config of a task of one type. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


REMEMBERED_LENGTH = 2048  # characters of a config that is remembered

Config = TypeVar("Config", bound=ExecutorConfig)


class GivenUp(Exception):
    """Nobody waits for this call any more, so it must not reach the participant."""


class Progress:
    """How far a call got, and whether anybody still waits for it. Thread-safe.

    It decides what a timeout means. Until an executor says otherwise, the participant may
    have seen the call from its beginning. One that knows better says `prepare()` first and
    `send()` just before the participant can notice anything.
    """

    __slots__ = ("_given_up", "_lock", "_may_be_seen")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._may_be_seen = True
        self._given_up = False

    def prepare(self) -> None:
        """The participant cannot have noticed anything yet."""
        self._may_be_seen = False

    def send(self) -> None:
        """From here on the call may take effect.

        Raises:
            GivenUp: the caller was already told that it did not.
        """
        with self._lock:
            if self._given_up:
                raise GivenUp
            self._may_be_seen = True

    def give_up(self) -> Applied:
        """The caller goes away: a call that is not sent yet never will be.

        Returns:
            whether the call may have taken effect.
        """
        with self._lock:
            self._given_up = True
            return self.applied

    @property
    def applied(self) -> Applied:
        """Whether the call took effect if it fails at this point."""
        return Applied.MAYBE if self._may_be_seen else Applied.NO


@dataclass(frozen=True, slots=True)
class Request(Generic[Config]):
    """One call of a participant.

    Attributes:
        config: the task's config, placeholders and secrets filled in.
        input: the task's input, as frozen at the first attempt.
        idempotency_key: the same on every attempt of this task for this transaction.
        timeout: seconds for the whole call.
        progress: how far the call got; the executor keeps it up to date.
    """

    config: Config
    input: JsonObject
    idempotency_key: str
    timeout: float
    progress: Progress = field(default_factory=Progress, compare=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom a TLS connection trusts, and who it is itself. All files are PEM.

    Attributes:
        ca_file: the only authorities trusted; None: the system's.
        cert_file: the client's certificate and those it follows from.
        key_file: its private key; None: it stands in `cert_file`.
        key_password: of an encrypted key.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that http tasks go through.

    Attributes:
        url: with user and password where it asks for them.
        exceptions: hosts that are called directly, each with its subdomains.
    """

    url: str = field(repr=False)
    exceptions: tuple[str, ...] = ()

    def is_for(self, host: str) -> bool:
        """Whether the host is called through the proxy."""
        name = host.lower().rstrip(".")
        return not any(
            name == each or name.endswith(f".{each}")
            for each in (each.lower().strip(".") for each in self.exceptions)
        )


@dataclass(frozen=True, slots=True)
class Service:
    """Where an rpc task finds a service.

    Attributes:
        address: host:port.
        protocol: `http` or `grpc`.
        descriptor_set: a file that describes the service's methods; without it a gRPC
            server is asked for them.
        metadata: sent with every call: gRPC metadata, or headers.
        tls: how to speak TLS; None: it is not spoken.
    """

    address: str
    protocol: str = "http"
    descriptor_set: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class RocketMQ:
    """Where an mq task finds the brokers, and by which client.

    Attributes:
        endpoints: host:port of the proxy, for rocketmq4 of the name server; several IP
            addresses separated by ";".
        namespace: of every topic and group; "" for none.
        driver: rocketmq5 or rocketmq4.
    """

    endpoints: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    namespace: str = ""
    driver: str = "rocketmq5"

    def in_namespace(self, name: str) -> str:
        """The full name of a topic or group.

        Apache's proxy looks at nothing else: what a client says of a namespace it ignores.
        """
        return f"{self.namespace}%{name}" if self.namespace else name


@dataclass(frozen=True, slots=True)
class Participants:
    """The outside systems that executors call, and how much of a reply they keep.

    Attributes:
        services: for rpc tasks, by name.
        databases: SQLAlchemy URLs for db tasks, by name.
        rocketmq: for mq tasks; None when there is none.
        tls: ways of speaking TLS, by the name that http tasks give.
        proxy: that http tasks go through; None when there is none.
        ledger_uuid: marks this ledger's barrier rows in participants' databases.
        secrets: passwords and keys of these systems, which nothing may repeat.
        max_response_bytes: replies longer than this are not kept.
        options: what the configuration says to executors of other packages, by type.
    """

    services: Mapping[str, Service] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    rocketmq: RocketMQ | None = None
    tls: Mapping[str, Tls] = field(default_factory=dict)
    proxy: Proxy | None = None
    ledger_uuid: str = ""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    max_response_bytes: int = 65536
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


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
            checked = _read(self.config_model, config)
        except ValidationError as error:
            return invalid_config("; ".join(map(str, _faults(error))))
        began = time.monotonic()
        outcome = await self._bounded(Request(checked, input, idempotency_key, timeout))
        outcome.details.setdefault("duration_ms", round((time.monotonic() - began) * 1000, 1))
        return outcome

    async def _bounded(self, request: Request[Config]) -> Outcome:
        bound = asyncio.timeout(request.timeout)
        try:
            async with bound:
                return _checked(await self.call(request))
        except Exception as error:  # an executor must never take its batch down
            if bound.expired():
                return _timed_out(request.timeout, request.progress.give_up())
            return unforeseen(error, request.progress.give_up())
        finally:
            request.progress.give_up()


def _read(model: type[Config], config: JsonObject) -> Config:
    """The config as the model.

    Results are cached, so a config without placeholders is validated once.

    Raises:
        ValidationError: it does not fit.
    """
    text = json.dumps(config)
    if len(text) > REMEMBERED_LENGTH:
        return model.model_validate(config)
    return cast(Config, _read_text(model, text))


@lru_cache(maxsize=256)
def _read_text(model: type[ExecutorConfig], text: str) -> ExecutorConfig:
    return model.model_validate(json.loads(text))


def invalid_config(message: str) -> Outcome:
    """The outcome of a call that was not made because its config cannot work."""
    return Outcome.failure("InvalidConfig", message, retryable=False, applied=Applied.NO)


def _faults(error: ValidationError) -> list[Fault]:
    return [
        Fault(_joined("config", fault["loc"]), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_url=False, include_input=False)
    ]


def _joined(path: str, location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return path + "".join(steps)


def _checked(outcome: object) -> Outcome:
    if not isinstance(outcome, Outcome):
        raise TypeError(f"the executor returned {outcome!r} instead of an Outcome")
    return outcome


def _timed_out(seconds: float, applied: Applied) -> Outcome:
    what = "no reply" if applied is Applied.MAYBE else "the request could not be sent"
    message = f"{what} within {seconds:g} s"
    return Outcome.failure("Timeout", message, retryable=True, applied=applied)


def unforeseen(error: BaseException, applied: Applied) -> Outcome:
    """The outcome of a call that broke in a way nobody thought of."""
    return Outcome.failure(
        type(error).__name__,
        str(error) or repr(error),
        retryable=False,
        applied=applied,
        stack="".join(traceback.format_exception(error)),
    )
