"""The demo's participants as processes of their own, and the pure parts of the demo."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from rich.console import Console

from dist_task_pipelines.domain.status import Health, RetryStrategy, TransactionStatus
from dist_task_pipelines.ledger.records import ExceptionRecord, TransactionRecord
from examples import warehouse
from examples.demo import DemoFailed, work_folder
from examples.dist_task import Platform, free_port
from examples.orders import COUNTS, EVERY_TASK, Order, Story, all_orders, of_story, submission
from examples.reckoning import (
    Difference,
    Entry,
    differences,
    key,
    message_entries,
    reservation_entries,
    stock_differences,
)
from examples.shop import PARTICIPANTS, Shop, reserved_port
from examples.view import Snapshot, books_table, differences_table, events, in_words, state_table

ROOT = Path(__file__).parents[2]
PATIENCE = 20  # seconds
IGNORING_SIGINT = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # as a shell's background job

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Service:
    """A participant's process and its address."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self.process = process
        ready, self.address = process.stdout.readline().split()
        assert ready == "ready"

    def call(self, path: str, body: Any, key: str | None = "order-1:task") -> Any:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        url = f"http://{self.address}{path}"
        request = Request(url, json.dumps(body).encode(), headers)
        with urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)

    def books(self) -> Any:
        with urlopen(f"http://{self.address}/books", timeout=PATIENCE) as reply:
            return json.load(reply)


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A factory of participants: `start(module, *arguments)`."""
    with ExitStack() as stack:

        def started(module: str, *arguments: str) -> Service:
            books = ["--books", str(tmp_path / f"{module}.db")]
            process = subprocess.Popen(
                [*IGNORING_SIGINT, sys.executable, "-m", f"examples.{module}", *books, *arguments],
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return Service(process)

        yield started


def deduct(amount: float = 9.5, user: str = "user-1") -> dict[str, Any]:
    params = {"user_id": user, "amount": amount, "order_id": "order-1"}
    return {"method": "deduct", "params": params}


CALLS = {
    "payment_service": ("/rpc", deduct()),
    "fraud_service": ("/checks", {"charged": 9.5}),
    "shipping_service": ("/shipments", {"order_id": "order-1", "address": "1 High Street"}),
}


def arguments_of(module: str) -> list[str]:
    return ["--name", "north"] if module == "shipping_service" else []


@pytest.mark.parametrize("module", CALLS)
def test_a_repeat_gets_the_first_reply_and_does_nothing(module: str, start: Start) -> None:
    path, body = CALLS[module]
    service = start(module, *arguments_of(module))
    first = service.call(path, body)
    other = service.call(path, body, key="order-2:task")
    assert service.call(path, body) == first != other
    assert service.books() == {
        "order-1:task": {"calls": 2, "effects": 1},
        "order-2:task": {"calls": 1, "effects": 1},
    }


@pytest.mark.parametrize("module", CALLS)
def test_the_books_outlive_the_process(module: str, start: Start) -> None:
    path, body = CALLS[module]
    service = start(module, *arguments_of(module))
    first = service.call(path, body)
    service.process.terminate()
    assert service.process.wait(PATIENCE) == 0
    again = start(module, *arguments_of(module))
    assert again.call(path, body) == first != again.call(path, body, key="order-2:task")
    assert again.books() == {
        "order-1:task": {"calls": 2, "effects": 1},
        "order-2:task": {"calls": 1, "effects": 1},
    }


@pytest.mark.parametrize("module", CALLS)
def test_a_call_without_a_key_is_refused(module: str, start: Start) -> None:
    path, body = CALLS[module]
    service = start(module, *arguments_of(module))
    with pytest.raises(HTTPError, match="400"):
        service.call(path, body, key=None)
    assert service.books() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_participant_started_with_sigint_ignored_ends_cleanly(
    number: signal.Signals, start: Start
) -> None:
    service = start("payment_service")
    service.process.send_signal(number)
    assert service.process.wait(PATIENCE) == 0
    with pytest.raises(URLError, match="refused"):
        service.books()


def test_a_slow_check_does_not_hold_up_the_end(start: Start) -> None:
    service = start("fraud_service")
    host, port = service.address.split(":")
    body = b'{"new_customer": true}'
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            b"POST /checks HTTP/1.1\r\nHost: x\r\nIdempotency-Key: order-1:check\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        while not service.books():
            pass  # the books are asked until the check is in them
        assert service.books() == {"order-1:check": {"calls": 1, "effects": 1}}
        assert service.call("/checks", {"new_customer": True}, "order-1:check")["case"] == "C-0001"
        service.process.terminate()
        assert service.process.wait(PATIENCE) == 0
        assert caller.recv(1024) == b""  # cut off, not waited for


def test_a_declined_payment_leaves_a_call_and_no_effect(start: Start) -> None:
    service = start("payment_service", "--frozen", "user-7")
    with pytest.raises(HTTPError, match="402"):
        service.call("/rpc", deduct(amount=5000))
    with pytest.raises(HTTPError, match="403"):
        service.call("/rpc", deduct(user="user-7"), "order-7:payment")
    service.call("/rpc", {"method": "unfreeze", "params": {"user_id": "user-7"}}, key=None)
    assert service.call("/rpc", deduct(user="user-7"), "order-7:payment")["charged"] == 9.5
    assert service.books() == {
        "order-1:task": {"calls": 1, "effects": 0},
        "order-7:payment": {"calls": 2, "effects": 1},
    }
    with pytest.raises(HTTPError, match="404"):
        service.call("/rpc", {"method": "refund", "params": {}})


def test_a_parcel_needs_an_address(start: Start) -> None:
    service = start("shipping_service", "--name", "north")
    with pytest.raises(HTTPError, match="422"):
        service.call("/shipments", {"order_id": "order-1"})


def test_a_reservation_takes_from_the_stock(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.db"
    warehouse.create(file, ["lamp", "chair"])
    assert (warehouse.reservations(file), warehouse.taken(file)) == ({}, 0)
    with closing(sqlite3.connect(file)) as database, database:
        insert = "INSERT INTO reservations (order_id, sku, quantity) VALUES (?, ?, ?)"
        database.executemany(insert, [("order-1", "lamp", 1), ("order-1", "lamp", 1)])
    assert (warehouse.reservations(file), warehouse.taken(file)) == ({"order-1": 2}, 2)


def test_a_reserved_port_refuses_until_its_server_listens_and_again_afterwards(
    start: Start,
) -> None:
    with reserved_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for _ in range(2):  # down, up, down, up
            service = start("payment_service", "--port", str(port))
            assert service.address == f"127.0.0.1:{port}"
            service.process.terminate()
            assert service.process.wait(PATIENCE) == 0
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))


def test_the_books_of_a_shop_that_is_down_are_empty(tmp_path: Path) -> None:
    with Shop(tmp_path, frozen=[]) as shop:
        assert shop.books() == {name: {} for name in PARTICIPANTS}
        assert shop.articles_taken() == 0


# The reckoning


@pytest.fixture
def orders() -> list[Order]:
    return all_orders()


@pytest.fixture
def books(orders: list[Order]) -> dict[str, dict[str, Entry]]:
    """Books as they must be, everything in those of one participant."""
    done = [key(order.id, task) for order in orders for task in order.expected_effects]
    return {"everybody": dict.fromkeys(done, Entry(1))}


@pytest.fixture
def statuses(orders: list[Order]) -> dict[str, str]:
    return {order.id: order.expected_status for order in orders}


Reckoned = tuple[list[Order], dict[str, str], dict[str, dict[str, Entry]]]


@pytest.fixture
def right(
    orders: list[Order], statuses: dict[str, str], books: dict[str, dict[str, Entry]]
) -> Reckoned:
    return orders, statuses, books


def test_books_as_they_must_be_differ_in_nothing(right: Reckoned) -> None:
    assert differences(*right) == []


def test_an_effect_that_lacks_is_found(right: Reckoned) -> None:
    del right[2]["everybody"]["order-001:shipping"]
    assert differences(*right) == [Difference("order-001", "effects of shipping", "1", "0")]


def test_a_call_without_effect_is_none(right: Reckoned) -> None:
    right[2]["everybody"]["order-001:payment"] = Entry(effects=0, calls=3)
    assert differences(*right) == [Difference("order-001", "effects of payment", "1", "0")]


@pytest.mark.parametrize("task", EVERY_TASK)
def test_an_effect_made_twice_is_found(task: str, right: Reckoned) -> None:
    right[2]["everybody"][f"order-001:{task}"] = Entry(2)
    assert differences(*right) == [Difference("order-001", f"effects of {task}", "1", "2")]


def test_an_effect_at_two_participants_counts_twice(right: Reckoned) -> None:
    right[2]["south"] = {"order-001:shipping": Entry(1)}
    assert differences(*right) == [Difference("order-001", "effects of shipping", "1", "2")]


def test_an_effect_that_must_not_be_is_found(right: Reckoned) -> None:
    declined = next(of_story(right[0], Story.DECLINED)).id
    right[2]["everybody"][f"{declined}:payment"] = Entry(1)
    assert differences(*right) == [Difference(declined, "effects of payment", "0", "1")]


def test_an_effect_that_nobody_ordered_is_found(right: Reckoned) -> None:
    right[2]["everybody"]["order-999:payment"] = Entry(1)
    assert differences(*right) == [Difference("order-999", "effects of payment", "none", "1")]


def test_another_status_and_a_lost_order_are_found(right: Reckoned) -> None:
    right[1]["order-001"] = "running"
    del right[1]["order-002"]
    assert differences(*right) == [
        Difference("order-001", "status", "success", "running"),
        Difference("order-002", "status", "success", "not there"),
    ]


def test_the_stock_must_have_given_one_article_for_each_reservation(orders: list[Order]) -> None:
    expected = sum(COUNTS.values()) - COUNTS[Story.DECLINED]
    assert stock_differences(orders, expected) == []
    found = Difference("all", "articles gone from stock", str(expected), str(expected + 1))
    assert stock_differences(orders, expected + 1) == [found]


def test_reservations_and_messages_are_counted_by_key() -> None:
    assert reservation_entries({"order-1": 2}) == {"order-1:stock": Entry(2)}
    messages = [{"keys": ["order-1:notify"]}, {"keys": ["order-1:notify"]}, {"keys": ["x", "y"]}]
    assert message_entries(messages) == {
        "order-1:notify": Entry(2),
        "x": Entry(1),
        "y": Entry(1),
    }


def test_every_order_has_its_own_id_and_each_story_its_trouble(orders: list[Order]) -> None:
    carriers = {"north": "http://north", "south": "http://south"}
    by_story = {order.story: submission(order, carriers)["params"] for order in orders}
    assert len({order.id for order in orders}) == len(orders) == 50
    assert by_story.keys() == set(Story)
    assert by_story[Story.DECLINED]["payment"]["amount"] > 1000
    assert by_story[Story.CARRIER_DOWN]["shipping"]["carrier"] == "http://south"
    assert by_story[Story.SLOW_CHECK]["fraud_check"] == {"new_customer": True}
    assert "address" not in by_story[Story.NO_ADDRESS]["shipping"]


# What is shown


def transaction(status: str, health: str = "healthy") -> TransactionRecord:
    return TransactionRecord(
        seq=1,
        id="order-001",
        flow_id="order_flow_v1",
        status=TransactionStatus(status),
        health=Health(health),
        params={},
        request_hash="",
        batch_id=None,
        run_id=None,
        next_due_at=None,
        lease_losses=0,
        cancel_requested=False,
        error_message=None,
        created_at=NOON,
        updated_at=NOON,
        started_at=None,
        completed_at=None,
    )


def exception(id: int, **changes: Any) -> ExceptionRecord:
    values: dict[str, Any] = {
        "id": id,
        "transaction_id": f"order-{id:03}",
        "task_id": "shipping",
        "flow_id": "order_flow_v1",
        "task_name": "http_request",
        "error_type": "ConnectionFailed",
        "error_code": "",
        "message": "",
        "stack": "",
        "fingerprint": "",
        "retry_strategy": RetryStrategy.AUTO,
        "retry_times": 1,
        "retry_max": 3,
        "retry_interval": 1.0,
        "retry_next_at": NOON,
        "handled": False,
        "handled_by": None,
        "handled_at": None,
        "handled_remark": None,
        "occurred_at": NOON,
    }
    return ExceptionRecord(**values | changes)


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (None, "waiting"),
        (transaction("pending"), "waiting"),
        (transaction("running"), "running"),
        (transaction("running", "retrying"), "retrying"),
        (transaction("failed", "needs_human"), "failed"),
        (transaction("success"), "success"),
        (transaction("cancelled"), "cancelled"),
    ],
)
def test_the_state_that_is_shown(
    record: TransactionRecord | None, state: str, orders: list[Order]
) -> None:
    transactions = {"order-001": record} if record else {}
    assert Snapshot(transactions).state(orders[0]) == state


def test_like_events_are_told_together_and_once() -> None:
    declined = {"error_type": "HttpStatus", "error_code": "402", "retry_next_at": None}
    before = [exception(1)]
    after = [exception(4, task_id="payment", **declined), exception(3), exception(2), exception(1)]
    assert events(before, after) == [
        "2 orders: shipping failed (ConnectionFailed), is called again soon",
        "order-004: payment failed (HttpStatus 402), needs a person",
    ]
    assert events(after, after) == []


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        ({}, {"retry_times": 2}, "failed (ConnectionFailed), is called again soon"),
        ({}, {"retry_next_at": None}, "failed (ConnectionFailed), needs a person"),
        ({"retry_next_at": None}, {}, "is called again, as a person asked"),
        ({}, {"handled": True, "handled_by": "system"}, "went well after all"),
        ({}, {"handled": True, "handled_by": "eve"}, "handled"),
    ],
)
def test_what_became_of_an_exception_is_told(
    before: dict[str, Any], after: dict[str, Any], event: str
) -> None:
    told = events([exception(1, **before)], [exception(1, **after)])
    assert told == [f"order-001: shipping {event}"]


def printed(*things: Any) -> list[str]:
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(*things)
    return capture.get().splitlines()


def test_the_picture_fits_a_small_terminal(orders: list[Order]) -> None:
    every = {name: {"order-001:x": Entry(1, 1)} for name in PARTICIPANTS}
    lines = printed(state_table(orders, Snapshot()), books_table(every))
    assert len(lines) == 1 + len(Story) + 3
    for story, count in COUNTS.items():
        (line,) = (line for line in lines if line.startswith(story))
        assert line.removeprefix(story).split() == [str(count), ".", ".", ".", "."]


def test_the_books_in_words() -> None:
    books = {"payment": {"a": Entry(1, 2), "b": Entry(0, 1)}, "warehouse": {"a": Entry(1)}}
    assert in_words(books) == "payment 3 calls, 1 effects; warehouse 1 effects"


def test_a_long_list_of_differences_is_cut() -> None:
    lines = printed(differences_table([Difference("order-001", "status", "a", "b")] * 31))
    assert lines[-1].split() == ["...", "1", "more"]


# The ground that the demo runs on


def test_a_taken_port_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert free_port(taken) > taken


def test_the_names_of_the_participants_become_addresses(tmp_path: Path) -> None:
    platform = Platform(tmp_path, 3000, {"fraud-check:7002": "127.0.0.1:1234"})
    tasks = {task["id"]: task for task in json.loads(platform.flow_file.read_text())["tasks"]}
    assert tasks["fraud_check"]["config"]["url"] == "http://127.0.0.1:1234/checks"


def test_the_work_folder_is_emptied_and_for_one_demo_only(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with work_folder(folder):
        (folder / "old").mkdir()
        (folder / "old" / "file").touch()
        (folder / "file").touch()
        with pytest.raises(DemoFailed, match="another demo runs"), work_folder(folder):
            pass
        assert (folder / "file").exists()
    with work_folder(folder):
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DemoFailed, match="no demo's folder"), work_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
