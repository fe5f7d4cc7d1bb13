"""A worker's connections to participants live from one run to the next."""

from pathlib import Path
from typing import Any

import pytest

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.flows import flow_from
from dist_task_pipelines.orchestration.keeping import keeping_open, kept
from dist_task_pipelines.settings import Settings
from resources.participants import connected
from tests.services.grpc_server import compile_protos, running_server
from tests.services.participant import Participant


def one_run(settings: Settings, *configs: JsonObject) -> list[JsonObject]:
    """The outputs of a run's calls, made as the resource of a run lets its ops make them."""
    outputs = []
    with kept("participants", lambda: connected(settings, "ledger")) as (caller, loop):
        for config in configs:
            name = "rpc" if "service" in config else "http"
            definition: Any = {
                "name": "x",
                "tasks": [{"id": "t", "task_name": name}],
                "task_definitions": {name: {"type": name, "config": {}, "input_fields": None}},
            }
            [task] = flow_from(definition, id="x", version=1).tasks
            request = {"config": config, "input": {}}
            outputs.append(loop.run(caller.call(task, request, idempotency_key="o:t")).output)
    return outputs


@pytest.mark.parametrize("keeps", [True, False])
def test_runs_share_connections_where_the_process_keeps_them(tmp_path: Path, keeps: bool) -> None:
    descriptors = compile_protos(tmp_path / "shop.binpb", "shop.proto")
    with Participant().running() as participant, running_server(descriptors) as port:
        file = tmp_path / "dist_task.toml"
        file.write_text(f"services.Shop = {{address = '127.0.0.1:{port}', protocol = 'grpc'}}")
        settings = Settings.load(file, tmp_path)
        web = {"url": f"{participant.url}/echo/200"}
        rpc = {"service": "Shop", "method": "shop.v1.Shop/Look"}
        if keeps:
            with keeping_open():
                runs = [one_run(settings, web, rpc) for _ in range(2)]
        else:
            runs = [one_run(settings, web, rpc) for _ in range(2)]
    for peers in zip(*([output["peer"] for output in run] for run in runs), strict=True):
        assert (peers[0] == peers[1]) is keeps
