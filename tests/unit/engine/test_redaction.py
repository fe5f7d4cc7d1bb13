"""Secrets are found in whatever way they are repeated, and before anything is cut."""

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.json import JsonObject, dumps
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.engine.redaction import (
    DETAILS_BYTES,
    MESSAGE_BYTES,
    clip,
    fitted,
    presentable,
)

SECRET = "hunter2/ü'\"$&?>"


def failed(message: str, **details: object) -> Outcome:
    return Outcome.failure("X", message, retryable=False, applied=Applied.NO, details=dict(details))


def shown(outcome: Outcome) -> str:
    return dumps([outcome.output, outcome.details]) + repr(outcome.error)


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_base64_does_not_hide_a_secret(before: str, after: str) -> None:
    plain = f"{before}{SECRET}{after}".encode()
    for text in (b64encode(plain).decode(), urlsafe_b64encode(plain).decode()):
        outcome = presentable(failed(f"not for you: {text}"), {SECRET})
        assert outcome.error
        assert outcome.error.message.startswith("not for you: ")
        assert "[redacted]" in outcome.error.message
        assert b64encode(SECRET.encode()[3:9]).decode() not in outcome.error.message


@pytest.mark.parametrize(
    "form", [SECRET, quote(SECRET), quote_plus(SECRET), dumps(SECRET), repr(SECRET)]
)
@pytest.mark.parametrize("place", [*range(MESSAGE_BYTES - 40, MESSAGE_BYTES + 1, 3), 300, 310])
def test_a_secret_at_the_end_of_what_is_kept_is_not_cut_in_two(form: str, place: int) -> None:
    long = "x" * (place - 5) + form + "y" * 5000
    outcome = presentable(failed(long, headers={"A": long, "B": form}, reply=long), {SECRET})
    assert "hunt" not in shown(outcome)
    assert len(dumps(outcome.details)) <= DETAILS_BYTES


def test_what_is_short_is_kept_as_it_is() -> None:
    outcome = failed("no money", status=402, headers={"A": "b"}, reply={"error": "no money"})
    assert presentable(outcome, {"other secret"}) == outcome


def test_long_words_are_cut_and_say_so() -> None:
    outcome = fitted(failed("x" * 10_000))
    assert outcome.error
    assert len(outcome.error.message) <= MESSAGE_BYTES
    assert outcome.error.message.endswith("... (10000 characters)")


def test_each_detail_has_its_share_of_the_room() -> None:
    headers = {f"X-{number}": "\N{PILE OF POO}" * 500 for number in range(8)}
    reply: JsonObject = {"error": "é" * 900, "value": [1] * 900}
    details = fitted(failed("", status=400, headers=headers, reply=reply, duration_ms=1)).details
    assert len(dumps(details)) <= DETAILS_BYTES
    assert (details["status"], details["duration_ms"]) == (400, 1)
    assert details["headers"]["..."].endswith(" more")
    assert details["headers"]["X-0"].endswith("... (500 characters)")
    assert details["reply"]["..."] == "1 more"


def test_the_output_is_never_cut() -> None:
    output = {"value": "x" * 100_000}
    assert fitted(Outcome.success(output)).output == output


def test_details_that_are_no_json_are_left_to_those_who_keep_them() -> None:
    odd: JsonObject = {"a": float("nan")}
    assert presentable(Outcome.success({}, **odd), {SECRET}).succeeded


@given(st.dictionaries(st.text(max_size=50), st.recursive(st.text(), st.lists), max_size=30))
def test_details_always_fit(details: JsonObject) -> None:
    many = {key: [value] * 50 for key, value in details.items()}
    assert len(dumps(fitted(failed("", **{"all": many})).details)) <= DETAILS_BYTES


@given(st.text(st.characters() | st.sampled_from("\N{PILE OF POO}\ud800\n")), st.integers(40, 300))
def test_a_clipped_text_fits(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(dumps(clipped)) <= limit
    assert clipped == text or clipped.endswith(f"... ({len(text)} characters)")
