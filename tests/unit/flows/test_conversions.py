import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.errors import InvalidParams
from dist_task_pipelines.domain.flow import InputField
from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.flows import convert
from dist_task_pipelines.flows.conversions import CONVERTERS
from tests.unit.flows.conversion_table import ACCEPTED, REFUSED

EVERY_ACCEPTED = [(type, given, made) for type, rows in ACCEPTED.items() for given, made in rows]
EVERY_REFUSED = [(type, given) for type, rows in REFUSED.items() for given in rows]
MORE_ACCEPTED: list[tuple[str, JsonValue, JsonValue]] = [
    ("string", 2.0, "2"),  # numbers by value, however they were written
    ("string", -0.0, "0"),
    ("string", 1e-7, "0.0000001"),
    ("string", 1e23, "100000000000000000000000"),
    ("int", 1.2345678901234568e18, 1234567890123456800),
    ("float", 2**53, 9007199254740992.0),
    ("float", 10**23, 1e23),
    ("float", ".5", 0.5),
    ("float", "+5.", 5.0),
    ("bool", 1.0, True),
    ("[]string", [""], [""]),
    ("object", '{"b":1,"a":2}', {"b": 1, "a": 2}),
    ("time", 1706695200.5, "2024-01-31T10:00:00.500000+00:00"),
    ("time", 1706695200.0, "2024-01-31T10:00:00+00:00"),
    ("time", "2024-01-31t10:00:00z", "2024-01-31T10:00:00+00:00"),
    ("time", "2024-01-31T10:00:00.123456000Z", "2024-01-31T10:00:00.123456+00:00"),
]
MORE_REFUSED: list[tuple[str, JsonValue]] = [
    ("string", float("nan")),
    ("int", float("inf")),
    ("int", 10**400),
    ("int", "1" * 5000),
    ("int", "٣"),
    ("int", "12\n"),
    ("float", 2**53 + 1),
    ("float", "9007199254740993"),
    ("float", 10**400),
    ("float", "1e-400"),
    ("float", "0e99999999999999999999"),
    ("float", float("nan")),
    ("object", '{"a":1,"a":2}'),
    ("array", "[1e400]"),
    ("time", "2024-01-31T10:00:00.1234567Z"),
    ("time", 0.0000001),
    ("time", 1e300),
    ("time", 10**400),
    ("time", "0001-01-01T00:00:00+08:00"),
    ("time", "20240131"),
    ("time", "2024-01-31T10:00:00Z\n"),
]
TYPES_WITHOUT_NULL = sorted(CONVERTERS)


def as_type(type: str, value: JsonValue) -> JsonValue:
    return convert(InputField("f", type), value)


@pytest.mark.parametrize(("type", "given", "made"), EVERY_ACCEPTED + MORE_ACCEPTED)
def test_a_value_becomes_the_type(type: str, given: JsonValue, made: JsonValue) -> None:
    assert json.dumps(as_type(type, given)) == json.dumps(made)  # tells 1, 1.0 and true apart


@pytest.mark.parametrize(("type", "given"), EVERY_REFUSED + MORE_REFUSED)
def test_a_value_that_would_lose_something_is_refused(type: str, given: JsonValue) -> None:
    with pytest.raises(InvalidParams) as raised:
        as_type(type, given)
    assert [fault.path for fault in raised.value.faults] == ["f"]


@pytest.mark.parametrize("type", TYPES_WITHOUT_NULL)
def test_null_is_no_value_of_any_type(type: str) -> None:
    with pytest.raises(InvalidParams, match="null"):
        as_type(type, None)


def test_a_refused_item_of_a_list_is_named() -> None:
    with pytest.raises(InvalidParams, match="item 1: must be an integer, not 'x'"):
        as_type("[]int", [1, "x"])


def test_a_text_that_is_not_json_is_refused_with_the_place() -> None:
    with pytest.raises(InvalidParams, match="line 1 column 2"):
        as_type("object", "{x}")


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive_as_text_and_back(number: int) -> None:
    assert as_type("int", as_type("string", number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_as_text_and_back(number: float) -> None:
    assert as_type("float", as_type("string", number)) == number


@given(st.integers())
def test_an_integer_becomes_a_float_of_the_same_value_or_none(number: int) -> None:
    try:
        made = as_type("float", number)
    except InvalidParams:
        assert abs(number) > 2**53
    else:
        assert as_type("string", made) == str(number)


@given(st.text(), st.sampled_from(["string", "*"]))
def test_text_stays_as_it_is(text: str, type: str) -> None:
    assert as_type(type, text) == text


@given(st.sampled_from(TYPES_WITHOUT_NULL), st.data())
def test_a_converted_value_converts_to_itself(type: str, data: st.DataObject) -> None:
    leaves: st.SearchStrategy[Any] = (
        st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.none()
        | st.datetimes().map(lambda moment: moment.isoformat())
    )
    value = data.draw(st.recursive(leaves, st.lists, max_leaves=4))
    try:
        made = as_type(type, value)
    except InvalidParams:
        return
    assert repr(as_type(type, made)) == repr(made)
