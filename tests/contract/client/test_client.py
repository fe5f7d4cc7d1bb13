"""What a client can rely on, whichever server it talks to."""

from datetime import timedelta

import pytest

from dist_task_pipelines import Client
from dist_task_pipelines.client import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    Transaction,
    TransactionCancelled,
    TransactionFailed,
    WaitTimeout,
)
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Health, RetryStrategy, TaskStatus, TransactionStatus
from tests.contract.client.servers import Server, flow, task

AMOUNT = {"name": "amount", "type": "float", "required": True}
AT_ONCE = {"strategy": "auto", "max_attempts": 2, "interval": 0}
ODD_IDS = [
    "a/b",
    "a/tasks",
    ".",
    "..",
    "../x",
    "a%2Fb",
    "%",
    "?a=b&c#d",
    "x y",
    "+",
    "🛒-órder-订单",
    'it\'s "quoted"',
    "batch",
    "x" * 128,
]


@pytest.fixture
def client(server: Server) -> Client:
    """A client of a platform with the flow `shop`: deduct, then ship."""
    client = server.client()
    client.flows.apply(flow(task("deduct"), task("ship", "deduct")), name="shop")
    return client


def failed(server: Server, client: Client, instance_id: str = "order_1") -> Transaction:
    """A transaction that failed at its first task."""
    server.fail(instance_id, "deduct")
    transaction = client.submit("shop", instance_id)
    server.run()
    return transaction.refresh()


def faults(error: InvalidInput) -> list[str]:
    return [fault.path for fault in error.faults]


# --- submitting ------------------------------------------------------------------------------


def test_a_transaction_goes_from_submit_to_success(server: Server, client: Client) -> None:
    params = {"deduct": {"amount": 99}}
    transaction = client.submit("shop", "order_1", params)
    assert (transaction.id, transaction.flow_id) == ("order_1", "shop_v1")
    assert transaction.status.value == "pending"
    server.run()
    assert transaction.wait(timeout=10) is transaction
    assert transaction.status.value == "success"
    details = transaction.details
    assert (details.health, details.params) == (Health.HEALTHY, params)
    assert details.created_at == transaction.created_at
    assert details.started_at
    assert details.completed_at
    assert details.completed_at >= details.started_at >= details.created_at
    tasks = transaction.tasks()
    assert [each.task_id for each in tasks] == ["deduct", "ship"]
    assert {(each.status, each.attempts, each.task_name, each.type) for each in tasks} == {
        (TaskStatus.SUCCESS, 1, "http_request", "http")
    }
    assert [(row.task_id, row.action.value) for row in transaction.logs()] == [
        (None, "submit"),
        ("deduct", "start"),
        ("deduct", "success"),
        ("ship", "start"),
        ("ship", "success"),
        (None, "complete"),
    ]
    assert client.get("order_1").details == details


def test_the_same_submit_is_one_transaction(server: Server, client: Client) -> None:
    first = client.submit("shop", "order_1")
    assert client.submit("shop", "order_1", {}).created_at == first.created_at
    server.run()
    assert client.submit("shop", "order_1").status is TransactionStatus.SUCCESS
    for reference, params in [("shop", {"deduct": {"a": 1}}), ("shop_v1", {})]:
        with pytest.raises(Conflict, match="order_1"):
            client.submit(reference, "order_1", params)
    assert len(list(client.transactions())) == 1


def test_params_come_back_as_they_were_sent(client: Client) -> None:
    params = {"ship": {"z": 2**70, "a": 0.1, "\ud800": "\udfff", "nested": [{}, None, True, "é"]}}
    client.submit("shop", "order_1", params)
    assert repr(client.get("order_1").details.params) == repr(params)


def test_any_text_can_be_an_id(server: Server, client: Client) -> None:
    for each in ODD_IDS:
        server.fail(each, "deduct", times=2)
        assert client.submit("shop", each).id == each
    server.run()
    for each in ODD_IDS:
        transaction = client.get(each)
        assert (transaction.id, len(transaction.logs())) == (each, 4)
        assert transaction.retry() == ["deduct"]
    server.run()
    for each in ODD_IDS:
        [record] = client.get(each).exceptions()
        assert record.instance_id == each
        assert client.get(each).cancel() is TransactionStatus.CANCELLED


def test_what_cannot_be_an_id_is_refused(client: Client) -> None:
    for identifier, word in (
        ("", "empty"),
        ("x" * 129, "128"),
        (" x", "white space"),
        ("a\nb", "control"),
        ("\ud800", "surrogates"),
    ):
        with pytest.raises(InvalidInput, match=word) as raised:
            client.submit("shop", identifier)
        assert faults(raised.value) == ["instance_id"]
    assert list(client.transactions()) == []


def test_every_fault_of_the_params_is_named(client: Client) -> None:
    client.flows.apply(flow(task("deduct", input_fields=[AMOUNT])), name="closed")
    with pytest.raises(InvalidInput) as raised:
        client.submit("closed", "order_1", {"deduct": {"amount": "much", "x": 1}, "nobody": {}})
    assert sorted(faults(raised.value)) == [
        "params.deduct.amount",
        "params.deduct.x",
        "params.nobody",
    ]
    with pytest.raises(InvalidInput) as raised:
        client.submit("closed", "order_1")
    assert faults(raised.value) == ["params.deduct.amount"]


def test_a_flow_must_be_there_and_active(client: Client) -> None:
    for reference in ("nowhere", "shop_v7", "", "a/b"):
        with pytest.raises(NotFound):
            client.submit(reference, "order_1")
    client.flows.deactivate("shop_v1")
    for reference in ("shop", "shop_v1"):
        with pytest.raises(NotAllowed, match="shop_v1"):
            client.submit(reference, "order_1")


def test_each_of_many_gets_its_result(client: Client) -> None:
    client.submit("shop", "there", {"ship": {"a": 1}})
    wanted: list[JsonObject] = [
        {"instance_id": "one", "flow_id": "shop"},
        {"instance_id": "two", "flow_id": "nowhere"},
        {"instance_id": "there", "flow_id": "shop"},
        {"instance_id": " ", "flow_id": "shop"},
        {"instance_id": "one", "flow_id": "shop", "params": None},
        {"instance_id": "one", "flow_id": "shop", "params": {"ship": {"b": 1}}},
        {"instance_id": "three", "flow_id": "shop", "params": {"nobody": {}}},
        {"instance_id": "four", "flow_id": "shop", "params": {"ship": {"c": 1}}},
    ]
    results = client.submit_many(wanted)
    assert [each.instance_id for each in results] == [each["instance_id"] for each in wanted]
    assert [type(each.error) for each in results] == [
        type(None),
        NotFound,
        Conflict,
        InvalidInput,
        type(None),
        Conflict,
        InvalidInput,
        type(None),
    ]
    assert [each.transaction.id for each in results if each.transaction] == ["one", "one", "four"]
    assert {each.id for each in client.transactions()} == {"there", "one", "four"}
    assert client.submit_many([]) == []


# --- waiting, failing, repairing -------------------------------------------------------------


def test_a_failure_names_the_task_its_error_and_its_exception(
    server: Server, client: Client
) -> None:
    transaction = failed(server, client)
    with pytest.raises(TransactionFailed, match=r"deduct.*out of stock") as raised:
        transaction.wait(timeout=10)
    error = raised.value
    assert (error.instance_id, error.task_id) == ("order_1", "deduct")
    assert error.error
    assert (error.error.type, error.error.code, error.error.message) == (
        "Refused",
        "409",
        "out of stock",
    )
    assert error.exception_id
    record = client.exceptions.get(error.exception_id)
    assert (record.instance_id, record.flow_id) == ("order_1", "shop_v1")
    assert (record.task_id, record.task_name) == ("deduct", "http_request")
    assert (record.error_type, record.error_code, record.message) == (
        "Refused",
        "409",
        "out of stock",
    )
    assert (record.retry_strategy, record.retry_times, record.handled) == (
        RetryStrategy.MANUAL,
        0,
        False,
    )
    assert len(record.fingerprint) == 32
    assert transaction.details.health is Health.NEEDS_HUMAN
    assert transaction.details.error_message == "deduct: out of stock"
    assert [each.status.value for each in transaction.tasks()] == ["failed", "pending"]


def test_a_retry_calls_what_failed_once_more(server: Server, client: Client) -> None:
    transaction = failed(server, client)
    assert transaction.retry("account topped up") == ["deduct"]
    assert transaction.status is TransactionStatus.RUNNING
    server.run()
    assert transaction.wait(timeout=10).status is TransactionStatus.SUCCESS
    assert [each.attempts for each in transaction.tasks()] == [2, 1]
    [record] = transaction.exceptions()
    assert (record.handled, record.handled_by) == (True, "system")
    with pytest.raises(NotAllowed):
        transaction.retry()
    with pytest.raises(NotAllowed):
        client.exceptions.retry(record.exception_id)


def test_an_exception_can_be_retried(server: Server, client: Client) -> None:
    transaction = failed(server, client)
    [record] = transaction.exceptions(handled=False)
    due = client.exceptions.retry(record.exception_id, "it is back")
    assert client.exceptions.get(record.exception_id).retry_next_at is None or due
    assert transaction.refresh().details.health is Health.RETRYING
    server.run()
    assert transaction.wait(timeout=10).status is TransactionStatus.SUCCESS


def test_a_handled_exception_is_settled(server: Server, client: Client) -> None:
    transaction = failed(server, client)
    [record] = transaction.exceptions()
    server.client(actor="ann é").exceptions.handle(record.exception_id, "refunded by hand")
    [settled] = transaction.exceptions(handled=True)
    assert (settled.handled_by, settled.handled_remark) == ("ann é", "refunded by hand")
    assert settled.handled_at
    assert transaction.exceptions(handled=False) == []
    for act in (client.exceptions.handle, client.exceptions.retry):
        with pytest.raises(NotAllowed, match="ann é"):
            act(record.exception_id)
    with pytest.raises(NotAllowed):
        transaction.retry()
    assert transaction.refresh().status is TransactionStatus.FAILED
    assert transaction.details.health is Health.HEALTHY


def test_automatic_retries_come_by_themselves(server: Server, client: Client) -> None:
    client.flows.apply(flow(task("deduct", retry=AT_ONCE), task("ship", "deduct")), name="shop")
    server.fail("good", "deduct", times=2)
    server.fail("bad", "deduct", times=3)
    client.submit_many({"instance_id": each, "flow_id": "shop"} for each in ("good", "bad"))
    server.run()
    assert client.wait("good", timeout=10).tasks()[0].attempts == 3
    with pytest.raises(TransactionFailed):
        client.wait("bad", timeout=10)
    [record] = client.exceptions.list(instance_id="bad")
    assert (record.retry_times, record.retry_max, record.retry_interval) == (2, 2, 0)


def test_what_is_not_to_be_retried_is_not(server: Server, client: Client) -> None:
    client.flows.apply(flow(task("deduct", retry={"strategy": "no_retry"})), name="shop")
    transaction = failed(server, client)
    with pytest.raises(NotAllowed, match="no_retry"):
        transaction.retry()
    [record] = transaction.exceptions()
    with pytest.raises(NotAllowed, match="no_retry"):
        client.exceptions.retry(record.exception_id)


def test_cancelling(server: Server, client: Client) -> None:
    transaction = client.submit("shop", "order_1")
    assert transaction.cancel("changed their mind") is TransactionStatus.CANCELLED
    assert transaction.cancel() is TransactionStatus.CANCELLED
    server.run()
    with pytest.raises(TransactionCancelled):
        transaction.wait(timeout=10)
    assert [each.status.value for each in transaction.tasks()] == ["pending", "pending"]
    with pytest.raises(NotAllowed):
        transaction.retry()
    done = client.submit("shop", "order_2")
    server.run()
    with pytest.raises(NotAllowed):
        done.cancel()


def test_a_failed_one_can_be_cancelled(server: Server, client: Client) -> None:
    transaction = failed(server, client)
    assert transaction.cancel() is TransactionStatus.CANCELLED
    [record] = transaction.exceptions()
    with pytest.raises(NotAllowed):
        client.exceptions.retry(record.exception_id)


def test_waiting_has_an_end(client: Client) -> None:
    transaction = client.submit("shop", "order_1")
    for timeout in (0, 0.05):
        with pytest.raises(WaitTimeout, match="pending"):
            transaction.wait(timeout)


def test_what_is_not_there(client: Client) -> None:
    for identifier in ("nobody", "a/b", "", "x" * 500):
        with pytest.raises(NotFound):
            client.get(identifier)
    with pytest.raises(InvalidInput, match="UTF-8"):
        client.get("\ud800")
    for ask in (client.exceptions.get, client.exceptions.handle, client.exceptions.retry):
        with pytest.raises(NotFound):
            ask(99)
    for ask_flow in (
        client.flows.get,
        client.flows.activate,
        client.flows.deactivate,
        client.flows.delete,
        client.stats.flow,
    ):
        with pytest.raises(NotFound):
            ask_flow("nobody_v1")
    with pytest.raises(NotFound):
        client.flows.update("nobody_v1", flow(task("a")))


# --- lists -----------------------------------------------------------------------------------


def test_a_list_is_taken_page_by_page(client: Client) -> None:
    ids = [f"order_{number}" for number in range(7)]
    for each in ids:
        client.submit("shop", each)
    for page_size in (1, 3, 7, 100):
        found = [each.id for each in client.transactions(page_size=page_size)]
        assert found == ids[::-1]
    assert [each.details.params for each in client.transactions()] == [None] * 7


def test_transactions_are_chosen(server: Server, client: Client) -> None:
    client.flows.apply(flow(task("other")), name="other")
    failed(server, client, "bad")
    good = client.submit("other", "good")
    server.run()
    waiting = client.submit("shop", "waiting")

    def ids(**query: object) -> list[str]:
        return [each.id for each in client.transactions(**query)]  # type: ignore[arg-type]

    assert ids() == ["waiting", "good", "bad"]
    assert ids(status="success") == ["good"]
    assert ids(status=TransactionStatus.FAILED) == ["bad"]
    assert ids(health="needs_human") == ["bad"]
    assert ids(health=Health.HEALTHY, status="pending") == ["waiting"]
    assert ids(flow_id="shop_v1") == ["waiting", "bad"]
    assert ids(flow_id="nowhere") == []
    assert ids(since=good.created_at) == ["waiting", "good"]
    assert ids(until=good.created_at) == ["bad"]
    assert ids(since=waiting.created_at + timedelta(microseconds=1)) == []
    for query in ({"status": "nonsense"}, {"health": "nonsense"}, {"page_size": 0}):
        with pytest.raises(InvalidInput):
            ids(**query)


def test_exceptions_are_chosen(server: Server, client: Client) -> None:
    for each in ("one", "two", "three"):
        failed(server, client, each)
    third, second, first = client.exceptions.list(page_size=1)
    assert (first.instance_id, third.instance_id) == ("one", "three")
    assert first.fingerprint == second.fingerprint
    client.exceptions.handle(second.exception_id)
    assert list(client.exceptions.list(handled=False)) == [third, first]
    assert [each.instance_id for each in client.exceptions.list(handled=True)] == ["two"]
    assert list(client.exceptions.list(instance_id="one")) == [first]
    assert len(list(client.exceptions.list(fingerprint=first.fingerprint))) == 3
    assert len(list(client.exceptions.list(task_name="http_request", flow_id="shop_v1"))) == 3
    assert list(client.exceptions.list(task_name="other")) == []
    assert list(client.exceptions.list(flow_id="x")) == []
    assert list(client.exceptions.list(fingerprint="0")) == []


# --- flows -----------------------------------------------------------------------------------


def test_a_definition_becomes_versions(client: Client) -> None:
    first = client.flows.get("shop_v1")
    assert (first.name, first.version, first.is_active) == ("shop", 1, True)
    assert first.definition
    assert [each["id"] for each in first.definition["tasks"]] == ["deduct", "ship"]
    assert "task_definitions" not in first.definition
    assert first.task_definitions
    assert set(first.task_definitions) == {"http_request"}
    assert first.default_retry
    same = client.flows.apply(flow(task("deduct"), task("ship", "deduct")), name="shop")
    assert same.flow_id == "shop_v1"
    second = client.flows.create(
        "shop",
        '{"tasks": [{"id": "a", "task_name": "http_request", "config": {"url": "http://x"}}]}',
    )
    third = client.flows.update("shop_v1", flow(task("b")), description="shorter")
    assert [second.flow_id, third.flow_id, third.description] == ["shop_v2", "shop_v3", "shorter"]
    assert client.submit("shop", "order_1").flow_id == "shop_v3"
    client.flows.deactivate("shop_v3")
    assert client.submit("shop", "order_2").flow_id == "shop_v2"


def test_flows_are_listed(server: Server, client: Client) -> None:
    ann = server.client(actor="ann")
    other = ann.flows.apply(flow(task("x"), name="other", description="for others"))
    assert (other.create_user, other.description) == ("ann", "for others")
    client.flows.apply(flow(task("y")), name="shop")
    client.flows.deactivate("shop_v1")
    assert [each.flow_id for each in client.flows.list(page_size=1)] == [
        "other_v1",
        "shop_v2",
        "shop_v1",
    ]
    assert [each.flow_id for each in client.flows.list(name="shop")] == ["shop_v2", "shop_v1"]
    assert [each.flow_id for each in client.flows.list(is_active=False)] == ["shop_v1"]
    assert {each.definition for each in client.flows.list()} == {None}
    assert client.flows.activate("shop_v1").is_active


def test_every_fault_of_a_definition_is_named(client: Client) -> None:
    definition = flow(task("a", task_name="none"), task("b", "c"), colour="red")
    with pytest.raises(InvalidInput) as raised:
        client.flows.apply(definition, name="bad")
    assert len(raised.value.faults) == 3
    assert "tasks[0].task_name" in faults(raised.value)
    for name in ("", "1st", "order_v1"):
        with pytest.raises(InvalidInput):
            client.flows.create(name, flow(task("a")))
    with pytest.raises(InvalidInput):
        client.flows.apply(flow(task("a")))  # has no name
    with pytest.raises(InvalidInput):
        client.flows.create("bad", "{")
    assert [each.flow_id for each in client.flows.list()] == ["shop_v1"]


def test_a_flow_is_deleted_once_nothing_of_it_is_unsettled(server: Server, client: Client) -> None:
    client.submit("shop", "order_1")
    with pytest.raises(Conflict):
        client.flows.delete("shop_v1")
    server.run()
    client.flows.delete("shop_v1")
    with pytest.raises(NotFound):
        client.flows.get("shop_v1")
    assert list(client.flows.list()) == []
    assert client.get("order_1").status is TransactionStatus.SUCCESS
    assert client.flows.apply(flow(task("new")), name="shop").flow_id == "shop_v2"


# --- the platform ----------------------------------------------------------------------------


def test_the_numbers(server: Server, client: Client) -> None:
    empty = client.stats.overview()
    assert (empty.flows, empty.total, empty.success_rate, empty.backlog) == (1, 0, None, 0)
    failed(server, client, "bad")
    client.submit_many({"instance_id": f"good_{n}", "flow_id": "shop"} for n in range(3))
    server.run()
    client.submit("shop", "waiting")
    overview, of_flow = client.stats.overview(), client.stats.flow("shop_v1")
    for numbers in (overview, of_flow):
        counts = {status: count for status, count in numbers.by_status.items() if count}
        assert counts == {"success": 3, "failed": 1, "pending": 1}
        assert (numbers.total, numbers.success_rate) == (5, 0.75)
        assert numbers.p50_seconds is not None
        assert numbers.p95_seconds is not None
        assert (numbers.exceptions_open, numbers.exceptions_today, numbers.backlog) == (1, 1, 1)
        assert numbers.backlog_age_seconds is not None


def test_how_the_platform_does(client: Client) -> None:
    assert client.health().status == "ok"
    names = {each.name: each.type for each in client.task_definitions()}
    assert names["http_request"] == "http"
