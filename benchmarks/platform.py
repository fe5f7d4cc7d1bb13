"""`dist-task up` as a real process, told what to do by REST, read through its databases."""

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from benchmarks.flow import FLOW, TASKS, definition
from benchmarks.machine import Usage, marked, sample
from benchmarks.services import ROOT, new_database
from tests.services import free_port

MARK = "DIST_TASK_BENCH_MARK"
START_PATIENCE = 120.0  # seconds
STOP_PATIENCE = 45.0
POLL = 0.005  # seconds between two looks at one transaction
LOOK = 1.0  # seconds between two looks at many, which cost MySQL something
JOBS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"

Config = Mapping[str, Mapping[str, Any]]  # the configuration file, by section
CONFIG: Config = {"workers": {"count": 2}}


class TooSlow(Exception):
    """What was waited for did not happen in time."""


class Platform:
    """The platform under `home`, with its ledger and Dagster's storage on one MySQL server.

    Args:
        databases: what the names of its databases, made anew, begin with.

    Attributes:
        started_in: seconds from the start of the process to `ready`.
        url: where it serves.
    """

    def __init__(
        self, server: str, home: Path, config: Config = CONFIG, databases: str = "bench"
    ) -> None:
        self.home = home
        self.ledger_url = new_database(server, f"{databases}_ledger")
        self.storage_url = new_database(server, f"{databases}_dagster")
        self.ledger = sa.create_engine(self.ledger_url, isolation_level="READ COMMITTED")
        self.storage = sa.create_engine(self.storage_url)
        self.started_in = 0.0
        self.url = ""
        self._mark = f"{MARK}={secrets.token_hex(8)}"
        self._process: subprocess.Popen[str] | None = None
        home.mkdir(parents=True)
        (home / "dist_task.toml").write_text(self._text(config))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.ledger.dispose()
        self.storage.dispose()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        name, _, value = self._mark.partition("=")
        command = [sys.executable, "-m", "dist_task_pipelines.cli", "up"]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--home", str(self.home), "--port", str(free_port())],
            env={**os.environ, "PYTHONPATH": str(ROOT), name: value},
            cwd=self.home,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(self.home / "up.err").open("w"),
            start_new_session=True,
        )
        self.url = self._wait_until_ready()
        self.started_in = time.perf_counter() - began

    def stop(self) -> None:
        """End it; what does not end by itself is killed and named."""
        if not self._process:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_PATIENCE)
        for pid in marked(self._mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def processes(self) -> dict[int, str]:
        """Its processes by pid."""
        return marked(self._mark)

    @contextmanager
    def workers_paused(self) -> Iterator[None]:
        """Within, its workers stand still; what is accepted meanwhile waits for them."""
        workers = [pid for pid, name in self.processes().items() if name.startswith("worker")]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    def usage(self) -> dict[str, Usage]:
        """What its processes have used."""
        return sample(self.processes())

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """What REST answers, out of its envelope."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}", data=data, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["data"]

    def graphql(self, query: str) -> Any:
        """What Dagster's GraphQL answers."""
        headers = {"Content-Type": "application/json"}
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["data"]

    def apply(self, participant: str, name: str = FLOW, length: int = len(TASKS)) -> str:
        """Create the flow of so many tasks, wait until Dagster has its job; gives its id."""
        tasks = definition(participant, length)
        body = {"name": name, "flow_type": "bench", "definition": tasks}
        flow = self.request("POST", "/flows", {**body, "create_user": "bench"})
        identifier: str = flow["flow_id"]
        until(lambda: identifier in json.dumps(self.graphql(JOBS)), 60, LOOK)
        return identifier

    def rows(self, query: str, **values: Any) -> Sequence[Any]:
        """What a query of the ledger finds."""
        with self.ledger.connect() as connection:
            return connection.execute(sa.text(query), values).all()

    def count(self, prefix: str, status: str) -> int:
        """How many transactions whose ids begin like this are in that status."""
        query = (
            "SELECT COUNT(*) FROM task_group_instance "
            "WHERE id >= :low AND id < :high AND status = :status"
        )
        [(number,)] = self.rows(query, low=prefix, high=prefix + "~", status=status)
        return int(number)

    def wait_for_all(
        self, prefix: str, count: int, patience: float, tell: Callable[[int], None]
    ) -> None:
        """Wait until so many transactions with ids that begin like this have succeeded."""

        def done() -> bool:
            number = self.count(prefix, "success")
            tell(number)
            return number >= count

        until(done, patience, LOOK)

    def _wait_until_ready(self) -> str:
        assert self._process
        assert self._process.stdout
        readable, _, _ = select.select([self._process.stdout], [], [], START_PATIENCE)
        line = self._process.stdout.readline() if readable else ""
        if not line.startswith("ready "):
            raise TooSlow(f"it is not ready: {(self.home / 'up.err').read_text()[-2000:]}")
        return line.removeprefix("ready ").strip()

    def _text(self, config: Config) -> str:
        sections = {
            "database": {"url": self.ledger_url},
            "dagster": {"storage_url": self.storage_url},
            **config,
        }
        lines = []
        for name, values in sections.items():
            lines += [
                f"[{name}]",
                *(f"{key} = {json.dumps(value)}" for key, value in values.items()),
            ]
        return "\n".join(lines) + "\n"


def until(condition: Callable[[], bool], patience: float, pause: float) -> None:
    """Wait until the condition holds.

    Raises:
        TooSlow: it does not within `patience` seconds.
    """
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            raise TooSlow(f"not within {patience:g} s")
        time.sleep(pause)


@contextmanager
def running(server: str, home: Path) -> Iterator[Platform]:
    """A platform that is ready."""
    with Platform(server, home) as platform:
        yield platform
