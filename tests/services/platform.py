"""The whole platform as a real process: `dist-task up` in a home of its own, on a free port.

What it starts carries a mark in its environment, by which each of its processes is found again,
whatever parent or session that has come to.
"""

import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import dist_task_pipelines
from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import TaskRecord, TransactionRecord
from dist_task_pipelines.settings import Settings
from tests.services import free_port
from tests.services.dagster_ui import DagsterUI, Run
from tests.services.waiting import PATIENCE, eventually

MARK = "DIST_TASK_TEST_MARK"
COMMAND = (sys.executable, "-m", "dist_task_pipelines.cli")
SOURCES = Path(dist_task_pipelines.__file__).parents[1]

START_PATIENCE = 150.0  # seconds
STOP_PATIENCE = 45.0  # seconds
AT_ONCE = 2.0  # seconds

SETTLED = (TransactionStatus.SUCCESS, TransactionStatus.FAILED, TransactionStatus.CANCELLED)

Completed = subprocess.CompletedProcess[str]


class Platform(DagsterUI):
    """A platform that serves; `running_platform` makes one.

    Attributes:
        home: the folder of all that it writes.
        ledger: its ledger, as another process holds it.
    """

    def __init__(self, started: "MarkedProcess", home: Path, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}")
        self.process = started.process
        self.mark = started.mark
        self.home = home
        self.port = port
        self.ledger: Ledger = open_ledger(Settings.load(None, home))

    def cli(self, *arguments: str, exit_code: int = 0, stdin: str = "") -> Completed:
        """Run a command of `dist-task` on this home to its end, which must have this exit code."""
        return dist_task(*arguments, home=self.home, exit_code=exit_code, stdin=stdin)

    def cli_json(self, *arguments: str) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def launch_transaction(
        self, job: str, transaction_id: str, params: JsonObject | None = None
    ) -> Run:
        """Launch a job from the Launchpad for one transaction; gives the run at its end."""
        config = {"transaction_id": transaction_id, "params": params or {}}
        return self.wait_for_run(self.launch(job, {"resources": {"batch": {"config": config}}}))

    def transaction(self, transaction_id: str) -> TransactionRecord:
        """The transaction as it stands in the ledger."""
        return self.ledger.transactions.get(transaction_id)

    def task(self, transaction_id: str, task_id: str) -> TaskRecord:
        """One task of the transaction as it stands in the ledger."""
        tasks = self.ledger.transactions.tasks(transaction_id)
        return next(task for task in tasks if task.task_id == task_id)

    def wait_for(self, transaction_id: str, *statuses: TransactionStatus) -> TransactionRecord:
        """Wait until the transaction has settled, or is in one of the statuses."""

        def look() -> TransactionRecord | None:
            record = self.transaction(transaction_id)
            return record if record.status in (statuses or SETTLED) else None

        return eventually(look, f"{transaction_id} is {statuses or 'settled'}")

    def wait_for_run_of(self, transaction_id: str) -> Run:
        """Wait until the transaction has settled and its run has ended; gives the run."""
        run_id = self.wait_for(transaction_id).run_id
        assert run_id, f"{transaction_id} settled without a run"
        return self.wait_for_run(run_id)

    def logs(self) -> str:
        """The ends of what its processes logged."""
        files = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"== {each.name}\n{each.read_text()[-6000:]}" for each in files)


@contextmanager
def running_platform(
    home: Path,
    *,
    config: str = "",
    command: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
    sigint_ignored: bool = False,
    ended_by: signal.Signals = signal.SIGTERM,
) -> Iterator[Platform]:
    """Start everything under `home`, and at the end see to it that nothing is left.

    Args:
        config: the configuration file's text.
        command: what `dist-task` is.
        environment: of the processes; by default `child_environment()`.
        sigint_ignored: start it as `nohup` would.
        ended_by: the signal that ends it.
    """
    port = free_port()
    _configure(home, config, port)
    arguments = [*command, "up", "--home", str(home)]
    with MarkedProcess(arguments, environment or child_environment(), sigint_ignored) as started:
        url = started.wait_until_ready()
        platform = Platform(started, home, port)
        assert platform.url == url
        try:
            yield platform
        except BaseException:
            print(platform.logs())
            raise
        finally:
            platform.ledger.close()
        started.end(ended_by)


def _configure(home: Path, config: str, port: int) -> None:
    """Write the configuration, in which the commands find the port."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "dist_task.toml"
    before = config or (file.read_text() if file.exists() else "")
    before = before.split("\n[app]\nport = ")[0]  # a platform that was there earlier
    file.write_text(f"{before}\n[app]\nport = {port}\n")


class MarkedProcess:
    """A process in a session of its own, and all that comes of it; leaving the block ends those."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], sigint_ignored: bool = False
    ) -> None:
        self.mark = secrets.token_hex(8)
        self._command = command
        self._environment = {**environment, MARK: self.mark}
        self._before = _ignore_sigint if sigint_ignored else None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd="/",
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._before,  # noqa: PLW1509 - one call, no lock is taken
        )
        return self

    def __exit__(self, *_: object) -> None:
        for pid in marked_processes(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def wait_until_ready(self) -> str:
        """Wait for the line `ready URL`, the first that it prints; gives the URL."""
        assert self.process.stdout
        readable, _, _ = select.select([self.process.stdout], [], [], START_PATIENCE)
        assert readable, f"it says nothing within {START_PATIENCE} s"
        line: str = self.process.stdout.readline()
        assert line.startswith("ready "), line + self.process.communicate()[1]
        return line.removeprefix("ready ").strip()

    def end(self, number: signal.Signals, exit_code: int | None = None) -> str:
        """Send the signal, wait for the end, see that nothing is left; gives the stderr.

        Args:
            exit_code: that it must end with; by default 0, or for SIGKILL the signal's.
        """
        ports = listening_ports(marked_processes(self.mark))
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=STOP_PATIENCE)
        killed = number is signal.SIGKILL
        assert self.process.returncode == (exit_code or (-number if killed else 0)), errors
        # A process whose parent was killed gets a moment to notice.
        self.see_that_nothing_is_left(ports, within=STOP_PATIENCE if killed else AT_ONCE)
        return errors

    def see_that_nothing_is_left(
        self, ports: Collection[int] = (), within: float = AT_ONCE
    ) -> None:
        """See that none of its processes is there, and that nobody listens on the ports."""
        try:
            eventually(lambda: not marked_processes(self.mark), "", within)
        except AssertionError:
            raise AssertionError(f"left behind: {marked_processes(self.mark)}") from None
        assert not [port for port in ports if is_listening(port)]


def dist_task(
    *arguments: str,
    home: Path,
    exit_code: int = 0,
    stdin: str = "",
    command: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command of `dist-task` to its end, which must have this exit code."""
    done = subprocess.run(
        [*command, *arguments],
        env={**(environment or child_environment()), "DIST_TASK_HOME": str(home)},
        cwd="/",
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == exit_code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def child_environment() -> dict[str, str]:
    """The environment of the platform's processes: bytecode kept, outside the checkout."""
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "dist_task_pipelines" / "bytecode"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def marked_processes(mark: str) -> dict[int, str]:
    """The processes whose environment holds the mark, by pid: `name: command line`."""
    sign = f"{MARK}={mark}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if sign in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                name = (folder / "comm").read_text().strip()
                found[int(folder.name)] = f"{name}: {words.decode(errors='replace')[:200]}"
    return found


def listening_ports(pids: Collection[int]) -> set[int]:
    """The TCP ports on which the processes listen."""
    sockets = {link for pid in pids for link in _open_files(pid)}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in sockets
    }


def is_listening(port: int) -> bool:
    """Whether anybody listens on the TCP port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield str(link.readlink())


def _ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
