"""The methods of gRPC services, from descriptors of their files; no generated code.

Pure: knows descriptors, not where they come from.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.executors.grpc_messages import message_of


class UnusableMethod(Exception):
    """A method that cannot be called; says why and what to do."""


class UnknownMethod(UnusableMethod):
    """A method that the service's descriptors do not know."""


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method."""

    path: str  # /package.Service/Method
    input: type[Message]
    output: type[Message]
    pool: DescriptorPool

    def encode(self, input: JsonObject) -> bytes:
        """The request that the JSON object stands for; equal ones make equal bytes.

        Raises:
            InvalidParams: it stands for none; names every field at fault.
        """
        message = message_of(input, self.input, self.pool)
        return message.SerializeToString(deterministic=True)


class Methods:
    """The methods that a set of files declares."""

    def __init__(self, pool: DescriptorPool, services: Iterable[str]) -> None:
        self._pool = pool
        self._services = sorted(services)

    @classmethod
    def of(cls, files: Iterable[FileDescriptorProto]) -> "Methods":
        """The methods of these files.

        Raises:
            UnusableMethod: a file is missing that another one imports, or they contradict.
        """
        by_name = {file.name: file for file in files}
        pool = DescriptorPool()
        try:
            for file in _imports_first(by_name):
                pool.Add(file)
        except (TypeError, ValueError) as error:
            raise UnusableMethod(f"the descriptors do not fit together: {error}") from None
        services = (
            ".".join(filter(None, (file.package, service.name)))
            for file in by_name.values()
            for service in file.service
        )
        return cls(pool, services)

    @classmethod
    def read(cls, path: Path) -> "Methods":
        """The methods of a file that holds a `FileDescriptorSet`.

        Raises:
            UnusableMethod: it holds none, or cannot be read.
        """
        try:
            files = FileDescriptorSet.FromString(path.read_bytes()).file
        except OSError as error:
            raise UnusableMethod(
                f"the descriptor set {path} cannot be read: {error.strerror}"
            ) from None
        except DecodeError:
            raise UnusableMethod(
                f"{path} is not a descriptor set; make one with: "
                f"protoc --include_imports --descriptor_set_out={path} FILE.proto"
            ) from None
        return cls.of(files)

    def find(self, name: str) -> Method:
        """The method `package.Service/Method`.

        Raises:
            UnknownMethod: there is none; names those that there are.
            UnusableMethod: it streams.
        """
        service = service_of(name)
        method = name.removeprefix(f"{service}/")
        if service not in self._services:
            known = ", ".join(self._services) or "none"
            raise UnknownMethod(f"there is no service {service!r}; there are: {known}")
        descriptor = self._pool.FindServiceByName(service)
        found = descriptor.methods_by_name.get(method)
        if found is None:
            known = ", ".join(descriptor.methods_by_name) or "none"
            raise UnknownMethod(f"{service} has no method {method!r}; it has: {known}")
        if found.client_streaming or found.server_streaming:
            raise UnusableMethod(
                f"{name} is a streaming method; only those with one request and one reply "
                "can be called"
            )
        return self._unary(found, name)

    def _unary(self, method: MethodDescriptor, name: str) -> Method:
        return Method(
            f"/{name}",
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            self._pool,
        )


def service_of(name: str) -> str:
    """The service of the method `package.Service/Method`.

    Raises:
        UnusableMethod: the name has another form.
    """
    service, _, method = name.rpartition("/")
    if not (service and method) or "/" in service:
        raise UnusableMethod(f"the method {name!r} is not like package.Service/Method")
    return service


def missing_imports(files: Iterable[FileDescriptorProto]) -> set[str]:
    """The files that these import and that are not among them."""
    known = {file.name: file for file in files}
    wanted = {name for file in known.values() for name in file.dependency}
    return wanted - known.keys()


def _imports_first(files: dict[str, FileDescriptorProto]) -> list[FileDescriptorProto]:
    """The files, each after those that it imports."""
    if missing := missing_imports(files.values()):
        raise UnusableMethod(
            f"the descriptors lack {', '.join(sorted(missing))}; "
            "protoc adds what a file imports with --include_imports"
        )
    ordered: dict[str, FileDescriptorProto] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for imported in files[name].dependency:
                add(imported)
            ordered[name] = files[name]

    for name in files:
        add(name)
    return list(ordered.values())
