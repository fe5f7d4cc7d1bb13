"""Everything on one machine: what `dist-task up` starts, watches and ends.

Each is a process of its own: the code server, the server of REST and the Dagster UI, Dagster's
daemon, and the workers. They are forked from this one, which has imported what they need: Dagster
takes seconds to import and a hundred megabytes, once. All that they write lies under the home
folder, which is one platform's.
"""

import fcntl
import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
from dagster._daemon.cli import create_dagster_daemon_cli

from dist_task_pipelines.application import application_root, put_on_path
from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.domain.errors import DistTaskError, Fault, InvalidConfiguration
from dist_task_pipelines.logs import log_plainly
from dist_task_pipelines.orchestration import code_server, server
from dist_task_pipelines.orchestration.dagster_files import (
    STORAGE_URL_VARIABLE,
    create_dagster_tables,
    write_dagster_files,
)
from dist_task_pipelines.orchestration.dispatch_sensors import THREADS_VARIABLE
from dist_task_pipelines.orchestration.launching import LOCATION
from dist_task_pipelines.orchestration.processes import ForkedProcess, ManagedProcess
from dist_task_pipelines.orchestration.readiness import is_ready
from dist_task_pipelines.orchestration.restarts import Restarts
from dist_task_pipelines.orchestration.signals import at_stop_signals
from dist_task_pipelines.orchestration.worker import run_worker
from dist_task_pipelines.settings import Settings

log = structlog.get_logger(__name__)

CODE_SERVER, SERVER, DAEMON = "code server", "server", "daemon"
SERVING = (CODE_SERVER, SERVER)  # what answers requests and draws the UI

START_TIMEOUT = 120  # seconds until everything serves
STOP_TIMEOUT = 20  # seconds for everything to end by itself
WATCH_INTERVAL = 0.5  # seconds between two looks at the processes
NICENESS = 10  # of the workers: where the processor is short, accepting comes before working


def run_platform(
    settings: Settings, announce: Callable[[str], None], *, only: Collection[str] = ()
) -> None:
    """Start everything, say so, and stay until SIGINT or SIGTERM; then end everything.

    Args:
        announce: is handed the address, once everything serves.
        only: the processes to start, where not all of them.

    Raises:
        LedgerUnavailable: the ledger's database cannot be used.
        InvalidConfiguration: the port or the home is taken.
        DistTaskError: a process does not come up, or keeps ending.
    """
    url = f"http://{settings.app.host}:{settings.app.port}"
    _check_port(settings)
    stop = threading.Event()
    with _sole_owner(settings.home):
        log.info("ledger migrated", url=migrate_ledger(settings))
        with at_stop_signals(stop.set), _processes(settings, only) as processes:
            _wait_until_ready(url, processes, stop)
            if not stop.is_set():
                announce(url)
            _watch(processes, stop)
            log.info("stopping")


@contextmanager
def _processes(settings: Settings, only: Collection[str]) -> Iterator[list[ManagedProcess]]:
    processes = [each for each in _plan(settings) if not only or each.name in only]
    gc.freeze()  # the collector would write to what the processes share
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in processes:
            process.end(deadline)


def _plan(settings: Settings) -> list[ManagedProcess]:
    port = _free_port()
    dagster_home, workspace = write_dagster_files(settings, port)
    environment = _environment(settings, dagster_home)
    create_dagster_tables(settings, dagster_home)
    definitions = application_root() / "definitions.py"
    code_location = [
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--python-file", str(definitions), "--location-name", LOCATION),
        *("--version-of", "dist_task_pipelines.orchestration.flow_job:flows_revision"),
    ]
    mains: dict[str, Callable[[], object]] = {
        CODE_SERVER: partial(code_server.main, code_location),
        SERVER: partial(server.run, settings, workspace),
        DAEMON: partial(_run_daemon, workspace),
    }
    for number in range(settings.workers.count):
        mains[f"worker {number + 1}"] = partial(_work, settings)
    logs = settings.home / "logs"
    return [
        ForkedProcess(name, partial(_be_a_part, main), environment, logs)
        for name, main in mains.items()
    ]


def _run_daemon(workspace: Path) -> None:
    create_dagster_daemon_cli()(["run", "--workspace", str(workspace)], obj={})


def _work(settings: Settings) -> int:
    os.nice(NICENESS)
    return run_worker(settings)


def _be_a_part(main: Callable[[], object]) -> object:
    put_on_path()
    log_plainly()
    warnings.simplefilter("ignore")  # Dagster's about its own beta parameters
    return main()


def _environment(settings: Settings, dagster_home: Path) -> Mapping[str, str]:
    environment = {
        **os.environ,
        **settings.environment,
        "DAGSTER_HOME": str(dagster_home),
        THREADS_VARIABLE: "1",
    }
    if settings.dagster.storage_url:
        environment[STORAGE_URL_VARIABLE] = settings.dagster.storage_url
    return environment


def _check_port(settings: Settings) -> None:
    address = (settings.app.host, settings.app.port)
    try:
        with socket.create_server(address):
            pass
    except OSError as error:
        message = (
            f"cannot listen on {settings.app.host}:{settings.app.port}: {_reason(error)}; "
            "choose another with --port or app.port"
        )
        raise InvalidConfiguration([Fault("app.port", message)]) from None


def _reason(error: OSError) -> str:
    """Why, without the address that `create_server` adds."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


@contextmanager
def _sole_owner(home: Path) -> Iterator[None]:
    """Holds the home folder: a second platform there would write over this one's files."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / "up.lock").open("a")
    except OSError as error:
        message = f"cannot write in {home}: {error.strerror}; choose another with --home"
        raise InvalidConfiguration([Fault("home", message)]) from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which no child inherits
        except BlockingIOError:
            message = (
                f"{home} is in use by another `dist-task up` or `serve`; end that one, or choose "
                "another with --home"
            )
            raise InvalidConfiguration([Fault("home", message)]) from None
        yield


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_until_ready(url: str, processes: list[ManagedProcess], stop: threading.Event) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    is_whole = any(process.name == DAEMON for process in processes)
    while not is_ready(url, whole=is_whole) and not stop.wait(WATCH_INTERVAL / 2):
        for process in processes:
            if process.has_ended:
                raise DistTaskError(f"the {process.name} ended at its start:\n{process.log_tail()}")
        if time.monotonic() > deadline:
            raise DistTaskError(
                f"not ready after {START_TIMEOUT} s; see the logs in {processes[0].log_file.parent}"
            )


def _watch(processes: list[ManagedProcess], stop: threading.Event) -> None:
    restarts = [Restarts(process) for process in processes]
    while not stop.wait(WATCH_INTERVAL):
        for each in restarts:
            each.look(time.monotonic())
        for process in processes:
            process.bound_log()
