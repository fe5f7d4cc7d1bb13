"""`rpc` tasks: a method of a named service, over gRPC or as JSON over HTTP."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, Self

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import (
    Executor,
    Participants,
    Request,
    Service,
    invalid_config,
)
from dist_task_pipelines.executors.rpc_config import RpcConfig
from dist_task_pipelines.executors.rpc_http import HttpService


class Remote(Protocol):
    """A service as its protocol reaches it."""

    async def call(self, request: Request[RpcConfig]) -> Outcome:
        """Call the method."""

    async def close(self) -> None:
        """Let go of connections."""


def _grpc(name: str, service: Service, limit: int) -> Remote:
    # gRPC takes its time to load and is not everybody's.
    from dist_task_pipelines.executors.grpc_service import GrpcService  # noqa: PLC0415

    return GrpcService(name, service, limit)


PROTOCOLS: Mapping[str, Callable[[str, Service, int], Remote]] = {
    "grpc": _grpc,
    "http": HttpService,
}


class RpcExecutor(Executor[RpcConfig]):
    """Calls methods of the configured services."""

    task_type = "rpc"
    config_model = RpcConfig

    def __init__(self, participants: Participants) -> None:
        self._services = participants.services
        self._limit = participants.max_response_bytes
        self._remotes: dict[str, Remote] = {}

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for the participants' services."""
        return cls(participants)

    async def call(self, request: Request[RpcConfig]) -> Outcome:
        """Call the method of the service over the service's protocol."""
        name = request.config.service
        service = self._services.get(name)
        if service is None:
            return invalid_config(f"no service {name!r}; there are: {_listed(self._services)}")
        if service.protocol not in PROTOCOLS:
            return invalid_config(
                f"service {name!r} has the protocol {service.protocol!r}; "
                f"rpc tasks can speak: {_listed(PROTOCOLS)}"
            )
        if name not in self._remotes:
            self._remotes[name] = PROTOCOLS[service.protocol](name, service, self._limit)
        return await self._remotes[name].call(request)

    async def close(self) -> None:
        """Close every service that was called."""
        remotes, self._remotes = self._remotes, {}
        await asyncio.gather(*(remote.close() for remote in remotes.values()))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
