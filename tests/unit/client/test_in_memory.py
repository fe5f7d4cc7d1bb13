"""The platform in memory: what a test can arrange, and what it can look at."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dist_task_pipelines import Client
from dist_task_pipelines.client import (
    Conflict,
    NotAllowed,
    NotFound,
    Retries,
    TransactionFailed,
    Unreachable,
)
from dist_task_pipelines.domain.status import Applied, Health
from dist_task_pipelines.testing import InMemoryTransport


@pytest.fixture
def transport() -> InMemoryTransport:
    transport = InMemoryTransport()
    assert transport.add_flow("shop", "deduct", "ship") == "shop_v1"
    return transport


@pytest.fixture
def client(transport: InMemoryTransport) -> Client:
    return Client(transport=transport, retries=Retries(0))


def test_everything_succeeds_by_itself(client: Client) -> None:
    submitted = client.submit("shop", "order_1")
    assert submitted.status.value == "pending"  # as a server answers
    assert [each.output for each in submitted.wait(timeout=0).tasks()] == [{}, {}]


def test_a_failure_may_be_anybody_s_or_one_transaction_s(
    transport: InMemoryTransport, client: Client
) -> None:
    transport.fail("shop", "deduct", "no money", instance_id="poor", times=2)
    transport.fail("shop_v1", "ship", "no van", type="Late", code="E7")
    for each in ("poor", "first", "second"):
        client.submit("shop", each)
    states = {each.id: each.status.value for each in client.transactions()}
    assert states == {"poor": "failed", "first": "failed", "second": "success"}
    with pytest.raises(TransactionFailed) as failed:
        client.wait("first")
    assert failed.value.error
    assert (failed.value.error.type, failed.value.error.code) == ("Late", "E7")
    for status in ("failed", "success"):
        client.get("poor").retry()
        assert client.get("poor").status.value == status


def test_a_failure_may_last(transport: InMemoryTransport, client: Client) -> None:
    transport.fail("shop", "deduct", times=None)
    client.submit("shop", "order_1")
    for _ in range(3):
        client.get("order_1").retry()
    assert client.get("order_1").tasks()[0].attempts == 4


def test_a_reply_is_the_task_s_output(transport: InMemoryTransport, client: Client) -> None:
    transport.reply("shop", "deduct", {"receipt": "r1"}, instance_id="order_1")
    for each in ("order_1", "order_2"):
        client.submit("shop", each)
    outputs = [client.get(each).tasks()[0].output for each in ("order_1", "order_2")]
    assert outputs == [{"receipt": "r1"}, {}]


def test_nobody_may_know_whether_it_took_effect(
    transport: InMemoryTransport, client: Client
) -> None:
    config = {"url": "http://shop/"}
    task = {"id": "only", "task_name": "http_request", "config": config, "idempotent": False}
    client.flows.apply({"name": "once", "tasks": [task]})
    transport.fail("once", "only", applied=Applied.MAYBE)
    client.submit("once", "order_1")
    assert client.get("order_1").details.health is Health.UNKNOWN
    assert client.get("order_1").tasks()[0].applied is Applied.MAYBE


def test_work_may_wait_until_a_test_says_so() -> None:
    transport = InMemoryTransport(runs_by_itself=False)
    transport.add_flow("shop", "deduct")
    client = Client(transport=transport)
    client.submit("shop", "order_1")
    assert client.stats.overview().backlog == 1
    assert client.get("order_1").cancel().value == "cancelled"
    client.submit("shop", "order_2")
    transport.run()
    assert client.wait("order_2", timeout=0).status.value == "success"


def test_a_refusal_says_what_to_do(transport: InMemoryTransport, client: Client) -> None:
    with pytest.raises(NotFound, match=r"^no flow 'none'; `dist-task flow list` shows them$"):
        client.submit("none", "order_1")
    with pytest.raises(NotFound, match=r"^no transaction 'order_1'$"):
        client.get("order_1")
    with pytest.raises(NotAllowed, match=r"is success; only a failed one can be retried$"):
        client.submit("shop", "order_1").wait(timeout=0).retry()
    transport.fail("shop", "deduct", instance_id="order_2")
    client.submit("shop", "order_2").cancel()
    [record] = client.exceptions.list()
    with pytest.raises(NotAllowed, match=r"is cancelled; submit it under another id$"):
        client.exceptions.retry(record.exception_id)


def test_the_network_may_be_gone(transport: InMemoryTransport, client: Client) -> None:
    transport.is_reachable = False
    with pytest.raises(Unreachable):
        client.submit("shop", "order_1")
    transport.is_reachable = True
    assert list(client.transactions()) == []


def test_what_was_sent_can_be_looked_at(transport: InMemoryTransport, client: Client) -> None:
    client.submit("shop", "order_1", {"deduct": {"amount": 9}})
    [submitted] = transport.submitted
    assert submitted.params == {"deduct": {"amount": 9}}
    assert submitted.flow_id == "shop"
    [request] = transport.requests
    assert (request.method, request.path) == ("POST", "/api/v1/transactions")


def test_many_threads_may_submit(transport: InMemoryTransport, client: Client) -> None:
    def submit(number: int) -> str:
        try:
            return client.submit("shop", "order_1", {"ship": {"by": number % 2}}).id
        except Conflict:
            return "conflict"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(submit, range(50)))
    assert sorted(set(answers)) == ["conflict", "order_1"]
    assert answers.count("order_1") == 25
    assert len(transport.submitted) == 1
