"""The server of the test suite: it really starts, really ends, and says why when it cannot."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.services import ServiceUnavailable, apt
from tests.services.mysql import URL_VARIABLE, default_cache_dir, mysql_server

ROOT = Path(__file__).parents[2]
NOBODY_LISTENS = "mysql+pymysql://root@127.0.0.1:1/"

ONE_LINE_SOURCES = """\
# deb http://old.test/debian bullseye main
deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.test/debian bookworm main contrib # ours
deb http://mirror.test/debian bookworm-updates main
deb http://security.test/debian-security bookworm-security main
deb-src http://mirror.test/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb http://tools.test/apt stable edge
"""

DEB822_SOURCES = """\
Types: deb deb-src
# a comment
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL

Types: deb
URIs: http://off.test/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://mirror.test/debian
Suites: bookworm
Components: main
"""


def answer(url: str, statement: str) -> str:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return str(connection.execute(text(statement)).scalar_one())


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", make_url(url).port)) == 0


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)


@pytest.fixture
def server_command(own_server: None) -> Iterator[subprocess.Popen[str]]:
    """`python -m tests.services.mysql`, with a folder for what it leaves when it is killed."""
    command = [sys.executable, "-m", "tests.services.mysql"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        yield process
        process.kill()


@pytest.mark.usefixtures("own_server")
def test_a_server_starts_and_is_gone_with_its_data_when_the_block_ends() -> None:
    with mysql_server(default_cache_dir()) as url:
        assert int(answer(url, "SELECT VERSION()").split(".")[0]) >= 8
        data = Path(answer(url, "SELECT @@datadir"))
        assert listens(url)
    assert not listens(url)
    assert not data.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_server_ends_with_its_starter_however_that_ends(
    server_command: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert server_command.stdout
    url = server_command.stdout.readline().strip()
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


def test_each_test_gets_a_fresh_database(mysql_database: str, mysql_url: str) -> None:
    assert answer(mysql_database, "SELECT @@character_set_database") == "utf8mb4"
    name = answer(mysql_database, "SELECT DATABASE()")
    count = f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{name}'"
    assert answer(mysql_url, count) == "0"


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
    assert "cannot run docker" in reasons
    assert "disk full on purpose" in reasons
    assert f"no Debian source with a main component under {tmp_path}" in reasons


def test_sources_in_the_one_line_format_are_read() -> None:
    trust = (("Signed-By", "/keys/debian.gpg"),)
    assert list(apt.parse_one_line(ONE_LINE_SOURCES))[:2] == [
        apt.Source("http://mirror.test/debian", "bookworm", "main contrib", trust),
        apt.Source("http://mirror.test/debian", "bookworm-updates", "main"),
    ]


def test_sources_in_the_deb822_format_are_read_with_their_key() -> None:
    release, updates = apt.parse_deb822(DEB822_SOURCES)
    assert (release.mirror, release.suite) == ("http://mirror.test/debian", "bookworm")
    assert (updates.mirror, updates.suite) == ("http://mirror.test/debian", "bookworm-updates")
    assert release.components == updates.components == "main contrib"
    assert list(apt.parse_deb822(release.stanza("unstable"))) == [
        apt.Source(release.mirror, "unstable", "main contrib", release.trust)
    ]
    assert "\n .\n mQINBGPL" in release.stanza("unstable")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sources.list", ONE_LINE_SOURCES),
        ("sources.list.d/debian.list", ONE_LINE_SOURCES),
        ("sources.list.d/debian.sources", DEB822_SOURCES),
    ],
)
def test_only_a_release_with_main_counts_as_a_mirror(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(content)
    (source,) = apt.release_sources(tmp_path)
    assert (source.mirror, source.suite) == ("http://mirror.test/debian", "bookworm")
