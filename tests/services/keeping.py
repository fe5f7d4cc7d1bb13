"""Servers that stay up between commands: each has a keeper, a process that holds it.

What a keeper leaves in its folder: `lock`, locked as long as it lives and holding its pid;
`addresses`, there once its server is ready; `log`.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services import ServiceUnavailable
from tests.services.catalog import SERVERS, Addresses
from tests.services.process import POLL_SECONDS, STOP_SECONDS, default_cache_dir, tail

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Kept:
    """A server by name, and the folder of its keeper."""

    name: str
    folder: Path

    def start(self) -> subprocess.Popen[bytes] | None:
        """Start its keeper, None when it has one already."""
        if self.keeper():
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "addresses").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.services", "keep", self.name]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--folder", str(self.folder.parent)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, keeper: subprocess.Popen[bytes] | None) -> Addresses:
        """Wait for the server of a keeper just started, or of somebody else's.

        Raises:
            ServiceUnavailable: the keeper ended; with the end of its log.
        """
        while (addresses := self.addresses()) is None:
            if keeper.poll() is not None if keeper else not self.keeper():
                raise ServiceUnavailable(f"{self.name}: {tail((self.folder / 'log').read_text())}")
            time.sleep(POLL_SECONDS)
        return addresses

    def addresses(self) -> Addresses | None:
        """Where the server is, None when it is not ready."""
        try:
            text = (self.folder / "addresses").read_text()
        except FileNotFoundError:
            return None
        return dict(json.loads(text)) if self.keeper() else None

    def keeper(self) -> int | None:
        """The pid of its keeper, None when it has none."""
        try:
            with (self.folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int((self.folder / "lock").read_text() or 0) or None

    def stop(self) -> bool:
        """End its keeper and with it the server; whether there was one."""
        pid = self.keeper()
        if not pid:
            return False
        os.kill(pid, signal.SIGTERM)
        give_up = time.monotonic() + 2 * STOP_SECONDS
        while self.keeper():
            if time.monotonic() > give_up:
                os.kill(pid, signal.SIGKILL)  # the server ends with it
            time.sleep(POLL_SECONDS)
        shutil.rmtree(self.folder)
        return True

    def keep(self) -> None:
        """Be its keeper, until SIGTERM or Ctrl-C."""
        with (self.folder / "lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            print(os.getpid(), file=lock, flush=True)
            with SERVERS[self.name](default_cache_dir()) as addresses:
                draft = self.folder / "draft"
                draft.write_text(json.dumps(addresses))
                draft.rename(self.folder / "addresses")
                signal.pause()
