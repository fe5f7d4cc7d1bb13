"""A child process with a log file, that on Linux does not outlive its parent."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # a signal for the child when its parent goes away
TAIL_BYTES = 4000

_libc = ctypes.CDLL(None)


class ManagedProcess:
    """One process of the platform. Signals of the terminal do not reach it.

    Args:
        logs: the folder of its log file; it is made if need be.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        self.name = name
        self.starts = 0
        self._started = 0.0
        self.log_file = logs / f"{name.replace(' ', '_')}.log"
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
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
        self.starts += 1
        self._started = time.monotonic()

    @property
    def ran_for(self) -> float:
        """Seconds since it was started last."""
        return time.monotonic() - self._started

    @property
    def has_ended(self) -> bool:
        """Whether it has been started and is no longer there."""
        return self._process is not None and self._process.poll() is not None

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it is there."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic seconds), then kill it and its children."""
        if not self._process:
            return
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own
            self._process.wait()

    def log_tail(self) -> str:
        """The last lines that it logged."""
        with self.log_file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(log.tell() - TAIL_BYTES, 0))
            return log.read().decode(errors="replace")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
