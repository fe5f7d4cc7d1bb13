"""A service that speaks JSON over HTTP: `POST /rpc` with the method and its params."""

from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import Request, Service, invalid_config
from dist_task_pipelines.executors.http_client import Connections, HttpCall, http_url
from dist_task_pipelines.executors.rpc_config import RpcConfig, metadata_of


class HttpService:
    """One service."""

    def __init__(self, name: str, service: Service, limit: int) -> None:
        self._name = name
        self._service = service
        self._limit = limit
        self._connections = Connections()

    async def call(self, request: Request[RpcConfig]) -> Outcome:
        """Post the method and its params; the reply's JSON is the output."""
        try:
            call = rpc_call(self._service, request)
        except ValueError as error:
            return invalid_config(
                f"the address {self._service.address!r} of service {self._name!r} {error}; "
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
        http_url(f"{'https' if service.tls else 'http'}://{service.address}/rpc"),
        {"Content-Type": "application/json", **metadata_of(service, request.config)},
        body.encode(),
        tls=service.tls,
    )
