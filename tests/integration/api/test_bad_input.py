"""What is no request that the API takes: each gets its answer, as JSON, with a reason."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dist_task_pipelines.api import asgi, health, protocol
from dist_task_pipelines.domain.flow import Flow
from tests.integration.api.serving import Answer, Api

SUBMIT = {"instance_id": "a", "flow_id": "order"}


def is_error(answer: Answer, status: int) -> bool:
    """Whether it is the envelope of an error, and tells nothing of the code behind it."""
    body = answer.body
    told = "Traceback" not in answer.content.decode()
    return (answer.status, body["code"], set(body)) == (
        status,
        status,
        {"code", "message", "data"},
    ) and told


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b"{", "line 1 column 2"),
        (b"\xff", "byte 0"),
        (b'{"instance_id": "a", "instance_id": "b"}', "instance_id"),
        (b'{"instance_id": "a", "flow_id": "f", "params": {"t": 1e999}}', "1e999"),
        (b'{"instance_id": "a", "flow_id": "f", "params": {"t": NaN}}', "NaN"),
        (b'{"instance_id": "a", "flow_id": "f", "params": {"t": 0.1234567890123456789}}', "0.1"),
        (b'{"params": ' + b"[" * 500_000 + b"]" * 500_000 + b"}", ""),
        (b'{"params": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}", ""),
        (b"", "instance_id"),
        (b"null", ""),
        (b"[]", ""),
        (b'"text"', ""),
    ],
)
def test_a_body_that_is_no_json_for_the_call(api: Api, content: bytes, path: str) -> None:
    answer = api.post("transactions", content=content)
    assert is_error(answer, 400)
    assert answer.paths[0].startswith(path)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({**SUBMIT, "nope": 1, "parms": {}}, ["nope", "parms"]),
        ({"instance_id": 1, "flow_id": None, "params": []}, ["instance_id", "flow_id", "params"]),
        ({}, ["instance_id", "flow_id"]),
        ({**SUBMIT, "instance_id": "\ud800"}, ["instance_id"]),
    ],
)
def test_every_fault_of_a_body_is_named(api: Api, body: Any, paths: list[str]) -> None:
    answer = api.post("transactions", body)
    assert is_error(answer, 400)
    assert answer.paths == paths


def test_the_place_of_a_fault_in_a_batch(api: Api) -> None:
    answer = api.post("transactions/batch", {"transactions": [SUBMIT, {**SUBMIT, "x": 1}]})
    assert (answer.status, answer.paths) == (400, ["transactions[1].x"])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_not_said_to_be_json(api: Api, kind: str) -> None:
    answer = api.post("transactions", SUBMIT, headers={"Content-Type": kind})
    assert is_error(answer, 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/problem+json"])
def test_json_by_another_name(api: Api, order: Flow, kind: str) -> None:
    assert api.post("transactions", SUBMIT, headers={"Content-Type": kind}).status == 200


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/api/v1/", "/api/v2/flows", "/docs/x"])
def test_an_unknown_route(api: Api, path: str) -> None:
    assert is_error(api.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "flows", "GET, POST"),
        ("POST", "flows/order_v1", "DELETE, GET, PUT"),
        ("GET", "transactions/a/retry", "POST"),
        ("PATCH", "transactions/batch", "POST"),
        ("POST", "/health", "GET"),
    ],
)
def test_a_wrong_method_names_the_right_ones(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = api.call(method, path)
    assert is_error(answer, 405)
    assert answer.headers["allow"] == allowed


def test_an_actor_with_too_long_a_name(api: Api, order: Flow) -> None:
    answer = api.post("flows/order_v1/activate", headers={"X-Actor": "a" * 101})
    assert is_error(answer, 400)
    assert answer.paths == ["X-Actor"]


def test_a_path_that_is_not_utf8(api: Api) -> None:
    answer = api.get("transactions/%FF")
    assert is_error(answer, 400)
    assert answer.paths == ["path"]


@pytest.fixture
def limited(home: Path) -> Path:
    """Bodies are at most 2,000 bytes."""
    (home / "dist_task.toml").write_text("[limits]\nmax_body_bytes = 2000\n")
    return home


def chunks(size: int) -> Iterator[bytes]:
    """A body whose length is not told ahead."""
    yield b'{"instance_id": "a", "flow_id": "order", "params": {"x": "'
    for _ in range(size // 100):
        yield b"x" * 100
    yield b'"}}'


def test_a_body_over_the_limit(limited: Path, api: Api, order: Flow) -> None:
    body = {**SUBMIT, "params": {"deduct": {"x": ""}}}
    room = 2000 - len(b'{"instance_id":"a","flow_id":"order","params":{"deduct":{"x":""}}}')
    body["params"] = {"deduct": {"x": "x" * room}}
    assert api.post("transactions", body).status == 200
    body["params"] = {"deduct": {"x": "x" * (room + 1)}}
    answer = api.post("transactions", body)
    assert is_error(answer, 413)
    assert "limits.max_body_bytes" in answer.body["message"]


def test_a_body_over_the_limit_in_chunks(limited: Path, api: Api) -> None:
    assert is_error(api.post("transactions", content=chunks(2100)), 413)


MUCH = 4_000_000  # bytes: more than the sockets' buffers hold


@pytest.mark.parametrize("content", [b"x" * MUCH, chunks(MUCH)], ids=["length", "chunks"])
def test_who_is_still_sending_gets_the_answer(
    limited: Path, api: Api, content: bytes | Iterator[bytes]
) -> None:
    assert is_error(api.post("transactions", content=content), 413)


def test_who_never_stops_sending_is_left(
    limited: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "LINGER", 0.2)
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as client:
        client.sendall(b"POST /api/v1/flows HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n{")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_arrive(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_PATIENCE", 0.2)
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as slow:
        slow.sendall(b"POST /api/v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
    assert api.get("flows").status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_arrive(
    api: Api, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_PATIENCE", 0.2)
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as slow:
        slow.sendall(sent)
        assert slow.recv(100) == b""
    assert api.get("flows").status == 200


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_is_no_http(api: Api, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as client:
        client.sendall(sent)
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == 400


def test_more_requests_at_once_than_are_taken(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MOST_IN_FLIGHT", 1)
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as slow:
        slow.sendall(b"POST /api/v1/flows HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        answers = iter(lambda: api.get("flows"), None)
        answer = next(each for each in answers if each.status != 200)
        assert is_error(answer, 503)
        assert answer.headers["retry-after"]


def test_a_ledger_that_cannot_be_used(home: Path, api: Api, order: Flow) -> None:
    assert api.submit("before").status == 200
    api.ledger.database.dispose()
    for file in home.glob("ledger.db*"):
        file.rename(file.with_name(f"{file.name}.away"))
    (home / "ledger.db").mkdir()
    for answer in (api.submit("a"), api.get("transactions"), api.get("flows/order_v1")):
        assert is_error(answer, 503)
        assert answer.headers["retry-after"]
    answer = api.get("/health")
    assert (answer.status, answer.body["code"]) == (503, 503)
    assert answer.body["data"]["status"] == "unavailable"


def test_a_ledger_that_can_only_be_read(
    home: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.5)
    api.ledger.workers.register("a worker", host="here", pid=1)
    assert api.get("/health").data["database"]["ok"] is True
    with closing(sqlite3.connect(home / "ledger.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        answer = api.get("/health")
        writer.rollback()
    assert (answer.status, answer.body["data"]["database"]["ok"]) == (503, False)
    assert "0.5 s" in answer.body["message"]
    assert answer.body["data"]["workers"]["ok"] is True


def test_an_error_nobody_foresaw(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(api.ledger.transactions, "page", broken)
    answer = api.get("transactions")
    assert is_error(answer, 500)
    assert "secret" not in answer.body["message"]
