"""`rpc` tasks as JSON over HTTP, against a real server."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants, Service
from dist_task_pipelines.executors.rpc import RpcExecutor
from tests.integration.executors.conftest import KEY, Calls, Participant

CONFIG = {"service": "PaymentService", "method": "deduct"}


@pytest.fixture
def call(runner: asyncio.Runner, participant: Participant, closed_port: int) -> Iterator[Calls]:
    services = {
        "PaymentService": Service(f"127.0.0.1:{participant.port}"),
        "Pigeon": Service("127.0.0.1:1", protocol="pigeon"),
        "Down": Service(f"127.0.0.1:{closed_port}"),
        "Odd": Service("host:port"),
    }
    executor = RpcExecutor.connect(Participants(services=services, max_response_bytes=100))
    yield Calls(runner, executor)
    runner.run(executor.close())


def failed(outcome: Outcome) -> tuple[str, str, bool, Applied]:
    assert outcome.error is not None, outcome
    return outcome.error.type, outcome.error.message, outcome.retryable, outcome.applied


def test_method_and_params_are_posted_and_the_reply_is_the_output(
    call: Calls, participant: Participant
) -> None:
    participant.answer("/rpc", body=b'{"receipt_no": "R1", "error": null}')
    outcome = call(CONFIG, {"amount": 99})
    assert outcome.succeeded
    assert outcome.output == {"receipt_no": "R1", "error": None}
    (got,) = participant.received
    assert (got.method, got.path) == ("POST", "/rpc")
    assert json.loads(got.body) == {"method": "deduct", "params": {"amount": 99}}
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["Idempotency-Key"] == KEY


@pytest.mark.parametrize(
    ("status", "retryable", "applied"), [(400, False, Applied.NO), (500, True, Applied.MAYBE)]
)
def test_an_error_reply_fails_as_with_http(
    call: Calls, participant: Participant, status: int, retryable: bool, applied: Applied
) -> None:
    participant.answer("/rpc", status=status, body=b'{"error": "insufficient funds"}')
    outcome = call(CONFIG)
    type, message, *rest = failed(outcome)
    assert (type, rest) == ("HttpStatus", [retryable, applied])
    assert message.endswith(": insufficient funds")


def test_an_unreadable_reply_is_a_success_that_says_so(
    call: Calls, participant: Participant
) -> None:
    participant.answer("/rpc", body=b"x" * 101)
    assert "longer than 100 bytes" in call(CONFIG).output["unreadable"]


def test_a_timeout_may_have_taken_effect(call: Calls, participant: Participant) -> None:
    participant.stall("/rpc")
    type, _, *rest = failed(call(CONFIG, timeout=0.2))
    assert (type, rest) == ("Timeout", [True, Applied.MAYBE])


def test_a_service_that_is_down(call: Calls) -> None:
    type, _, *rest = failed(call({**CONFIG, "service": "Down"}))
    assert (type, rest) == ("ConnectionFailed", [True, Applied.NO])


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"service": "X"}, "no service 'X'; there are: Down, Odd, PaymentService, Pigeon"),
        ({"service": "Pigeon"}, "has the protocol 'pigeon'; rpc tasks can speak: grpc, http"),
        ({"service": "Odd"}, "the address 'host:port' of service 'Odd' is not a URL"),
        ({"method": ""}, "config.method: "),
        ({"params": {}}, "config.params: "),
    ],
)
def test_a_config_that_cannot_work_is_refused(
    call: Calls, participant: Participant, config: dict[str, object], why: str
) -> None:
    type, message, *rest = failed(call({**CONFIG, **config}))
    assert (type, rest) == ("InvalidConfig", [False, Applied.NO])
    assert why in message
    assert participant.received == []
