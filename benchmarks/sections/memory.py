"""Whether a worker's memory stays what it is, however many runs the worker has executed."""

from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.flow import order
from benchmarks.machine import Usage, mebibytes
from benchmarks.platform import Platform
from benchmarks.report import Figure
from benchmarks.sections.throughput import BATCH

FEW, MANY = 100, 10_000  # runs
MOST = 1.2  # times the memory, to be reached
PATIENCE = 1_800.0  # seconds
ONE_BY_ONE = {"workers": {"count": 1}, "dispatch": {"max_batch": 1}}


def memory(bench: Bench) -> list[Figure]:
    """One worker that executes ten thousand runs of one transaction each."""
    with Platform(bench.mysql.url, bench.folder / "memory", ONE_BY_ONE, "memory") as platform:
        platform.apply(bench.participant.url, length=1)
        few = _after(bench, platform, "few_", FEW)
        many = _after(bench, platform, "many_", MANY - FEW)
    ratio = many["worker_1"].memory / few["worker_1"].memory
    return [
        Figure(
            "memory",
            "of a worker",
            f"{_megabytes(few):.0f} MB after {FEW} runs, {_megabytes(many):.0f} MB after {MANY:,}: "
            f"{ratio:.2f} times",
            f"≤ {MOST} times",
            ratio <= MOST,
            "one worker, a run for each transaction of one HTTP task; resident",
            {"ratio": ratio},
        ),
        Figure("memory", "of the platform", mebibytes(many), how=f"before: {mebibytes(few)}"),
    ]


def _after(bench: Bench, platform: Platform, prefix: str, count: int) -> Mapping[str, Usage]:
    """What the platform's processes use once so many more transactions have succeeded."""
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        orders = [order(f"{prefix}{number:07d}", length=1) for number in numbers]
        platform.request("POST", "/transactions/batch", {"transactions": orders})
    platform.wait_for_all(prefix, count, PATIENCE, lambda done: bench.tell(done, count))
    return platform.usage()


def _megabytes(usage: Mapping[str, Usage]) -> float:
    return usage["worker_1"].memory / 2**20
