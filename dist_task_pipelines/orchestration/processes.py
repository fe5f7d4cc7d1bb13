"""Child processes with a log file, that on Linux do not outlive their parent."""

import ctypes
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # a signal for the child when its parent goes away
PR_SET_NAME = 15  # what `ps` and `top` show as its command
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STDIN = 0  # as a descriptor; `sys.stdin` is another one in a child by then
TAIL_BYTES = 4000
LOG_BYTES = 20_000_000  # of a log file; then it begins anew, and the one before it is kept

_libc = ctypes.CDLL(None)
# Elsewhere than on Linux, libraries of the system do not survive a fork.
_context = (
    multiprocessing.get_context("fork")
    if sys.platform == "linux"
    else multiprocessing.get_context("spawn")
)


class ManagedProcess(ABC):
    """One process, started as often as need be. Signals of the terminal do not reach it.

    Args:
        logs: the folder of its log file; it is made if need be.
    """

    def __init__(self, name: str, environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self._started = 0.0
        self._pid = 0  # until it is started
        self.log_file = logs / f"{name.replace(' ', '_')}.log"
        self._environment = environment

    def start(self) -> None:
        """Start it."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.touch()
        self._pid = self._begin()
        self._started = time.monotonic()

    @property
    def ran_for(self) -> float:
        """Seconds since it was started last."""
        return time.monotonic() - self._started

    @property
    def has_ended(self) -> bool:
        """Whether it has been started and is no longer there."""
        return bool(self._pid) and not self._is_there()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it is there."""
        if self._is_there():
            os.kill(self._pid, signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic seconds), then kill it and its children."""
        if not self._pid:
            return
        self._wait(max(deadline - time.monotonic(), 0.1))
        if self._is_there():
            with suppress(ProcessLookupError):  # it has hardly begun, and leads no group yet
                os.killpg(self._pid, signal.SIGKILL)
            os.kill(self._pid, signal.SIGKILL)
            self._wait(None)

    def bound_log(self) -> None:
        """Put the log file aside if it is large, in place of the one put aside before.

        The process goes on writing to the same file; a line that it writes at this moment may be
        lost. So may what was put aside before, where the disk is full.
        """
        with suppress(OSError):  # somebody removed the file, or there is no room
            if self.log_file.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log_file, self.log_file.with_suffix(".log.1"))
                os.truncate(self.log_file, 0)

    def log_tail(self) -> str:
        """The last lines that it logged."""
        if not self.log_file.exists():
            return f"(its log file {self.log_file} was removed)"
        with self.log_file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(log.tell() - TAIL_BYTES, 0))
            return log.read().decode(errors="replace")

    @abstractmethod
    def _begin(self) -> int:
        """Start it; gives its pid."""

    @abstractmethod
    def _is_there(self) -> bool:
        """Whether it was started and has not ended."""

    @abstractmethod
    def _wait(self, seconds: float | None) -> None:
        """Wait for its end, no longer than that."""


class CommandProcess(ManagedProcess):
    """A program."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        super().__init__(name, environment, logs)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def _begin(self) -> int:
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self.log_file.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one C call, no lock is taken
            )
        return self._process.pid

    def _is_there(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _wait(self, seconds: float | None) -> None:
        assert self._process
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


class ForkedProcess(ManagedProcess):
    """A function of this program: what the program has imported, the process need not.

    On Linux it must be started while this is the only thread.

    Args:
        main: what the process does; its name is that of the process in `ps`, too.
    """

    def __init__(
        self, name: str, main: Callable[[], object], environment: Mapping[str, str], logs: Path
    ) -> None:
        super().__init__(name, environment, logs)
        self._main = main
        self._process: BaseProcess | None = None

    def _begin(self) -> int:
        arguments = (self._main, self.name, self._environment, self.log_file)
        self._process = _context.Process(target=_be_a_child, args=arguments, name=self.name)
        # Until the child has handlers of its own, a signal to it must wait, not go to this one's.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert self._process.pid
        return self._process.pid

    def _is_there(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def _wait(self, seconds: float | None) -> None:
        assert self._process
        self._process.join(seconds)


def _be_a_child(
    main: Callable[[], object], name: str, environment: Mapping[str, str], log_file: Path
) -> NoReturn:
    """Run `main` as a program of its own would be run, and exit as it says."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    # A group of its own and no session: niceness counts within a session only, where Linux has
    # its scheduler share the processor out to sessions first (sched_autogroup).
    os.setpgrp()
    _die_with_parent()
    _be_called(name)
    with Path(os.devnull).open("rb") as nothing, log_file.open("ab") as output:
        os.dup2(nothing.fileno(), STDIN)
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.chdir(log_file.parent)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(main())  # type: ignore[arg-type]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _be_called(name: str) -> None:
    if sys.platform == "linux":
        _libc.prctl(PR_SET_NAME, name.encode())
