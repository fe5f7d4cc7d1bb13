"""The examples of docs/task-types.md, run as they stand against real participants."""

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiohttp import web

from dist_task_pipelines.assembly import open_catalog
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.executors import Participants, Registry, RocketMQ, Service, Tls
from dist_task_pipelines.executors.rocketmq_package import load_client
from dist_task_pipelines.flows import flow_from, resolve_definition, task_config
from dist_task_pipelines.settings import Settings
from tests.integration.executors.conftest import Participant
from tests.services.certificates import Authority
from tests.services.grpc_server import compile_protos, running_server

load_client()
from examples.rocketmq_stand_in import RocketMQStandIn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning")

PAGE = Path(__file__).parents[3] / "docs" / "task-types.md"
TYPES = ("http", "rpc", "mq", "db")
SECRETS = {"SHOP_TOKEN": "t0ken-of-the-shop", "SHOP_PASSWORD": "pa55word-of-joe"}
_BLOCK = re.compile(r"^```json (task|input|output)\n(.*?)^```", re.MULTILINE | re.DOTALL)

Run = Callable[[JsonObject, JsonObject], Outcome]


def examples(task_type: str) -> list[dict[str, JsonObject]]:
    """The examples of a type: each a `task`, with its `input` and `output` where they are given."""
    section = PAGE.read_text().split(f"\n## {task_type}\n")[1].split("\n## ")[0]
    found: list[dict[str, JsonObject]] = []
    for kind, text in _BLOCK.findall(section):
        if kind == "task":
            found.append({})
        found[-1][kind] = json.loads(text)
    return found


class EchoingParticipant(Participant):
    """Answers on every path with what it was sent; `/moved` has moved to `/here`."""

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            return web.Response(status=308, headers={"Location": "/here"})
        said = {"line": f"{request.method} {request.raw_path}", "body": await request.text()}
        who = request.headers.get("Authorization")
        return web.json_response(said | ({"who": who} if who else {}))


@pytest.fixture
def shop(runner: asyncio.Runner) -> Iterator[EchoingParticipant]:
    participant = EchoingParticipant()
    serving = runner.run(participant.start())
    yield participant
    runner.run(serving.cleanup())


@pytest.fixture
def partner(runner: asyncio.Runner, tmp_path: Path) -> Iterator[tuple[EchoingParticipant, Tls]]:
    authority = Authority(tmp_path / "tls", "authority")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("partner").both)
    participant = EchoingParticipant()
    serving = runner.run(participant.start(context))
    yield participant, Tls(authority.file)
    runner.run(serving.cleanup())


@pytest.fixture
def broker() -> Iterator[RocketMQ]:
    topics = {"paid": "NORMAL", "orders": "FIFO", "reminders": "DELAY"}
    with RocketMQStandIn(topics) as stand_in:
        yield RocketMQ(stand_in.endpoints)


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/warehouse.db"
    engine = sa.create_engine(url)
    sa.Table(
        "stock",
        sa.MetaData(),
        sa.Column("sku", sa.String(40), primary_key=True),
        sa.Column("held", sa.Integer),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("place", sa.String(40)),
    ).create(engine)
    engine.dispose()
    return url


@pytest.fixture
def run(
    runner: asyncio.Runner,
    shop: EchoingParticipant,
    partner: tuple[EchoingParticipant, Tls],
    broker: RocketMQ,
    warehouse: str,
    tmp_path: Path,
) -> Iterator[Run]:
    """Runs a task of a flow as the engine does."""
    registry = Registry.load()
    catalog = open_catalog(Settings.load(None, tmp_path), registry)
    descriptors = compile_protos(tmp_path / "shop.binpb", "shop.proto")
    addresses = {
        "https://shop.example": shop.url(""),
        "https://partner.example": partner[0].url("", "https"),
    }
    with running_server(descriptors) as port:
        services = {
            "Shop": Service(f"127.0.0.1:{port}", "grpc"),
            "Legacy": Service(f"127.0.0.1:{shop.port}"),
        }
        participants = Participants(
            services=services,
            databases={"warehouse": warehouse},
            rocketmq=broker,
            tls={"partner": partner[1]},
            ledger_uuid="mine",
        )
        executors = registry.connect(participants)
        caller = Caller(executors, SECRETS.get)

        def ran(definition: JsonObject, input: JsonObject) -> Outcome:
            text = json.dumps({"tasks": [definition]})
            for name, address in addresses.items():
                text = text.replace(name, address)
            stored = resolve_definition(
                text, name="x", catalog=catalog, config_models=registry.config_models()
            )
            [task] = flow_from(stored, id="x_v1", version=1).tasks
            request = {"config": task_config(task, input, {}), "input": input}
            key = f"order-1:{task.id}"
            return runner.run(caller.call(task, request, idempotency_key=key))

        yield ran
        runner.run(executors.close())


@pytest.mark.parametrize("task_type", TYPES)
def test_every_example_does_what_the_page_says(run: Run, task_type: str) -> None:
    for example in examples(task_type):
        outcome = run(example["task"], example.get("input", {}))
        assert outcome.succeeded, (example, outcome)
        if "output" in example:
            assert list(outcome.output.items()) == list(example["output"].items())


@pytest.mark.parametrize("task_type", TYPES)
def test_every_option_has_an_example(task_type: str) -> None:
    fields = Registry.load().config_models()[task_type].model_fields
    shown = {option for example in examples(task_type) for option in example["task"]["config"]}
    assert {field.alias or name for name, field in fields.items()} <= shown
