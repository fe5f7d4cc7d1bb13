"""Runs the benchmark: `make bench`, `make bench QUICK=1`, `make bench ONLY=latency,submit`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import services
from benchmarks.bench import Bench
from benchmarks.machine import describe
from benchmarks.platform import running
from benchmarks.report import Figure, Report
from benchmarks.sections.fairness import fairness
from benchmarks.sections.growth import backlog, growth
from benchmarks.sections.idle import idle, start
from benchmarks.sections.latency import latency
from benchmarks.sections.memory import memory
from benchmarks.sections.submit import submit
from benchmarks.sections.termination import termination
from benchmarks.sections.throughput import throughput

SECTIONS: Mapping[str, Callable[[Bench], list[Figure]]] = {
    "start": start,
    "idle": idle,
    "latency": latency,
    "throughput": throughput,
    "submit": submit,
    "termination": termination,
    "memory": memory,
    "fairness": fairness,
    "backlog": backlog,
    "growth": growth,
}
QUICK = ("latency", "throughput", "submit")
RESULTS = services.ROOT / ".cache" / "bench"
DOCUMENT = services.ROOT / "docs" / "performance.md"


def main() -> None:
    """Run the sections, show the table, keep it."""
    arguments = _arguments()
    names = arguments.only or (QUICK if arguments.quick else tuple(SECTIONS))
    console = Console(width=None if sys.stdout.isatty() else 160)
    with _prepared(console, quick=arguments.quick) as (bench, progress):
        machine = describe(bench.mysql.words, bench.participant.words)
        report = Report(machine, _command(arguments), [])
        for name in names:
            report.figures.extend(_section(name, bench, progress, console))
            report.store(RESULTS)  # whatever happens to those that come after
    console.print(report.table())
    console.print(f"kept in {RESULTS}")
    if arguments.document:
        report.write_into(DOCUMENT)
    sys.exit(any(figure.what == "failed" for figure in report.figures))


def _section(name: str, bench: Bench, progress: Progress, console: Console) -> list[Figure]:
    """The figures of a section; one that cannot be run is a row that says why."""
    began = time.monotonic()
    task = progress.add_task(name, total=None)
    bench.show(lambda done, total: progress.update(task, completed=done, total=total))
    try:
        figures = SECTIONS[name](bench)
    except Exception as error:
        console.print_exception()
        figures = [Figure(name, "failed", f"{type(error).__name__}: {error}"[:300])]
    progress.update(task, total=1, completed=1)
    console.print(f"{name}: {time.monotonic() - began:.0f} s")
    for figure in figures:
        console.print(f"  {figure.what}: {figure.text}", highlight=False)
    return figures


@contextmanager
def _prepared(console: Console, *, quick: bool) -> Iterator[tuple[Bench, Progress]]:
    """The servers and a platform that is ready, ended afterwards whatever happens."""
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    with ExitStack() as stack:
        progress = stack.enter_context(
            Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        )
        task = progress.add_task("preparing", total=None)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dist_task_bench_")))
        mysql = stack.enter_context(services.mysql())
        participant = stack.enter_context(services.participant())
        platform = stack.enter_context(running(mysql.url, folder / "home"))
        progress.update(task, total=1, completed=1)
        yield Bench(platform, mysql, participant, folder, quick), progress


def _command(arguments: argparse.Namespace) -> str:
    words = ["make bench"]
    words += ["QUICK=1"] if arguments.quick else []
    words += [f"ONLY={','.join(arguments.only)}"] if arguments.only else []
    return " ".join(words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than two minutes")
    parser.add_argument("--only", type=_names, help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--document", action="store_true", help=f"write into {DOCUMENT.name}")
    return parser.parse_args()


def _names(text: str) -> Sequence[str]:
    names = tuple(filter(None, text.split(",")))
    if unknown := set(names) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; of {', '.join(SECTIONS)}")
    return names


if __name__ == "__main__":
    main()
