"""MySQL and MariaDB servers, found or fetched, started and ended by themselves."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.services import ServiceUnavailable, apt, compose, free_port
from tests.services.databases import login_error
from tests.services.process import found, named_or_first_that_starts, run, running

URL_VARIABLE = "DIST_TASK_TEST_MYSQL_URL"
MARIADB_URL_VARIABLE = "DIST_TASK_TEST_MARIADB_URL"
MARIADB = apt.Wanted("mariadb-server-core")
MYSQL = apt.Wanted("mysql-server-core", suite="unstable")

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


def mysql_server(cache_dir: Path) -> AbstractContextManager[str]:
    """Give the SQLAlchemy URL of a server on which databases may be created.

    In this order: the running server that `DIST_TASK_TEST_MYSQL_URL` names; Docker Compose; a
    `mysqld` or `mariadbd` on the machine; one from the Debian archive, kept in `cache_dir` for the
    next time. A server started here listens on loopback, keeps its data in a temporary folder and
    has ended when the block is left; it also ends with the thread that started it. Raises
    `ServiceUnavailable` with the reason of each way that failed.
    """
    return named_or_first_that_starts(
        URL_VARIABLE,
        "MySQL or MariaDB",
        login_error,
        {
            "Docker Compose": partial(compose.server, "mysql", 3306, _url),
            "installed": partial(_installed, "mysqld", "mariadbd"),
            "Debian archive": partial(_unpacked, cache_dir, [MYSQL, MARIADB]),
        },
    )


def mariadb_server(cache_dir: Path) -> AbstractContextManager[str]:
    """Like `mysql_server`, but MariaDB and nothing else, named by `DIST_TASK_TEST_MARIADB_URL`."""
    return named_or_first_that_starts(
        MARIADB_URL_VARIABLE,
        "MariaDB",
        login_error,
        {
            "Docker Compose": partial(compose.server, "mariadb", 3306, _url),
            "installed": partial(_installed, "mariadbd"),
            "Debian archive": partial(_unpacked, cache_dir, [MARIADB]),
        },
    )


def _installed(*names: str) -> AbstractContextManager[str]:
    program = found(*names)
    return _served(Program((str(program),), _share(program.parent.parent)))


def _unpacked(cache_dir: Path, packages: Sequence[apt.Wanted]) -> AbstractContextManager[str]:
    tree = apt.fetched(packages, cache_dir)
    command = tuple(apt.own_loader(tree, "usr/sbin/m*d"))
    return _served(Program(command, _share(tree / "usr")))


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
        url = _url(port)
        command = [*program.options(data), *place]
        with running(command, folder / "log", partial(login_error, url)):
            yield url


def _initialise(program: Program, data: Path) -> None:
    if "MariaDB" in run([*program.command, "--version"]):
        data.mkdir()
        run([*program.options(data), "--bootstrap"], stdin=_system_tables(program))
    else:
        run([*program.options(data), "--initialize-insecure"])


def _system_tables(program: Program) -> str:
    """What MariaDB's install script feeds to the server: root without a password, no more users."""
    scripts = ("system_tables", "performance_tables", "system_tables_data")
    if not program.share:
        raise ServiceUnavailable(f"no system tables beside {program.command[-1]}")
    texts = (apt.first(program.share, f"*_{script}.sql").read_text() for script in scripts)
    return "\n".join(("CREATE DATABASE mysql;", "USE mysql;", *texts))


def _url(port: int) -> str:
    return f"mysql+pymysql://root@127.0.0.1:{port}/"
