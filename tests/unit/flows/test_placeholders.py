import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.flows.placeholders import (
    Placeholder,
    Source,
    escaped,
    parse,
    placeholders,
    written,
)

ITEM = Placeholder("${input.x}", Source.INPUT, ("x",))
SECRET = Placeholder("${secret.KEY}", Source.SECRET, ("KEY",))

tricky = st.text(alphabet="${}.xinput", max_size=12)
pieces = st.lists(tricky | st.sampled_from([ITEM, SECRET]), max_size=5)


@pytest.mark.parametrize(
    ("text", "placeholder"),
    [
        ("${input.x.y z}", Placeholder("${input.x.y z}", Source.INPUT, ("x", "y z"))),
        (
            "${tasks.deduct.output.a.b}",
            Placeholder("${tasks.deduct.output.a.b}", Source.OUTPUT, ("a", "b"), "deduct"),
        ),
        ("${secret.API_KEY}", Placeholder("${secret.API_KEY}", Source.SECRET, ("API_KEY",))),
    ],
)
def test_the_forms_of_a_placeholder(text: str, placeholder: Placeholder) -> None:
    assert parse(text) == (placeholder,)


@pytest.mark.parametrize(
    "text",
    [
        "${}",
        "${input}",
        "${input.}",
        "${input.a..b}",
        "${inputs.x}",
        "${tasks.a.output}",
        "${tasks.a.x}",
        "${tasks..output.x}",
        "${secret.a-b}",
        "${secret.}",
        "${HOME}",
        "${ input.x}",
        "${input.x",
        "${input.${input.x}}",
    ],
)
def test_other_forms_are_unknown(text: str) -> None:
    assert Source.UNKNOWN in [placeholder.source for placeholder in placeholders(text)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("",)),
        ("$5 {x} }", ("$5 {x} }",)),
        ("a ${input.x} b", ("a ", ITEM, " b")),
        ("${input.x}${input.x}", (ITEM, ITEM)),
        ("$${input.x}", ("${input.x}",)),
        ("$$${input.x}", ("$", ITEM)),
        ("$$$${input.x}", ("$${input.x}",)),
        ("$$$$$$$${input.x}", ("$$$${input.x}",)),
        ("$$ ${input.x}", ("$$ ", ITEM)),
    ],
)
def test_two_dollars_before_a_brace_stand_for_one(
    text: str, parts: tuple[str | Placeholder, ...]
) -> None:
    assert parse(text) == parts


@given(pieces)
def test_what_is_written_parses_into_the_same(pieces: list[str | Placeholder]) -> None:
    expected: list[str | Placeholder] = []
    for piece in pieces:
        if isinstance(piece, str) and expected and isinstance(expected[-1], str):
            expected[-1] += piece
        elif piece != "":
            expected.append(piece)
    assert parse(written(pieces)) == tuple(expected or [""])


@given(tricky)
def test_an_escaped_text_parses_into_itself(text: str) -> None:
    assert parse(escaped(text)) == (text,)


def test_strings_are_escaped_at_any_depth_and_keys_are_left() -> None:
    assert escaped({"${a}": ["${b}", 1, None]}) == {"${a}": ["$${b}", 1, None]}


@pytest.mark.timeout(60)
def test_long_runs_of_dollars_take_linear_time() -> None:
    text = "$" * 2_000_000  # would take hours if each dollar looked at all that follow
    assert escaped(text + "${") == text * 2 + "$${"
    assert parse(text + " ${input.x}") == (text + " ", ITEM)
    assert written([text + " ", SECRET]) == text + " ${secret.KEY}"
