"""Every error of the RocketMQ client has a meaning of its own."""

import concurrent.futures

import grpc
import pytest

from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Progress
from dist_task_pipelines.executors.rocketmq_errors import (
    failure_of,
    grpc_meanings,
    meaning_of,
    meanings,
)
from dist_task_pipelines.executors.rocketmq_package import BadSetup, load_client

load_client()
from rocketmq.grpc_protocol import Code, Status  # noqa: E402
from rocketmq.v5 import exception as rocketmq  # noqa: E402
from rocketmq.v5.util import MessagingResultChecker  # noqa: E402

# Statuses after which the message may be in the topic all the same.
UNCLEAR = {
    "INTERNAL_ERROR",
    "INTERNAL_SERVER_ERROR",
    "HA_NOT_AVAILABLE",
    "PROXY_TIMEOUT",
    "MASTER_PERSISTENCE_TIMEOUT",
    "SLAVE_PERSISTENCE_TIMEOUT",
}
# Statuses that pass.
NOT_NOW = {"TOO_MANY_REQUESTS", "NOT_FOUND", "TOPIC_NOT_FOUND", "CONSUMER_GROUP_NOT_FOUND"}


@pytest.mark.parametrize(
    "kind",
    [getattr(rocketmq, name) for name in rocketmq.__all__]
    + [AssertionError, Exception, concurrent.futures.CancelledError],
)
def test_the_error_stands_in_the_table(kind: type[BaseException]) -> None:
    assert kind in meanings()


@pytest.mark.parametrize("code", set(grpc.StatusCode) - {grpc.StatusCode.OK})
def test_the_grpc_code_stands_in_the_table(code: grpc.StatusCode) -> None:
    assert code in grpc_meanings()


def sent() -> Progress:
    progress = Progress()
    progress.prepare()
    progress.send()
    return progress


@pytest.mark.parametrize("name", sorted(set(Code.keys()) - {"OK", "MULTIPLE_RESULTS"}))
def test_every_status_of_a_broker_has_a_meaning(name: str) -> None:
    try:
        MessagingResultChecker.check(Status(code=Code.Value(name), message="said so"))
    except Exception as error:
        outcome = failure_of(error, sent())
    else:
        assert name == "MESSAGE_NOT_FOUND"  # which no send is answered with
        return
    assert outcome.error is not None
    if name in UNCLEAR:
        assert (outcome.retryable, outcome.applied) == (True, Applied.MAYBE)
    elif name in NOT_NOW:
        assert (outcome.retryable, outcome.applied) == (True, Applied.NO)
    elif name != "CODE_UNSPECIFIED":
        assert outcome.retryable is False
        assert (outcome.error.message, outcome.error.code) == ("said so", name)


class Rpc(grpc.RpcError):  # type: ignore[misc]
    """A call that broke off."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._said = code, details

    def code(self) -> grpc.StatusCode:
        return self._said[0]

    def details(self) -> str:
        return self._said[1]


@pytest.mark.parametrize(
    ("details", "applied"),
    [
        ("failed to connect to all addresses; last error: refused", Applied.NO),
        ("errors resolving nowhere.invalid:1: [...]", Applied.NO),
        ("DNS resolution failed for nowhere.invalid:1", Applied.NO),
        ("Socket closed", Applied.MAYBE),
        ("Connection reset by peer", Applied.MAYBE),
    ],
)
def test_a_call_that_never_left_had_no_effect(details: str, applied: Applied) -> None:
    outcome = failure_of(Rpc(grpc.StatusCode.UNAVAILABLE, details), sent())
    assert (outcome.retryable, outcome.applied) == (True, applied)
    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.code) == (details, "UNAVAILABLE")


def test_what_breaks_before_sending_had_no_effect() -> None:
    progress = Progress()
    progress.prepare()
    late = Rpc(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    assert failure_of(late, progress).applied is Applied.NO
    assert failure_of(late, sent()).applied is Applied.MAYBE
    assert failure_of(Exception("no route"), progress).applied is Applied.NO


def test_a_setup_that_cannot_work_is_told_even_without_a_client() -> None:
    outcome = failure_of(BadSetup("do this"), Progress())
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("InvalidConfig", "do this")
    assert (outcome.retryable, outcome.applied) == (False, Applied.NO)


def test_a_bug_is_not_taken_for_the_brokers_fault() -> None:
    assert meaning_of(KeyError("x")) is None
    with pytest.raises(KeyError):
        failure_of(KeyError("x"), sent())
