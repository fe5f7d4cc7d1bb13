"""Idempotency keys and fingerprints."""

import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.keys import fingerprint, idempotency_key

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def test_a_key_names_the_transaction_and_the_task() -> None:
    assert idempotency_key("order_1", "deduct") == "order_1:deduct"
    assert idempotency_key("a:b/c d", "t") == "a%3Ab%2Fc%20d:t"


@given(ids, ids)
def test_a_key_can_stand_in_any_header_and_be_read_back(transaction: str, task: str) -> None:
    key = idempotency_key(transaction, task)
    assert set(key) <= set(string.ascii_letters + string.digits + "_.-~%:")
    assert [unquote(part) for part in key.split(":")] == [transaction, task]


def of_message(message: str) -> str:
    return fingerprint("payment", "deduct", "HttpStatus", "500", message)


@pytest.mark.parametrize(
    ("message", "same"),
    [
        ("no account 17", "no account 9923"),
        ("timeout after 2.5 s", "timeout after 30.25 s"),
        ("10.0.0.1:8080 refused", "10.0.0.2:9090 refused"),
        ("order 4bf92f3577b34da6a3ce", "order 00f067aa0ba902b7dead"),
        (
            "order_0189a7c2-1f00-7abc-8def-0123456789ab is gone",
            "order_ffffffff-ffff-4fff-bfff-ffffffffffff is gone",
        ),
    ],
)
def test_numbers_and_ids_do_not_count(message: str, same: str) -> None:
    assert of_message(message) == of_message(same)


def test_everything_else_counts() -> None:
    causes = [
        ("payment", "deduct", "HttpStatus", "500", "busy"),
        ("refund", "deduct", "HttpStatus", "500", "busy"),
        ("payment", "notify", "HttpStatus", "500", "busy"),
        ("payment", "deduct", "Timeout", "500", "busy"),
        ("payment", "deduct", "HttpStatus", "502", "busy"),
        ("payment", "deduct", "HttpStatus", "500", "gone"),
    ]
    assert len({fingerprint(*cause) for cause in causes}) == len(causes)


@given(st.text(max_size=200))
def test_a_fingerprint_is_32_hex_digits_of_any_text(message: str) -> None:
    found = of_message(message)
    assert len(found) == 32
    assert set(found) <= set(string.hexdigits)
    assert of_message(message) == found


def test_a_lone_surrogate_has_a_fingerprint() -> None:
    assert of_message("\ud800") != of_message("\udfff")
