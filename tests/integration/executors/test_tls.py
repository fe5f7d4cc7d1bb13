"""TLS with authorities and client certificates of the configuration, for all that speak it."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Executor, Participants, Service, Tls
from dist_task_pipelines.executors.http import HttpExecutor
from dist_task_pipelines.executors.rpc import RpcExecutor
from tests.integration.executors.conftest import Calls, Participant
from tests.services.certificates import Authority, Identity
from tests.services.grpc_server import compile_protos, running_server

SPEAKERS = ("http", "rpc over http", "rpc over grpc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.issue("server")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Identity:
    return authority.issue("client")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    """An authority that nobody here trusts."""
    return Authority(folder / "other", "stranger")


@pytest.fixture
def web_server(
    runner: asyncio.Runner, authority: Authority, server: Identity
) -> Iterator[Participant]:
    """An HTTP server that asks for the client's certificate, and says whose it was."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def who(request: web.Request) -> web.StreamResponse:
        assert request.transport
        certificate = request.transport.get_extra_info("peercert")
        return web.json_response({"subject": certificate["subject"][0][0][1]})

    participant = Participant()
    participant.handle("/who", who)
    participant.handle("/rpc", who)
    serving = runner.run(participant.start(context))
    yield participant
    runner.run(serving.cleanup())


@pytest.fixture(scope="module")
def grpc_port(authority: Authority, server: Identity, folder: Path) -> Iterator[int]:
    descriptors = compile_protos(folder / "shop.binpb", "shop.proto")
    files = ("--certificate", server.certificate, "--key", server.key)
    with running_server(descriptors, *map(str, files), "--client-ca", str(authority.file)) as port:
        yield port


class Ways:
    """Calls a server that asks for a certificate, in each of the ways there are."""

    def __init__(self, runner: asyncio.Runner, http_port: int, grpc_port: int) -> None:
        self._runner = runner
        self._ports = dict(zip(SPEAKERS, (http_port, http_port, grpc_port), strict=True))

    def call(self, speaker: str, tls: Tls | None) -> Outcome:
        """The outcome of a call with these settings."""
        address = f"127.0.0.1:{self._ports[speaker]}"
        protocol = speaker.rpartition(" ")[2]
        participants = Participants(
            services={"S": Service(address, protocol, tls=tls)}, tls={"own": tls} if tls else {}
        )
        executor: Executor[Any]
        config: dict[str, Any]
        if speaker == "http":
            executor = HttpExecutor.connect(participants)
            config = {"url": f"https://{address}/who", **({"tls": "own"} if tls else {})}
        else:
            executor = RpcExecutor.connect(participants)
            config = {"service": "S", "method": "shop.v1.Shop/Look"}
        outcome = Calls(self._runner, executor)(config)
        self._runner.run(executor.close())
        return outcome


@pytest.fixture
def ways(runner: asyncio.Runner, web_server: Participant, grpc_port: int) -> Ways:
    return Ways(runner, web_server.port, grpc_port)


@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize("kind", ["two files", "one file", "locked key"])
def test_the_server_is_verified_and_sees_the_client(
    ways: Ways, authority: Authority, client: Identity, speaker: str, kind: str
) -> None:
    tls = {
        "two files": Tls(authority.file, client.certificate, client.key),
        "one file": Tls(authority.file, client.both),
        "locked key": Tls(
            authority.file, client.certificate, client.locked_key, authority.password
        ),
    }[kind]
    outcome = ways.call(speaker, tls)
    assert outcome.succeeded, outcome
    if speaker != "rpc over grpc":
        assert outcome.output == {"subject": "client"}


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_server_of_another_authority_is_not_trusted(
    ways: Ways, stranger: Authority, client: Identity, speaker: str
) -> None:
    outcome = ways.call(speaker, Tls(stranger.file, client.both))
    assert outcome.error
    assert outcome.error.type in ("TlsError", "ConnectionFailed")
    assert (outcome.retryable, outcome.applied) == (True, Applied.NO)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_client_of_another_authority_gets_nowhere(
    ways: Ways, web_server: Participant, authority: Authority, stranger: Authority, speaker: str
) -> None:
    outcome = ways.call(speaker, Tls(authority.file, stranger.issue("mallory").both))
    assert outcome.error
    assert outcome.retryable
    assert web_server.received == []


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_files_that_cannot_be_used_are_named(
    ways: Ways, authority: Authority, client: Identity, folder: Path, speaker: str
) -> None:
    (folder / "garbage").write_text("no certificate")
    locked = Tls(authority.file, client.certificate, client.locked_key, "guess")
    cases = {
        "garbage": Tls(folder / "garbage"),
        "absent": Tls(folder / "absent"),
        "client.locked": locked,
    }
    for name, tls in cases.items():
        outcome = ways.call(speaker, tls)
        assert outcome.error
        assert (outcome.error.type, outcome.applied) == ("InvalidConfig", Applied.NO)
        assert str(folder / name) in outcome.error.message
        assert "guess" not in outcome.error.message


def test_a_name_that_is_not_there(runner: asyncio.Runner) -> None:
    executor = HttpExecutor.connect(Participants(tls={"own": Tls()}))
    outcome = Calls(runner, executor)({"url": "https://127.0.0.1:1/", "tls": "on"})
    runner.run(executor.close())
    assert outcome.error
    assert outcome.error.message == "config.tls: there is no [tls.on]; there are: own"
