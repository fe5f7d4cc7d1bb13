"""The RocketMQ stand-in as the official client sees it, and as a process of its own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest

from examples.rocketmq_stand_in import Fault, RocketMQStandIn, books
from tests.services import free_port

# After the stand-in, which sets the client's log aside.
from rocketmq import (  # isort: skip
    ClientConfiguration,
    Credentials,
    FilterExpression,
    Message,
    Producer,
    SimpleConsumer,
)
from rocketmq.grpc_protocol import (  # isort: skip
    EndTransactionRequest,
    MessagingServiceStub,
    QueryAssignmentRequest,
    Resource,
)
from rocketmq.v5.exception import BadRequestException, InternalErrorException  # isort: skip

ROOT = Path(__file__).parents[2]
INVISIBLE = 30  # seconds
PATIENCE = 10  # seconds that a consumer waits for a message
KEEP_AND_BREAK_OFF = Fault(kept=True, code=None)

Consume = Callable[..., Any]

# The client still calls `Logger.warn`.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning")


@pytest.fixture
def broker() -> Iterator[RocketMQStandIn]:
    with RocketMQStandIn({"paid": "NORMAL", "orders": "FIFO", "later": "DELAY"}) as stand_in:
        yield stand_in


@contextmanager
def producing(endpoints: str, **settings: Any) -> Iterator[Any]:
    producer = Producer(ClientConfiguration(endpoints, Credentials(), **settings))
    producer.startup()
    try:
        yield producer
    finally:
        producer.shutdown()


@pytest.fixture
def producer(broker: RocketMQStandIn) -> Iterator[Any]:
    with producing(broker.endpoints) as client:
        yield client


@pytest.fixture
def consume(broker: RocketMQStandIn) -> Iterator[Consume]:
    """A factory of consumers: `consume(topic, group, tags)`."""
    with ExitStack() as stack:

        def start(topic: str, group: str = "shop", tags: str = "*") -> Any:
            configuration = ClientConfiguration(broker.endpoints, Credentials())
            wanted = {topic: FilterExpression(tags)}
            consumer = SimpleConsumer(configuration, group, wanted, await_duration=PATIENCE)
            consumer.startup()
            stack.callback(consumer.shutdown)
            return consumer

        yield start


def message(topic: str, body: str, **properties: Any) -> Any:
    new = Message()
    new.topic, new.body = topic, body.encode()
    for name, value in properties.items():
        setattr(new, name, value)
    return new


def bodies(broker: RocketMQStandIn, topic: str = "paid") -> list[str]:
    return [entry["body"] for entry in broker.messages(topic)]


def test_a_message_arrives_as_it_was_sent_and_once_acknowledged_never_again(
    broker: RocketMQStandIn, producer: Any, consume: Consume
) -> None:
    receipt = producer.send(message("paid", '{"n": 1}', tag="eu", keys="tx-1:notify"))
    consumer = consume("paid")
    (got,) = consumer.receive(10, INVISIBLE)
    assert (got.body, got.tag, got.keys) == (b'{"n": 1}', "eu", {"tx-1:notify"})
    assert (got.message_id, got.delivery_attempt, got.corrupted) == (receipt.message_id, 1, False)
    consumer.change_invisible_duration(got, 1)
    consumer.ack(got)
    consumer.await_duration = 2  # by then it would be visible again
    assert consumer.receive(10, INVISIBLE) == []
    assert broker.messages("paid") == [
        {
            "topic": "paid",
            "tag": "eu",
            "keys": ["tx-1:notify"],
            "body": '{"n": 1}',
            "message_id": receipt.message_id,
            "group": "",
        }
    ]


def test_a_message_not_acknowledged_comes_again_after_its_invisible_time(
    producer: Any, consume: Consume
) -> None:
    producer.send(message("paid", "1"))
    consumer = consume("paid")
    (first,) = consumer.receive(10, 1)
    (second,) = consumer.receive(10, INVISIBLE)
    assert (first.delivery_attempt, second.delivery_attempt) == (1, 2)
    with pytest.raises(BadRequestException):
        consumer.ack(first)  # its receipt handle is void
    consumer.change_invisible_duration(second, 1)
    (third,) = consumer.receive(10, INVISIBLE)
    assert third.delivery_attempt == 3
    consumer.ack(third)


def test_every_group_gets_every_message_that_its_tags_ask_for(
    producer: Any, consume: Consume
) -> None:
    for tag in ("eu", "us", "cn"):
        producer.send(message("paid", tag, tag=tag))
    assert [m.body for m in consume("paid", "all").receive(10, INVISIBLE)] == [b"eu", b"us", b"cn"]
    some = consume("paid", "some", "eu || cn").receive(10, INVISIBLE)
    assert [m.body for m in some] == [b"eu", b"cn"]


def test_in_a_fifo_topic_nothing_overtakes_its_message_group(
    broker: RocketMQStandIn, producer: Any, consume: Consume
) -> None:
    for body, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        producer.send(message("orders", body, message_group=group))
    assert [entry["group"] for entry in broker.messages("orders")] == ["a", "a", "b"]
    consumer = consume("orders")
    (a1,) = consumer.receive(1, INVISIBLE)
    (b1,) = consumer.receive(10, INVISIBLE)
    consumer.ack(a1)
    (a2,) = consumer.receive(10, INVISIBLE)
    assert [m.body for m in (a1, b1, a2)] == [b"a1", b"b1", b"a2"]


def test_a_delayed_message_is_kept_at_once_and_delivered_when_due(
    broker: RocketMQStandIn, producer: Any, consume: Consume
) -> None:
    due = int(time.time()) + 2
    producer.send(message("later", "1", delivery_timestamp=due))
    assert bodies(broker, "later") == ["1"]
    (got,) = consume("later").receive(10, INVISIBLE)
    assert got.body == b"1"
    assert time.time() >= due


def test_an_unknown_topic_is_refused(producer: Any, consume: Consume) -> None:
    with pytest.raises(Exception, match="failed to fetch topic:nowhere route"):
        producer.send(message("nowhere", "1"))
    with pytest.raises(Exception, match="failed to fetch topic:nowhere route"):
        consume("nowhere").receive(1, INVISIBLE)


def test_a_spoiled_send_fails_and_the_next_is_well(broker: RocketMQStandIn, producer: Any) -> None:
    broker.spoil_next_sends(Fault(), Fault(), Fault())  # the client tries three times
    with pytest.raises(InternalErrorException):
        producer.send(message("paid", "lost"))
    producer.send(message("paid", "kept"))
    assert bodies(broker) == ["kept"]


def test_a_send_broken_off_after_keeping_may_keep_several(
    broker: RocketMQStandIn, producer: Any
) -> None:
    broker.spoil_next_sends(KEEP_AND_BREAK_OFF, KEEP_AND_BREAK_OFF, KEEP_AND_BREAK_OFF)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        producer.send(message("paid", "1", keys="tx-1:notify"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert [entry["keys"] for entry in broker.messages("paid")] == [["tx-1:notify"]] * 3


def test_an_answer_that_comes_too_late_makes_the_client_send_again(broker: RocketMQStandIn) -> None:
    broker.spoil_next_sends(Fault(kept=True, code="OK", delay=PATIENCE))
    with producing(broker.endpoints, request_timeout=1) as hasty:
        hasty.send(message("paid", "1"))
    assert bodies(broker) == ["1", "1"]


def test_after_a_restart_a_new_producer_finds_the_same_port_and_messages(
    broker: RocketMQStandIn, producer: Any
) -> None:
    producer.send(message("paid", "before"))
    endpoints = broker.endpoints
    broker.stop()
    with pytest.raises(grpc.aio.AioRpcError, match="failed to connect to all addresses"):
        producer.send(message("paid", "between"))
    broker.start()
    assert broker.endpoints == endpoints
    with producing(endpoints) as new:
        new.send(message("paid", "after"))
    assert bodies(broker) == ["before", "after"]


def test_a_push_consumer_is_assigned_the_queue_and_a_transaction_refused(
    broker: RocketMQStandIn,
) -> None:
    with grpc.insecure_channel(broker.endpoints) as channel:
        stub = MessagingServiceStub(channel)
        asked = QueryAssignmentRequest(topic=Resource(name="paid"))
        (assignment,) = stub.QueryAssignment(asked).assignments
        assert assignment.message_queue.topic.name == "paid"
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            stub.EndTransaction(EndTransactionRequest())


def test_the_books_list_a_topic_as_json(broker: RocketMQStandIn, producer: Any) -> None:
    producer.send(message("paid", "{}", keys="tx-1:notify"))
    with books(broker, 0) as port:
        with urlopen(f"http://127.0.0.1:{port}/messages?topic=paid") as reply:
            assert json.load(reply) == broker.messages("paid")
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"http://127.0.0.1:{port}/messages?topic=nowhere")


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The stand-in as a process, started with SIGINT ignored, as a shell's background job is."""
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    command = [sys.executable, "-m", "examples.rocketmq_stand_in", "--port", "0", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*ignoring, *command], cwd=ROOT, text=True, stdout=pipe, stderr=pipe
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_when_it_is_ready_and_ends_cleanly(number: signal.Signals) -> None:
    books_port = str(free_port())
    with running("--topic", "paid", "--books-port", books_port) as process:
        assert process.stdout
        ready, endpoints = process.stdout.readline().split()
        assert ready == "ready"
        with producing(endpoints) as client:
            client.send(message("paid", "1"))
        with urlopen(f"http://127.0.0.1:{books_port}/messages?topic=paid") as reply:
            assert [entry["body"] for entry in json.load(reply)] == ["1"]
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


def test_an_unknown_kind_of_topic_is_named() -> None:
    with running("--topic", "paid:LIFO") as process:
        _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "paid:LIFO: after the colon goes one of NORMAL, FIFO, DELAY" in complaint
