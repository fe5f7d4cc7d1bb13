"""The README's blocks, run as they are printed, at this machine's ports."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.fixtures import BROKER_PORT, ROOT, served
from tests.services import free_port
from tests.services.platform import Platform, child_environment
from tests.services.waiting import eventually

README = (ROOT / "README.md").read_text()
GREETER_PORT = free_port()
PATIENCE = 120  # seconds, for one block

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TIME = re.compile(r"\d\d:\d\d:\d\d")


def block(language: str, words: str) -> str:
    """The README's only block in this language that holds these words."""
    [found] = [text for kind, text in _BLOCK.findall(README) if kind == language and words in text]
    return str(found)


GREETER = block("python", "Greeter")


def console() -> list[tuple[str, str]]:
    """The commands that the README shows, and what it says that they print."""
    shown = block("console", "dist-task").split("$ ")[1:]
    return [(command, said) for command, _, said in (each.partition("\n") for each in shown)]


@pytest.fixture(scope="module", autouse=True)
def folder(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the reader is, with the README's files and its participant."""
    folder = tmp_path_factory.mktemp("reader")
    for name, text in (("greet.json", block("json", '"greet"')), ("greeter.py", GREETER)):
        (folder / name).write_text(here(text, platform))
    with served(GREETER_PORT, str(folder / "greeter.py")):
        execute(platform, folder, "dist-task flow apply greet.json")
        yield folder


def here(text: str, platform: Platform) -> str:
    """The text with the ports of this machine."""
    ports = {"3000": platform.port, "8000": GREETER_PORT, "8081": BROKER_PORT}
    for printed, port in ports.items():
        text = re.sub(rf"(?<=[: ]){printed}\b", str(port), text)
    return text


def execute(platform: Platform, folder: Path, *command: str) -> str:
    """What a command of the shell, or a program, prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", *command] if len(command) == 1 else command,
        cwd=folder,
        env={
            **child_environment(),
            "PATH": path,
            "HOME": str(folder),
            "DIST_TASK_HOME": str(platform.home),
        },
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    return done.stdout


def run_python(platform: Platform, folder: Path, text: str) -> str:
    """What a program of the README prints."""
    return execute(platform, folder, sys.executable, "-c", here(text, platform))


def as_printed(output: str) -> list[str]:
    """The lines, whatever time it was."""
    return [_TIME.sub("hh:mm:ss", line).rstrip() for line in output.rstrip().splitlines()]


def test_the_first_flow(platform: Platform, folder: Path) -> None:
    for command, said in console():
        assert as_printed(execute(platform, folder, command)) == as_printed(said), command


def test_rest(platform: Platform, folder: Path) -> None:
    answer = json.loads(execute(platform, folder, here(block("bash", "curl"), platform)))
    assert (answer["code"], answer["data"]["flow_id"]) == (0, "greet_v1")
    platform.wait_for("order_2", TransactionStatus.SUCCESS)


def test_python(platform: Platform, folder: Path) -> None:
    said = run_python(platform, folder, block("python", "import Client\n"))
    assert said == "[{'name': 'Ada'}, {'said': 'Hello Ada!'}]\n"


def test_message(platform: Platform, folder: Path) -> None:
    run_python(platform, folder, block("python", "import ClientConfiguration"))
    eventually(lambda: platform.ledger.transactions.find(["order_4"]), "the message is taken in")
    platform.wait_for("order_4", TransactionStatus.SUCCESS)
