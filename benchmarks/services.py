"""The servers beside the platform: MySQL and a fast participant, all on loopback."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
# A commit counts when it is on the disk; room for a million transactions.
MYSQL_SETTINGS = {
    "innodb_flush_log_at_trx_commit": 1,
    "innodb_buffer_pool_size": 1024 * 2**20,
}
MYSQL_REDO = {"innodb_redo_log_capacity": 1024 * 2**20}  # MariaDB has another name for it


@dataclass(frozen=True, slots=True)
class Service:
    """A server: its address, and what it is in words."""

    url: str
    words: str


@contextmanager
def mysql() -> Iterator[Service]:
    """A MySQL server that keeps what it commits."""
    with _served("mysql") as address:
        url = sa.make_url(address).update_query_dict({"ssl_disabled": "true"})
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            version = connection.scalar(sa.text("SELECT VERSION()"))
            settings = MYSQL_SETTINGS | ({} if "MariaDB" in version else MYSQL_REDO)
            for name, value in settings.items():
                connection.execute(sa.text(f"SET GLOBAL {name} = {value}"))
        kind = "MariaDB" if "MariaDB" in version else "MySQL"
        words = f"{kind} {version}, each commit flushed to the disk, no binary log, no TLS"
        yield Service(url.render_as_string(hide_password=False), words)


def new_database(server: str, name: str) -> str:
    """The URL of a new, empty database on the server."""
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(sa.text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


@contextmanager
def participant() -> Iterator[Service]:
    """nginx, or where there is none to be had a small server in Python, which says so."""
    try:
        with _served("nginx") as url:
            yield Service(url, "nginx, one worker process, which answers every POST at once")
            return
    except ServiceMissing:
        pass
    with _python_participant() as url:
        yield Service(url, "aiohttp in Python, because nginx could not be had")


class ServiceMissing(Exception):
    """The server cannot be had on this machine."""


@contextmanager
def _served(name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dist_task_bench_") as folder:
        command = [sys.executable, "-m", "tests.services", "--folder", folder]
        up = subprocess.run(
            [*command, "up", name], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if up.returncode:
            raise ServiceMissing(up.stderr)
        try:
            [word] = [
                word for word in shlex.split(up.stdout, comments=True) if word.startswith("DIST_")
            ]
            yield word.partition("=")[2]
        finally:
            subprocess.run([*command, "down", name], cwd=ROOT, capture_output=True, check=True)


@contextmanager
def _python_participant() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.python_participant"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
