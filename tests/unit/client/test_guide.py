"""docs/client.md: its programs run as printed, its tree of errors is the code's."""

import re
import textwrap
from pathlib import Path
from typing import Any

from dist_task_pipelines import client
from dist_task_pipelines.client import errors
from dist_task_pipelines.testing import InMemoryTransport

GUIDE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


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
    for name in re.findall(r"`(?:client|transport)\.(\w+)", GUIDE):
        assert name in dir(client.Client("http://x:1")) or name in dir(InMemoryTransport())
