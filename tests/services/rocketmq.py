"""RocketMQ 5 servers, found or fetched, started and ended by themselves.

A name server, and one process that is broker and proxy. The proxy speaks the gRPC protocol of
the official 5.x clients.
"""

import hashlib
import json
import os
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc

from dist_task_pipelines.executors.rocketmq_package import load_client
from tests.services import ServiceUnavailable, compose, free_port
from tests.services.process import Ready, complete_or_not, first_that_starts, found, run, running
from tests.services.rocketmq_topics import Keys, create_topic

ENDPOINTS_VARIABLE = "DIST_TASK_TEST_ROCKETMQ_ENDPOINTS"
BROKER_VARIABLE = "DIST_TASK_TEST_ROCKETMQ_BROKER"
POM = Path(__file__).with_name("rocketmq.pom.xml")
LOOPBACK = Path(__file__).with_name("loopback.c")
PROBE = "dist_task_probe"  # a topic: once it can be reached, all can

NAME_SERVER = "org.apache.rocketmq.namesrv.NamesrvStartup"
PROXY = "org.apache.rocketmq.proxy.ProxyStartup"  # and with `-pm local` the broker

_PROBE_SECONDS = 10
_AUTHENTICATION = "org.apache.rocketmq.auth.authentication.provider"
_PROXY_USERS = "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider"
_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dtls.server.mode=disabled")
_BROKER = {
    "brokerClusterName": "DefaultCluster",
    "brokerName": "broker",
    "brokerIP1": "127.0.0.1",
    "autoCreateTopicEnable": "false",
    "enableDetailStat": "false",
    "mappedFileSizeCommitLog": 16 * 1024 * 1024,
    "mappedFileSizeConsumeQueue": 300_000,
    "timerPrecisionMs": 100,
}
# What topics there are is not remembered for long, least of all that there is none.
_PROXY = {
    "rocketMQClusterName": "DefaultCluster",
    "useEndpointPortFromRequest": True,
    "topicRouteServiceCacheExpiredSeconds": 2,
    "topicRouteServiceCacheRefreshSeconds": 1,
    "topicConfigCacheExpiredSeconds": 2,
    "topicConfigCacheRefreshSeconds": 1,
}
_LOG = """\
<configuration>
  <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %p %c{1} %m%n%ex{3}</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="console"/></root>
</configuration>
"""


class RocketMQServer:
    """A RocketMQ that serves.

    Attributes:
        endpoints: host:port for clients.
        broker: host:port for making topics.
        keys: who signs in; None where nobody has to.
    """

    def __init__(self, endpoints: str, broker: str, keys: Keys | None = None) -> None:
        self.endpoints = endpoints
        self.broker = broker
        self.keys = keys

    def create_topic(self, name: str, kind: str = "NORMAL") -> str:
        """Make a topic for messages of this kind: NORMAL, FIFO or DELAY; gives its name."""
        create_topic(self.broker, name, kind, self.keys)
        return name


def rocketmq_server(cache_dir: Path) -> AbstractContextManager[RocketMQServer]:
    """Give a RocketMQ; found as `mysql_server` finds its own, or fetched from Maven Central."""
    ways: dict[str, Callable[[], AbstractContextManager[RocketMQServer]]] = {
        "Docker Compose": _in_docker,
        "Maven": partial(own_rocketmq, cache_dir),
    }
    if ENDPOINTS_VARIABLE in os.environ:
        ways = {ENDPOINTS_VARIABLE: _named}
    return first_that_starts("RocketMQ", ways)


@contextmanager
def _named() -> Iterator[RocketMQServer]:
    server = RocketMQServer(os.environ[ENDPOINTS_VARIABLE], os.environ[BROKER_VARIABLE])
    if error := unreachable(server):
        raise ServiceUnavailable(error)
    yield server


@contextmanager
def _in_docker() -> Iterator[RocketMQServer]:
    with compose.published("rocketmq", 8081, 10911) as (endpoints, broker):
        server = RocketMQServer(endpoints, broker)
        if error := unreachable(server):
            raise ServiceUnavailable(error)
        yield server


@contextmanager
def own_rocketmq(cache_dir: Path, keys: Keys | None = None) -> Iterator["OwnRocketMQ"]:
    """Give a RocketMQ that may be killed and started again; with `keys` clients must sign in."""
    command = (str(found("java")), *_JAVA, "-cp", f"{_jars(cache_dir)}/*")
    environment = {"LD_PRELOAD": str(_loopback(cache_dir))}
    with tempfile.TemporaryDirectory(prefix="dist_task_rocketmq_") as name, ExitStack() as stack:
        server = OwnRocketMQ(Path(name), command, environment, keys)
        stack.enter_context(server.name_server())
        stack.callback(server.kill)
        server.start()
        yield server


class OwnRocketMQ(RocketMQServer):
    """A name server, and a broker with its proxy, as processes of this one.

    Both end without a farewell: what they would save is thrown away.

    Args:
        folder: of all that they write.
        command: Java with RocketMQ on its class path.
        environment: added to this process's own.
        keys: who must sign in.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        keys: Keys | None = None,
    ) -> None:
        self._folder = folder
        home = (f"-Drocketmq.home.dir={folder}", f"-Duser.home={folder}")
        log = f"-Drmq.logback.configurationFile={folder / 'logback.xml'}"
        self._command = (*command, *home, log)
        self._environment = environment
        self._ports = {name: free_port() for name in ("names", "broker", "ha", "grpc", "remoting")}
        self._broker = ExitStack()
        super().__init__(self._at("grpc"), self._at("broker"), keys)
        self._configure()

    def name_server(self) -> AbstractContextManager[object]:
        """The name server, running in the block."""
        port = self._ports["names"]
        options = ["-Xmx256m", NAME_SERVER, "-c", str(self._folder / "names.conf")]
        return self._running(options, lambda: _not_listening(port))

    def start(self, *, until_ready: bool = True) -> None:
        """Start the broker, on the same ports and with the same messages as before."""
        files = ("-pc", "proxy.json", "-bc", "broker.conf")
        paths = [word if word[0] == "-" else str(self._folder / word) for word in files]
        place = ["-pm", "local", "-n", self._at("names")]
        options = ["-Xmx512m", PROXY, *paths, *place]
        ready = partial(unreachable, self) if until_ready else lambda: None
        self._broker.enter_context(self._running(options, ready))

    def kill(self) -> None:
        """Kill the broker, as a crash does."""
        self._broker.close()

    def _running(self, options: Sequence[str], ready: Ready) -> AbstractContextManager[object]:
        return running(
            [*self._command, *options],
            self._folder / "log",
            ready,
            environment=self._environment,
            ended_by=signal.SIGKILL,
        )

    def _at(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"

    def _configure(self) -> None:
        ports, folder = self._ports, self._folder
        names = {"kvConfigPath": folder / "kv.json", "configStorePath": folder / "names.conf"}
        broker = {
            "listenPort": ports["broker"],
            "haListenPort": ports["ha"],
            "storePathRootDir": folder / "store",
            "storePathCommitLog": folder / "store" / "commitlog",
        }
        proxy = {"grpcServerPort": ports["grpc"], "remotingListenPort": ports["remoting"]}
        auth = _auth(self.keys, folder) if self.keys else {}
        asks_broker = {"authenticationMetadataProvider": _PROXY_USERS} if self.keys else {}
        texts = {
            "logback.xml": _LOG,
            "names.conf": _properties({"listenPort": ports["names"], **names}),
            "broker.conf": _properties({**_BROKER, **broker, **auth}),
            "proxy.json": json.dumps({**_PROXY, **proxy, **auth, **asks_broker}),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)


def unreachable(server: RocketMQServer) -> str | None:
    """Why clients cannot find a topic there, None when they can."""
    try:
        server.create_topic(PROBE)
        return _route_error(server)
    except (OSError, ValueError, struct.error) as error:
        return f"{server.broker}: {error}"
    except grpc.RpcError as error:
        return f"{server.endpoints}: {error.details()}"


def _route_error(server: RocketMQServer) -> str | None:
    client = load_client()
    from rocketmq.grpc_protocol import (  # noqa: PLC0415
        Code,
        MessagingServiceStub,
        QueryRouteRequest,
        Resource,
    )
    from rocketmq.v5.util import Signature  # noqa: PLC0415

    keys = server.keys or Keys("", "")
    credentials = client.Credentials(keys.access_key, keys.secret_key)
    asking = client.ClientConfiguration(server.endpoints, credentials)
    request = QueryRouteRequest(
        topic=Resource(name=PROBE), endpoints=asking.rpc_endpoints.endpoints
    )
    with grpc.insecure_channel(server.endpoints) as channel:
        signed = Signature.metadata(asking, "probe")
        stub = MessagingServiceStub(channel)
        status = stub.QueryRoute(request, metadata=signed, timeout=_PROBE_SECONDS).status
    return None if status.code == Code.OK else str(status.message)


def _not_listening(port: int) -> str | None:
    with socket.socket() as probe:
        return os.strerror(error) if (error := probe.connect_ex(("127.0.0.1", port))) else None


def _auth(keys: Keys, folder: Path) -> dict[str, object]:
    inner = {"accessKey": keys.access_key, "secretKey": keys.secret_key}
    first = {"username": keys.access_key, "password": keys.secret_key}
    return {
        "authConfigPath": str(folder / "auth"),
        "authenticationEnabled": "true",
        "authenticationProvider": f"{_AUTHENTICATION}.DefaultAuthenticationProvider",
        "authenticationMetadataProvider": f"{_AUTHENTICATION}.LocalAuthenticationMetadataProvider",
        "initAuthenticationUser": json.dumps(first),
        "innerClientAuthenticationCredentials": json.dumps(inner),
    }


def _properties(values: Mapping[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _jars(cache_dir: Path) -> Path:
    """The folder of RocketMQ's programs, fetched with Maven when it is not kept."""
    mark = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    target = cache_dir / f"rocketmq-{mark}"
    if not target.is_dir():
        command = ["mvn", "--batch-mode", "--quiet", "--file", str(POM)]
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
        with complete_or_not(target) as folder:
            run([*command, *goal, f"-DoutputDirectory={folder}"])
    return target


def _loopback(cache_dir: Path) -> Path:
    """The library that keeps a server on loopback, compiled when it is not kept."""
    mark = hashlib.sha256(LOOPBACK.read_bytes()).hexdigest()[:12]
    target = cache_dir / f"loopback-{mark}"
    if not target.is_dir():
        with complete_or_not(target) as folder:
            library = str(folder / "loopback.so")
            run(["cc", "-shared", "-fPIC", "-O2", "-o", library, str(LOOPBACK), "-ldl"])
    return target / "loopback.so"
