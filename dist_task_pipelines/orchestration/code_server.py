"""The code server: serves a code location to Dagster and rebuilds its definitions in place.

    python -m dist_task_pipelines.orchestration.code_server --host 127.0.0.1 --port 4000 \\
        --python-file definitions.py --location-name dist_task_pipelines \\
        --version-of package.module:function

It stands where `dagster api grpc` would, behind a `grpc_server` entry of a workspace, and differs:

- When the value of `--version-of` changes, or somebody presses Reload, the python file is loaded
  again in the running process (the modules that it imports are not). The webserver and the daemon
  see a new server id within seconds. If loading fails, the error is logged, the definitions there
  were go on being served, and the watch tries again.
- What ticks open once (`keeping.py`), it keeps open.
- It executes no runs: that is the workers' business.

This module knows nothing of flows or the ledger.
"""

import argparse
import importlib
import logging
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dagster import DagsterExecutionInterruptedError
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc.__generated__.dagster_api_pb2 import Empty, ReloadCodeReply, ReloadCodeRequest
from dagster._grpc.server import DagsterApiServer, DagsterGrpcServer, LoadedRepositories

from dist_task_pipelines.logs import log_plainly
from dist_task_pipelines.orchestration.keeping import keeping_open

RETRY_SECONDS = 5.0  # after a failed look or rebuild
SIGNAL_POLL_SECONDS = 0.2

_UNKNOWN = object()  # a version that could not be read, or not be built

_log = logging.getLogger("dist_task_pipelines.code_server")


class RebuildingServicer(DagsterApiServer):
    """Dagster's servicer, able to load its python file anew while it serves.

    Definitions that cannot be loaded at the start are served as Dagster's load error.
    """

    def __init__(
        self,
        target: LoadableTargetOrigin,
        location_name: str,
        threads: FuturesAwareThreadPoolExecutor,
        ended: threading.Event,
    ) -> None:
        super().__init__(
            server_termination_event=ended,
            logger=_log,
            server_threadpool_executor=threads,
            loadable_target_origin=target,
            location_name=location_name,
            lazy_load_user_code=True,
        )
        self._target = target
        self._location_name = location_name
        self._rebuilding = threading.Lock()

    @property
    def has_definitions(self) -> bool:
        """Whether there are definitions to serve, rather than an error."""
        return self._loaded_repositories is not None

    def rebuild(self) -> bool:
        """Load the definitions again and serve them under a new server id.

        Returns whether that worked; if not, the error is logged and the same are served as before.
        """
        with self._rebuilding:
            started = time.monotonic()
            # Dagster executes a python file once per process, unless that is forgotten.
            sys.modules.pop(Path(str(self._target.python_file)).stem, None)
            try:
                self._loaded_repositories = LoadedRepositories(
                    self._target,
                    container_image=self._container_image,
                    entry_point=self._entry_point,
                    container_context=self._container_context,
                    code_location_name=self._location_name,
                )
            except Exception:
                _log.exception("the definitions cannot be rebuilt; those there were stay in use")
                return False
            self._serializable_load_error = None
            self._server_id = str(uuid.uuid4())
            _log.info("rebuilt the definitions in %.1f s", time.monotonic() - started)
            return True

    def ReloadCode(  # noqa: N802
        self, _request: ReloadCodeRequest, _context: object
    ) -> ReloadCodeReply:
        """What the Reload button calls."""
        self.rebuild()
        return ReloadCodeReply()


def keep_current(
    rebuild: Callable[[], bool],
    version: Callable[[], Hashable],
    built: Hashable,
    every: float,
    stop: threading.Event,
) -> None:
    """Call `rebuild` whenever `version()` is not what was last built, until `stop` is set.

    `built` is the version being served, `every` the seconds between two looks.
    """
    pause = every
    while not stop.wait(pause):
        current = _read(version)
        if current is _UNKNOWN or (current != built and not rebuild()):
            pause = max(every, RETRY_SECONDS)
        else:
            built, pause = current, every


def _read(version: Callable[[], Hashable]) -> Hashable:
    try:
        return version()
    except Exception as error:
        _log.warning("cannot tell the version of the definitions: %s", error)
        return _UNKNOWN


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    host: str
    port: int
    python_file: Path
    location_name: str
    version_of: Callable[[], Hashable] | None
    watch: float  # seconds between two looks at the version


def serve(options: Options, stop_asked: Sequence[int]) -> None:
    """Serve until there is a signal in `stop_asked`, or a client shuts the server down.

    Raises SystemExit if the address is taken.
    """
    _refuse_a_taken_address(options.host, options.port)
    target = LoadableTargetOrigin(
        executable_path=sys.executable,
        python_file=str(options.python_file),
        working_directory=str(options.python_file.parent),
    )
    # The version is read before the load, for the watch to see a change that falls in between.
    built = _read(options.version_of) if options.version_of else _UNKNOWN
    ended = threading.Event()
    threads = FuturesAwareThreadPoolExecutor()
    servicer = RebuildingServicer(target, options.location_name, threads, ended)
    server = DagsterGrpcServer(ended, servicer, _log, threads, host=options.host, port=options.port)
    if options.version_of:
        watched = built if servicer.has_definitions else _UNKNOWN
        watch = (servicer.rebuild, options.version_of, watched, options.watch, ended)
        threading.Thread(target=keep_current, args=watch, daemon=True).start()
    serving = threading.Thread(target=server.serve)
    serving.start()
    _log.info("serving %s on %s:%d", options.python_file, options.host, options.port)
    while serving.is_alive():
        if stop_asked:
            servicer.ShutdownServer(Empty(), None)
        serving.join(SIGNAL_POLL_SECONDS)
    _log.info("stopped")


def _refuse_a_taken_address(host: str, port: int) -> None:
    # gRPC would share the port with another server, and Dagster would talk to both in turn.
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise SystemExit(
            f"code server: cannot listen on {host}:{port}: {error.strerror}"
        ) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    log_plainly()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _log.setLevel(logging.INFO)
    options = _options(arguments)
    signals: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):  # SIGINT may have been ignored until now
        signal.signal(signum, lambda number, _frame: signals.append(number))
    # The interrupt is a signal while the definitions are loaded.
    with suppress(DagsterExecutionInterruptedError), keeping_open():
        serve(options, signals)


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="code_server", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--python-file", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--location-name", required=True)
    parser.add_argument("--version-of", type=_function, metavar="MODULE:FUNCTION")
    parser.add_argument("--watch", type=float, default=1.0, metavar="SECONDS")
    return Options(**vars(parser.parse_args(arguments)))


def _function(reference: str) -> Callable[[], Hashable]:
    module, _, name = reference.partition(":")
    try:
        function: Callable[[], Hashable] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{reference!r} is no MODULE:FUNCTION: {error}") from error
    return function


if __name__ == "__main__":
    main()
