"""Programs from the Debian archive, unpacked with their libraries in a folder, without root.

The machine's own apt sources name the mirror; apt's and dpkg's own state stays untouched. What the
unpacked program is for, this module does not know.
"""

import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from tests.services import ServiceUnavailable
from tests.services.process import run

APT_SETTINGS = Path("/etc/apt")
INSTALLED = Path("/var/lib/dpkg/status")

_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<mirror>[\w+]+:/\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#\n]+)",
    re.MULTILINE,
)
# What a source says about its signatures holds for the other suites of its mirror, too.
_TRUST_FIELDS = {"signed-by": "Signed-By", "trusted": "Trusted"}

# The machine's own settings stay in force (its proxy stands there), but not its hooks, which act on
# the system's caches. `#clear` exists in configuration files only.
_APT_CONF = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
Dir::Etc::sourcelist "{folder}/archive.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/cache/archives";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of a mirror, as the machine's apt sources name it."""

    mirror: str
    suite: str
    components: str  # separated by blanks
    trust: tuple[tuple[str, str], ...] = ()  # deb822 fields on signatures

    def stanza(self, suite: str) -> str:
        """The deb822 stanza for `suite` of the same mirror."""
        fields = (
            ("Types", "deb"),
            ("URIs", self.mirror),
            ("Suites", suite),
            ("Components", self.components),
            *self.trust,
        )
        return "".join(f"{name}: {value}\n" for name, value in fields)


def parse_one_line(text: str) -> Iterator[Source]:
    """Yield the binary sources of a `sources.list`: `deb [options] mirror suite component...`."""
    for match in _ONE_LINE.finditer(text):
        options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
        yield Source(match["mirror"], match["suite"], match["components"].strip(), _trust(options))


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the enabled binary sources of a `*.sources` file, one for each mirror and suite."""
    uncommented = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", uncommented.strip()):
        fields = {name.lower(): value for name, value in message_from_string(stanza).items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        components = " ".join(fields.get("components", "").split())
        pairs = itertools.product(fields["uris"].split(), fields["suites"].split())
        yield from (Source(mirror, suite, components, _trust(fields)) for mirror, suite in pairs)


def _trust(fields: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((_TRUST_FIELDS[name], fields[name]) for name in _TRUST_FIELDS if name in fields)


def release_sources(settings: Path) -> list[Source]:
    """Return the machine's sources of a whole release: with main, neither updates nor security.

    Raises `ServiceUnavailable` when there is none.
    """
    lists = [settings / "sources.list", *sorted(settings.glob("sources.list.d/*.list"))]
    found = [
        *(s for path in lists if path.exists() for s in parse_one_line(path.read_text())),
        *(
            source
            for path in sorted(settings.glob("sources.list.d/*.sources"))
            for source in parse_deb822(path.read_text())
        ),
    ]
    releases = [s for s in found if "-" not in s.suite and "main" in s.components.split()]
    if not releases:
        raise ServiceUnavailable(f"no Debian source with a main component under {settings}")
    return releases


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package of the archive.

    Attributes:
        package: its name.
        suite: where it is; by default in the machine's own release.
        alone: with every library it needs, whatever the machine has. Otherwise with those that
            the machine lacks.
    """

    package: str
    suite: str | None = None
    alone: bool = True


def fetched(packages: Sequence[Wanted], cache_dir: Path) -> Path:
    """The folder of the first package that is kept in `cache_dir`, or can be had.

    Raises:
        ServiceUnavailable: none can; with the reason of each.
    """
    kept = [tree for wanted in packages for tree in sorted(cache_dir.glob(f"{wanted.package}-*"))]
    if kept:
        return kept[0]
    sources = release_sources(APT_SETTINGS)
    reasons = []
    for wanted, source in itertools.product(packages, sources):
        try:
            return unpack(wanted, source, cache_dir)
        except ServiceUnavailable as reason:
            reasons.append(str(reason))
    raise ServiceUnavailable("\n".join(reasons))


def first(folder: Path, pattern: str) -> Path:
    """The first path under the folder that fits.

    Raises:
        ServiceUnavailable: none does.
    """
    found = next(folder.glob(pattern), None)
    if not found:
        raise ServiceUnavailable(f"no {pattern} in {folder}")
    return found


def own_loader(tree: Path, program: str) -> list[str]:
    """The command that runs an unpacked program with its own libraries, its loader among them.

    Those of the machine may be older.
    """
    loader = first(tree, "**/*-linux-*/ld-linux*.so.*")
    libraries = ":".join(str(tree / top / loader.parent.name) for top in ("usr/lib", "lib"))
    return [str(loader), "--library-path", libraries, str(first(tree, program))]


def unpack(wanted: Wanted, source: Source, target_dir: Path) -> Path:
    """Download a package and what it needs; unpack all in `target_dir/<package>-<version>`.

    The folder appears complete or not at all. Raises `ServiceUnavailable` with the end of what the
    failed command printed.
    """
    target_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target_dir) as name:
        folder = Path(name)
        archives = _download(wanted, source.stanza(wanted.suite or source.suite), folder)
        tree = folder / "tree"
        for archive in archives:
            run(["dpkg", "-x", str(archive), str(tree)])
        version = next(
            a.name.split("_")[1] for a in archives if a.name.startswith(f"{wanted.package}_")
        )
        target = target_dir / f"{wanted.package}-{version.rpartition('%3a')[2]}"
        try:
            tree.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    return target


def _download(wanted: Wanted, stanza: str, folder: Path) -> list[Path]:
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    status = folder / "status"
    status.touch()  # nothing counts as installed: the libraries come along
    if not wanted.alone:
        shutil.copy(INSTALLED, status)
    (folder / "archive.sources").write_text(stanza)
    (folder / "apt.conf").write_text(_APT_CONF.format(folder=folder))
    apt = ["apt-get", "-q", "-c", str(folder / "apt.conf"), "-o", "APT::Update::Error-Mode=any"]
    run([*apt, "update"])
    run([*apt, "install", "--yes", "--download-only", wanted.package])
    return sorted((folder / "cache/archives").glob("*.deb"))
