"""What a gRPC server says of its services, through server reflection.

Asked once for each service and remembered; asked again when what is remembered does not
serve any more. Both versions of the protocol are spoken, v1 first; on the wire they differ
by the service's name only.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import StatusCode
from grpc.aio import AioRpcError, Channel
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from dist_task_pipelines.executors.grpc_channel import settled
from dist_task_pipelines.executors.grpc_methods import (
    Method,
    Methods,
    UnknownMethod,
    UnusableMethod,
    missing_imports,
    service_of,
)
from dist_task_pipelines.executors.grpc_status import Metadata

_PATHS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    for version in ("v1", "v1alpha")
)


@dataclass(frozen=True, slots=True)
class _Remembered:
    methods: Methods
    since: float  # of the monotonic clock


class Reflection:
    """The methods of one server."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._known: dict[str, _Remembered] = {}
        self._asking = asyncio.Lock()
        self._path = _PATHS[0]

    async def find(self, name: str, max_age: float, metadata: Metadata) -> Method:
        """The method `package.Service/Method`, as the server said at most `max_age` s ago.

        Args:
            metadata: of the call, which the server may want to see before it says anything.

        Raises:
            UnusableMethod: there is none, it streams, or the server has no reflection.
            AioRpcError: the server could not be asked.
        """
        service = service_of(name)
        async with self._asking:
            known = self._known.get(service)
            if known is None or time.monotonic() - known.since > max_age:
                known = _Remembered(await self._asked(service, metadata), time.monotonic())
                self._known[service] = known
        return known.methods.find(name)

    def doubt(self, name: str, max_age: float) -> None:
        """Ask again before the next call, if what is known of the method is older than that."""
        known = self._known.get(service_of(name))
        if known and time.monotonic() - known.since > max_age:
            del self._known[service_of(name)]

    async def _asked(self, service: str, metadata: Metadata) -> Methods:
        await settled(self._channel)
        try:
            return await self._files(service, metadata)
        except AioRpcError as error:
            if error.code() is not StatusCode.UNIMPLEMENTED:
                raise
        self._path = next(path for path in _PATHS if path != self._path)
        try:
            return await self._files(service, metadata)
        except AioRpcError as error:
            if error.code() is not StatusCode.UNIMPLEMENTED:
                raise
        raise UnusableMethod(
            "the server has no reflection; give the service a `descriptor_set` in the configuration"
        )

    async def _files(self, service: str, metadata: Metadata) -> Methods:
        files: dict[str, FileDescriptorProto] = {}
        first = await self._answer(metadata, file_containing_symbol=service)
        if first.WhichOneof("message_response") == "error_response":
            raise UnknownMethod(await self._no_service(service, metadata))
        _keep(files, first)
        while missing := missing_imports(files.values()):
            for name in sorted(missing):
                _keep(files, await self._answer(metadata, file_by_filename=name), name)
        return Methods.of(files.values())

    async def _no_service(self, service: str, metadata: Metadata) -> str:
        answer = await self._answer(metadata, list_services="")
        names = [each.name for each in answer.list_services_response.service]
        known = ", ".join(sorted(names)) or "none"
        return f"there is no service {service!r}; the server's reflection tells of: {known}"

    async def _answer(self, metadata: Metadata, **question: str) -> ServerReflectionResponse:
        """The answer to one question.

        The method streams, but a stream of one question is on the wire the same as a unary
        call. (grpc.aio's writing to a stream that the server has ended hides its status.)
        """
        ask = self._channel.unary_unary(
            self._path,
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        request = ServerReflectionRequest(**question)
        return await ask(request, metadata=metadata, wait_for_ready=False)


def _keep(
    files: dict[str, FileDescriptorProto], answer: ServerReflectionResponse, name: str = ""
) -> None:
    """Add the files that the server gave; `name`, if it was asked for one."""
    given: Iterable[bytes] = answer.file_descriptor_response.file_descriptor_proto
    for each in given:
        file = FileDescriptorProto.FromString(each)
        files[file.name] = file
    if name and name not in files:
        raise UnusableMethod(
            f"the server's reflection does not give {name}, which its files import"
        )
