import re

import pytest

from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows.outputs import MISSING, UnresolvedError, output_path

OUTPUTS: dict[str, JsonObject] = {
    "deduct": {"receipt_no": "r1", "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]},
    "stock": {"wanted": "b", "none": None},
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$.deduct.receipt_no", "r1"),
        ("$['deduct']['receipt_no']", "r1"),
        ("$.stock", OUTPUTS["stock"]),
        ("$.stock.none", None),
        ("$.deduct.items[-1].sku", "b"),
        ("$.deduct.items[*].sku", ["a", "b"]),
        ("$.deduct..n", [1, 2]),
        ("$.deduct.items[?@.sku == $.stock.wanted].n", [2]),
        ("$.deduct.items[?@.n > 5].n", []),
        ("$.deduct.nothing", MISSING),
        ("$.skipped.x", MISSING),
        ("$.skipped", MISSING),
        ("$.deduct.items.sku", MISSING),
    ],
)
def test_what_a_path_finds(text: str, found: JsonValue) -> None:
    assert output_path(text).find(OUTPUTS) == found


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("$.deduct.x", {"deduct"}),
        ("$.deduct[?@.a == $.stock.b || @.c[?@ == $.third.d]]", {"deduct", "stock", "third"}),
    ],
)
def test_the_tasks_that_a_path_reads(text: str, tasks: set[str]) -> None:
    assert output_path(text).tasks == tasks


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a JSONPath: expected"),
        ("deduct.x", "found 'TOKEN_NAME', at column 1"),
        ("$.deduct[", "is not a JSONPath: unexpected end of query"),
        ("$.a.~b", "at column 5"),
        ("$.a | $.b", "is not a JSONPath"),
        ("$.a[?match(@.x, '(a*)*b')]", "is not a JSONPath"),
        ("$.a[?search(@.x, 'b')]", "is not a JSONPath"),
        ("$", "must begin with a task"),
        ("$..x", "must begin with a task"),
        ("$[*].x", "must begin with a task"),
        ("$['a','b'].x", "must begin with a task"),
        ("$.a[?count($..y) == 1]", "must begin with a task"),
    ],
)
def test_paths_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as raised:
        output_path(text)
    assert "\n" not in str(raised.value)


def test_an_output_that_could_not_be_kept_is_named() -> None:
    with pytest.raises(UnresolvedError, match="'deduct' could not be kept: 9 MB"):
        output_path("$.stock[?@ == $.deduct.x]").find({"deduct": {"unreadable": "9 MB"}})


def test_a_path_that_cannot_be_evaluated_is_named() -> None:
    deep: JsonValue = 1
    for _ in range(200):
        deep = [deep]
    with pytest.raises(UnresolvedError, match=r"\$\.a\.\.x cannot be evaluated"):
        output_path("$.a..x").find({"a": {"b": deep}})
