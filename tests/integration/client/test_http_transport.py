"""The client over real sockets: what is sent, what is kept, what is said when nobody answers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dist_task_pipelines import Client
from dist_task_pipelines.client import (
    HttpTransport,
    InvalidInput,
    Request,
    Retries,
    TooLarge,
    UnexpectedAnswer,
    Unreachable,
)
from dist_task_pipelines.client.calls import path_of
from tests.services import free_port

EMPTY = b'{"code": 0, "message": "success", "data": []}'
ASK = Request("GET", "/api/v1/task-definitions")

Reply = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A server that notes what it gets; `reply` answers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections: set[tuple[str, int]] = set()
        self.reply: Reply = well
        self.url = ""


def well(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(EMPTY)))
    handler.end_headers()
    handler.wfile.write(EMPTY)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size) if site.reply is not refuse_unread else b""
            site.connections.add(self.client_address)
            site.seen.append((self.command, self.path, dict(self.headers), body))
            site.reply(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@contextmanager
def transport(url: str, **options: float) -> Iterator[HttpTransport]:
    transport = HttpTransport(url, **options)  # type: ignore[arg-type]
    try:
        yield transport
    finally:
        transport.close()


def test_a_connection_is_kept(site: Site) -> None:
    with Client(site.url) as client:
        for _ in range(5):
            assert client.task_definitions() == []
    assert len(site.seen) == 5
    assert len(site.connections) == 1


@pytest.mark.parametrize("identifier", ["a/b", "..", ".", "...", "a%2Fb", "é ?#", "x/../y"])
def test_an_id_is_one_segment_of_the_path(site: Site, identifier: str) -> None:
    with transport(site.url) as http:
        http.send(Request("GET", path_of("transactions", identifier, "logs")))
    [(_, path, _, _)] = site.seen
    assert path == path_of("transactions", identifier, "logs")
    assert path.count("/") == 5
    assert "/." not in path


def test_queries_and_names_are_encoded(site: Site) -> None:
    with Client(f"{site.url}/", actor="ann é 🛒") as client, pytest.raises(UnexpectedAnswer):
        list(client.flows.list(name="a&b=c d/é"))
    [(_, path, headers, _)] = site.seen
    assert path == "/api/v1/flows?name=a%26b%3Dc+d%2F%C3%A9&page_size=100"
    assert headers["X-Actor"].encode("latin-1").decode() == "ann é 🛒"


@pytest.mark.parametrize("actor", ["ann\r\nX-Evil: 1", "\x00"])
def test_an_actor_cannot_add_headers(actor: str) -> None:
    with pytest.raises(InvalidInput, match="actor"):
        Client(actor=actor)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:3000", "ftp://x", "http://", "http://x:port", "http://x:0", "http://["]
)
def test_a_url_must_be_a_server_s(url: str) -> None:
    with pytest.raises(InvalidInput, match="should be the server's URL"):
        Client(url)


def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with transport(url) as http, pytest.raises(Unreachable, match="refused") as raised:
        http.send(ASK)
    assert url in str(raised.value)
    assert not raised.value.may_have_arrived


def test_an_answer_that_does_not_come_in_time(site: Site) -> None:
    release = threading.Event()

    def hold(_: BaseHTTPRequestHandler) -> None:
        release.wait(20)

    site.reply = hold
    with transport(site.url, read_timeout=0.1) as http:
        with pytest.raises(Unreachable, match="no answer in time") as raised:
            http.send(ASK)
        release.set()
    assert raised.value.may_have_arrived


def test_a_connection_that_breaks_off(site: Site) -> None:
    def break_off(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    site.reply = break_off
    with Client(site.url, retries=Retries(times=2, interval=0)) as client:
        with pytest.raises(Unreachable, match=site.url):
            client.task_definitions()
        assert len(site.seen) == 3
        with pytest.raises(Unreachable, match="may have been carried out") as raised:
            client.exceptions.handle(7)
        assert raised.value.may_have_arrived
        assert len(site.seen) == 4


def test_an_answer_cut_short_is_none(site: Site) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(EMPTY)
        handler.close_connection = True

    site.reply = cut
    with transport(site.url) as http, pytest.raises(Unreachable):
        http.send(ASK)


def test_a_redirection_is_not_followed(site: Site) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://127.0.0.1:9/")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.reply = redirect
    with Client(site.url) as client, pytest.raises(UnexpectedAnswer, match="302"):
        client.task_definitions()


def refuse_unread(handler: BaseHTTPRequestHandler) -> None:
    """As the platform does: says 413 before the body has come, and closes."""
    body = b'{"code": 413, "message": "the body is larger than 1 bytes", "data": null}'
    handler.send_response(413)
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def test_a_body_refused_before_it_was_read(site: Site) -> None:
    site.reply = refuse_unread
    params = {"a": {"text": "x" * 20_000_000}}
    with Client(site.url, retries=Retries(0)) as client, pytest.raises(TooLarge, match="larger"):
        client.submit("f", "o", params)
