"""Platforms that cannot start, and platforms that are told to end."""

import signal
import socket
import sqlite3
from collections.abc import Mapping
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
    dist_task,
    running_platform,
)

WRONG_INPUT, UNREACHABLE = 2, 3
NOBODY_LISTENS = "mysql+pymysql://teller:s3cr3t-w0rd@127.0.0.1:1/dist_task"


def refused_start(
    home: Path,
    *arguments: str,
    exit_code: int,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What `up` says on stderr when it cannot start; nothing of it may be left."""
    command = [*COMMAND, "up", "--home", str(home), *arguments]
    if "--port" not in arguments:
        command += ["--port", str(free_port())]
    with MarkedProcess(command, {**child_environment(), **(environment or {})}) as started:
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


@pytest.mark.parametrize("port", ["0", "65536", "-1", "eighty"])
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
    set_revision(home, "9999")
    for said in (
        refused_start(home, exit_code=UNREACHABLE),
        dist_task("status", home=home, exit_code=UNREACHABLE).stderr,
        dist_task("migrate", home=home, exit_code=UNREACHABLE).stderr,
    ):
        assert "revision 9999" in said
        assert "upgrade dist-task-pipelines" in said


@pytest.mark.parametrize("made", [False, True], ids=["no-folder", "empty-folder"])
def test_commands_need_a_ledger(home: Path, made: bool) -> None:
    if made:
        home.mkdir()
    said = dist_task("status", home=home, exit_code=UNREACHABLE).stderr
    assert "dist-task migrate" in said


def test_commands_need_a_ledger_of_this_version(home: Path) -> None:
    set_revision(home, "0000")
    said = dist_task("submit", "shop", "order-1", home=home, exit_code=UNREACHABLE).stderr
    assert "is at revision 0000" in said
    assert "dist-task migrate" in said


def test_every_fault_of_the_configuration_is_named_at_once(home: Path) -> None:
    configured(
        home,
        """
        [app]
        port = "3000"
        prt = 1
        [dispatch]
        max_batch = 0
        lease_seconds = true
        [database]
        url = "postgresql://teller:s3cr3t-w0rd@127.0.0.1/dist_task"
        [sevices.Payment]
        address = "127.0.0.1:1"
        """,
    )
    environment = {"DIST_TASK__RETRY__STRATEGY": "sometimes", "DIST_TASK__NO__SUCH": "1"}
    said = refused_start(home, exit_code=WRONG_INPUT, environment=environment)
    for name in (
        "app.port",
        "app.prt",
        "dispatch.max_batch",
        "dispatch.lease_seconds",
        "database.url",
        "sevices",
        "DIST_TASK__RETRY__STRATEGY",
        "DIST_TASK__NO__SUCH",
    ):
        assert name in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [("[app\nport = 1", "dist_task.toml"), ('[app]\nhost = "${NO_SUCH_NAME}"', "NO_SUCH_NAME")],
    ids=["no-toml", "no-variable"],
)
def test_a_configuration_that_cannot_be_read(home: Path, text: str, words: str) -> None:
    configured(home, text)
    assert words in refused_start(home, exit_code=WRONG_INPUT)


def test_a_configuration_file_that_is_not_there(home: Path) -> None:
    said = refused_start(home, "--config", str(home / "nowhere.toml"), exit_code=WRONG_INPUT)
    assert "nowhere.toml" in said


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused_start(tmp_path / "file" / "home", exit_code=WRONG_INPUT)
    assert str(tmp_path / "file") in said


def test_a_home_of_somebody_else_s_files(home: Path) -> None:
    home.mkdir()
    (home / "ledger.db").write_text("not a database at all, but long enough to be looked at\n" * 99)
    said = refused_start(home, exit_code=UNREACHABLE)
    assert str(home / "ledger.db") in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_can_be_broken_off(home: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "up", "--home", str(home), "--port", str(free_port())]
    with MarkedProcess(command, child_environment(), sigint_ignored=True) as starting:
        assert starting.process.stderr
        assert "ledger migrated" in starting.process.stderr.readline()
        starting.end(number)


def test_a_killed_platform_leaves_nobody_behind(home: Path) -> None:
    with running_platform(home, ended_by=signal.SIGKILL):
        pass


def set_revision(home: Path, revision: str) -> None:
    """Make the ledger of the home look like another version's."""
    migrate_ledger(Settings.load(None, home))
    with closing(sqlite3.connect(home / "ledger.db")) as database, database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", [revision])
