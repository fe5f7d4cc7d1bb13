"""A real gRPC server in a process of its own, and how a test starts one.

    python -m tests.services.grpc_server DESCRIPTOR_SET [--reflection v1|v1alpha|off] [--port N]

It serves `protos/shop.proto` from its descriptors, and prints the port it listens on. With
`--certificate`, `--key` and `--client-ca` it speaks TLS and asks for the client's certificate.
"""

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_reflection.v1alpha import reflection, reflection_pb2

ROOT = Path(__file__).parents[2]
PROTOS = Path(__file__).parent / "protos"
REFLECTION = "grpc.reflection.{version}.ServerReflection"


def compile_protos(target: Path, *names: str, imports: bool = True) -> Path:
    """Write the descriptor set of the files (of `protos/`, or full paths) to `target`."""
    from grpc_tools import protoc  # noqa: PLC0415 - takes its time and is not the server's

    files = [PROTOS / name for name in names]
    well_known = Path(protoc.__file__).parent / "_proto"
    folders = dict.fromkeys([*(file.parent for file in files), PROTOS, well_known])
    failed = protoc.main(
        [
            "protoc",
            *(f"-I{folder}" for folder in folders),
            *(["--include_imports"] if imports else []),
            f"--descriptor_set_out={target}",
            *map(str, files),
        ]
    )
    assert not failed
    return target


@contextmanager
def running_server(descriptor_set: Path, *options: str) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.services.grpc_server", str(descriptor_set), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


class Shop:
    """The methods of `shop.v1.Shop`."""

    def __init__(self, pool: DescriptorPool) -> None:
        self.pool = pool
        self.order = self.kind("Order")

    def kind(self, name: str) -> Any:
        """The class of a message."""
        return GetMessageClass(self.pool.FindMessageTypeByName(f"shop.v1.{name}"))

    def echo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The request itself."""
        context.set_trailing_metadata((("x-served", "yes"),))
        return request

    def deduct(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A receipt."""
        return self.kind("Receipt")(receipt_no="R-1", account=request.account, cents=request.cents)

    def fail(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The failure that the request wishes for; `METADATA` in its message is what it saw."""
        trailers = [("x-note", request.message or "none")]
        if request.retry_seconds:
            info = RetryInfo()
            info.retry_delay.seconds = request.retry_seconds
            status = Status(code=request.code, message=request.message)
            for detail in (info, ErrorInfo(reason="BUSY", domain="shop")):
                packed = AnyMessage()
                packed.Pack(detail)
                status.details.append(packed)
            trailers.append(("grpc-status-details-bin", status.SerializeToString()))
        context.set_trailing_metadata(trailers)
        codes = {code.value[0]: code for code in grpc.StatusCode}
        seen = str(dict(context.invocation_metadata()))
        context.abort(codes[request.code], request.message.replace("METADATA", seen))

    def look(self, request: Any, context: grpc.ServicerContext) -> Any:
        """What the server sees of the call."""
        metadata = dict(context.invocation_metadata())
        return self.kind("Seen")(
            metadata={key: value for key, value in metadata.items() if isinstance(value, str)},
            peer=context.peer(),
            seconds_left=context.time_remaining() or 0,
        )

    def grow(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A reply as long as the request wishes for."""
        items = [self.kind("Item")()] * request.items
        return self.order(order_id="x" * request.bytes, items=items, note="long")

    def stall(self, request: Any, context: grpc.ServicerContext) -> Any:
        """No reply while the caller waits."""
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait()
        return self.order()

    def crash(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The end of the process."""
        os._exit(1)

    def watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """A stream of one."""
        yield request

    def upload(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The last of a stream."""
        return list(requests)[-1]


def handlers(shop: Shop) -> grpc.GenericRpcHandler:
    """The methods that the descriptors declare and the shop has."""
    service = shop.pool.FindServiceByName("shop.v1.Shop")
    found = {}
    for method in service.methods:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        found[method.name] = make(
            getattr(shop, method.name.lower(), shop.echo),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    return grpc.method_handlers_generic_handler(service.full_name, found)


def reflecting(pool: DescriptorPool, version: str) -> grpc.GenericRpcHandler:
    """Server reflection in one version of its protocol."""
    servicer = reflection.ReflectionServicer(["shop.v1.Shop"], pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(
        REFLECTION.format(version=version), {"ServerReflectionInfo": handler}
    )


def serve(options: argparse.Namespace) -> None:
    """Serve until the process is killed."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(options.descriptor_set.read_bytes()).file:
        pool.Add(file)
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((handlers(Shop(pool)),))
    if options.reflection != "off":
        server.add_generic_rpc_handlers((reflecting(pool, options.reflection),))
    address = f"127.0.0.1:{options.port}"
    if options.certificate:
        port = server.add_secure_port(address, _credentials(options))
    else:
        port = server.add_insecure_port(address)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def _credentials(options: argparse.Namespace) -> grpc.ServerCredentials:
    pair = (options.key.read_bytes(), options.certificate.read_bytes())
    client_ca = options.client_ca.read_bytes() if options.client_ca else None
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=bool(client_ca))


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("descriptor_set", type=Path)
    parser.add_argument("--reflection", choices=["v1", "v1alpha", "off"], default="v1")
    parser.add_argument("--port", type=int, default=0)
    for name in ("--certificate", "--key", "--client-ca"):
        parser.add_argument(name, type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    serve(parsed())
