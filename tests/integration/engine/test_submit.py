"""Accepting transactions: the same request once, whoever asks and how often."""

import math
from typing import Any

import pytest

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import (
    Conflict,
    DistTaskError,
    InvalidInput,
    InvalidParams,
    LedgerUnavailable,
    NotAllowed,
    NotFound,
)
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.engine.submit import SubmitRequest, submit, submit_many
from dist_task_pipelines.ledger.records import TransactionRecord
from tests.contract.steps import SteppableClock, together
from tests.integration.engine.bench import PENDING, Bench, act, orders
from tests.integration.engine.trouble import Outage, Watch
from tests.unit.flows.making import nested

LIMIT = 1000

Result = TransactionRecord | DistTaskError


@pytest.fixture(autouse=True)
def flow(bench: Bench) -> Flow:
    return bench.flow(act("deduct"), act("notify", "deduct"))


def send(bench: Bench, identifier: str, params: Any = None, flow: str = "payment") -> Any:
    return submit(bench.ledger, SubmitRequest(identifier, flow, params), max_params_bytes=LIMIT)


def send_many(bench: Bench, *requests: SubmitRequest) -> list[Result]:
    return submit_many(bench.ledger, requests, max_params_bytes=LIMIT)


def test_a_transaction_is_accepted(bench: Bench, clock: SteppableClock) -> None:
    record = send(bench, "o1", {"deduct": {"z": 1, "a": 1.50}})
    assert (record.id, record.flow_id, record.status) == ("o1", "payment_v1", PENDING)
    assert record.created_at == clock.now()
    assert json.dumps(record.params) == '{"deduct":{"z":1,"a":1.5}}'
    assert [row.action for row in bench.ledger.transactions.logs("o1")] == ["submit"]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"deduct": {"a": 1, "b": [2]}}, {"deduct": {"b": [2], "a": 1}}),
        ({"deduct": {}, "notify": {}}, {"notify": {}, "deduct": {}}),
        ({"deduct": {"a": 1}}, {"deduct": {"a": 1.0}}),
        ({"deduct": {"a": 10**22}}, {"deduct": {"a": 1e22}}),
        ({"deduct": {"a": 0}}, {"deduct": {"a": -0.0}}),
        ({"deduct": {"a": "\ud800\U0001f600"}}, {"deduct": {"a": "\ud800\U0001f600"}}),
        (None, {}),
        ({}, None),
    ],
)
def test_the_same_request_gives_the_same_transaction(bench: Bench, first: Any, again: Any) -> None:
    record = send(bench, "o1", first)
    assert send(bench, "o1", again) == record
    assert len(bench.ledger.transactions.logs("o1")) == 1


def test_the_same_request_gives_the_present_state(bench: Bench, flow: Flow) -> None:
    bench.carry(bench.take(flow, "o1"))
    assert send(bench, "o1", flow=flow.id).status == "success"


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"deduct": {"a": 1}}, {"deduct": {"a": 2}}),
        ({"deduct": {"a": 1}}, {"deduct": {"a": "1"}}),
        ({"deduct": {"a": 1}}, {"deduct": {"a": True}}),
        ({"deduct": {"a": [1, 2]}}, {"deduct": {"a": [2, 1]}}),
        ({"deduct": {"a": None}}, {"deduct": {}}),
        ({"deduct": {}}, {}),
        ({"deduct": {"a": 2**53}}, {"deduct": {"a": 2**53 + 1}}),
        ({"deduct": {"a": "é"}}, {"deduct": {"a": "e\u0301"}}),
    ],
)
def test_another_request_under_the_id_is_a_conflict(bench: Bench, first: Any, other: Any) -> None:
    send(bench, "o1", first)
    with pytest.raises(Conflict, match="'o1' exists with another flow or other params"):
        send(bench, "o1", other)
    assert bench.ledger.transactions.get("o1").params == first


def test_another_flow_under_the_id_is_a_conflict(bench: Bench) -> None:
    bench.flow(name="refund")
    send(bench, "o1")
    for flow in ("refund", "payment_v1"):  # the reference counts as it was sent
        with pytest.raises(Conflict):
            send(bench, "o1", flow=flow)


def test_a_name_stands_for_the_newest_active_version(bench: Bench) -> None:
    send(bench, "o1")
    newer = bench.flow(act("other"))
    assert send(bench, "o2").flow_id == newer.id == "payment_v2"
    assert send(bench, "o1").flow_id == "payment_v1"  # the same request, once for all
    bench.ledger.flows.set_active(newer.id, False)
    assert send(bench, "o3").flow_id == "payment_v1"


def test_an_inactive_flow_takes_nothing_new(bench: Bench) -> None:
    before = send(bench, "o1", {"deduct": {"a": 1}})
    bench.ledger.flows.set_active("payment_v1", False)
    for flow in ("payment", "payment_v1"):
        with pytest.raises(NotAllowed, match="'payment_v1' is not active"):
            send(bench, "o2", flow=flow)
    assert send(bench, "o1", {"deduct": {"a": 1}}).seq == before.seq


@pytest.mark.parametrize("flow", ["nothing", "payment_v2", "", "PAYMENT", "\ud800", "x" * 1000])
def test_an_unknown_flow(bench: Bench, flow: str) -> None:
    with pytest.raises(NotFound):
        send(bench, "o1", flow=flow)


@pytest.mark.parametrize(
    "identifier",
    ["x", "x" * 128, 'it\'s "quoted"', "a/b\\c?d#e%f", "\U0001f600" * 128, "ключ", "a b", "${x}"],
)
def test_ids_are_the_callers_own(bench: Bench, flow: Flow, identifier: str) -> None:
    bench.carry(bench.take(flow, identifier))
    assert bench.status(identifier) == "success"
    assert all(call.key.isascii() for call in bench.executor.calls)


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("", "must not be empty"),
        ("x" * 129, "129 characters"),
        (" x", "white space"),
        ("x\n", "white space"),
        ("a\x00b", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\x85b", "control characters"),
        ("a\ud800", "lone surrogates"),
    ],
)
def test_ids_that_cannot_be_kept_are_refused(bench: Bench, identifier: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        send(bench, identifier)
    assert [fault.path for fault in raised.value.faults] == ["instance_id"]


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"nothing": {}}, "params.nothing"),
        ({"deduct": 1}, "params.deduct"),
        ([], "params"),
        ("", "params"),
        ({"deduct": {"a": math.nan}}, "params.deduct.a"),
        ({"deduct": {"a": b"bytes"}}, "params.deduct.a"),
        ({"deduct": {1: 1}}, "params.deduct"),
        ({"deduct": nested(70)}, "params"),
        ({"deduct": nested(50_000)}, "params"),
        ({"deduct": {"a": "x" * LIMIT}}, "params"),
    ],
)
def test_params_that_cannot_be_accepted(bench: Bench, params: Any, path: str) -> None:
    with pytest.raises(InvalidParams) as raised:
        send(bench, "o1", params)
    assert [fault.path for fault in raised.value.faults] == [path]
    assert bench.ledger.transactions.page() == []


def test_the_limit_is_on_the_params_as_json(bench: Bench) -> None:
    around = len(json.dumps({"deduct": {"a": ""}}))
    assert send(bench, "o1", {"deduct": {"a": "x" * (LIMIT - around)}})
    with pytest.raises(InvalidParams, match="take 1001 bytes as JSON, the most is 1000"):
        send(bench, "o2", {"deduct": {"a": "x" * (LIMIT - around + 1)}})


def test_a_limit_that_was_lowered_forgets_nothing(bench: Bench) -> None:
    request = SubmitRequest("o1", "payment", {"deduct": {"a": "x" * 100}})
    record = submit(bench.ledger, request, max_params_bytes=LIMIT)
    assert submit(bench.ledger, request, max_params_bytes=10) == record


def test_each_of_many_gets_its_own_result(bench: Bench) -> None:
    present = send(bench, "present", {"deduct": {"a": 1}})
    a: JsonObject = {"deduct": {"a": 1}}
    results = send_many(
        bench,
        SubmitRequest("new", "payment", a),
        SubmitRequest("present", "payment", {"deduct": {"a": 1.0}}),
        SubmitRequest("bad\x00id", "payment"),
        SubmitRequest("present", "payment", {"deduct": {"a": 2}}),
        SubmitRequest("bad-params", "payment", {"nothing": {}}),
        SubmitRequest("no-flow", "nothing"),
        SubmitRequest("odd-flow", "\ud800"),
        SubmitRequest("nan", "payment", {"deduct": {"a": math.nan}}),
        SubmitRequest("new", "payment", a),
        SubmitRequest("new", "payment", {"deduct": {"a": 2}}),
        SubmitRequest("bad-params", "payment"),
    )
    kinds = [type(result).__name__ for result in results]
    assert kinds == [
        "TransactionRecord",
        "TransactionRecord",
        "InvalidInput",
        "Conflict",
        "InvalidParams",
        "NotFound",
        "NotFound",
        "InvalidParams",
        "TransactionRecord",
        "Conflict",
        "TransactionRecord",
    ]
    assert results[1] == present
    assert results[8] == results[0]
    assert {record.id for record in bench.ledger.transactions.page()} == {
        "present",
        "new",
        "bad-params",
    }
    assert bench.ledger.transactions.get("new").params == a


def test_many_take_one_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = Watch(bench.ledger.database, "write", monkeypatch)
    flows = Watch(bench.ledger.flows, "find", monkeypatch)
    results = send_many(bench, *[SubmitRequest(order, "payment") for order in orders(1000)])
    assert [getattr(result, "id", None) for result in results] == orders(1000)
    assert (len(writes.results), len(flows.results)) == (1, 1)
    send_many(bench, *[SubmitRequest(order, "payment") for order in orders(1000)])
    assert len(writes.results) == 1
    assert send_many(bench) == []


def test_when_the_ledger_is_away_nothing_is_accepted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(bench.ledger, monkeypatch)
    outage.begin()
    requests = [SubmitRequest(order, "payment") for order in orders(3)]
    with pytest.raises(LedgerUnavailable):
        send_many(bench, *requests)
    outage.end()
    assert bench.ledger.transactions.page() == []
    outage.lose_answers(1)
    with pytest.raises(LedgerUnavailable):
        send_many(bench, *requests)
    assert [getattr(each, "id", None) for each in send_many(bench, *requests)] == orders(3)
    assert len(bench.ledger.transactions.logs("order_0")) == 1


def test_the_dispatcher_waits_for_the_delay(
    bench: Bench, flow: Flow, clock: SteppableClock
) -> None:
    request = SubmitRequest("o1", "payment")
    submit(bench.ledger, request, max_params_bytes=LIMIT, delay=60)
    assert bench.dispatch(flow, PENDING) == []
    clock.step(60)
    assert len(bench.dispatch(flow, PENDING)) == 1


def test_fifty_at_once_make_one_transaction(bench: Bench) -> None:
    results = together(*[lambda: send(bench, "o1", {"deduct": {"a": 1}})] * 50)
    assert len({result.seq for result in results if isinstance(result, TransactionRecord)}) == 1
    assert all(isinstance(result, TransactionRecord) for result in results)
    assert len(bench.ledger.transactions.page()) == 1
    assert len(bench.ledger.transactions.logs("o1")) == 1


def test_fifty_at_once_with_different_params_have_one_winner(bench: Bench) -> None:
    def sender(number: int) -> Any:
        return lambda: send(bench, "o1", {"deduct": {"a": number % 5}})

    results = together(*[sender(number) for number in range(50)])
    won = bench.ledger.transactions.get("o1").params["deduct"]["a"]
    for number, result in enumerate(results):
        expected = TransactionRecord if number % 5 == won else Conflict
        assert isinstance(result, expected)
