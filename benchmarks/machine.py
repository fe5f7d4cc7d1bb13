"""What processes cost, read from /proc, and the words for the machine they ran on."""

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SHOWN_PACKAGES = ("dagster", "aiohttp", "sqlalchemy", "pymysql", "celery", "uvicorn")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far: seconds of CPU, bytes of memory at this moment."""

    cpu: float
    memory: int


def usage(pid: int) -> Usage | None:
    """What the process and its ended children used; None when it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return Usage(sum(map(int, fields[11:15])) / TICKS, int(fields[21]) * PAGE)
    return None


def together(pids: Iterable[int]) -> int:
    """Bytes of memory of all these processes, a page that several share counted once."""
    lines = []
    for pid in pids:
        with suppress(OSError):
            lines += Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def marked(mark: str) -> dict[int, str]:
    """The processes whose environment holds `mark` (NAME=value), by pid, named by their log file.

    Without a log file it is the platform's own parent process.
    """
    sign, found = mark.encode(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if sign in (folder / "environ").read_bytes().split(b"\0"):
                output = (folder / "fd" / "1").readlink()
                found[int(folder.name)] = output.stem if output.suffix == ".log" else "up"
    return found


def named(*words: str) -> list[int]:
    """The processes whose command line holds all the words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words):
                found.append(int(folder.name))
    return found


def sample(processes: Mapping[int, str]) -> dict[str, Usage]:
    """What the processes have used, those of one name added up."""
    result: dict[str, Usage] = {}
    for pid, name in processes.items():
        if used := usage(pid):
            sofar = result.get(name, Usage(0, 0))
            result[name] = Usage(sofar.cpu + used.cpu, sofar.memory + used.memory)
    return result


def spent(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Seconds of CPU between two samples, by name, the largest first."""
    seconds = {name: used.cpu - before.get(name, Usage(0, 0)).cpu for name, used in after.items()}
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def each(values: Mapping[str, float], unit: str, digits: int = 2) -> str:
    """Figures by name in one line, those that are nothing left out."""
    shown = {name: round(value, digits) for name, value in values.items()}
    return ", ".join(f"{name} {value:g}" for name, value in shown.items() if value) + f" {unit}"


def mebibytes(memory: Mapping[str, Usage]) -> str:
    """Memory by process."""
    return each({name: used.memory / 2**20 for name, used in memory.items()}, "MB", 0)


def describe(database: str, participant: str) -> dict[str, str]:
    """The machine and the versions, in words."""
    model = _first_after("model name", Path("/proc/cpuinfo").read_text().splitlines())
    memory = _first_after("MemTotal", Path("/proc/meminfo").read_text().splitlines())
    packages = [f"{name} {version(name)}" for name in SHOWN_PACKAGES]
    kernel = platform.release().split("-")[0]  # without the suffix of the host's build
    return {
        "machine": f"{os.cpu_count()} cores ({model}), {int(memory.split()[0]) // 2**20} GB",
        "system": f"{platform.system()} {kernel}, Python {platform.python_version()}",
        "packages": ", ".join(packages),
        "database": database,
        "participant": participant,
    }


def _first_after(name: str, lines: Iterable[str]) -> str:
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "unknown")
