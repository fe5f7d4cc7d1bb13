"""`rpc` tasks: a method of a named service, as JSON over HTTP."""

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import (
    Executor,
    ExecutorConfig,
    Participants,
    Request,
    Service,
    invalid_config,
)
from dist_task_pipelines.executors.http_client import Connections, HttpCall, http_url

_PROTOCOLS = ("http",)


class RpcConfig(ExecutorConfig):
    """The config of an `rpc` task."""

    service: str = Field(
        min_length=1, description="The service's name, as the configuration's [services] has it."
    )
    method: str = Field(
        min_length=1,
        description='The method to call. The request is `{"method": <it>, "params": <the input>}`.',
    )


class RpcExecutor(Executor[RpcConfig]):
    """Calls methods of the configured services."""

    task_type = "rpc"
    config_model = RpcConfig

    def __init__(self, participants: Participants) -> None:
        self._services = participants.services
        self._limit = participants.max_response_bytes
        self._connections = Connections()

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for the participants' services."""
        return cls(participants)

    async def call(self, request: Request[RpcConfig]) -> Outcome:
        """Post the method and its params; the reply's JSON is the output."""
        name = request.config.service
        service = self._services.get(name)
        if service is None:
            return invalid_config(f"no service {name!r}; there are: {_listed(self._services)}")
        if service.protocol not in _PROTOCOLS:
            return invalid_config(
                f"service {name!r} has the protocol {service.protocol!r}; "
                f"rpc tasks can speak: {_listed(_PROTOCOLS)}"
            )
        try:
            call = rpc_call(service, request)
        except ValueError as error:
            return invalid_config(
                f"the address {service.address!r} of service {name!r} {error}; "
                "it must be like 127.0.0.1:50051"
            )
        return await self._connections.exchange(call, request, self._limit)

    async def close(self) -> None:
        """Give back the connections."""
        await self._connections.close()


def rpc_call(service: Service, request: Request[RpcConfig]) -> HttpCall:
    """The HTTP request that an rpc request is.

    Raises:
        ValueError: the service's address makes no URL.
    """
    body = dumps({"method": request.config.method, "params": request.input})
    return HttpCall(
        "POST",
        http_url(f"http://{service.address}/rpc"),
        {"Content-Type": "application/json"},
        body.encode(),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
