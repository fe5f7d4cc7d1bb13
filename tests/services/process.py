"""Server programs that run while a block lasts, each tied to the thread that started it.

What a program is, and how to tell that it serves, its own module knows.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from tests.services import ServiceUnavailable

START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
COMMAND_TIMEOUT_SECONDS = 600
TAIL_LINES = 8

# Runs a program that is told to end when the thread that started it does, however that happens.
# A step of its own because `preexec_fn` is not safe beside other threads.
_TIED = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the starter is gone")
os.execvp(sys.argv[3], sys.argv[3:])
"""

Ready = Callable[[], str | None]  # None when it serves, else why it does not yet
Server = TypeVar("Server")  # how it is reached: a URL, or an object that knows it


def default_cache_dir() -> Path:
    """The user's own cache folder for this project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dist_task_pipelines"


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    ready: Ready,
    *,
    patience: float = START_SECONDS,
    environment: Mapping[str, str] | None = None,
    ended_by: signal.Signals = signal.SIGTERM,
    through: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the block, which begins when it is ready.

    Args:
        ready: tells when it is.
        patience: seconds that it may take to be.
        environment: added to this process's own.
        ended_by: the signal that ends it cleanly.
        through: a program that executes the server, as another user say.

    Raises:
        ServiceUnavailable: it is not ready in time, or ended; with the end of its log.
    """
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [*through, *tied(command, ended_by)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is for the starter alone
        ) as process,
    ):
        try:
            _await(process, ready, log, patience)
            yield process
        finally:
            _stop(process, ended_by)


def tied(command: Sequence[str], ended_by: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command as one that gets the signal when the thread that starts it ends."""
    step = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), str(int(ended_by))]
    return [*step, *command]


@contextmanager
def first_that_starts(
    kind: str, ways: Mapping[str, Callable[[], AbstractContextManager[Server]]]
) -> Iterator[Server]:
    """The server by the first way that works.

    Raises:
        ServiceUnavailable: none does; with the reason of each.
    """
    with ExitStack() as stack:
        yield _entered(stack, kind, ways)


def named_or_first_that_starts(
    variable: str,
    kind: str,
    login_error: Callable[[str], str | None],
    ways: Mapping[str, Callable[[], AbstractContextManager[str]]],
) -> AbstractContextManager[str]:
    """The running server whose URL the environment variable holds, else the first that starts.

    Raises:
        ServiceUnavailable: the one named cannot be used, or none starts.
    """
    url = os.environ.get(variable)
    if not url:
        return first_that_starts(kind, ways)
    if error := login_error(url):
        raise ServiceUnavailable(f"{variable}: {error}")
    return nullcontext(url)


def found(*names: str, folders: Sequence[str] = ()) -> Path:
    """The first of the programs that is on the PATH, or in one of the folders.

    Raises:
        ServiceUnavailable: none is.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *folders))
    program = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if not program:
        raise ServiceUnavailable(f"no {' or '.join(names)} on the path")
    return Path(program).resolve()


@contextmanager
def complete_or_not(target: Path) -> Iterator[Path]:
    """Give an empty folder that is `target` after the block, unless the block raises.

    Another process may do the same at the same time; the first one's stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as name:
        folder = Path(name) / "whole"
        folder.mkdir()
        yield folder
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise


def run(
    command: Sequence[str], stdin: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Run a command to its end and return its output; raise `ServiceUnavailable` when it fails."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_TIMEOUT_SECONDS,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceUnavailable(f"cannot run {command[0]}: {error}") from error
    if done.returncode:
        raise ServiceUnavailable(f"{' '.join(command)} failed:\n{tail(done.stdout)}")
    return done.stdout


def tail(text: str) -> str:
    """The last lines of an output, for an error message."""
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])


def _entered(
    stack: ExitStack,
    kind: str,
    ways: Mapping[str, Callable[[], AbstractContextManager[Server]]],
) -> Server:
    reasons = []
    for name, start in ways.items():
        try:
            return stack.enter_context(start())
        except ServiceUnavailable as reason:
            reasons.append(f"- {name}: {reason}")
    raise ServiceUnavailable(f"no {kind} server to be had\n" + "\n".join(reasons))


def _await(process: subprocess.Popen[bytes], ready: Ready, log: Path, patience: float) -> None:
    give_up = time.monotonic() + patience
    while error := ready():
        if process.poll() is not None or time.monotonic() > give_up:
            state = f"ended with {process.returncode}" if process.returncode is not None else error
            raise ServiceUnavailable(f"{state}\n{tail(log.read_text(errors='replace'))}")
        time.sleep(POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes], ended_by: signal.Signals) -> None:
    process.send_signal(ended_by)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
