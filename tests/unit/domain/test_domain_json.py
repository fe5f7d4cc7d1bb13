"""JSON in and out without loss, or an error that says why not."""

import json as stdlib_json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import Fault, InvalidJson

texts = st.text() | st.sampled_from(["\ud800", "\x00", "\U0001f980", "x\u0301"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


def faults_of(text: str | bytes) -> tuple[Fault, ...]:
    with pytest.raises(InvalidJson) as caught:
        json.loads(text)
    return caught.value.faults


# In and out


@given(values)
def test_what_goes_out_comes_back_in(value: Any) -> None:
    text = json.dumps(value)
    assert text.isascii()
    back = json.loads(text)
    assert back == value
    assert json.dumps(back) == text, "key order and the kinds of numbers, too"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("1e2", 100.0),
        ("1.10", 1.1),
        ("-0.0", -0.0),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("9007199254740993", 2**53 + 1),
        ('"\\ud800"', "\ud800"),
        ('"\\ud83e\\udd80"', "\U0001f980"),
        ('"\\u0000"', "\x00"),
        (' {"b": 1, "a": [null, true]} ', {"b": 1, "a": [None, True]}),
        (b'{"\xc3\xa9": 1}', {"\u00e9": 1}),
        ('{"a": {"x": 1}, "b": {"x": 1}}', {"a": {"x": 1}, "b": {"x": 1}}),
    ],
)
def test_what_is_accepted(text: str | bytes, value: Any) -> None:
    found = json.loads(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "line 1 column 1", "not valid JSON: Expecting value"),
        ('{"a": 1,\n "b": }', "line 2 column 7", "not valid JSON: Expecting value"),
        ("{'a': 1}", "line 1 column 2", "not valid JSON: Expecting property name"),
        ("[1] 2", "line 1 column 5", "not valid JSON: Extra data"),
        ('"a\nb"', "line 1 column 3", "not valid JSON: Invalid control character"),
        (b'"\xff"', "byte 1", "not valid UTF-8"),
        ("1".encode("utf-16"), "byte 0", "not valid UTF-8"),
        (b'"\xed\xa0\x80"', "byte 1", "not valid UTF-8"),  # a surrogate in UTF-8
        ("NaN", "NaN", "is not a JSON number"),
        ("[-Infinity]", "-Infinity", "is not a JSON number"),
        ("1e400", "1e400", "cannot be kept exactly; send it as a string"),
        ("0.12345678901234567890", "0.12345678901234567890", "cannot be kept exactly"),
        ("9696.244670887117", "9696.244670887117", "cannot be kept exactly"),  # of 16 digits
        ("9007199254740993.0", "9007199254740993.0", "cannot be kept exactly"),
        ("1e-400", "1e-400", "cannot be kept exactly"),
        ("1e-99999999999999999999", "1e-99999999999999999999", "cannot be kept exactly"),
        ("0e99999999999999999999", "0e99999999999999999999", "cannot be kept exactly"),
        ("1" * 4301, "1" * 40, "an integer of more than 4300 digits"),
        ('{"a": 1, "b": 2, "a": 1}', "a", "this key stands twice in one object"),
        ('[{"x": {"a": 1, "\\u0061": 1}}]', "a", "this key stands twice"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str | bytes, path: str, message: str) -> None:
    [fault] = faults_of(text)
    assert fault.path == path
    assert message in fault.message


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_in_its_own_spelling_is_accepted(number: float) -> None:
    found = json.loads(repr(number))
    assert found == number
    assert math.copysign(1, found) == math.copysign(1, number)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=25))
def test_a_fraction_is_kept_by_value_or_refused(number: Any) -> None:
    text = f"{number:f}"
    try:
        found = json.loads(text)
    except InvalidJson:
        assert float(text) != number
    else:
        assert type(number)(repr(found)) == number


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_any_input_is_a_value_or_a_fault(text: str | bytes) -> None:
    try:
        value = json.loads(text)
    except InvalidJson:
        return
    assert json.dumps(value)


# Depth


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


def test_nesting_is_bounded() -> None:
    assert json.loads(nested(64))
    [fault] = faults_of(nested(65))
    assert fault.message == "nested deeper than 64 levels"
    mixed = '{"a":[' * 32 + "1" + "]}" * 32
    assert json.loads(mixed)
    assert faults_of(f"[{mixed}]")
    assert json.loads("[" * 64 + "]" * 64)
    assert faults_of("[" * 65 + "]" * 65), "empty or not"


@pytest.mark.parametrize("text", [nested(100_000), '{"a":' * 100_000, "[" * 100_000])
def test_nesting_without_end_is_a_fault_like_any_other(text: str) -> None:
    assert faults_of(text)


# Out


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, b"x", {1, 2}, object(), {("a",): 1}, [{"x": 1j}]]
)
def test_what_is_not_json_is_not_written(value: Any) -> None:
    with pytest.raises(InvalidJson, match="not a JSON value"):
        json.dumps(value)


def test_what_holds_itself_is_not_written() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidJson, match="not a JSON value"):
        json.dumps(loop)


def test_what_is_nested_without_end_is_not_written() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidJson, match="not a JSON value"):
        json.dumps(value)


def test_a_key_twice_among_very_many_is_found() -> None:
    keys = [f'"k{number}":1' for number in range(100_000)]
    [fault] = faults_of("{" + ",".join([*keys, '"k99999":1']) + "}")
    assert fault.path == "k99999"


# By value

SAME = [
    ("1", "1.0"),
    ("100", "1e2"),
    ("0", "-0.0"),
    ("100000000000000000000000", "1e23"),
    ('{"a": 1, "b": [1.0, 2]}', '{"b": [1, 2.0], "a": 1e0}'),
    ('{"x": {"b": 1, "a": 2}}', '{"x": {"a": 2, "b": 1}}'),
    ('"\\u0061"', '"a"'),
]
DIFFERENT = [
    ("1", '"1"'),
    ("1", "true"),
    ("0", "false"),
    ("null", "false"),
    ("[1, 2]", "[2, 1]"),
    ('{"a": null}', "{}"),
    ("0.1", "0.2"),
    ("9007199254740993", "9007199254740992"),
    ('"x\\u0301"', '"\\u00e9"'),
    ('"\\ud800"', '"\\udfff"'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_ways_to_write_the_same_value_have_one_digest(one: str, other: str) -> None:
    assert json.digest(json.loads(one)) == json.digest(json.loads(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_have_different_digests(one: str, other: str) -> None:
    assert json.digest(json.loads(one)) != json.digest(json.loads(other))


@given(st.dictionaries(texts, values, max_size=6), st.randoms())
def test_key_order_does_not_count(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert json.canonical(dict(items)) == json.canonical(value)


@given(values)
def test_the_canonical_text_is_json_and_its_own_canonical_text(value: Any) -> None:
    text = json.canonical(value)
    assert json.canonical(stdlib_json.loads(text)) == text
