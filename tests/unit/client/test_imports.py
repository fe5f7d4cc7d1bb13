"""What importing the client does not bring with it: the server and all that it needs."""

import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "alembic", "celery", "dagster", "fastapi", "grpc", "sqlalchemy", "uvicorn")

MOST_MODULES = 370  # of the standard library, requests and pydantic


@pytest.mark.parametrize(
    "statement",
    ["from dist_task_pipelines import Client", "from dist_task_pipelines.client import *"],
)
def test_the_client_comes_without_the_server(statement: str) -> None:
    assert imported_by(statement) == []


def test_the_transport_for_tests_comes_without_the_server() -> None:
    statements = (
        "from dist_task_pipelines import Client",
        "from dist_task_pipelines.testing import InMemoryTransport",
        "transport = InMemoryTransport()",
        "transport.add_flow('shop', 'deduct')",
        "Client(transport=transport).submit('shop', 'order_1').wait()",
    )
    assert imported_by("\n".join(statements)) == []


def test_the_client_brings_few_modules() -> None:
    """A count, not a time: what a script pays before its first line."""
    statements = (
        "import sys",
        "before = set(sys.modules)",  # coverage's, where it is measured
        "from dist_task_pipelines import Client",
        "print(len(set(sys.modules) - before))",
    )
    assert int(output_of("\n".join(statements))) <= MOST_MODULES


def imported_by(statements: str) -> list[str]:
    """The heavy packages that a process has imported after these statements."""
    code = f"{statements}\nimport sys\nprint(*sorted({set(HEAVY)} & set(sys.modules)))"
    return output_of(code).split()


def output_of(code: str) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
