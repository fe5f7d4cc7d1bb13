"""Secrets stand nowhere but in the calls they are for, however a participant repeats them."""

import json
import secrets as random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.engine.redaction import forms
from tests.acceptance.fixtures import CANARY
from tests.acceptance.fixtures import ENVIRONMENT as SHARED
from tests.acceptance.making import flow, submit, task
from tests.services import free_port
from tests.services.certificates import Authority
from tests.services.grpc_server import compile_protos, running_server
from tests.services.participant import Participant
from tests.services.platform import Platform

PLACES = (
    "HEADER",
    "URL",
    "BODY",
    "BASIC",
    "TOKEN",
    "USER",
    "METADATA",
    "DATABASE",
    "KEY",
    "PART",
)
ENVIRONMENT = {f"CANARY_{place}": f"{CANARY}{random.token_hex(8)}/+&" for place in PLACES}
PORT = free_port()
CONFIG = f"""
[services.Canary]
address = "127.0.0.1:{PORT}"
protocol = "grpc"
metadata = {{ authorization = "Bearer ${{CANARY_METADATA}}" }}
[databases.canary]
url = "mysql+pymysql://joe:${{CANARY_DATABASE}}@127.0.0.1:1/shop"
[tls.canary]
cert_file = "canary/client.pem"
key_file = "canary/client.locked"
key_password = "${{CANARY_KEY}}"
"""


def http(identifier: str, path: str, **config: object) -> JsonObject:
    """A task whose participant repeats all that it is sent."""
    return task(identifier, config={"url": "${input.base}" + path, **config})


def rpc(identifier: str, method: str, **config: object) -> JsonObject:
    """A call of the server that is told a secret by the configuration."""
    config = {"service": "Canary", "method": f"shop.v1.Shop/{method}", **config}
    return {"id": identifier, "task_name": "rpc", "config": config}


FLOWS = {
    "canary": flow(
        http("answered", "/echo/200", headers={"X-Token": "Bearer ${secret.CANARY_HEADER}"}),
        task("passed_on", "answered", input_from={"seen": "$.answered.headers"}),
        http("refused", "/echo/422", headers={"X-Token": "${secret.CANARY_HEADER}"}),
        http("in_url", "/echo/404?key=${secret.CANARY_URL}"),
        http("in_body", "/echo/500", json={"pin": ["${secret.CANARY_BODY}"]}),
        http("basic", "/echo/401", auth={"username": "joe", "password": "${secret.CANARY_BASIC}"}),
        http("token", "/echo/403", auth={"token": "${secret.CANARY_TOKEN}"}),
        http("cut", "/cut", headers={"X-Token": "${secret.CANARY_PART}"}),
        task("user", config={"url": "http://joe:${secret.CANARY_USER}@127.0.0.1:1/"}),
        task("key", config={"url": "https://127.0.0.1:1/", "tls": "canary"}),
        {"id": "sent", "task_name": "notify", "config": {"topic": "paid"}},
        rpc("look", "Look"),
        rpc("fail", "Fail"),
        {
            "id": "rows",
            "task_name": "db",
            "config": {"database": "canary", "operation": "select", "table": "orders"},
        },
    )
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[None]:
    """A gRPC server that repeats metadata in replies and in errors."""
    descriptors = compile_protos(tmp_path / "shop.binpb", "shop.proto")
    with running_server(descriptors, "--port", str(PORT)):
        yield


def test_a_secret_stands_nowhere(
    platform: Platform, participant: Participant, server: None
) -> None:
    Authority(platform.home / "canary", "ca", ENVIRONMENT["CANARY_KEY"] + "?").issue("client")
    params: JsonObject = {
        each["id"]: {"base": participant.url} for each in FLOWS["canary"]["tasks"]
    }
    params |= {"look": {}, "fail": {"code": 9, "message": "METADATA"}}
    submit(platform, "canary", ["canary-1"], params)
    run = platform.wait_for_run_of("canary-1")
    printed = [
        platform.cli("status", "canary-1").stdout,
        platform.cli("status", "canary-1", "--json").stdout,
        platform.cli("exceptions").stdout,
        platform.cli("exceptions", "--json").stdout,
        platform.cli("flow", "list", "--json").stdout,
        json.dumps([run.config, dict(run.tags)]),
        repr(platform.events(run.id)),
    ]
    told = json.loads(printed[1])
    assert "[redacted]" in json.dumps(told["tasks"])
    succeeded = {each["task_id"] for each in told["tasks"] if each["status"] == "success"}
    assert succeeded == {"answered", "look", "passed_on"}
    sent = json.dumps(participant.echoed)
    for place in ("HEADER", "URL", "BODY", "BASIC", "TOKEN", "PART"):
        assert any(form in sent for form in forms(frozenset([ENVIRONMENT[f"CANARY_{place}"]])))
    leaks = [text[:200] for text in printed if _leaks(text.encode())]
    leaks += [str(file) for file in platform.home.rglob("*") if _is_leaking(file)]
    assert not leaks


def _is_leaking(file: Path) -> bool:
    return file.is_file() and _leaks(file.read_bytes())


def _leaks(content: bytes) -> bool:
    hidden = forms(frozenset({*ENVIRONMENT.values(), *SHARED.values()}))
    return CANARY.encode() in content or any(form.encode() in content for form in hidden)
