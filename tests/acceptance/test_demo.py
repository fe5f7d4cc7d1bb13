"""The demo as a newcomer runs it: a process of its own, with its own folder and port."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.services import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds, for a demo that is told to end
IGNORING_SIGINT = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # as a shell's background job

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def start(work: Path) -> Iterator[Start]:
    """A factory of demos: `start(*arguments)`; at the end nothing that they started is left."""
    with ExitStack() as stack:

        def started(*arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "examples.demo", "--work", str(work), *arguments]
            process = subprocess.Popen(
                [*IGNORING_SIGINT, *command],
                cwd=ROOT,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            stack.enter_context(process)
            stack.callback(process.terminate)
            return process

        yield started
    assert processes_of(work) == []


def processes_of(work: Path) -> list[str]:
    """The command lines of all processes that know the demo's folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            with suppress(OSError):  # it ended meanwhile
                about = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                if bytes(work) in about:
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.timeout(420)
def test_every_order_comes_to_its_expected_state_and_every_effect_is_made_once(
    start: Start, work: Path
) -> None:
    process = start("--once", "--port", str(free_port()))
    said, _ = process.communicate()
    assert process.returncode == 0, said
    books, verdict = said.splitlines()[-2:]
    # Of 50 orders 3 are declined, and 2 have no address; 8 go to the carrier that is down at first.
    effects = dict(re.findall(r"([a-z ]+) (?:\d+ calls, )?(\d+) effects", books))
    assert {name.strip(): int(count) for name, count in effects.items()} == {
        "payment": 47,
        "warehouse": 47,
        "fraud check": 47,
        "north": 37,
        "south": 8,
        "rocketmq": 45,
    }
    calls = {name.strip(): int(n) for name, n in re.findall(r"([a-z ]+) (\d+) calls", books)}
    assert calls["payment"] >= 47 + 3 + 1  # declined; the frozen account's second
    assert calls["fraud check"] >= 47 + 5  # those that were answered too late
    assert verdict.startswith(
        "Every order came to its expected state, every effect took place exactly once. It took "
    )
    assert "the account is freed, a person says: dist-task retry order-050" in said
    assert processes_of(work) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_ends_every_process(number: signal.Signals, start: Start) -> None:
    process = start("--port", str(free_port()))
    assert process.stdout
    assert process.stdout.readline().startswith("Starting the participants")
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "Ended, with every process.\n")


def test_when_its_time_is_up_it_says_so_and_ends_every_process(start: Start, work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        process = start("--once", "--timeout", "1", "--port", str(taken))
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"Port {taken} is taken; the Dagster UI will be on " in said
    assert f"not done after 1 s; --timeout allows for more\nThe logs are in {work}.\n" in said
