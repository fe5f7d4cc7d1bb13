"""Requests from a RocketMQ topic: the consumer against a real broker and against the stand-in."""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

import definitions
from dist_task_pipelines.assembly import migrate_ledger, open_ledger
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.engine.intake import Intake, Taken
from dist_task_pipelines.executors import RocketMQ
from dist_task_pipelines.executors.base import Progress
from dist_task_pipelines.executors.mq_driver import MqMessage
from dist_task_pipelines.executors.rocketmq_client import RocketMQProducer
from dist_task_pipelines.executors.rocketmq_consumer import Received, RocketMQConsumer
from dist_task_pipelines.executors.rocketmq_errors import meaning_of
from dist_task_pipelines.executors.rocketmq_package import load_client
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.settings import Settings
from sensors.mq_requests import reason

load_client()
from examples.rocketmq_stand_in import RocketMQStandIn  # noqa: E402

# Dagster warns of its own when it copies a sensor; the client still calls `Logger.warn`.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning"),
]

TASK = {"id": "deduct", "task_name": "http_request", "config": {"url": "http://127.0.0.1:9"}}
HTTP: JsonObject = {"type": "http", "description": "", "config": {}, "input_fields": None}
MANY = 200

Consume = Callable[[], RocketMQConsumer]


@pytest.fixture
def topic() -> str:
    """A topic of the test's own."""
    return f"requests_{secrets.token_hex(6)}"


@pytest.fixture(params=["stand_in", "rocketmq"])
def broker(request: pytest.FixtureRequest, topic: str) -> Iterator[RocketMQ]:
    """A broker that has the topic."""
    if request.param == "stand_in":
        with RocketMQStandIn({topic: "NORMAL"}) as stand_in:
            yield RocketMQ(stand_in.endpoints)
        return
    server = request.getfixturevalue("rocketmq")
    server.create_topic(topic)
    yield RocketMQ(server.endpoints)


@pytest.fixture
def consume(broker: RocketMQ, topic: str) -> Iterator[Consume]:
    """A factory of consumers, all of one group."""
    with ExitStack() as stack:

        def start() -> RocketMQConsumer:
            consumer = RocketMQConsumer(broker, topic, f"group_{topic}")
            stack.callback(consumer.close)
            return consumer

        yield start


@pytest.fixture
def settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: RocketMQ, topic: str
) -> Settings:
    """Settings that say where requests come from, of a home with an empty ledger."""
    (tmp_path / "dist_task.toml").write_text(
        f'[rocketmq]\nendpoints = "{broker.endpoints}"\nrequest_topic = "{topic}"\n'
        f'consumer_group = "group_{topic}"\n'
    )
    monkeypatch.setenv("DIST_TASK_HOME", str(tmp_path))
    loaded = Settings.from_environment()
    migrate_ledger(loaded)
    return loaded


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of those settings, with a flow `payment`."""
    opened = open_ledger(settings)
    definition = {"name": "payment", "tasks": [TASK], "task_definitions": {"http_request": HTTP}}
    opened.flows.create(name="payment", definition=definition)
    yield opened
    opened.close()


def send(broker: RocketMQ, topic: str, *bodies: bytes) -> None:
    """Send messages, several at a time."""
    producer = RocketMQProducer(broker)
    messages = [MqMessage(topic, body, ("key",)) for body in bodies]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda message: producer.send(message, Progress()), messages))
    producer.close(5)


def a_request(identifier: str, **fields: object) -> bytes:
    """The body of a message that asks for a transaction."""
    return json.dumps({"instance_id": identifier, "flow_id": "payment", **fields}).encode()


def test_what_is_sent_is_received_once_acknowledged_never_again(
    broker: RocketMQ, topic: str, consume: Consume
) -> None:
    bodies = {b'{"n": 1}', "é".encode(), b"\xff\x00"}
    send(broker, topic, *bodies)
    consumer = consume()
    received: list[Received] = []
    while len(received) < len(bodies):
        received += consumer.receive()
    assert {each.body for each in received} == bodies
    assert len({each.id for each in received}) == len(bodies)
    consumer.acknowledge(received)
    assert consumer.receive() == []


def test_many_messages_are_taken_in_and_the_bad_ones_kept(
    broker: RocketMQ, topic: str, consume: Consume, ledger: Ledger
) -> None:
    requests = [a_request(f"order-{n}", params={"deduct": {"n": n}}) for n in range(MANY)]
    send(broker, topic, *requests, requests[0], b"deduct 99 from u1", b"\xff\xfe")
    taken = Intake(ledger, consume(), 1024).drain(60)
    assert (taken.accepted, len(taken.refused)) == (MANY + 1, 2)
    assert len(ledger.transactions.page(limit=2 * MANY)) == MANY
    records = [ledger.exceptions.get(each.id) for each in ledger.exceptions.page()]
    sources = [each.source or {} for each in records]
    assert {each["topic"] for each in sources} == {topic}
    assert {each.get("body") for each in sources} == {"deduct 99 from u1", None}


def test_a_topic_that_is_not_there_is_named(broker: RocketMQ) -> None:
    with pytest.raises(Exception, match=r"no_such_topic|CODE: 17") as caught:
        RocketMQConsumer(broker, "no_such_topic", "group")
    meaning = meaning_of(caught.value)
    assert meaning
    assert meaning.type == "UnknownTopic"


def test_a_tick_of_the_sensor_takes_in_what_waits(
    broker: RocketMQ, topic: str, settings: Settings, ledger: Ledger
) -> None:
    repository = definitions.defs().get_repository_def()
    sensor = repository.get_sensor_def("mq_requests")
    resources = {
        name: repository.get_top_level_resources()[name] for name in sensor.required_resource_keys
    }
    send(broker, topic, a_request("order-1"), b"{}")
    with dg.build_sensor_context(resources=resources) as context:
        said = sensor.evaluate_tick(context).skip_message
    assert str(said).startswith("1 requests taken in; 1 messages became exceptions: ")
    assert ledger.transactions.get("order-1").flow_id == "payment_v1"


def test_what_a_tick_says() -> None:
    assert reason(Taken()).skip_message == "no message came"
    assert reason(Taken(3)).skip_message == "3 requests taken in"
