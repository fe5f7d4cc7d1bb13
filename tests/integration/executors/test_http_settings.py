"""`http` tasks: who calls, through which proxy, and what a redirect takes along."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants, Proxy, Tls
from dist_task_pipelines.executors.http import HttpExecutor
from tests.integration.executors.conftest import KEY, Calls, Participant
from tests.services.certificates import Authority
from tests.services.proxy import HttpProxy


@pytest.fixture
def call(runner: asyncio.Runner) -> Iterator[Calls]:
    executor = HttpExecutor.connect(Participants())
    yield Calls(runner, executor)
    runner.run(executor.close())


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"username": "ü", "password": "a:b"}, f"Basic {b64encode('ü:a:b'.encode()).decode()}"),
        ({"username": "", "password": ""}, "Basic Og=="),
        ({"token": "abc"}, "Bearer abc"),
    ],
)
def test_who_calls(
    call: Calls, participant: Participant, auth: dict[str, str], header: str
) -> None:
    assert call({"url": participant.answer("/"), "auth": auth}).succeeded
    assert participant.received[0].headers["Authorization"] == header


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"auth": {}}, "either `username` and `password` or `token`"),
        ({"auth": {"username": "u"}}, "either `username` and `password` or `token`"),
        ({"auth": {"username": "u", "password": "p", "token": "t"}}, "either `username`"),
        ({"auth": {"username": "u:v", "password": "p"}}, "must not hold a colon"),
        ({"auth": {"token": "a\nb"}}, "must not hold control characters"),
        ({"auth": {"user": "u"}}, "config.auth.user: "),
        ({"tls": "own"}, "`tls` needs an https URL"),
        (
            {"auth": {"token": "t"}, "headers": {"authorization": "x"}},
            "`auth` and an Authorization header exclude each other",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(
    call: Calls, config: dict[str, Any], why: str
) -> None:
    outcome = call({"url": "http://127.0.0.1:1/", **config})
    assert outcome.error
    assert (outcome.error.type, outcome.applied) == ("InvalidConfig", Applied.NO)
    assert why in outcome.error.message


@pytest.mark.parametrize(("host", "kept"), [("127.0.0.1", True), ("localhost", False)])
def test_a_redirect_to_another_host_takes_the_key_and_the_body_along_but_no_headers(
    call: Calls, participant: Participant, host: str, kept: bool
) -> None:
    there = participant.answer("/there").replace("127.0.0.1", host)
    here = participant.answer("/here", status=308, headers={"Location": there})
    config = {"url": here, "follow_redirects": True, "headers": {"x-api-key": "k"}}
    for auth in ({"token": "abc"}, {"username": "u", "password": "p"}):
        assert call({**config, "auth": auth}, {"a": 1}).succeeded
        got = participant.received[-1]
        assert got.path == "/there"
        assert got.headers["Idempotency-Key"] == KEY
        assert (got.body, got.headers["Content-Type"]) == (b'{"a":1}', "application/json")
        assert ("X-Api-Key" in got.headers, "Authorization" in got.headers) == (kept, kept)


class Proxied:
    """Calls through a proxy."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.proxy = HttpProxy("joe:s3cret")

    def __call__(
        self, config: dict[str, Any], user: str = "joe:s3cret", **participants: Any
    ) -> Outcome:
        url = f"http://{user}@127.0.0.1:{self.proxy.port}"
        exceptions = ("localhost",)
        executor = HttpExecutor.connect(Participants(proxy=Proxy(url, exceptions), **participants))
        outcome = Calls(self._runner, executor)(config)
        self._runner.run(executor.close())
        return outcome


@pytest.fixture
def proxied(runner: asyncio.Runner) -> Iterator[Proxied]:
    calls = Proxied(runner)
    server = runner.run(calls.proxy.start())
    yield calls
    server.close()
    runner.run(server.wait_closed())


def test_calls_go_through_the_proxy(proxied: Proxied, participant: Participant) -> None:
    url = participant.answer("/pay", text="paid")
    outcome = proxied({"url": url})
    assert outcome.output == {"value": "paid"}
    assert proxied.proxy.requests == [f"POST {url} HTTP/1.1"]
    assert "Proxy-Authorization" not in participant.received[0].headers


def test_tls_goes_through_the_proxy_as_a_tunnel(
    runner: asyncio.Runner, proxied: Proxied, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "authority")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("server").both)
    secure = Participant()
    serving = runner.run(secure.start(context))
    secure.answer("/pay", text="paid")
    config = {"url": secure.url("/pay", "https"), "tls": "own"}
    outcome = proxied(config, tls={"own": Tls(authority.file)})
    runner.run(serving.cleanup())
    assert outcome.output == {"value": "paid"}
    assert proxied.proxy.requests == [f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_lets_nobody_through_lets_nothing_take_effect(
    proxied: Proxied, participant: Participant, scheme: str
) -> None:
    participant.answer("/pay")
    outcome = proxied({"url": participant.url("/pay", scheme)}, user="joe:wr0ng")
    assert outcome.error
    assert "407" in outcome.error.message
    assert "wr0ng" not in outcome.error.message
    assert outcome.applied is Applied.NO
    assert participant.received == []


def test_excepted_hosts_are_called_directly(proxied: Proxied, participant: Participant) -> None:
    url = participant.answer("/pay").replace("127.0.0.1", "localhost")
    assert proxied({"url": url}).succeeded
    assert proxied.proxy.requests == []


def test_a_proxy_that_is_down(
    runner: asyncio.Runner, participant: Participant, closed_port: int
) -> None:
    proxy = Proxy(f"http://joe:s3cret@127.0.0.1:{closed_port}")
    executor = HttpExecutor.connect(Participants(proxy=proxy))
    outcome = Calls(runner, executor)({"url": participant.answer("/pay")})
    runner.run(executor.close())
    assert outcome.error
    assert (outcome.error.type, outcome.applied) == ("ConnectionFailed", Applied.NO)
    assert "s3cret" not in outcome.error.message


def test_the_environment_names_no_proxy(
    call: Calls, participant: Participant, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    assert call({"url": participant.answer("/")}).succeeded


@pytest.mark.parametrize(
    ("host", "through"),
    [
        ("internal.example", False),
        ("a.Internal.example.", False),
        ("notinternal.example", True),
        ("10.0.0.1", False),
        ("10.0.0.11", True),
    ],
)
def test_which_hosts_are_excepted(host: str, through: bool) -> None:
    assert Proxy("http://p", (".internal.example", "10.0.0.1")).is_for(host) is through
