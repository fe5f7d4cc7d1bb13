"""`rpc` tasks over gRPC, against real servers in processes of their own."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants, Service, grpc_service
from dist_task_pipelines.executors.grpc_channel import MAX_MESSAGE_BYTES
from dist_task_pipelines.executors.grpc_status import MEANINGS
from dist_task_pipelines.executors.rpc import RpcExecutor
from tests.integration.executors.conftest import KEY, Calls
from tests.services.grpc_server import PROTOS, compile_protos, running_server
from tests.services.waiting import eventually

LIMIT = 2000


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_protos(tmp_path_factory.mktemp("protos") / "shop.binpb", "shop.proto")


@pytest.fixture(scope="module")
def services(descriptors: Path) -> Iterator[dict[str, Service]]:
    """The same service, in each way in which its methods can be known."""
    with ExitStack() as stack:
        ports = {
            version: stack.enter_context(running_server(descriptors, "--reflection", version))
            for version in ("v1", "v1alpha", "off")
        }
        address = {version: f"127.0.0.1:{port}" for version, port in ports.items()}
        yield {
            "V1": Service(address["v1"], "grpc"),
            "V1Alpha": Service(address["v1alpha"], "grpc"),
            "Silent": Service(address["off"], "grpc"),
            "File": Service(address["off"], "grpc", descriptors),
        }


@pytest.fixture
def call(runner: asyncio.Runner, services: dict[str, Service]) -> Iterator[Calls]:
    participants = Participants(services=services, max_response_bytes=LIMIT)
    executor = RpcExecutor.connect(participants)
    yield Calls(runner, executor)
    runner.run(executor.close())


def shop(method: str, service: str = "V1") -> dict[str, Any]:
    return {"service": service, "method": f"shop.v1.Shop/{method}"}


def failed(outcome: Outcome) -> tuple[str, str, bool, Applied]:
    assert outcome.error is not None, outcome
    return outcome.error.type, outcome.error.code, outcome.retryable, outcome.applied


@pytest.mark.parametrize("service", ["V1", "V1Alpha", "File"])
def test_a_method_is_called_from_json(call: Calls, service: str) -> None:
    outcome = call(shop("Echo", service), {"order_id": "o1", "big": "9007199254740993"})
    assert outcome.succeeded, outcome
    assert outcome.output["order_id"] == "o1"
    assert outcome.output["big"] == "9007199254740993"
    assert outcome.details["status"] == "OK"
    assert outcome.details["metadata"]["x-served"] == "yes"


@pytest.mark.parametrize("code", list(StatusCode)[1:], ids=lambda code: str(code.name))
def test_every_status(call: Calls, code: StatusCode) -> None:
    outcome = call(shop("Fail"), {"code": code.value[0], "message": "so it is"})
    meaning = MEANINGS[code]
    assert failed(outcome) == ("GrpcStatus", code.name, meaning.retryable, meaning.applied)
    assert outcome.error
    assert outcome.error.message == (f"V1 shop.v1.Shop/Fail ended with {code.name}: so it is")


def test_the_key_the_deadline_and_the_metadata_go_along(
    runner: asyncio.Runner, services: dict[str, Service]
) -> None:
    service = replace(services["V1"], metadata={"Tenant": "acme", "x-both": "service"})
    executor = RpcExecutor.connect(Participants(services={"V1": service}))
    metadata = {"x-both": "task", "X-Number": 7, "x-flag": True}
    outcome = Calls(runner, executor)({**shop("Look"), "metadata": metadata}, timeout=30)
    runner.run(executor.close())
    seen = outcome.output["metadata"]
    assert seen["idempotency-key"] == KEY
    wanted = {"tenant": "acme", "x-both": "task", "x-number": "7", "x-flag": "true"}
    assert wanted.items() <= seen.items()
    assert 20 < outcome.output["seconds_left"] < 31


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"Idempotency-Key": "x"}, "is set by the platform"),
        ({"grpc-timeout": "1S"}, "belongs to the protocol"),
        ({"blob-bin": "eA=="}, "not supported"),
        ({"a b": "x"}, "letters, digits"),
        ({"a": "é"}, "printable ASCII"),
        ({"a": ["x"]}, "a string, a number or a boolean"),
        ({"a": "x", "A": "y"}, "stands there twice"),
    ],
)
def test_metadata_that_cannot_be_sent_is_refused(
    call: Calls, metadata: dict[str, Any], why: str
) -> None:
    outcome = call({**shop("Look"), "metadata": metadata})
    assert failed(outcome) == ("InvalidConfig", "", False, Applied.NO)
    assert outcome.error
    assert why in outcome.error.message


def test_channels_are_used_again(call: Calls) -> None:
    peers = {call(shop("Look")).output["peer"] for _ in range(3)}
    assert len(peers) == 1


ORDER: dict[str, Any] = {
    "order_id": "ü 1",
    "small": -1,
    "big": "-9223372036854775808",
    "huge": "18446744073709551615",
    "single": 0.1,
    "exact": 0.1,
    "paid": True,
    "blob": "AP/+",
    "color": "RED",
    "item": {"sku": "s", "price": {"currency": "EUR", "units": "7"}},
    "items": [{"sku": "a"}, {"sku": "b"}],
    "numbers": [1, 2],
    "counts": {"a": "1"},
    "by_place": {"7": {"sku": "x"}},
    "card": "4111",
    "note": "",
    "at": "2026-11-26T19:00:00.123456789Z",
    "wait": "1.500s",
    "maybe": "0",
    "free": {"a": [1, None, {"b": "c"}]},
    "any": {"@type": "type.googleapis.com/shop.v1.Money", "currency": "EUR", "units": "3"},
    "mask": "orderId,item.sku",
    "maybe_blob": "AA==",
}


@pytest.mark.parametrize("service", ["V1", "File"])
def test_every_kind_of_field_comes_back_as_it_went(call: Calls, service: str) -> None:
    outcome = call(shop("Echo", service), ORDER)
    assert outcome.succeeded, outcome
    for name, value in ORDER.items():
        sent = [value] if not isinstance(value, list) else value
        got = outcome.output[name]
        for part, other in zip(sent, got if isinstance(got, list) else [got], strict=True):
            assert_holds(other, part)


def assert_holds(got: Any, sent: Any) -> None:
    """Whatever was sent is in what came back, beside fields that have their defaults."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            assert_holds(got[key], value)
    else:
        assert got == sent


def test_other_spellings_of_the_same(call: Calls) -> None:
    sent = {"orderId": "o", "big": 7, "color": 1, "blob": "_w", "items": None, "exact": "NaN"}
    output = call(shop("Echo"), sent).output
    got = [output[name] for name in ("order_id", "big", "color", "blob", "items", "exact")]
    assert got == ["o", "7", "RED", "/w==", [], "NaN"]


def test_fields_without_a_value_are_there_to_be_referred_to(call: Calls) -> None:
    output = call(shop("Echo")).output
    assert (output["order_id"], output["big"], output["items"]) == ("", "0", [])
    for absent in ("item", "card", "note", "at"):  # these tell absence from emptiness
        assert absent not in output


@pytest.mark.parametrize(
    ("input", "path"),
    [
        ({"oder_id": 1}, "input.oder_id: shop.v1.Order has no such field; its fields are: order_"),
        ({"item": {"price": {"x": 1}}}, "input.item.price.x: "),
        ({"items": [{}, {"x": 1}]}, "input.items[1].x: "),
        ({"by_place": {"1": {"x": 1}}}, "input.by_place.1.x: "),
        ({"any": {"@type": "x/shop.v1.Money", "x": 1}}, "input.any.x: "),
        ({"any": {"@type": "x/shop.v1.Coin"}}, "there is no message type 'shop.v1.Coin'"),
        ({"order_id": 1}, "order_id"),
        ({"order_id": "\ud800"}, "order_id"),
        ({"orderId": "a", "order_id": "b"}, "input.order_id: is the same field as 'orderId'"),
        ({"small": 2**31}, "small"),
        ({"small": 1.5}, "small"),
        ({"huge": -1}, "huge"),
        ({"paid": 1}, "paid"),
        ({"paid": "true"}, "paid"),
        ({"exact": 2**53 + 1}, "input.exact: 9007199254740993 cannot be kept exactly in a double"),
        ({"exact": True}, "input.exact: must be a number"),
        ({"single": 0.123456789}, "input.single: 0.123456789 cannot be kept exactly in a float"),
        ({"single": 1e39}, "input.single: "),
        ({"blob": "not base64!"}, "input.blob: must be bytes as base64 text"),
        ({"maybe_blob": "AA=A"}, "input.maybe_blob: must be bytes as base64 text"),
        ({"color": "GREEN"}, "GREEN"),
        ({"color": 1.9}, "input.color: "),
        ({"item": []}, "input.item: must be an object: a shop.v1.Item"),
        ({"items": {}}, "input.items: must be an array"),
        ({"items": [None]}, "items"),
        ({"numbers": [None]}, "numbers"),
        ({"counts": []}, "input.counts: must be an object"),
        ({"card": "x", "cash": {}}, "payment"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-11-26T19:00:00.1234567891Z"}, "at"),
        ({"free": {"a": [2**53 + 1]}}, "input.free.a[0]: "),
    ],
)
def test_what_is_no_such_message_is_refused_by_name(
    call: Calls, input: dict[str, Any], path: str
) -> None:
    outcome = call(shop("Echo"), input)
    assert failed(outcome) == ("InvalidParams", "", False, Applied.NO)
    assert outcome.error
    assert path in outcome.error.message


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (shop("Pay"), "shop.v1.Shop has no method 'Pay'; it has: Echo, Deduct, Fail, "),
        (shop("Pay", "File"), "shop.v1.Shop has no method 'Pay'; it has: Echo, Deduct, Fail, "),
        ({"service": "V1", "method": "shop.Shop/Echo"}, "there is no service 'shop.Shop'; the"),
        ({"service": "File", "method": "shop.Shop/Echo"}, "there are: shop.v1.Shop"),
        ({"service": "V1", "method": "Echo"}, "'Echo' is not like package.Service/Method"),
        (shop("Watch"), "shop.v1.Shop/Watch is a streaming method"),
        (shop("Upload", "File"), "shop.v1.Shop/Upload is a streaming method"),
        (shop("Echo", "Silent"), "the server has no reflection; give the service a `descriptor_"),
    ],
)
def test_what_cannot_be_called_is_refused(call: Calls, config: dict[str, Any], why: str) -> None:
    outcome = call(config)
    assert failed(outcome) == ("InvalidConfig", "", False, Applied.NO)
    assert outcome.error
    assert why in outcome.error.message


def test_a_descriptor_set_that_is_none(
    runner: asyncio.Runner, services: dict[str, Service], tmp_path: Path
) -> None:
    (tmp_path / "garbage").write_bytes(b"\xff\xff")
    compile_protos(tmp_path / "partial", "shop.proto", imports=False)
    faults = {
        "absent": "cannot be read: No such file",
        "garbage": "is not a descriptor set; make one with: protoc --include_imports",
        "partial": "lack google/protobuf/any.proto, google/protobuf/duration.proto",
    }
    for name, why in faults.items():
        service = replace(services["File"], descriptor_set=tmp_path / name)
        executor = RpcExecutor.connect(Participants(services={"File": service}))
        outcome = Calls(runner, executor)(shop("Echo", "File"))
        runner.run(executor.close())
        assert failed(outcome) == ("InvalidConfig", "", False, Applied.NO)
        assert outcome.error
        assert why in outcome.error.message


def test_what_an_error_says_beyond_its_status(call: Calls) -> None:
    outcome = call(shop("Fail"), {"code": 8, "message": "busy", "retry_seconds": 7})
    assert outcome.retry_after == 7
    assert outcome.details["metadata"] == {"x-note": "busy"}
    retry, info = outcome.details["status_details"]
    assert retry["retry_delay"] == "7s"
    assert (info["reason"], info["domain"]) == ("BUSY", "shop")


def test_a_final_error_asks_for_no_retry(call: Calls) -> None:
    outcome = call(shop("Fail"), {"code": 5, "message": "gone", "retry_seconds": 7})
    assert (outcome.retryable, outcome.retry_after) == (False, None)


@pytest.mark.parametrize("size", [{"bytes": LIMIT}, {"bytes": 5_000_000}, {"items": 900}])
def test_an_oversized_reply_is_a_success_that_says_so(call: Calls, size: dict[str, int]) -> None:
    outcome = call(shop("Grow"), size)
    assert outcome.succeeded, outcome
    assert outcome.output == {
        "unreadable": f"the reply is longer than {LIMIT} bytes (max_response_bytes)"
    }


def test_a_reply_that_no_channel_takes_may_have_followed_an_effect(call: Calls) -> None:
    outcome = call(shop("Grow"), {"bytes": MAX_MESSAGE_BYTES})
    assert failed(outcome) == ("GrpcStatus", "RESOURCE_EXHAUSTED", False, Applied.MAYBE)


def test_a_timeout_after_sending_may_have_taken_effect(call: Calls) -> None:
    assert call(shop("Echo")).succeeded  # the reflection is known
    outcome = call(shop("Stall"), timeout=0.3)
    assert failed(outcome) == ("Timeout", "", True, Applied.MAYBE)


def test_a_timeout_while_connecting_had_no_effect(
    runner: asyncio.Runner, full_port: int, descriptors: Path
) -> None:
    service = Service(f"127.0.0.1:{full_port}", "grpc", descriptors)
    executor = RpcExecutor.connect(Participants(services={"Full": service}))
    outcome = Calls(runner, executor)(shop("Echo", "Full"), timeout=0.3)
    runner.run(executor.close())
    assert failed(outcome) == ("Timeout", "", True, Applied.NO)


@pytest.mark.parametrize("with_file", [True, False])
def test_a_server_that_is_down_and_comes_back(
    runner: asyncio.Runner, closed_port: int, descriptors: Path, with_file: bool
) -> None:
    service = Service(f"127.0.0.1:{closed_port}", "grpc", descriptors if with_file else None)
    executor = RpcExecutor.connect(Participants(services={"Down": service}))
    call = Calls(runner, executor)
    for _ in range(2):
        outcome = call(shop("Echo", "Down"))
        assert failed(outcome) == ("ConnectionFailed", "UNAVAILABLE", True, Applied.NO)
        assert outcome.error
        assert "refused" in outcome.error.message
    with running_server(descriptors, "--port", str(closed_port)):
        eventually(lambda: call(shop("Echo", "Down")).succeeded, "the server is found again")
    runner.run(executor.close())


def test_a_crash_during_the_call_may_have_taken_effect(
    runner: asyncio.Runner, descriptors: Path
) -> None:
    with running_server(descriptors) as port:
        services = {"V1": Service(f"127.0.0.1:{port}", "grpc")}
        executor = RpcExecutor.connect(Participants(services=services))
        outcome = Calls(runner, executor)(shop("Crash"))
        runner.run(executor.close())
    assert failed(outcome) == ("GrpcStatus", "UNAVAILABLE", True, Applied.MAYBE)


def test_reflection_is_asked_again_when_a_method_or_a_field_is_missing(
    runner: asyncio.Runner, descriptors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_service, "_FRESH", 0.0)
    (tmp_path / "shop.proto").write_text(
        (PROTOS / "shop.proto")
        .read_text()
        .replace("service Shop {", "service Shop {\n  rpc Again(Order) returns (Order);")
        .replace("message Order {", "message Order {\n  string gift = 99;")
    )
    newer = compile_protos(tmp_path / "newer", str(tmp_path / "shop.proto"))
    with running_server(descriptors) as port:
        services = {"V1": Service(f"127.0.0.1:{port}", "grpc")}
        executor = RpcExecutor.connect(Participants(services=services))
        call = Calls(runner, executor)
        assert call(shop("Echo")).succeeded
        assert failed(call(shop("Again")))[0] == "InvalidConfig"
    with running_server(newer, "--port", str(port)):
        assert call(shop("Again")).succeeded
        assert call(shop("Echo"), {"gift": "x"}).output["gift"] == "x"
    runner.run(executor.close())


def test_fields_of_a_reply_that_nobody_described_are_named(
    runner: asyncio.Runner, services: dict[str, Service], tmp_path: Path
) -> None:
    (tmp_path / "shop.proto").write_text(
        (PROTOS / "shop.proto").read_text().replace("  optional string note = 17;", "")
    )
    older = compile_protos(tmp_path / "older", str(tmp_path / "shop.proto"))
    service = replace(services["File"], descriptor_set=older)
    executor = RpcExecutor.connect(Participants(services={"Old": service}))
    outcome = Calls(runner, executor)(
        {"service": "Old", "method": "shop.v1.Shop/Grow"}, {"bytes": 1, "items": 1}
    )
    runner.run(executor.close())
    assert outcome.succeeded
    assert outcome.details["unknown_fields"] == ["17"]


def test_the_environment_names_no_proxy(
    call: Calls, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    assert call(shop("Echo")).succeeded


def test_many_calls_at_once(call: Calls) -> None:
    outcomes = call.together(*(call.later(shop("Echo"), {"small": n}) for n in range(100)))
    assert [outcome.output["small"] for outcome in outcomes] == list(range(100))
