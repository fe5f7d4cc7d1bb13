"""From a reply's bytes to an output. Most cases are shown over HTTP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.executors.capture import captured, too_long, unreadable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_json_comes_back_as_it_was(value: object) -> None:
    wrapped = value if isinstance(value, dict) else {"value": value}
    assert dumps(captured(dumps(value).encode(), "application/json")) == dumps(wrapped)


@given(st.binary(), st.sampled_from(["", "application/json", "text/plain; charset=idna", "x"]))
def test_any_bytes_make_an_output(body: bytes, content_type: str) -> None:
    dumps(captured(body, content_type))


@pytest.mark.parametrize(
    ("content_type", "output"),
    [
        ("application/json", {"value": 7}),
        ("APPLICATION/JSON;charset=utf-8", {"value": 7}),
        ("application/vnd.api+json", {"value": 7}),
        ("text/json", {"value": 7}),
        ("application/jsonlines", {"value": "7"}),
        ("text/plain", {"value": "7"}),
        ("", {"value": "7"}),
    ],
)
def test_a_number_is_one_only_where_the_reply_says_so(
    content_type: str, output: dict[str, object]
) -> None:
    assert captured(b"7", content_type) == output


def test_an_empty_object_stays_one() -> None:
    assert captured(b"{}", "text/plain") == {}


def test_what_cannot_be_kept_says_why() -> None:
    assert unreadable(too_long(5)) == {
        "unreadable": "the reply is longer than 5 bytes (max_response_bytes)"
    }
