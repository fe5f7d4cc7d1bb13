"""PostgreSQL servers, found or fetched, started and ended by themselves."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.services import apt, compose, free_port
from tests.services.databases import login_error
from tests.services.process import found, named_or_first_that_starts, run, running

URL_VARIABLE = "DIST_TASK_TEST_POSTGRESQL_URL"
DEBIAN_PROGRAMS = "usr/lib/postgresql/*/bin"  # not on the PATH there

# Small, fast, and forgetful when the machine itself fails: the data are thrown away anyway.
_OPTIONS = (
    "--listen_addresses=127.0.0.1",
    "--max_connections=200",
    "--shared_buffers=32MB",
    "--fsync=off",
    "--synchronous_commit=off",
    "--full_page_writes=off",
)
_NEW_CLUSTER = ("--username=root", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
_NOBODY = 65534  # user and group
# PostgreSQL refuses to run as root. As somebody else it may still read the folders on the way.
_AS_NOBODY = (
    "setpriv",
    f"--reuid={_NOBODY}",
    f"--regid={_NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)


def postgresql_server(cache_dir: Path) -> AbstractContextManager[str]:
    """Give the SQLAlchemy URL of a PostgreSQL server; found as `mysql_server` finds its own."""
    return named_or_first_that_starts(
        URL_VARIABLE,
        "PostgreSQL",
        login_error,
        {
            "Docker Compose": partial(compose.server, "postgresql", 5432, _url),
            "installed": _installed,
            "Debian archive": partial(_unpacked, cache_dir),
        },
    )


def _installed() -> AbstractContextManager[str]:
    folders = sorted(Path("/").glob(DEBIAN_PROGRAMS), reverse=True)
    return _served(found("initdb", folders=[str(folder) for folder in folders]).parent, {})


@contextmanager
def _unpacked(cache_dir: Path) -> Iterator[str]:
    tree = apt.fetched([apt.Wanted("postgresql", alone=False)], cache_dir)
    with tempfile.TemporaryDirectory(prefix="dist_task_postgresql_") as name:
        if os.geteuid() == 0:  # whose cache nobody else may see
            tree = shutil.copytree(tree, Path(name) / "tree", symlinks=True)
            Path(name).chmod(0o755)
        libraries = apt.first(tree, "usr/lib/*-linux-*")
        programs = apt.first(tree, DEBIAN_PROGRAMS)
        with _served(programs, {"LD_LIBRARY_PATH": str(libraries)}) as url:
            yield url


@contextmanager
def _served(programs: Path, environment: Mapping[str, str]) -> Iterator[str]:
    through = _AS_NOBODY if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(prefix="dist_task_postgresql_") as name:
        folder, data = Path(name), Path(name) / "data"
        if through:
            shutil.chown(folder, _NOBODY, _NOBODY)
        initialise = [str(programs / "initdb"), *_NEW_CLUSTER, "-D", str(data)]
        run([*through, *initialise], environment=environment)
        port = free_port()
        place = ["-D", str(data), "-k", str(folder), "-p", str(port)]
        url = _url(port)
        with running(
            [str(programs / "postgres"), *place, *_OPTIONS],
            folder / "log",
            partial(login_error, url),
            environment=environment,
            ended_by=signal.SIGINT,  # SIGTERM would wait for the clients to leave
            through=through,
        ):
            yield url


def _url(port: int) -> str:
    return f"postgresql+psycopg://root@127.0.0.1:{port}/postgres"
