"""One port for REST, the Dagster UI and its subscriptions; `dist-task serve` alone."""

import json
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from dist_task_pipelines.orchestration.dispatch_sensors import SAFETY_NET_SECONDS
from tests.acceptance.making import Flows, flow, task
from tests.services import free_port
from tests.services.dagster_ui import TAKE_UP
from tests.services.platform import COMMAND, MarkedProcess, Platform, child_environment

FLOWS: Flows = {"served": flow(task("deduct"))}
SUBSCRIPTION = 'subscription { pipelineRunLogs(runId: "none") { __typename } }'


def fetch(url: str, body: Any = None) -> tuple[int, str, str]:
    """Status, media type and text of an answer."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers.get_content_type(), reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read().decode()


def test_a_submit_over_rest_ends_in_a_run_whose_page_opens(platform: Platform) -> None:
    sent = {"instance_id": "over rest/1", "flow_id": "served"}
    assert fetch(f"{platform.url}/api/v1/transactions", sent)[0] == 200
    platform.wait_for("over rest/1")
    path = f"{platform.url}/api/v1/transactions/over%20rest%2F1"
    found = json.loads(fetch(path)[2])["data"]
    assert (found["status"], found["tasks"][0]["attempts"]) == ("success", 1)
    assert found["run_url"] == f"{platform.url}/runs/{found['run_id']}"
    status, kind, text = fetch(found["run_url"])
    assert (status, kind, 'id="root"' in text) == (200, "text/html", True)


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/", 200, "text/html"),
        ("/locations", 200, "text/html"),
        ("/server_info", 200, "application/json"),
        ("/docs", 200, "text/html"),
        ("/openapi.json", 200, "application/json"),
        ("/metrics", 200, "text/plain"),
        ("/api/v1/nope", 404, "application/json"),
        ("/api/nope", 404, "application/json"),
    ],
)
def test_each_path_goes_where_it_belongs(
    platform: Platform, path: str, status: int, kind: str
) -> None:
    assert fetch(platform.url + path)[:2] == (status, kind)


def test_every_part_is_well(platform: Platform) -> None:
    health = json.loads(fetch(f"{platform.url}/health")[2])["data"]
    assert [health[part]["ok"] for part in ("database", "workers", "daemon")] == [True] * 3


def test_its_sensors_are_a_safety_net(platform: Platform) -> None:
    every = {each["name"]: each["minIntervalSeconds"] for each in platform.sensors()}
    assert [every[name] for name in TAKE_UP] == [SAFETY_NET_SECONDS] * len(TAKE_UP)


def test_subscriptions_come_over_a_websocket(platform: Platform) -> None:
    url = platform.url.replace("http://", "ws://")
    with connect(f"{url}/graphql", subprotocols=[Subprotocol("graphql-ws")]) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(socket.recv(timeout=60))["type"] == "connection_ack"
        start = {"id": "1", "type": "start", "payload": {"query": SUBSCRIPTION, "variables": {}}}
        socket.send(json.dumps(start))
        told = json.loads(socket.recv(timeout=60))
        assert (told["type"], told["payload"]["data"]["pipelineRunLogs"]["__typename"]) == (
            "data",
            "PipelineRunLogsSubscriptionFailure",
        )


def test_a_page_of_another_site_does_nothing_here(platform: Platform) -> None:
    """A form, which a browser sends unasked; an image's address; a WebSocket."""
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    mutation = urllib.parse.quote('mutation { deletePipelineRun(runId: "x") { __typename } }')
    for url, content in [
        (f"{platform.url}/api/v1/exceptions/1/handle", b""),
        (f"{platform.url}/graphql?query={mutation}", None),
    ]:
        request = urllib.request.Request(url, content, evil)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert (refused.value.code, b"another site" in refused.value.read()) == (403, True)
    socket = platform.url.replace("http://", "ws://") + "/graphql"
    with pytest.raises(InvalidStatus, match="403"):
        connect(socket, subprotocols=[Subprotocol("graphql-ws")], additional_headers=evil)


def test_serve_answers_without_a_daemon_and_ends_at_once_on_a_signal(tmp_path: Path) -> None:
    arguments = [*COMMAND, "serve", "--home", str(tmp_path), "--port", str(free_port())]
    with MarkedProcess(arguments, child_environment()) as started:
        url = started.wait_until_ready()
        health = json.loads(fetch(f"{url}/health")[2])
        assert (health["code"], health["data"]["status"]) == (0, "degraded")
        assert health["data"]["daemon"]["ok"] is False
        assert (tmp_path / "dagster" / "workspace.yaml").exists()
        before = time.monotonic()
        ui = url.replace("http://", "ws://")
        with connect(f"{ui}/graphql", subprotocols=[Subprotocol("graphql-ws")]):
            started.end(signal.SIGTERM)
        assert time.monotonic() - before < 20
