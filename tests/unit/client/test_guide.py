"""docs/client.md: its programs run as printed, its tree of errors is the code's."""

import re
import textwrap
from collections.abc import Iterator
from functools import reduce
from inspect import signature
from pathlib import Path
from typing import Any

from dist_task_pipelines import client
from dist_task_pipelines.client import errors
from dist_task_pipelines.testing import InMemoryTransport

GUIDE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)

_NAME = re.compile(r"`(client|transport|transaction|[A-Z]\w+|)((?:\.\w+)+)(?:\(([^)]*)\))?")


def test_its_programs_run() -> None:
    transport = InMemoryTransport()
    transport.add_flow("order_flow", "deduct", "notify")
    named: dict[str, Any] = {"transport": transport}
    for text in (text for language, text in BLOCKS if language == "python"):
        exec(text.replace('Client("http://127.0.0.1:3000"', "Client(transport=transport"), named)
    assert [each.id for each in named["client"].transactions()] == ["order_7"]
    assert len(transport.submitted) == 4999


def test_its_errors_are_those_of_the_code() -> None:
    [drawn] = [text for language, text in BLOCKS if not language]
    module = (errors.__doc__ or "").split("\n\n")[1]
    assert textwrap.dedent(module).strip() == drawn.strip()


def test_what_it_names_is_there() -> None:
    transport = InMemoryTransport()
    transport.add_flow("order_flow", "deduct")
    made = client.Client(transport=transport)
    things: dict[str, Any] = {
        "client": made,
        "transport": transport,
        "transaction": made.submit("order_flow", "order_1"),
        "InvalidInput": client.InvalidInput(),
        "Unreachable": client.Unreachable(),
    }
    named = list(names())
    assert {name.partition(".")[0] for name, _ in named} == set(things)
    for name, parameters in named:
        root, *parts = name.split(".")
        found: Any = reduce(getattr, parts, things[root])
        if parameters:
            assert set(parameters) <= set(signature(found).parameters), name


def names() -> Iterator[tuple[str, list[str]]]:
    """The names in the text: `client.flows.get`, and the parameters that stand with them.

    One that begins with a dot is of the same object as the name before it in its line.
    """
    for line in re.sub(r"^```.*?^```", "", GUIDE, flags=re.MULTILINE | re.DOTALL).splitlines():
        owner = ""
        for root, path, given in _NAME.findall(line):
            owner = owner if not root else f"{root}{path}".rpartition(".")[0]
            yield f"{owner}.{path.rpartition('.')[2]}", re.findall(r"\w+", given)
