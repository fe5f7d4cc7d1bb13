"""A real MySQL or MariaDB server for the tests, found or fetched, started and ended by themselves.

`python -m tests.services.mysql` starts one for use by hand and prints its URL.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tests.services import ServiceUnavailable, apt, free_port

URL_VARIABLE = "DIST_TASK_TEST_MYSQL_URL"
DOCKER_IMAGE = "mysql:8.4"
# Suite and package in the Debian archive, the preferred one first; no suite: the machine's own.
DEBIAN_PACKAGES = (("unstable", "mysql-server-core"), (None, "mariadb-server-core"))
START_SECONDS = 120.0
DOCKER_START_SECONDS = 300.0  # the image may have to be pulled
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05

# Small, fast, and forgetful when the machine itself fails: the data are thrown away anyway.
# `loose-`: MariaDB does not know these.
_OPTIONS = (
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
    "--max-connections=300",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=OFF",
    "--secure-file-priv=",
    "--loose-innodb-redo-log-capacity=32M",
    "--loose-mysqlx=OFF",
)

# Runs a program that is told to end when the thread that started it does, however that happens.
# A step of its own because `preexec_fn` is not safe beside other threads.
_TIED = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the starter is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A server program: how to run it, and its folder of messages and (MariaDB) system tables."""

    command: tuple[str, ...]
    share: Path | None

    def options(self, data: Path) -> list[str]:
        """The command with what the first start and every other have in common."""
        root = ("--user=root",) if os.geteuid() == 0 else ()
        messages = (f"--lc-messages-dir={self.share}",) if self.share else ()
        return [*self.command, "--no-defaults", *root, *messages, *_OPTIONS, f"--datadir={data}"]


@contextmanager
def mysql_server(cache_dir: Path) -> Iterator[str]:
    """Give the SQLAlchemy URL of a server on which databases may be created.

    In this order: the running server that `DIST_TASK_TEST_MYSQL_URL` names; Docker; a `mysqld` or
    `mariadbd` on the machine; one from the Debian archive, kept in `cache_dir` for the next time.
    A server started here listens on loopback, keeps its data in a temporary folder and has ended
    when the block is left; it also ends with the thread that started it. Raises
    `ServiceUnavailable` with the reason of each way that failed.
    """
    with ExitStack() as stack:
        if url := os.environ.get(URL_VARIABLE):
            if error := _login_error(url):
                raise ServiceUnavailable(f"{URL_VARIABLE}: {error}")
            yield url
        else:
            yield _first_that_starts(stack, cache_dir)


def default_cache_dir() -> Path:
    """The user's own cache folder for this project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dist_task_pipelines"


def _first_that_starts(stack: ExitStack, cache_dir: Path) -> str:
    ways: dict[str, Callable[[], AbstractContextManager[str]]] = {
        "Docker": _in_docker,
        "installed": _installed,
        "Debian archive": partial(_unpacked, cache_dir),
    }
    reasons = []
    for name, start in ways.items():
        try:
            return stack.enter_context(start())
        except ServiceUnavailable as reason:
            reasons.append(f"- {name}: {reason}")
    raise ServiceUnavailable("no MySQL or MariaDB server to be had\n" + "\n".join(reasons))


@contextmanager
def _in_docker() -> Iterator[str]:
    apt.run(["docker", "info", "--format", "{{.ServerVersion}}"])
    port, name = free_port(), f"dist-task-mysql-{secrets.token_hex(4)}"
    place = ["--name", name, "--publish", f"127.0.0.1:{port}:3306"]
    command = ["docker", "run", "--rm", *place, "--env", "MYSQL_ALLOW_EMPTY_PASSWORD=1"]
    with tempfile.TemporaryDirectory(prefix="dist_task_mysql_") as folder:
        log = Path(folder) / "log"
        try:
            # In the foreground: the client hands SIGTERM on to the server in the container.
            with _running([*command, DOCKER_IMAGE, *_OPTIONS], port, log, DOCKER_START_SECONDS):
                yield _url(port)
        finally:  # for a container that outlived its client
            remove = ["docker", "rm", "--force", "--volumes", name]
            subprocess.run(remove, capture_output=True, check=False)


def _installed() -> AbstractContextManager[str]:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which("mysqld", path=path) or shutil.which("mariadbd", path=path)
    if not found:
        raise ServiceUnavailable("neither mysqld nor mariadbd on the path")
    return _served(Program((found,), _share(Path(found).resolve().parent.parent)))


def _unpacked(cache_dir: Path) -> AbstractContextManager[str]:
    kept = [d for _, package in DEBIAN_PACKAGES for d in sorted(cache_dir.glob(f"{package}-*"))]
    tree = kept[0] if kept else _fetched(cache_dir)
    # With its own loader and libraries, since those of the machine may be older.
    loader = _first(tree, "**/*-linux-*/ld-linux*.so.*")
    libraries = ":".join(str(tree / top / loader.parent.name) for top in ("usr/lib", "lib"))
    server = _first(tree, "usr/sbin/m*d")
    command = (str(loader), "--library-path", libraries, str(server))
    return _served(Program(command, _share(tree / "usr")))


def _fetched(cache_dir: Path) -> Path:
    sources = apt.release_sources(apt.APT_SETTINGS)
    reasons = []
    for suite, package in DEBIAN_PACKAGES:
        for source in sources:
            try:
                return apt.unpack(package, source, suite or source.suite, cache_dir)
            except ServiceUnavailable as reason:
                reasons.append(str(reason))
    raise ServiceUnavailable("\n".join(reasons))


def _first(folder: Path, pattern: str) -> Path:
    found = next(folder.glob(pattern), None)
    if not found:
        raise ServiceUnavailable(f"no {pattern} in {folder}")
    return found


def _share(prefix: Path) -> Path | None:
    folders = (prefix / "share" / name for name in ("mysql", "mariadb", "."))
    return next((f for f in folders if (f / "english/errmsg.sys").exists()), None)


@contextmanager
def _served(program: Program) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dist_task_mysql_") as name:
        folder = Path(name)
        data = folder / "data"
        _initialise(program, data)
        port = free_port()
        place = (
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            f"--tmpdir={folder}",
            "--innodb-fast-shutdown=2",
        )
        with _running([*program.options(data), *place], port, folder / "log", START_SECONDS):
            yield _url(port)


def _initialise(program: Program, data: Path) -> None:
    if "MariaDB" in apt.run([*program.command, "--version"]):
        data.mkdir()
        apt.run([*program.options(data), "--bootstrap"], stdin=_system_tables(program))
    else:
        apt.run([*program.options(data), "--initialize-insecure"])


def _system_tables(program: Program) -> str:
    """What MariaDB's install script feeds to the server: root without a password, no more users."""
    scripts = ("system_tables", "performance_tables", "system_tables_data")
    if not program.share:
        raise ServiceUnavailable(f"no system tables beside {program.command[-1]}")
    texts = (_first(program.share, f"*_{script}.sql").read_text() for script in scripts)
    return "\n".join(("CREATE DATABASE mysql;", "USE mysql;", *texts))


@contextmanager
def _running(command: Sequence[str], port: int, log: Path, patience: float) -> Iterator[None]:
    """Run a server in the block, which begins when it takes logins; `patience` in seconds."""
    tied = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            tied,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is for the tests alone
        ) as process,
    ):
        try:
            _await_login(process, _url(port), log, patience)
            yield
        finally:
            _stop(process)


def _await_login(process: subprocess.Popen[bytes], url: str, log: Path, patience: float) -> None:
    give_up = time.monotonic() + patience
    while error := _login_error(url):
        if process.poll() is not None or time.monotonic() > give_up:
            state = f"ended with {process.returncode}" if process.returncode is not None else error
            raise ServiceUnavailable(f"{url}: {state}\n{apt.tail(log.read_text(errors='replace'))}")
        time.sleep(POLL_SECONDS)


def _login_error(url: str) -> str | None:
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        return str(error).splitlines()[0]
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _url(port: int) -> str:
    return f"mysql+pymysql://root@127.0.0.1:{port}/"


def main() -> None:
    """Start a server, print its URL, and keep it until Ctrl-C or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with mysql_server(default_cache_dir()) as url:
            print(url, flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    except ServiceUnavailable as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
