"""Functions and programs as processes of their own."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dist_task_pipelines.orchestration import processes
from dist_task_pipelines.orchestration.processes import (
    CommandProcess,
    ForkedProcess,
    ManagedProcess,
)
from dist_task_pipelines.orchestration.signals import at_stop_signals
from tests.services.waiting import eventually

ENVIRONMENT = {"GREETING": "good morning", "PYTHONPATH": os.pathsep.join(sys.path)}
SOON = 10  # seconds

# From Python 3.12 on it warns of a fork beside threads, as pytest has some by now. The platform
# has none when it forks; what is forked here takes no lock of theirs.
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

Start = Callable[[ManagedProcess], ManagedProcess]


def greet() -> int:
    """Say what the process finds, on both streams, and end with a code of its own."""
    sys.stdout.write(f"{os.environ['GREETING']} {Path.cwd()} {os.environ.get('HOME')}\n")
    sys.stdout.flush()
    sys.stderr.write(f"leads its group: {os.getpid() == os.getpgrp()}\n")
    sys.stderr.write(f"reads {Path('/proc/self/fd/0').readlink()}\n")
    return 3


def wait_for_ever(*, deaf: bool) -> None:
    """End by a signal only; a deaf one by SIGKILL only."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stderr.write("here")
    sys.stderr.flush()
    while True:
        signal.pause()


def chat() -> None:
    """Say the same again and again."""
    while True:
        sys.stderr.write("I say\n")
        sys.stderr.flush()
        time.sleep(0.001)


def fail() -> None:
    """Break."""
    raise LookupError("what was looked for")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process; it is gone in the end."""
    started = []

    def begin(process: ManagedProcess) -> ManagedProcess:
        started.append(process)
        process.start()
        return process

    yield begin
    for process in started:
        process.ask_to_stop()
    for process in started:
        process.end(time.monotonic())


@pytest.fixture(params=["fork", "spawn"], autouse=True)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of starting: that of Linux, and that of the other systems."""
    monkeypatch.setattr(processes, "_context", multiprocessing.get_context(request.param))


@pytest.fixture
def input_of_our_own(tmp_path: Path) -> Iterator[None]:
    """Our standard input is a file, which no child may read away."""
    before = os.dup(0)
    (tmp_path / "input").touch()
    with (tmp_path / "input").open() as file:
        os.dup2(file.fileno(), 0)
    yield
    os.dup2(before, 0)
    os.close(before)


def is_here(process: ManagedProcess) -> bool:
    return "here" in process.log_tail()


@pytest.mark.usefixtures("input_of_our_own")
def test_a_function_finds_what_a_program_would(start: Start, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    process = start(ForkedProcess("say hello", greet, ENVIRONMENT, logs))
    eventually(lambda: process.has_ended, "it ends", SOON)
    said = f"good morning {logs} None\nleads its group: True\nreads /dev/null\n"
    assert (logs / "say_hello.log").read_text() == said


def test_it_is_called_by_its_name(start: Start, tmp_path: Path) -> None:
    before = set(Path("/proc").iterdir())
    process = start(
        ForkedProcess("sleeper 1", partial(wait_for_ever, deaf=False), ENVIRONMENT, tmp_path)
    )
    eventually(lambda: is_here(process), "it runs", SOON)
    new = set(Path("/proc").iterdir()) - before
    names = [name for name in (each / "comm" for each in new) if name.exists()]
    assert "sleeper 1\n" in [name.read_text() for name in names]


def test_what_it_raises_is_in_its_log(start: Start, tmp_path: Path) -> None:
    process = start(ForkedProcess("broken", fail, ENVIRONMENT, tmp_path))
    eventually(lambda: process.has_ended, "it ends", SOON)
    assert "LookupError: what was looked for" in process.log_tail()


def test_it_does_not_hear_signals_as_its_parent_does(start: Start, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    main = partial(wait_for_ever, deaf=False)
    with at_stop_signals(heard.touch):
        process = start(ForkedProcess("waiting", main, ENVIRONMENT, tmp_path))
    eventually(lambda: is_here(process), "it runs", SOON)
    process.ask_to_stop()
    eventually(lambda: process.has_ended, "it ends", SOON)
    assert not heard.exists()


@pytest.mark.parametrize("time_to_start", [0, 0.0002, 0.0005, 0.001])
def test_one_that_has_hardly_started_can_be_stopped(
    start: Start, tmp_path: Path, time_to_start: float
) -> None:
    heard = tmp_path / "heard"
    main = partial(wait_for_ever, deaf=False)
    with at_stop_signals(heard.touch):
        process = start(ForkedProcess("hasty", main, ENVIRONMENT, tmp_path))
        time.sleep(time_to_start)  # what is tested, not something waited for
        process.ask_to_stop()
        eventually(lambda: process.has_ended, "it ends", SOON)
    assert not heard.exists()


def test_one_that_is_deaf_is_killed(start: Start, tmp_path: Path) -> None:
    main = partial(wait_for_ever, deaf=True)
    process = start(ForkedProcess("deaf", main, ENVIRONMENT, tmp_path))
    eventually(lambda: is_here(process), "it runs", SOON)
    process.ask_to_stop()
    process.end(time.monotonic())
    assert process.has_ended


def test_it_can_be_started_again(start: Start, tmp_path: Path) -> None:
    process = start(ForkedProcess("again", greet, ENVIRONMENT, tmp_path))
    eventually(lambda: process.has_ended, "it ends", SOON)
    process.start()
    eventually(lambda: process.has_ended, "it ends again", SOON)
    assert process.log_tail().count("good morning") == 2


def test_its_log_file_does_not_grow_for_ever(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 100)
    process = start(ForkedProcess("chatty", chat, ENVIRONMENT, tmp_path))
    kept = tmp_path / "chatty.log.1"

    def is_put_aside() -> bool:
        process.bound_log()
        return kept.exists()

    eventually(is_put_aside, "the file is put aside", SOON)
    assert kept.read_text().startswith("I say\nI say\n")
    eventually(lambda: "I say" in process.log_tail(), "it goes on", SOON)
    with process.log_file.open("rb") as log:
        assert log.read(1) == b"I", "at the beginning of the file"


def test_a_log_file_that_somebody_removed_is_no_trouble(start: Start, tmp_path: Path) -> None:
    process = start(ForkedProcess("chatty", chat, ENVIRONMENT, tmp_path))
    eventually(lambda: "I say" in process.log_tail(), "it has the file open", SOON)
    process.log_file.unlink()
    process.bound_log()
    assert "was removed" in process.log_tail()


def test_a_program_is_managed_in_the_same_way(start: Start, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['GREETING'], os.getcwd())"]
    process = start(CommandProcess("program", command, ENVIRONMENT, tmp_path))
    eventually(lambda: process.has_ended, "it ends", SOON)
    assert process.log_tail() == f"good morning {tmp_path}\n"


def test_one_that_was_never_started_has_not_ended(tmp_path: Path) -> None:
    process = ForkedProcess("later", greet, ENVIRONMENT, tmp_path)
    process.ask_to_stop()
    process.end(time.monotonic())
    assert not process.has_ended
