"""What an identifier may look like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.errors import InvalidInput
from dist_task_pipelines.domain.ids import check_transaction_id, flow_id, flow_name_fault


@pytest.mark.parametrize(
    "identifier",
    [
        "order_1",
        "x",
        "x" * 128,
        "\U0001f980" * 128,
        "a b",
        "/../'\"%\\;--",
        "x\u0301",
        "a\u200bb",
        "\u4e2d\u6587",
    ],
)
def test_any_text_can_be_a_transaction_id(identifier: str) -> None:
    assert check_transaction_id(identifier) == identifier


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("", "must not be empty"),
        ("x" * 129, "is 129 characters long, the most is 128"),
        (" x", "must not begin or end with white space"),
        ("x\n", "must not begin or end with white space"),
        ("x\u3000", "must not begin or end with white space"),
        ("a\x00b", "must not hold control characters or lone surrogates"),
        ("a\tb", "must not hold control characters or lone surrogates"),
        ("a\x7fb", "must not hold control characters or lone surrogates"),
        ("a\x85b", "must not hold control characters or lone surrogates"),
        ("a\ud800b", "must not hold control characters or lone surrogates"),
    ],
)
def test_what_cannot_be_kept_is_refused(identifier: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_transaction_id(identifier)
    [fault] = caught.value.faults
    assert (fault.path, fault.message) == ("instance_id", message)


@given(st.text(max_size=140))
def test_an_id_that_is_accepted_can_be_sent_anywhere(identifier: str) -> None:
    try:
        check_transaction_id(identifier)
    except InvalidInput:
        return
    assert identifier.encode().decode() == identifier
    assert identifier == identifier.strip() != ""
    assert "\n" not in identifier
    assert "\x00" not in identifier


@pytest.mark.parametrize("name", ["payment", "Pay-out_2", "a", "a" * 100, "x_v", "v1", "x_v1a"])
def test_names_of_flows(name: str) -> None:
    assert flow_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "must begin with a letter"),
        ("1a", "must begin with a letter"),
        ("_a", "must begin with a letter"),
        ("a b", "must begin with a letter"),
        ("a\n", "must begin with a letter"),
        ("caf\u00e9", "must begin with a letter"),
        ("a" * 101, "is 101 characters long, the most is 100"),
        ("pay_v1", "must not end in '_v' and digits"),
        ("pay-v12", "must not end in '_v' and digits"),
    ],
)
def test_names_that_flows_cannot_have(name: str, message: str) -> None:
    assert message in (flow_name_fault(name) or "")


def test_a_flow_id_is_an_identifier() -> None:
    assert flow_id("pay-out", 12) == "pay_out_v12"
    assert flow_id("pay-out", 12).isidentifier()


@given(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True),
    st.integers(1, 99),
    st.integers(1, 99),
)
def test_flow_ids_are_unique_but_for_hyphens(a: str, b: str, x: int, y: int) -> None:
    if flow_name_fault(a) or flow_name_fault(b):
        return
    same = (a.replace("-", "_"), x) == (b.replace("-", "_"), y)
    assert (flow_id(a, x) == flow_id(b, y)) == same
