"""The driver for brokers without the 5.x proxy, over a double of the older client's modules.

The real package is a binding of a C++ library that no registry ships, so its own part can be seen
here no further than to its import error (tests/integration/executors/test_mq_packages.py).
"""

import os
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Progress, RocketMQ
from dist_task_pipelines.executors.mq_driver import MqMessage
from dist_task_pipelines.executors.rocketmq4_client import RocketMQ4Producer
from dist_task_pipelines.executors.rocketmq_package import BadSetup


class SendStatus(IntEnum):
    OK = 0
    FLUSH_DISK_TIMEOUT = 1


class SendResult(NamedTuple):
    status: SendStatus
    msg_id: str
    offset: int


class RocketMQException(Exception):
    pass


class ProducerStartFailed(RocketMQException):
    pass


class ProducerSendSyncFailed(RocketMQException):
    pass


class ProducerSendOrderlyFailed(RocketMQException):
    pass


@dataclass
class Message:
    """Remembers what was set, by the names of the real setters."""

    topic: str
    values: dict[str, object] = field(default_factory=dict)

    def set_body(self, body: bytes) -> None:
        self.values["body"] = body

    def set_keys(self, keys: str) -> None:
        self.values["keys"] = keys

    def set_tags(self, tags: str) -> None:
        self.values["tags"] = tags

    def set_delay_time_level(self, level: int) -> None:
        self.values["level"] = level


class Library:
    """What the producers of a test were told, and what they answer."""

    def __init__(self) -> None:
        self.started: list[dict[str, object]] = []
        self.sent: list[tuple[Message, str | None]] = []
        self.shut_down = 0
        self.status = SendStatus.OK
        self.start_error: Exception | None = None
        self.send_error: Exception | None = None

    def module(self) -> ModuleType:
        module: Any = ModuleType("rocketmq.client")
        module.Message, module.SendStatus = Message, SendStatus
        module.Producer = partial(Producer, self)
        return module  # type: ignore[no-any-return]


class Producer:
    """A producer with the methods of the real one."""

    def __init__(self, library: Library, group: str, orderly: bool, timeout: int) -> None:
        assert timeout == 10_000
        self._library = library
        self._told: dict[str, object] = {"group": group, "orderly": orderly}

    def set_name_server_address(self, address: str) -> None:
        self._told["names"] = address

    def set_session_credentials(self, key: str, secret: str, channel: str) -> None:
        self._told["keys"] = (key, secret, channel)

    def start(self) -> None:
        if self._library.start_error:
            raise self._library.start_error
        self._library.started.append(self._told)

    def shutdown(self) -> None:
        self._library.shut_down += 1

    def send_sync(self, message: Message) -> SendResult:
        return self._send(message, None)

    def send_orderly_with_sharding_key(self, message: Message, key: str) -> SendResult:
        return self._send(message, key)

    def _send(self, message: Message, key: str | None) -> SendResult:
        library = self._library
        if library.send_error:
            raise library.send_error
        library.sent.append((message, key))
        return SendResult(library.status, "AC11", len(library.sent))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setitem(sys.modules, "rocketmq.client", library.module())
    return library


def message(**other: Any) -> MqMessage:
    return MqMessage("paid", b"{}", ("tx-1:notify", "order-1"), **other)


def driver(**settings: str) -> RocketMQ4Producer:
    return RocketMQ4Producer(RocketMQ("10.0.0.1:9876;10.0.0.2:9876", **settings))


def failure(producer: RocketMQ4Producer, **other: Any) -> Outcome:
    progress = Progress()
    progress.prepare()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the outcome is looked at
        producer.send(message(**other), progress)
    return producer.failure_of(caught.value, progress)


def failed(outcome: Outcome) -> tuple[str, bool, Applied]:
    assert outcome.error is not None
    return outcome.error.type, outcome.retryable, outcome.applied


def test_a_message_is_sent_as_the_older_client_wants_it(library: Library) -> None:
    producer, progress = driver(), Progress()
    progress.prepare()
    receipt = producer.send(message(tag="eu", delay=60), progress)
    assert (receipt.message_id, receipt.offset) == ("AC11", 1)
    assert progress.applied is Applied.MAYBE  # from the moment of sending on
    ((sent, key),) = library.sent
    assert (sent.topic, key) == ("paid", None)
    assert sent.values == {"body": b"{}", "keys": "tx-1:notify order-1", "tags": "eu", "level": 5}
    assert library.started == [
        {"group": "dist_task", "orderly": False, "names": "10.0.0.1:9876;10.0.0.2:9876"}
    ]
    producer.send(message(), progress)
    assert len(library.started) == 1
    producer.close(0)
    assert library.shut_down == 1


def test_a_group_keeps_its_order_and_a_namespace_its_topics(library: Library) -> None:
    producer = driver(namespace="ours", access_key="me", secret_key="hidden")
    producer.send(message(group="order-1"), Progress())
    ((sent, key),) = library.sent
    assert (sent.topic, key) == ("ours%paid", "order-1")
    (told,) = library.started
    assert (told["orderly"], told["group"]) == (True, "ours%dist_task_in_order")
    assert told["keys"] == ("me", "hidden", "")


@pytest.mark.parametrize(("seconds", "level"), [(1, 1), (30, 4), (120, 6), (600, 14), (7200, 18)])
def test_a_delay_is_one_of_the_levels(library: Library, seconds: int, level: int) -> None:
    driver().send(message(delay=seconds), Progress())
    assert library.sent[0][0].values["level"] == level


def test_a_delay_between_two_levels_is_refused(library: Library) -> None:
    outcome = failure(driver(), delay=7)
    assert failed(outcome) == ("InvalidMessage", False, Applied.NO)
    assert outcome.error is not None
    assert "delays by 1, 5, 10, 30, 60, 120" in outcome.error.message
    assert library.sent == []


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ProducerSendSyncFailed("send failed"), ("ConnectionLost", True, Applied.MAYBE)),
        (ProducerSendOrderlyFailed("timeout"), ("ConnectionLost", True, Applied.MAYBE)),
        (
            ProducerSendSyncFailed("No route info of this topic: paid"),
            ("ConnectionLost", True, Applied.NO),
        ),
    ],
)
def test_a_send_that_fails(
    library: Library, error: Exception, meaning: tuple[str, bool, Applied]
) -> None:
    library.send_error = error
    assert failed(failure(driver())) == meaning


def test_a_client_that_cannot_start_is_started_anew_at_the_next_send(library: Library) -> None:
    library.start_error = ProducerStartFailed("no name server")
    producer = driver()
    assert failed(failure(producer)) == ("ConnectionFailed", True, Applied.NO)
    library.start_error = None
    producer.send(message(), Progress())
    assert len(library.sent) == 1


def test_a_message_that_is_not_safe_yet_may_be_there(library: Library) -> None:
    library.status = SendStatus.FLUSH_DISK_TIMEOUT
    outcome = failure(driver())
    assert failed(outcome) == ("BrokerError", True, Applied.MAYBE)
    assert outcome.error is not None
    assert "FLUSH_DISK_TIMEOUT" in outcome.error.message


def test_a_child_of_a_process_that_sent_is_refused(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = driver()
    producer.send(message(), Progress())
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert failed(failure(producer)) == ("InvalidConfig", False, Applied.NO)


def test_a_bug_is_not_taken_for_the_brokers_fault(library: Library) -> None:
    error = KeyError("x")
    with pytest.raises(KeyError):
        driver().failure_of(error, Progress())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rocketmq.client", raising=False)
    with pytest.raises(BadSetup, match=r"pip install 'dist-task-pipelines\[rocketmq4\]'"):
        driver().send(message(), Progress())
