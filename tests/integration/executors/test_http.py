"""`http` tasks against a real server that does what servers do, and what they should not."""

import asyncio
import gzip
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants
from dist_task_pipelines.executors.http import HttpExecutor
from tests.integration.executors.conftest import KEY, Calls, Participant, reset

LIMIT = 1000


@pytest.fixture
def call(runner: asyncio.Runner) -> Iterator[Calls]:
    executor = HttpExecutor.connect(Participants(max_response_bytes=LIMIT))
    yield Calls(runner, executor)
    runner.run(executor.close())


def failed(outcome: Outcome) -> tuple[str, bool, Applied]:
    """What the outcome of a failed call comes to."""
    assert outcome.error is not None, outcome
    return outcome.error.type, outcome.retryable, outcome.applied


def test_the_input_is_posted_as_json_with_the_key(call: Calls, participant: Participant) -> None:
    url = participant.answer("/pay", body=b'{"receipt": 7}', content_type="application/json")
    outcome = call({"url": url}, {"amount": 99, "who": "é"})
    assert outcome.succeeded
    assert outcome.output == {"receipt": 7}
    assert outcome.details["status"] == 200
    assert outcome.details["headers"]["Content-Type"] == "application/json"
    assert outcome.details["duration_ms"] >= 0
    (got,) = participant.received
    assert (got.method, got.path, got.body) == ("POST", "/pay", b'{"amount":99,"who":"\\u00e9"}')
    assert got.headers["Idempotency-Key"] == KEY
    assert got.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("config", "input", "sent"),
    [
        ({"json": {"a": 1}}, {"b": 2}, (b'{"a":1}', "application/json")),
        ({"json": "text"}, {}, (b'"text"', "application/json")),
        ({"body": "a=1&b=é"}, {}, ("a=1&b=é".encode(), "text/plain; charset=utf-8")),
        ({"body": [1, None]}, {}, (b"[1,null]", "application/json")),
        ({}, {"body": {"a": 1}, "b": 2}, (b'{"a":1}', "application/json")),
        ({}, {"body": "plain"}, (b"plain", "text/plain; charset=utf-8")),
        ({}, {"body": None}, (b'{"body":null}', "application/json")),
        ({}, {}, (b"{}", "application/json")),
        ({"method": "put"}, {"a": 0.1}, (b'{"a":0.1}', "application/json")),
        ({"method": "GET"}, {"a": 1}, (b"", None)),
        ({"query": {"q": 1}}, {"a": 1}, (b"", None)),
        ({"body": "x", "headers": {"content-type": "text/csv"}}, {}, (b"x", "text/csv")),
    ],
)
def test_what_is_sent(
    call: Calls,
    participant: Participant,
    config: dict[str, Any],
    input: dict[str, Any],
    sent: tuple[bytes, str | None],
) -> None:
    assert call({"url": participant.answer("/"), **config}, input).succeeded
    (got,) = participant.received
    assert got.method == config.get("method", "POST").upper()
    assert (got.body, got.headers.get("Content-Type")) == sent


def test_query_and_headers_are_written_as_json_writes_them(
    call: Calls, participant: Participant
) -> None:
    query = {"flag": True, "n": 1.5, "many": ["a b", 2], "odd": "&=é"}
    headers = {"X-Amount": 99, "X-Flag": False, "X-Text": "tab\tand é"}
    url = participant.answer("/a")
    assert call({"url": url + "?first=1", "query": query, "headers": headers}).succeeded
    (got,) = participant.received
    assert got.query == "first=1&flag=true&n=1.5&many=a+b&many=2&odd=%26%3D%C3%A9"
    assert got.headers["X-Amount"] == "99"
    assert got.headers["X-Flag"] == "false"
    assert got.headers["X-Text"] == "tab\tand é"


def test_every_attempt_sends_the_same_bytes(runner: asyncio.Runner) -> None:
    async def conversation() -> list[bytes]:
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head + await reader.readexactly(len(b'{"b":1,"a":2}')))
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        config = {
            "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x?y=1",
            "headers": {"B": "1", "A": "2"},
            "query": {"z": 1},
            "json": {"b": 1, "a": 2},
        }
        for _ in range(2):
            executor = HttpExecutor.connect(Participants())
            await executor.execute(config, {}, idempotency_key=KEY, timeout=20)
            await executor.close()
        server.close()
        await server.wait_closed()
        return seen

    first, second = runner.run(conversation())
    assert first == second
    assert f"\r\nIdempotency-Key: {KEY}\r\n".encode() in first


@pytest.mark.parametrize(
    ("status", "retryable", "applied"),
    [
        (400, False, Applied.NO),
        (404, False, Applied.NO),
        (408, True, Applied.NO),
        (409, False, Applied.NO),
        (422, False, Applied.NO),
        (425, True, Applied.NO),
        (429, True, Applied.NO),
        (500, True, Applied.MAYBE),
        (501, True, Applied.NO),
        (502, True, Applied.MAYBE),
        (503, True, Applied.NO),
        (504, True, Applied.MAYBE),
        (524, True, Applied.MAYBE),
    ],
)
def test_a_failing_status(
    call: Calls, participant: Participant, status: int, retryable: bool, applied: Applied
) -> None:
    url = participant.answer("/s", status=status, text='{"error": "no money"}')
    outcome = call({"url": url + "?token=hidden"})
    assert failed(outcome) == ("HttpStatus", retryable, applied)
    assert outcome.error is not None
    assert outcome.error.code == str(status)
    assert "no money" in outcome.error.message
    assert f"POST {url} was answered with {status}" in outcome.error.message
    assert "hidden" not in outcome.error.message
    assert outcome.details["reply"] == {"error": "no money"}
    assert len(participant.received) == 1


def test_retry_after_is_honoured_where_a_retry_helps(call: Calls, participant: Participant) -> None:
    def waits(status: int, value: str) -> float | None:
        url = participant.answer("/r", status=status, headers={"Retry-After": value})
        return call({"url": url}).retry_after

    assert waits(503, "120") == 120
    assert waits(429, "0") == 0
    assert waits(503, "soon") is None
    assert waits(400, "120") is None
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    wait = waits(503, in_an_hour)
    assert wait is not None
    assert 3500 < wait <= 3600


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_that_says_where_it_leads(
    call: Calls, participant: Participant, status: int
) -> None:
    there = participant.answer("/there")
    here = participant.answer("/here", status=status, headers={"Location": there})
    outcome = call({"url": here})
    assert failed(outcome) == ("HttpStatus", False, Applied.NO)
    assert outcome.error is not None
    assert there in outcome.error.message
    assert [got.path for got in participant.received] == ["/here"]


def test_redirects_are_followed_on_demand(call: Calls, participant: Participant) -> None:
    there = participant.answer("/there", text="ok")
    here = participant.answer("/here", status=307, headers={"Location": there})
    outcome = call({"url": here, "follow_redirects": True}, {"a": 1})
    assert outcome.output == {"value": "ok"}
    assert [got.body for got in participant.received] == [b'{"a":1}'] * 2
    assert participant.received[1].headers["Idempotency-Key"] == KEY


def test_a_circle_of_redirects_ends(call: Calls, participant: Participant) -> None:
    here = participant.answer("/here", status=307, headers={"Location": "/here"})
    outcome = call({"url": here, "follow_redirects": True})
    assert failed(outcome) == ("BadRedirect", False, Applied.MAYBE)
    assert len(participant.received) == 5


def test_a_redirect_to_no_url_fails(call: Calls, participant: Participant) -> None:
    here = participant.answer("/here", status=307, headers={"Location": "ftp://x/"})
    outcome = call({"url": here, "follow_redirects": True})
    assert failed(outcome) == ("BadRedirect", False, Applied.MAYBE)


def test_no_connection(call: Calls, closed_port: int) -> None:
    outcome = call({"url": f"http://127.0.0.1:{closed_port}/"})
    assert failed(outcome) == ("ConnectionFailed", True, Applied.NO)


def test_no_such_host(call: Calls) -> None:
    outcome = call({"url": "http://nowhere.invalid/"})
    assert failed(outcome) == ("ConnectionFailed", True, Applied.NO)


def test_tls_is_verified(call: Calls, runner: asyncio.Runner, self_signed: ssl.SSLContext) -> None:
    server = Participant()
    serving = runner.run(server.start(self_signed))
    outcome = call({"url": server.url("/", "https")})
    runner.run(serving.cleanup())
    assert failed(outcome) == ("TlsError", True, Applied.NO)
    assert server.received == []


def test_tls_with_a_server_that_has_none(call: Calls, participant: Participant) -> None:
    outcome = call({"url": participant.url("/", "https")})
    assert failed(outcome) == ("TlsError", True, Applied.NO)


def test_a_timeout_after_sending_may_have_taken_effect(
    call: Calls, participant: Participant
) -> None:
    outcome = call({"url": participant.stall("/slow")}, timeout=0.2)
    assert failed(outcome) == ("Timeout", True, Applied.MAYBE)
    assert len(participant.received) == 1


def test_a_timeout_while_connecting_had_no_effect(call: Calls, full_port: int) -> None:
    outcome = call({"url": f"http://127.0.0.1:{full_port}/"}, timeout=0.2)
    assert failed(outcome) == ("Timeout", True, Applied.NO)


def test_a_reset_before_the_reply_may_have_taken_effect(
    call: Calls, participant: Participant
) -> None:
    async def crash(request: web.Request) -> web.StreamResponse:
        reset(request)
        return web.Response()

    outcome = call({"url": participant.handle("/crash", crash)})
    assert failed(outcome) == ("ConnectionLost", True, Applied.MAYBE)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_reset_in_the_reply_may_have_taken_effect(
    call: Calls, participant: Participant, chunked: bool
) -> None:
    async def crash(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if not chunked:
            response.content_length = 100
        await response.prepare(request)
        await response.write(b'{"a":')
        reset(request)
        return response

    outcome = call({"url": participant.handle("/crash", crash)})
    assert failed(outcome) == ("ConnectionLost", True, Applied.MAYBE)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET", "POST"])
def test_nothing_is_sent_again_behind_our_back(
    call: Calls, participant: Participant, method: str
) -> None:
    """Over a connection that was used before, aiohttp itself would repeat all but POST."""

    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    config = {"method": method}
    assert call({"url": participant.answer("/ok"), **config}).succeeded
    outcome = call({"url": participant.handle("/drop", hang_up), **config})
    assert failed(outcome) == ("ConnectionLost", True, Applied.MAYBE)
    assert [got.path for got in participant.received] == ["/ok", "/drop"]


def test_garbage_instead_of_http(call: Calls, runner: asyncio.Runner) -> None:
    async def garbage() -> Outcome:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        outcome = await call.later({"url": f"http://127.0.0.1:{port}/"})
        server.close()
        await server.wait_closed()
        return outcome

    assert failed(runner.run(garbage())) == ("BadReply", True, Applied.MAYBE)


@pytest.mark.parametrize(
    ("body", "content_type", "output"),
    [
        (b"", "application/json", {}),
        (b"[1, 2]", "application/json", {"value": [1, 2]}),
        (b'"x"', "application/problem+json; charset=utf-8", {"value": "x"}),
        (b"null", "application/json", {"value": None}),
        (b'{"b": 1, "a": 12345678901234567890}', "text/plain", {"b": 1, "a": 12345678901234567890}),
        (b"007", "text/plain", {"value": "007"}),
        (b'{"a": 1, "a": 2}', "text/plain", {"value": '{"a": 1, "a": 2}'}),
        (b'{"a": "\\ud800"}', "application/json", {"a": "\ud800"}),
        ("é".encode("latin-1"), "text/plain; charset=latin-1", {"value": "é"}),
        (b"<html>", "text/html", {"value": "<html>"}),
    ],
)
def test_replies_as_outputs(
    call: Calls, participant: Participant, body: bytes, content_type: str, output: dict[str, Any]
) -> None:
    url = participant.answer("/", body=body, headers={"Content-Type": content_type})
    outcome = call({"url": url})
    assert outcome.succeeded
    assert list(outcome.output.items()) == list(output.items())


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (b'{"a": 1, "a": 2}', "application/json", "a: this key stands twice in one object"),
        (b'{"a": NaN}', "application/json", "NaN: is not a JSON number"),
        (b'{"a": 1e400}', "application/json", "cannot be kept exactly"),
        (b"<html>", "application/json", "not valid JSON"),
        (b"\xff\xfe\x00", "text/plain", "3 bytes (text/plain) are not text"),
        (b"\x89PNG\xff", "image/png", "5 bytes (image/png) are not text"),
        (b"x", "text/plain; charset=klingon", "1 bytes (text/plain) are not text"),
    ],
)
def test_a_success_with_an_unreadable_reply_is_one(
    call: Calls, participant: Participant, body: bytes, content_type: str, why: str
) -> None:
    url = participant.answer("/", body=body, headers={"Content-Type": content_type})
    outcome = call({"url": url})
    assert outcome.succeeded
    assert list(outcome.output) == ["unreadable"]
    assert why in outcome.output["unreadable"]


def test_a_chunked_reply_is_put_together(call: Calls, participant: Participant) -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for part in (b'{"a":', b" [1,", b'2], "b": "\xc3', b'\xa9"}'):
            await response.write(part)
        return response

    outcome = call({"url": participant.handle("/chunked", chunked)})
    assert outcome.output == {"a": [1, 2], "b": "é"}
    assert outcome.details["headers"]["Transfer-Encoding"] == "chunked"


def test_an_oversized_reply_is_not_read_to_its_end(call: Calls, participant: Participant) -> None:
    cut_off = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 1000)
        except ConnectionError:
            cut_off.set()
            raise

    async def called() -> Outcome:
        outcome = await call.later({"url": participant.handle("/endless", endless)})
        await cut_off.wait()
        return outcome

    outcome = call.run(called())
    assert outcome.succeeded
    assert outcome.output == {
        "unreadable": f"the reply is longer than {LIMIT} bytes (max_response_bytes)"
    }


@pytest.mark.parametrize(("size", "kept"), [(LIMIT, True), (LIMIT + 1, False)])
def test_the_limit_is_exact(call: Calls, participant: Participant, size: int, kept: bool) -> None:
    outcome = call({"url": participant.answer("/", text="x" * size)})
    assert ("value" in outcome.output) is kept


def test_a_compressed_reply_is_bounded_by_what_it_expands_to(
    call: Calls, participant: Participant
) -> None:
    body = gzip.compress(b"x" * 10_000_000)
    url = participant.answer("/", body=body, headers={"Content-Encoding": "gzip"})
    outcome = call({"url": url})
    assert outcome.succeeded
    assert "longer than" in outcome.output["unreadable"]


def test_a_reply_that_is_not_compressed_as_it_says(call: Calls, participant: Participant) -> None:
    url = participant.answer("/", body=b"plain", headers={"Content-Encoding": "gzip"})
    outcome = call({"url": url})
    assert outcome.succeeded
    assert "gzip" in outcome.output["unreadable"]


def test_an_oversized_error_keeps_its_status(call: Calls, participant: Participant) -> None:
    outcome = call({"url": participant.answer("/", status=404, text="x" * 5000)})
    assert failed(outcome) == ("HttpStatus", False, Applied.NO)


def test_cookies_are_not_carried_from_one_call_to_the_next(
    call: Calls, participant: Participant
) -> None:
    url = participant.answer("/", headers={"Set-Cookie": "session=1"})
    url = url.replace("127.0.0.1", "localhost")  # aiohttp keeps no cookies of IP addresses
    outcome = call({"url": url})
    call({"url": url})
    assert "Cookie" not in participant.received[1].headers
    assert "Set-Cookie" not in outcome.details["headers"]


def test_a_key_that_would_be_a_second_header_is_refused(
    call: Calls, participant: Participant
) -> None:
    outcome = call({"url": participant.answer("/")}, key="a\r\nX-Admin: 1")
    assert failed(outcome)[:2] == ("InvalidRequest", False)
    assert participant.received == []


def test_a_text_that_has_no_bytes_is_refused(call: Calls, participant: Participant) -> None:
    url = participant.answer("/")
    outcome = call({"url": url, "body": "\ud800"})
    assert failed(outcome) == ("InvalidConfig", False, Applied.NO)
    outcome = call({"url": url, "query": {"a": "\ud800"}})
    assert failed(outcome) == ("InvalidConfig", False, Applied.NO)
    assert participant.received == []


def test_a_config_that_cannot_work_is_refused_with_all_its_faults(
    call: Calls, participant: Participant
) -> None:
    outcome = call({"url": "file:///etc/passwd", "method": "BREW", "heders": {}})
    assert failed(outcome) == ("InvalidConfig", False, Applied.NO)
    assert outcome.error is not None
    for path in ("config.url: must begin", "config.method: must be", "config.heders: "):
        assert path in outcome.error.message


def test_one_loop_has_one_pool(runner: asyncio.Runner, participant: Participant) -> None:
    peers = set()

    async def who(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    url = participant.handle("/who", who)

    async def calls() -> None:
        one, other = (HttpExecutor.connect(Participants()) for _ in range(2))
        for executor in (one, other, one):
            await executor.execute({"url": url}, {}, idempotency_key=KEY, timeout=20)
        await one.close()
        await other.execute({"url": url}, {}, idempotency_key=KEY, timeout=20)
        await other.close()
        await other.close()

    runner.run(calls())
    assert len(participant.received) == 4
    assert len(peers) == 1


def test_a_cancelled_call_is_cancelled(call: Calls, participant: Participant) -> None:
    async def cancelled() -> bool:
        task = asyncio.create_task(call.later({"url": participant.stall("/slow")}))
        await participant.arrived.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert call.run(cancelled())


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path: Path = tmp_path_factory.mktemp("tls") / "pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
