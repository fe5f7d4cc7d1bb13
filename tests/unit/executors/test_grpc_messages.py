"""JSON to messages and back, without a server: what is taken comes back, the rest is refused."""

import struct
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.errors import InvalidParams
from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.executors.grpc_messages import json_of, least_json_length, message_of
from dist_task_pipelines.executors.grpc_methods import Method, Methods
from tests.services.grpc_server import compile_protos

# Below the largest of all, which protobuf writes as 3.4028235e+38 and then finds too large.
LARGEST = struct.unpack("<f", bytes.fromhex("feff7f7f"))[0]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "order_id": TEXT,
    "small": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "huge": st.integers(0, 2**64 - 1),
    "single": st.floats(-LARGEST, LARGEST, width=32),
    "exact": st.floats(allow_nan=False, allow_infinity=False),
    "paid": st.booleans(),
    "blob": st.binary().map(lambda plain: b64encode(plain).decode()),
    "numbers": st.lists(st.integers(-(2**31), 2**31 - 1)),
    "counts": st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1).map(str)),
    "items": st.lists(st.fixed_dictionaries({"sku": TEXT})),
    "maybe": st.integers(-(2**63), 2**63 - 1),
    "note": TEXT,
}
LONG = {"big", "huge", "maybe"}  # which come back as texts


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Method:
    """A method whose request and reply are of the same type."""
    file = compile_protos(tmp_path_factory.mktemp("protos") / "shop", "shop.proto")
    return Methods.read(file).find("shop.v1.Shop/Echo")


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_what_is_taken_comes_back(echo: Method, value: dict[str, Any]) -> None:
    body = echo.encode(value)
    back: Any = json_of(echo.output.FromString(body), echo.pool)
    assert echo.encode(value) == body, "equal requests make equal bytes"
    assert echo.encode(back) == body, "and so does what came back"
    for name, item in value.items():
        assert same(name, back[name], item)


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_a_message_is_at_least_as_long_as_its_fields_make_it(
    echo: Method, value: dict[str, Any]
) -> None:
    message = echo.output.FromString(echo.encode(value))
    assert least_json_length(message) <= len(dumps(json_of(message, echo.pool)))


def test_the_length_of_a_small_message_with_much_json_is_known_beforehand(echo: Method) -> None:
    message = message_of({"items": [{}] * 30_000}, echo.input, echo.pool)
    assert len(message.SerializeToString()) == 60_000
    assert least_json_length(message) >= 30_000 * len('{"sku":0}')


def same(name: str, got: Any, sent: Any) -> bool:
    if name in LONG:
        got = int(got)
    elif name == "items":
        got = [{"sku": each["sku"]} for each in got]
    elif name == "single":
        got, sent = single(got), single(sent)
    return bool(got == sent)


def single(number: float) -> float:
    """The number as a 32-bit float keeps it; it comes back written the shortest way."""
    (kept,) = struct.unpack("f", struct.pack("f", number))
    return float(kept)


def parsed(echo: Method, name: str, value: Any) -> Any:
    """The field's value in the message, or the words with which it is refused."""
    try:
        return getattr(message_of({name: value}, echo.input, echo.pool), name)
    except InvalidParams as error:
        return error


@given(st.integers() | st.floats(allow_nan=False))
def test_a_double_keeps_a_number_exactly_or_refuses_it(echo: Method, number: float) -> None:
    got = parsed(echo, "exact", number)
    assert got == number or "exact" in str(got)


@given(st.integers(-(2**24), 2**24) | st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_takes_what_it_can_keep(echo: Method, number: float) -> None:
    assert parsed(echo, "single", number) == number


@given(st.integers(-(10**5), 10**5), st.integers(-20, 20))
def test_a_float_takes_what_it_writes_in_the_same_way(
    echo: Method, digits: int, power: int
) -> None:
    number = float(f"{digits}e{power}")
    assert parsed(echo, "single", number) == single(number)


@pytest.mark.parametrize("number", [2**24 + 1, 0.123456789, 1e39, 10**400, float("inf")])
def test_a_float_refuses_what_it_would_change(echo: Method, number: float) -> None:
    assert "single" in str(parsed(echo, "single", number))


@given(st.text(max_size=12) | st.binary().map(lambda plain: b64encode(plain).decode()))
def test_bytes_are_base64_or_refused(echo: Method, text: str) -> None:
    got = parsed(echo, "blob", text)
    if isinstance(got, InvalidParams):
        assert "blob" in str(got)
    else:
        plain = text.replace("-", "+").replace("_", "/").rstrip("=")
        assert b64encode(got).decode().rstrip("=") == plain


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_any_value_of_any_field_is_taken_or_refused_by_name(echo: Method, value: Any) -> None:
    for field in echo.input.DESCRIPTOR.fields:
        got = parsed(echo, field.name, value)
        assert not isinstance(got, InvalidParams) or field.name in str(got)


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Method:
    """A method of a proto2 service."""
    file = compile_protos(tmp_path_factory.mktemp("protos") / "old", "old.proto")
    return Methods.read(file).find("old.v1.Post/Send")


def test_fields_that_proto2_requires_are_named(send: Method) -> None:
    with pytest.raises(InvalidParams) as caught:
        send.encode({"inner": [{"id": "b"}, {"level": "LOW"}]})
    assert [str(fault) for fault in caught.value.faults] == [
        "input.id: is required",
        "input.inner[1].id: is required",
    ]


def test_a_proto2_message_comes_back(send: Method) -> None:
    value = {"id": "a", "inner": [{"id": "b", "level": "LOW"}], "[old.v1.stamp]": "x"}
    back: Any = json_of(send.output.FromString(send.encode(value)), send.pool)
    assert (back["id"], back["inner"][0]["level"], back["[old.v1.stamp]"]) == ("a", "LOW", "x")


@pytest.mark.parametrize("level", ["MIDDLE", 3])
def test_a_closed_enum_takes_its_own_values_only(send: Method, level: Any) -> None:
    with pytest.raises(InvalidParams, match="level"):
        send.encode({"id": "a", "level": level})
