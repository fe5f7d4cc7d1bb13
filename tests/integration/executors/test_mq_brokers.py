"""`mq` tasks over the stand-in and over a real RocketMQ: the same tests."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants
from dist_task_pipelines.executors.mq import MqExecutor
from tests.integration.executors import brokers
from tests.integration.executors.brokers import KINDS, Broker, RocketMQStandIn
from tests.integration.executors.conftest import KEY, Calls
from tests.services.rocketmq import OwnRocketMQ

# The client still calls `Logger.warn`.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning")

RETRY_INTERVAL = 0.1  # seconds

Open = Callable[[Broker], Calls]


@pytest.fixture(params=["stand-in", "rocketmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "rocketmq":
        yield brokers.real(request.getfixturevalue("rocketmq"))
    else:
        with RocketMQStandIn({kind: kind for kind in KINDS}) as stand_in:
            yield brokers.stand_in(stand_in)


@pytest.fixture
def open_executor(runner: asyncio.Runner) -> Iterator[Open]:
    opened = []

    def opening(broker: Broker) -> Calls:
        executor = MqExecutor.connect(Participants(rocketmq=broker.settings))
        opened.append(executor)
        return Calls(runner, executor)

    yield opening
    for executor in opened:
        runner.run(executor.close())


@pytest.fixture
def call(open_executor: Open, broker: Broker) -> Calls:
    return open_executor(broker)


def failed(outcome: Outcome) -> tuple[str, bool, Applied]:
    assert outcome.error is not None, outcome
    return outcome.error.type, outcome.retryable, outcome.applied


def test_a_consumer_gets_the_input_as_json_with_the_tag_and_the_keys(
    call: Calls, broker: Broker
) -> None:
    topic = broker.topic("NORMAL")
    config = {"topic": topic, "tag": "eu", "keys": ["order-1"]}
    sent = call(config, {"b": 1, "a": "é\ud800"})
    (got,) = broker.arrived(topic, 1)
    assert got.body == '{"b":1,"a":"\\u00e9\\ud800"}'
    assert (got.tag, set(got.keys)) == ("eu", {KEY, "order-1"})
    assert sent.output == {"message_id": got.message_id, "offset": 0}


def test_the_messages_of_a_group_arrive_in_order(call: Calls, broker: Broker) -> None:
    topic = broker.topic("FIFO")
    for n in range(5):
        assert call({"topic": topic, "group": "order-1"}, {"n": n}, key=f"{n}:x").succeeded
    assert [json.loads(each.body)["n"] for each in broker.arrived(topic, 5)] == [0, 1, 2, 3, 4]


def test_a_delayed_message_arrives_when_it_is_due(call: Calls, broker: Broker) -> None:
    topic, sent_at = broker.topic("DELAY"), time.time()
    assert call({"topic": topic, "delay": 2}).succeeded
    (got,) = broker.arrived(topic, 1)
    assert got.at >= sent_at + 2


def test_a_message_of_the_wrong_kind_is_refused(call: Calls, broker: Broker) -> None:
    topic = broker.topic("FIFO")
    assert failed(call({"topic": topic})) == ("InvalidMessage", False, Applied.NO)
    assert failed(call({"topic": topic, "delay": 2})) == ("InvalidMessage", False, Applied.NO)
    assert call({"topic": topic, "group": "g"}, {"right": True}).succeeded
    assert [each.body for each in broker.arrived(topic, 1)] == ['{"right":true}']


def test_a_topic_that_is_not_there_yet(call: Calls, broker: Broker) -> None:
    """A broker that has just started knows of none, so it is worth repeating."""
    outcome = call({"topic": "nowhere"})
    assert failed(outcome) == ("UnknownTopic", True, Applied.NO)
    assert outcome.error is not None
    assert outcome.error.code == "TOPIC_NOT_FOUND"
    assert call({"topic": broker.topic("NORMAL")}).succeeded


def test_a_body_that_is_too_large_is_refused(call: Calls, broker: Broker) -> None:
    outcome = call({"topic": broker.topic("NORMAL")}, {"a": "x" * 5_000_000})
    assert failed(outcome) == ("InvalidMessage", False, Applied.NO)


def test_many_sends_at_the_same_time(call: Calls, broker: Broker) -> None:
    topic = broker.topic("NORMAL")
    calls = [call.later({"topic": topic}, {"n": n}, key=f"{n}:x") for n in range(100)]
    outcomes = call.together(*calls)
    assert all(outcome.succeeded for outcome in outcomes)
    arrived = broker.arrived(topic, 100)
    assert {(each.body, *each.keys) for each in arrived} == {
        (f'{{"n":{n}}}', f"{n}:x") for n in range(100)
    }


def test_a_namespace_has_topics_of_its_own(
    open_executor: Open, request: pytest.FixtureRequest
) -> None:
    ours = brokers.real(request.getfixturevalue("rocketmq"), "ours")
    theirs = brokers.real(request.getfixturevalue("rocketmq"))
    topic = ours.topic("NORMAL")
    assert open_executor(ours)({"topic": topic}, {"a": 1}).succeeded
    assert [each.body for each in ours.arrived(topic, 1)] == ['{"a":1}']
    assert failed(open_executor(theirs)({"topic": topic})) == ("UnknownTopic", True, Applied.NO)


def test_who_has_no_keys_is_not_permitted(
    open_executor: Open, strict_rocketmq: OwnRocketMQ
) -> None:
    broker = brokers.real(strict_rocketmq)
    topic = broker.topic("NORMAL")
    nobody = Broker(replace(broker.settings, access_key="", secret_key=""), broker.topic)
    guessing = Broker(replace(broker.settings, secret_key="guessed"), broker.topic)
    for intruder in (nobody, guessing):
        outcome = open_executor(intruder)({"topic": topic})
        assert failed(outcome) == ("NotPermitted", False, Applied.NO)
    assert open_executor(broker)({"topic": topic}).succeeded


def test_a_broker_that_is_killed_loses_nothing_and_gets_what_comes_after(
    open_executor: Open, strict_rocketmq: OwnRocketMQ
) -> None:
    """Down at the start, killed in the middle; no executor is made anew.

    As the platform does, a failed send is repeated with its key as long as it is retryable. What
    may have been sent may come twice, nothing else may.
    """
    broker = brokers.real(strict_rocketmq)
    topic = broker.topic("NORMAL")
    call = open_executor(broker)
    strict_rocketmq.kill()
    assert failed(call({"topic": topic}, key="0:x")) == ("ConnectionFailed", True, Applied.NO)
    strict_rocketmq.start(until_ready=False)
    sent = {"0:x": until_sent(call, topic, "0:x")}
    for n in range(1, 40):
        if n == 20:
            strict_rocketmq.kill()
            strict_rocketmq.start(until_ready=False)
        sent[f"{n}:x"] = until_sent(call, topic, f"{n}:x")
    copies = Counter(key for each in broker.arrived(topic, len(sent)) for key in each.keys)
    assert copies.keys() == sent.keys()
    for key, failures in sent.items():
        doubtful = failures.count(Applied.MAYBE)
        assert 1 <= copies[key] <= 1 + doubtful, (key, failures)


def until_sent(call: Calls, topic: str, key: str) -> list[Applied]:
    """Send until it succeeds; what was known of the effect of each failure before."""
    failures = []
    give_up = time.monotonic() + brokers.PATIENCE
    while not (outcome := call({"topic": topic}, key=key)).succeeded:
        assert outcome.retryable, outcome
        assert time.monotonic() < give_up, outcome
        failures.append(outcome.applied)
        time.sleep(RETRY_INTERVAL)
    return failures
