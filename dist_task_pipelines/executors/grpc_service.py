"""A service that speaks gRPC: any unary method, from JSON, without generated code."""

import math
from typing import Protocol

from google.protobuf.message import DecodeError, Message
from grpc import StatusCode
from grpc.aio import AioRpcError, Channel

from dist_task_pipelines.domain.errors import InvalidParams
from dist_task_pipelines.domain.json import JsonObject, dumps
from dist_task_pipelines.domain.keys import KEY_HEADER
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.base import Request, Service, invalid_config
from dist_task_pipelines.executors.capture import too_long, unreadable
from dist_task_pipelines.executors.grpc_channel import open_channel, settled
from dist_task_pipelines.executors.grpc_messages import json_of, least_json_length, unknown_fields
from dist_task_pipelines.executors.grpc_methods import (
    Method,
    Methods,
    UnknownMethod,
    UnusableMethod,
)
from dist_task_pipelines.executors.grpc_reflection import Reflection
from dist_task_pipelines.executors.grpc_status import (
    Metadata,
    failure_of,
    logged,
)
from dist_task_pipelines.executors.rpc_config import RpcConfig, metadata_of
from dist_task_pipelines.executors.tls import UnusableTls

_FRESH = 10.0  # seconds for which a server's word on its methods is not doubted


class Source(Protocol):
    """Where the methods of a service are known from."""

    async def find(self, name: str, max_age: float, metadata: Metadata) -> Method:
        """The method, by knowledge at most `max_age` seconds old; asks with the metadata."""

    def doubt(self, name: str, max_age: float) -> None:
        """What is known of the method proved wrong, if it is older than that."""


class GrpcService:
    """One service. Its channel is opened at the first call, on the loop that makes it."""

    def __init__(self, name: str, service: Service, limit: int) -> None:
        self._name = name
        self._service = service
        self._limit = limit
        self._channel: Channel | None = None
        self._source: Source | None = None

    async def call(self, request: Request[RpcConfig]) -> Outcome:
        """Make a message of the input, send it, and make JSON of the reply."""
        request.progress.prepare()
        try:
            if self._channel is None:
                self._channel = open_channel(self._service)
            method, body = await self._encoded(request, self._channel)
        except (UnusableMethod, UnusableTls) as error:
            return invalid_config(f"service {self._name!r}: {error}")
        except InvalidParams as error:
            return _refused(error)
        except AioRpcError as error:
            return failure_of(error, f"the reflection of {self._name}", sent=False)
        return await self._sent(request, method, body, self._channel)

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel, self._source = self._channel, None, None
        if channel:
            await channel.close()

    async def _encoded(self, request: Request[RpcConfig], channel: Channel) -> tuple[Method, bytes]:
        """The method and its request. What is known of the server may be out of date."""
        name = request.config.method
        metadata = tuple(metadata_of(self._service, request.config).items())
        if self._source is None:
            self._source = _source(self._service, channel)
        try:
            method = await self._source.find(name, math.inf, metadata)
            return method, method.encode(request.input)
        except (UnknownMethod, InvalidParams):
            method = await self._source.find(name, _FRESH, metadata)
            return method, method.encode(request.input)

    async def _sent(
        self, request: Request[RpcConfig], method: Method, body: bytes, channel: Channel
    ) -> Outcome:
        await settled(channel)
        metadata = metadata_of(self._service, request.config)
        request.progress.send()
        call = channel.unary_unary(method.path)(
            body,
            timeout=request.timeout,
            metadata=(*metadata.items(), (KEY_HEADER.lower(), request.idempotency_key)),
            wait_for_ready=False,
        )
        try:
            reply = await call
            said = [*await call.initial_metadata(), *await call.trailing_metadata()]
        except AioRpcError as error:
            return self._failure(error, request.config.method)
        return _success(reply, method, said, self._limit)

    def _failure(self, error: AioRpcError, name: str) -> Outcome:
        if error.code() is StatusCode.UNIMPLEMENTED and self._source:
            self._source.doubt(name, _FRESH)
        return failure_of(error, f"{self._name} {name}")


class _File:
    """The methods of a descriptor set, read at the first call."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._methods: Methods | None = None

    async def find(self, name: str, max_age: float, metadata: Metadata) -> Method:
        if self._methods is None:
            assert self._service.descriptor_set
            self._methods = Methods.read(self._service.descriptor_set)
        return self._methods.find(name)

    def doubt(self, name: str, max_age: float) -> None:
        """A file does not change by itself."""


def _source(service: Service, channel: Channel) -> Source:
    return _File(service) if service.descriptor_set else Reflection(channel)


def _refused(error: InvalidParams) -> Outcome:
    message = "; ".join(map(str, error.faults))
    return Outcome.failure("InvalidParams", message, retryable=False, applied=Applied.NO)


def _success(reply: bytes, method: Method, metadata: Metadata, limit: int) -> Outcome:
    details: JsonObject = {"status": "OK", "metadata": logged(metadata)}
    if len(reply) > limit:
        return Outcome.success(unreadable(too_long(limit)), **details)
    try:
        message = method.output.FromString(reply)
        output = _output(message, method, limit)
    except (DecodeError, TypeError, ValueError) as error:
        why = f"the reply is no usable {method.output.DESCRIPTOR.full_name}: {error}"
        return Outcome.success(unreadable(why), **details)
    if unknown := unknown_fields(message):
        details["unknown_fields"] = unknown
    return Outcome.success(output, **details)


def _output(message: Message, method: Method, limit: int) -> JsonObject:
    if least_json_length(message) > limit:
        return unreadable(too_long(limit))
    output = json_of(message, method.pool)
    return output if len(dumps(output)) <= limit else unreadable(too_long(limit))
