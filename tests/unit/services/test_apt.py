"""Which mirrors the machine's apt sources name."""

from pathlib import Path

import pytest

from tests.services import apt

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
