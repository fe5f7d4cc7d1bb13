"""The code server as a real process: rebuilds in place, clean ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient
from dagster_graphql.test.utils import execute_dagster_graphql

from dist_task_pipelines.orchestration import code_server
from tests.services.waiting import PATIENCE, eventually

LOCATION = "dist_task_pipelines"
SOURCES = Path(code_server.__file__).parents[2]

DEFINITIONS = """
import time
from pathlib import Path

from dagster import Definitions, job, op

HERE = Path(__file__).parent
if (HERE / "broken").exists():
    raise RuntimeError("broken on purpose")
if (HERE / "slow").exists():
    (HERE / "loading").touch()
    time.sleep(60)


@op
def nothing(context):
    pass


def flow(name):
    @job(name=name)
    def steps():
        nothing()

    return steps


defs = Definitions(jobs=[flow(name) for name in (HERE / "jobs").read_text().split()])
"""
VERSION = """
from contextlib import contextmanager
from pathlib import Path

from dist_task_pipelines.orchestration.keeping import kept

HERE = Path(__file__).parent


@contextmanager
def opened():
    with (HERE / "life").open("a") as life:
        life.write("opened ")
        yield HERE / "jobs"
        life.write("closed ")


def of_the_jobs():
    with kept("jobs", opened) as jobs:
        return jobs.read_text()
"""
DAGSTER_YAML = """
telemetry: {enabled: false}
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""

RELOAD = """
mutation($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) { __typename }
}
"""


class Server:
    """A code server of the definitions in a folder, with a Dagster home beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.client = DagsterGrpcClient(host="127.0.0.1", port=self.port)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "dist_task_pipelines.orchestration.code_server"),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                    *("--python-file", str(folder / "definitions.py")),
                    *("--location-name", LOCATION),
                    *("--version-of", "version:of_the_jobs", "--watch", "0.1"),
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "DAGSTER_HOME": str(folder / "home"),
                    "PYTHONPATH": f"{SOURCES}{os.pathsep}{folder}",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_it_serves(self) -> None:
        eventually(self._serves, "the server answers")

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            self.client.ping("")
        except DagsterUserCodeUnreachableError:
            return False
        return True

    def set_jobs(self, text: str) -> None:
        """Change what the definitions are made from, and with it their version."""
        new = self.folder / "jobs.new"
        new.write_text(text)
        new.rename(self.folder / "jobs")

    def set_jobs_and_wait(self, text: str) -> None:
        """Change the definitions and wait until they have been rebuilt."""
        before = self.client.get_server_id()
        self.set_jobs(text)
        eventually(lambda: self.client.get_server_id() != before, "a new server id")

    def load_error(self) -> str | None:
        """The error that it serves in the place of definitions, as Dagster serializes it."""
        reply = self.client.list_repositories()
        return reply if json.loads(reply)["__class__"] == "SerializableErrorInfo" else None

    def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.process.kill()
        self.process.wait()


@contextmanager
def code_server_of(folder: Path, jobs: str) -> Iterator[Server]:
    with started_code_server_of(folder, jobs) as server:
        server.wait_until_it_serves()
        yield server


@contextmanager
def started_code_server_of(folder: Path, jobs: str) -> Iterator[Server]:
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "version.py").write_text(VERSION)
    (folder / "jobs").write_text(jobs)
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


class Dagster:
    """What a webserver holds: a workspace that watches the code server."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self.workspace = workspace

    def graphql(self, query: str, **variables: object) -> Any:
        context = self.workspace.create_request_context()
        (answer,) = execute_dagster_graphql(context, query, variables).data.values()
        return answer

    def jobs(self) -> set[str]:
        location = self.workspace.create_request_context().get_code_location(LOCATION)
        return {job.name for job in location.get_repository("__repository__").get_all_jobs()}


@contextmanager
def dagster_beside(server: Server) -> Iterator[Dagster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(server.folder / "home"))
        target = GrpcServerTarget(
            host="127.0.0.1", port=server.port, socket=None, location_name=LOCATION
        )
        with (
            DagsterInstance.get() as instance,
            WorkspaceProcessContext(instance, target) as workspace,
        ):
            yield Dagster(workspace)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with code_server_of(tmp_path_factory.mktemp("code"), jobs="flow_1") as server:
        yield server


@pytest.fixture(scope="module")
def dagster(shared_server: Server) -> Iterator[Dagster]:
    with dagster_beside(shared_server) as dagster:
        yield dagster


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The server, serving `flow_1`."""
    if (shared_server.folder / "jobs").read_text() != "flow_1":
        shared_server.set_jobs_and_wait("flow_1")
    yield shared_server
    (shared_server.folder / "broken").unlink(missing_ok=True)


@pytest.fixture
def sigint_ignored() -> Iterator[None]:
    """What a process is handed by `nohup` or a shell's `&`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


# -- rebuilding


def test_a_new_job_appears_in_a_watching_workspace(server: Server, dagster: Dagster) -> None:
    before = server.client.get_server_id()
    name = f"flow_{time.monotonic_ns()}"

    server.set_jobs(f"flow_1 {name}")

    eventually(lambda: dagster.jobs() == {"flow_1", name}, "the workspace has the new job")
    assert server.client.get_server_id() != before


def test_a_failed_rebuild_keeps_what_was_served_and_is_made_good(
    server: Server, dagster: Dagster
) -> None:
    server_id = server.client.get_server_id()

    (server.folder / "broken").touch()
    server.set_jobs("flow_1 flow_2")
    eventually(lambda: "cannot be rebuilt" in server.log.read_text(), "the error is logged")

    assert "broken on purpose" in server.log.read_text()
    assert server.client.get_server_id() == server_id
    dagster.workspace.refresh_code_location(LOCATION)
    assert dagster.jobs() == {"flow_1"}
    (server.folder / "broken").unlink()
    eventually(lambda: dagster.jobs() == {"flow_1", "flow_2"}, "the jobs once it is mended")


def test_the_reload_button_rebuilds(server: Server, dagster: Dagster) -> None:
    before = server.client.get_server_id()

    dagster.graphql(RELOAD, location=LOCATION)

    assert server.client.get_server_id() != before


def test_definitions_broken_at_the_start_are_an_error_until_they_are_mended(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken").touch()
    with code_server_of(tmp_path, jobs="flow_1") as server:
        assert "broken on purpose" in (server.load_error() or "")

        (tmp_path / "broken").unlink()

        eventually(lambda: server.load_error() is None, "definitions are served")


# -- ends


@pytest.mark.usefixtures("sigint_ignored")
def test_signals_end_the_server(tmp_path: Path) -> None:
    with code_server_of(tmp_path, jobs="flow_1") as server:
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.log.read_text()


def test_what_is_kept_stays_open_until_the_end(tmp_path: Path) -> None:
    with code_server_of(tmp_path, jobs="flow_1") as server:
        server.set_jobs_and_wait("flow_1 flow_2")
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(PATIENCE) == 0
    assert (tmp_path / "life").read_text() == "opened closed "


def test_a_signal_breaks_off_the_load_of_the_definitions(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    with started_code_server_of(tmp_path, jobs="flow_1") as server:
        eventually((tmp_path / "loading").exists, "the definitions are being loaded")

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(PATIENCE) == 0


# -- the command line


def test_a_taken_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = code_server.Options("127.0.0.1", port, Path("definitions.py"), "x", None, 1.0)
        with pytest.raises(SystemExit, match=f"cannot listen on 127.0.0.1:{port}"):
            code_server.serve(options, [])


@pytest.mark.parametrize("reference", ["no_such_module:f", "time:no_such_function", "time"])
def test_an_unknown_version_function_is_refused(
    reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--port", "1", "--python-file", "x", "--location-name", "x"]
    with pytest.raises(SystemExit):
        code_server.main([*arguments, "--version-of", reference])

    assert f"'{reference}' is no MODULE:FUNCTION" in capsys.readouterr().err


# -- the watch


def watch(versions: list[Hashable | Exception], builds: list[bool]) -> list[Hashable]:
    """Let the watch see these versions one after the other, the first being what is served, and
    its rebuilds come out like these; gives the versions that it tried to build."""
    stop = threading.Event()
    seen: list[Hashable] = []
    tried: list[Hashable] = []
    coming, outcomes = iter(versions[1:]), iter(builds)

    def version() -> Hashable:
        try:
            current = next(coming)
        except StopIteration:
            stop.set()
            return seen[-1]
        if isinstance(current, Exception):
            raise current
        seen.append(current)
        return current

    def rebuild() -> bool:
        tried.append(seen[-1])
        return next(outcomes, True)

    code_server.keep_current(rebuild, version, versions[0], 0.0, stop)
    return tried


def test_the_watch_rebuilds_once_for_each_new_version() -> None:
    assert watch([1, 1, 2, 2, 1], builds=[]) == [2, 1]


def test_the_watch_tries_a_failed_version_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_server, "RETRY_SECONDS", 0.0)

    assert watch([1, 2, 2, 2], builds=[False, True]) == [2, 2]


def test_the_watch_leaves_things_as_they_are_while_the_version_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(code_server, "RETRY_SECONDS", 0.0)

    assert watch([1, OSError("the ledger is away"), 1, 2], builds=[]) == [2]
    assert "the ledger is away" in caplog.text
