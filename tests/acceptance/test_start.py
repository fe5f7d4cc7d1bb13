"""Platforms that cannot start, and platforms that are told to end."""

import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.ledger.schema import VERSION_TABLE
from dist_task_pipelines.settings import Settings
from tests.services import free_port
from tests.services.platform import (
    COMMAND,
    START_PATIENCE,
    MarkedProcess,
    child_environment,
)

WRONG_INPUT, UNREACHABLE = 2, 3
NOBODY_LISTENS = "mysql+pymysql://teller:s3cr3t-w0rd@127.0.0.1:1/dist_task"


def refused_start(
    home: Path,
    *arguments: str,
    exit_code: int,
) -> str:
    """What `up` says on stderr when it cannot start; nothing of it may be left."""
    command = [*COMMAND, "up", "--home", str(home), *arguments]
    if "--port" not in arguments:
        command += ["--port", str(free_port())]
    with MarkedProcess(command, child_environment()) as started:
        output, errors = started.process.communicate(timeout=START_PATIENCE)
        started.see_that_nothing_is_left()
    assert "Traceback" not in errors, errors[-1000:]
    assert started.process.returncode == exit_code, errors
    assert "\n\n" not in errors.strip()
    assert output == ""
    return errors


def configured(home: Path, text: str) -> Path:
    """A home with this configuration file."""
    home.mkdir()
    (home / "dist_task.toml").write_text(text)
    return home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "home"


def test_a_port_in_use(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused_start(home, "--port", str(port), exit_code=WRONG_INPUT)
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "--port" in said


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_is_none(home: Path, port: str) -> None:
    said = refused_start(home, "--port", port, exit_code=WRONG_INPUT)
    assert "port" in said


def test_an_address_of_another_machine(home: Path) -> None:
    configured(home, '[app]\nhost = "203.0.113.7"\n')
    assert "203.0.113.7" in refused_start(home, exit_code=WRONG_INPUT)


def test_a_ledger_that_nobody_serves(home: Path) -> None:
    configured(home, f'[database]\nurl = "{NOBODY_LISTENS}"\n')
    said = refused_start(home, exit_code=UNREACHABLE)
    assert "mysql+pymysql://teller:***@127.0.0.1:1/dist_task" in said
    assert "database.url" in said
    assert "s3cr3t" not in said


def test_a_dagster_storage_that_nobody_serves(home: Path) -> None:
    configured(home, f'[dagster]\nstorage_url = "{NOBODY_LISTENS}"\n')
    said = refused_start(home, exit_code=UNREACHABLE)
    assert "dagster.storage_url" in said
    assert "s3cr3t" not in said
    written = [each.read_text() for each in home.rglob("*.yaml")]
    assert not [text for text in written if "s3cr3t" in text]


def test_a_ledger_of_a_newer_version(home: Path) -> None:
    migrate_ledger(Settings.load(None, home))
    with closing(sqlite3.connect(home / "ledger.db")) as database, database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    assert "revision 9999" in refused_start(home, exit_code=UNREACHABLE)


def test_a_start_can_be_broken_off(home: Path) -> None:
    command = [*COMMAND, "up", "--home", str(home), "--port", str(free_port())]
    with MarkedProcess(command, child_environment(), sigint_ignored=True) as starting:
        assert starting.process.stderr
        assert "ledger migrated" in starting.process.stderr.readline()
        assert f"{home} is in use" in refused_start(home, exit_code=WRONG_INPUT)
        starting.end(signal.SIGINT)
