"""`mq` tasks with the official client, against a stand-in that fails as a test wants it to."""

import asyncio
import concurrent.futures
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants, RocketMQ
from dist_task_pipelines.executors.mq import MqExecutor
from dist_task_pipelines.executors.rocketmq_package import load_client
from tests.integration.executors.conftest import Calls

load_client()
from rocketmq.v5.client.connection.rpc_client import RpcClient  # noqa: E402

from examples import rocketmq_stand_in  # noqa: E402
from examples.rocketmq_stand_in import Fault, RocketMQStandIn  # noqa: E402

# The client still calls `Logger.warn`, where the stand-in was the first to import it.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning")

THREADS = ("rocketmq", "transaction_check", "client_callback")

Open = Callable[[str], Calls]


@pytest.fixture
def broker() -> Iterator[RocketMQStandIn]:
    topics = {"paid": "NORMAL", "orders": "FIFO", "later": "DELAY", "%RETRY%x": "NORMAL"}
    with RocketMQStandIn(topics) as stand_in:
        yield stand_in


@pytest.fixture
def open_executor(runner: asyncio.Runner) -> Iterator[Open]:
    opened = []

    def opening(endpoints: str) -> Calls:
        executor = MqExecutor.connect(Participants(rocketmq=RocketMQ(endpoints)))
        opened.append(executor)
        return Calls(runner, executor)

    yield opening
    for executor in opened:
        runner.run(executor.close())
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(THREADS) or "schedule_thread" in name]


@pytest.fixture
def call(open_executor: Open, broker: RocketMQStandIn) -> Calls:
    return open_executor(broker.endpoints)


def failed(outcome: Outcome) -> tuple[str, bool, Applied]:
    assert outcome.error is not None, outcome
    return outcome.error.type, outcome.retryable, outcome.applied


def message(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome
    return outcome.error.message


def test_the_kinds_of_messages(call: Calls, broker: RocketMQStandIn) -> None:
    assert call({"topic": "orders", "group": "order-1"}).succeeded
    assert broker.messages("orders")[0]["group"] == "order-1"
    before = time.time()
    assert call({"topic": "later", "delay": 60}).succeeded
    (accepted,) = broker._accepted["later"]
    due = accepted.system_properties.delivery_timestamp.seconds
    assert before + 60 <= due <= time.time() + 61
    assert call({"topic": "%RETRY%x"}).succeeded


def test_no_broker(call: Calls, open_executor: Open, closed_port: int) -> None:
    down = open_executor(f"127.0.0.1:{closed_port}")
    for _ in range(2):
        assert failed(down({"topic": "paid"})) == ("ConnectionFailed", True, Applied.NO)
    assert failed(open_executor("nowhere.invalid:1")({"topic": "paid"})) == (
        "ConnectionFailed",
        True,
        Applied.NO,
    )
    assert call({"topic": "paid"}).succeeded  # the others do not suffer


def test_a_broker_that_went_away_and_came_back(call: Calls, broker: RocketMQStandIn) -> None:
    assert call({"topic": "paid"}).succeeded
    broker.stop()
    outcome = call({"topic": "paid"})
    assert failed(outcome) == ("ConnectionFailed", True, Applied.NO)
    broker.start()
    assert call({"topic": "paid"}).succeeded
    assert len(broker.messages("paid")) == 2


@pytest.mark.parametrize("kept", [True, False])
def test_a_lost_reply_may_have_taken_effect(
    call: Calls, broker: RocketMQStandIn, kept: bool
) -> None:
    assert call({"topic": "paid"}).succeeded
    broker.spoil_next_sends(Fault(kept=kept, code=None))
    assert failed(call({"topic": "paid"})) == ("ConnectionLost", True, Applied.MAYBE)
    assert len(broker.messages("paid")) == 1 + kept
    assert call({"topic": "paid"}).succeeded


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("INTERNAL_SERVER_ERROR", ("BrokerError", True, Applied.MAYBE)),
        ("MASTER_PERSISTENCE_TIMEOUT", ("BrokerError", True, Applied.MAYBE)),
        ("TOO_MANY_REQUESTS", ("Throttled", True, Applied.NO)),
        ("FORBIDDEN", ("NotPermitted", False, Applied.NO)),
        ("ILLEGAL_MESSAGE_KEY", ("InvalidMessage", False, Applied.NO)),
        ("MESSAGE_BODY_TOO_LARGE", ("InvalidMessage", False, Applied.NO)),
        ("TOPIC_NOT_FOUND", ("UnknownTopic", True, Applied.NO)),
    ],
)
def test_one_call_is_one_send_whatever_the_broker_says(
    call: Calls, broker: RocketMQStandIn, code: str, error: tuple[str, bool, Applied]
) -> None:
    """By itself the client would send up to three times, and tell the last error only."""
    assert call({"topic": "paid"}).succeeded
    broker.spoil_next_sends(Fault(code=code), Fault(code="UNAUTHORIZED"))
    assert failed(call({"topic": "paid"})) == error
    assert failed(call({"topic": "paid"})) == ("NotPermitted", False, Applied.NO)
    assert call({"topic": "paid"}).succeeded


def test_a_send_is_one_send_before_the_broker_sent_its_settings_too(
    open_executor: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rocketmq_stand_in, "_agree", lambda *_: iter(()))
    with RocketMQStandIn({"paid": "NORMAL"}) as broker:
        broker.spoil_next_sends(Fault(code="INTERNAL_SERVER_ERROR"))
        call = open_executor(broker.endpoints)
        assert failed(call({"topic": "paid"})) == ("BrokerError", True, Applied.MAYBE)
        assert broker.messages("paid") == []


def test_a_timeout_after_sending_may_have_taken_effect(
    call: Calls, broker: RocketMQStandIn
) -> None:
    assert call({"topic": "paid"}).succeeded
    broker.spoil_next_sends(Fault(kept=True, delay=1.0, code="OK"))
    assert failed(call({"topic": "paid"}, timeout=0.3)) == ("Timeout", True, Applied.MAYBE)
    assert call({"topic": "paid"}).succeeded


def test_errors_at_the_same_time_do_not_end_the_sends_beside_them(
    call: Calls, broker: RocketMQStandIn
) -> None:
    """A client that is given up is ended by the last one who uses it."""
    assert call({"topic": "paid"}).succeeded
    broker.spoil_next_sends(*[Fault(code=None, delay=0.05), Fault(kept=True, code="OK", delay=0.3)])
    calls = [call.later({"topic": "paid"}) for _ in range(20)]
    outcomes = call.together(*calls)
    lost = [outcome for outcome in outcomes if not outcome.succeeded]
    assert [failed(outcome) for outcome in lost] == [("ConnectionLost", True, Applied.MAYBE)]


@pytest.mark.parametrize(
    ("endpoints", "config", "why"),
    [
        ("", {}, "endpoints '' in [rocketmq] must be like"),
        ("host", {}, "endpoints 'host' in [rocketmq] must be like"),
        ("http://host:80", {}, "must be like 127.0.0.1:8081"),
        ("127.0.0.1:1", {"topic": "payment.completed"}, "'payment.completed' cannot be a topic"),
        ("127.0.0.1:1", {"topic": "x" * 128}, "127 at most"),
        ("127.0.0.1:1", {"topic": ""}, "config.topic: "),
        ("127.0.0.1:1", {"tag": "a|b"}, "config.tag: "),
        ("127.0.0.1:1", {"tag": " "}, "config.tag: "),
        ("127.0.0.1:1", {"tag": "a\n"}, "config.tag: "),
        ("127.0.0.1:1", {"keys": ["a b", ""]}, "config.keys[0]: "),
        ("127.0.0.1:1", {"keys": ["a b", ""]}, "config.keys[1]: "),
        ("127.0.0.1:1", {"delay": 0}, "config.delay: "),
        ("127.0.0.1:1", {"delay": 1, "group": "g"}, "exclude each other"),
        ("127.0.0.1:1", {"body": "x"}, "config.body: "),
    ],
)
def test_a_config_that_cannot_work_is_refused(
    open_executor: Open, endpoints: str, config: dict[str, Any], why: str
) -> None:
    outcome = open_executor(endpoints)({"topic": "paid", **config})
    assert failed(outcome) == ("InvalidConfig", False, Applied.NO)
    assert why in message(outcome)


def test_without_brokers_nothing_can_be_sent(runner: asyncio.Runner) -> None:
    executor = MqExecutor.connect(Participants())
    outcome = Calls(runner, executor)({"topic": "paid"})
    runner.run(executor.close())
    assert failed(outcome) == ("InvalidConfig", False, Applied.NO)


def test_a_blank_message_group_is_refused(call: Calls) -> None:
    assert failed(call({"topic": "orders", "group": " "})) == (
        "InvalidMessage",
        False,
        Applied.NO,
    )


def test_an_answer_that_is_there_at_once(
    call: Calls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client takes it in on the sending thread then, which has no event loop."""
    ask = RpcClient.query_topic_route_async

    def ask_and_wait(*args: Any, **kwargs: Any) -> Any:
        future = ask(*args, **kwargs)
        concurrent.futures.wait([future])
        return future

    monkeypatch.setattr(RpcClient, "query_topic_route_async", ask_and_wait)
    assert call({"topic": "paid"}).succeeded
    assert [each.message for each in caplog.records if each.levelno >= logging.WARNING] == []


CHILD = """
import asyncio, os, signal, sys
from dist_task_pipelines.executors import Participants, Registry, RocketMQ

async def send():
    registry = Registry.load().connect(Participants(rocketmq=RocketMQ(sys.argv[1])))
    try:
        return await registry.get("mq").execute(
            {"topic": "paid"}, {}, idempotency_key=f"{os.getpid()}:x", timeout=20)
    finally:
        await registry.close()

if "early" in sys.argv:
    assert asyncio.run(send()).succeeded
child = os.fork()
signal.alarm(50)  # whatever hangs here does not outlive the test
outcome = asyncio.run(send())
print("child" if child == 0 else "parent", outcome.error or "sent", flush=True)
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("early", [True, False])
def test_a_process_that_forks(broker: RocketMQStandIn, tmp_path: Path, early: bool) -> None:
    """Before the first send that is safe; after it the child is told, and does not hang.

    On the way: no folder in the home directory, and nothing on the terminal.
    """
    arguments = [sys.executable, "-W", "error", "-c", CHILD, broker.endpoints]
    done = subprocess.run(
        [*arguments, "early"] if early else arguments,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["parent"] == "sent"
    if early:
        assert "used before this process was forked" in said["child"]
    else:
        assert said["child"] == "sent"
    # gRPC says so itself, where one of its threads was at work when the process was forked.
    said_by_others = [each for each in done.stderr.splitlines() if "fork_posix.cc" not in each]
    assert said_by_others == []
    assert list(tmp_path.iterdir()) == []
