"""The servers of the test suite: they really start, really end, and say why when they cannot."""

import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.services import ServiceUnavailable, apt
from tests.services.catalog import SERVERS
from tests.services.mysql import URL_VARIABLE, mysql_server
from tests.services.platform import MARK, is_listening, listening_ports, marked_processes
from tests.services.process import default_cache_dir
from tests.services.redis import redis_server

ROOT = Path(__file__).parents[2]
NOBODY_LISTENS = "mysql+pymysql://root@127.0.0.1:1/"
LOOPBACK = {
    "0100007F",  # 127.0.0.1
    "0000000000000000FFFF00000100007F",  # ::ffff:127.0.0.1
    "00000000000000000000000001000000",  # ::1
}


def answer(url: str, statement: str) -> str:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return str(connection.execute(text(statement)).scalar_one())


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", make_url(url).port)) == 0


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DIST_TASK_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What servers started in the test leave behind lies here; other users may look in."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(name)


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """By which the processes are found that come of this test."""
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    return mark


@pytest.mark.usefixtures("own_server")
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_on_loopback_and_gone_with_its_data_when_the_block_ends(
    name: str, mark: str, temporary_folder: Path
) -> None:
    with SERVERS[name](default_cache_dir()) as addresses:
        named = {int(port) for text in addresses.values() for port in re.findall(r":(\d+)", text)}
        ports = named | listening_ports(marked_processes(mark))
        assert all(is_listening(port) for port in named)
        assert {address for port in ports for address in bound(port)} <= LOOPBACK
    assert marked_processes(mark) == {}
    assert not any(is_listening(port) for port in ports)
    assert list(temporary_folder.iterdir()) == []


def bound(port: int) -> Iterator[str]:
    """The addresses on which somebody listens on the port, as the kernel writes them."""
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, _, digits = line.split()[1].rpartition(":")
            if line.split()[3] == "0A" and int(digits, 16) == port:
                yield address


@pytest.mark.usefixtures("own_server")
def test_mariadb_is_mariadb(mariadb_url: str) -> None:
    assert "MariaDB" in answer(mariadb_url, "SELECT VERSION()")


@pytest.mark.usefixtures("own_server")
def test_redis_begins_empty() -> None:
    with redis_server(default_cache_dir()) as url, redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0


@pytest.fixture
def server_command(own_server: None, temporary_folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`scripts/services run mariadb`, with a folder for what it leaves when it is killed."""
    command = [sys.executable, "-m", "tests.services", "run", "mariadb"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_server_ends_with_its_starter_however_that_ends(
    server_command: subprocess.Popen[str], number: signal.Signals
) -> None:
    url = address_in(server_command)
    pid_file = Path(answer(url, "SELECT @@pid_file"))
    if not pid_file.exists():
        pytest.skip("the server runs in a container, where its process cannot be watched")
    server = os.pidfd_open(int(pid_file.read_text()))
    server_command.send_signal(number)
    ended, _, _ = select.select([server], [], [], 60)
    os.close(server)
    assert ended
    assert not listens(url)
    assert server_command.wait() == (0 if number is signal.SIGINT else -number)


def address_in(command: subprocess.Popen[str]) -> str:
    """The URL in the next line that exports one."""
    assert command.stdout
    lines = iter(command.stdout.readline, "")
    exported = next(line for line in lines if line.startswith("export "))
    return exported.strip().partition("=")[2]


@pytest.mark.usefixtures("own_server")
def test_servers_stay_up_between_commands(tmp_path: Path, temporary_folder: Path) -> None:
    def services(*words: str) -> str:
        folder = str(tmp_path / "kept")
        command = [sys.executable, "-m", "tests.services", *words, "--folder", folder]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return str(done.stdout)

    both = ("redis", "postgresql")
    started = services("up", *both)
    assert services("up", *both) == services("status", *both) == started
    variables = subprocess.run(
        ["sh", "-c", f"{started}\nenv"], capture_output=True, text=True, check=True
    ).stdout
    urls = [line.partition("=")[2] for line in variables.splitlines() if "_TEST_" in line]
    assert len(urls) == 2
    assert all(listens(url) for url in urls)
    assert services("down", *both) == "# redis: ended\n# postgresql: ended\n"
    assert not any(listens(url) for url in urls)
    assert services("status", "redis") == "# redis: not running\n"
    assert services("down", "redis") == "# redis: was not running\n"
    assert list((tmp_path / "kept").iterdir()) == []
    assert list(temporary_folder.iterdir()) == []


def test_each_test_gets_a_fresh_database(
    mysql_database: str, mariadb_database: str, postgresql_database: str
) -> None:
    count = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = "
    for url in (mysql_database, mariadb_database):
        assert answer(url, "SELECT @@character_set_database") == "utf8mb4"
        assert answer(url, f"{count} DATABASE()") == "0"
    assert answer(postgresql_database, f"{count} 'public'") == "0"


def outcome_without_a_server(folder: Path, **environment: str) -> str:
    """What pytest prints of two tests that want a server where the one named is not there."""
    test = folder / "test_wanting.py"
    test.write_text("def test_1(mysql_database): ...\ndef test_2(mysql_url): ...\n")
    base = {k: v for k, v in os.environ.items() if k not in ("CI", "DIST_TASK_REQUIRE_SERVICES")}
    alone = {URL_VARIABLE: NOBODY_LISTENS, "PYTEST_ADDOPTS": "-c /dev/null -p no:cacheprovider"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.services.fixtures", test],
        cwd=ROOT,
        env={**base, **alone, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_without_a_server_tests_are_skipped_and_the_summary_says_why(tmp_path: Path) -> None:
    printed = outcome_without_a_server(tmp_path)
    assert "2 skipped" in printed
    assert "WARNING: no MySQL" in printed
    assert URL_VARIABLE in printed


@pytest.mark.parametrize("must", [{"CI": "true"}, {"DIST_TASK_REQUIRE_SERVICES": "1"}])
def test_where_servers_are_a_must_tests_fail_instead(tmp_path: Path, must: dict[str, str]) -> None:
    printed = outcome_without_a_server(tmp_path, **must)
    assert "2 errors" in printed
    assert f"{URL_VARIABLE}: " in printed


@pytest.mark.usefixtures("own_server")
def test_each_way_that_failed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "mysqld"
    broken.write_text("#!/bin/sh\necho 'disk full on purpose'\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(apt, "APT_SETTINGS", tmp_path)
    with pytest.raises(ServiceUnavailable) as caught, mysql_server(tmp_path / "cache"):
        pass
    reasons = str(caught.value)
    assert "docker" in reasons
    assert "disk full on purpose" in reasons
    assert f"no Debian source with a main component under {tmp_path}" in reasons
