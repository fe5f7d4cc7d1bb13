"""How many transactions pass in a second, and what each costs."""

from datetime import UTC

from benchmarks.bench import Bench
from benchmarks.machine import mebibytes
from benchmarks.report import Figure
from benchmarks.submitting import submit_in_batches

COUNT, QUICK_COUNT = 20_000, 2_000
BARE_COUNT, QUICK_BARE_COUNT = 5_000, 1_000
RATIO = 0.6  # of the bare loop, to be reached
PATIENCE = 600.0  # seconds
BATCH = 500


def throughput(bench: Bench) -> list[Figure]:
    """Many transactions, from the first request to the last success."""
    bench.platform.apply(bench.participant.url)
    count = QUICK_COUNT if bench.quick else COUNT
    bare = bench.bare(QUICK_BARE_COUNT if bench.quick else BARE_COUNT)
    with bench.costs() as costs:
        per_second = rate(bench, "through_", count)
    ratio = per_second / bare.per_second
    figure = Figure(
        "throughput",
        "transactions a second",
        f"{per_second:.0f}/s; {costs.words(count)}",
        f"≥ {RATIO} of the bare loop",
        ratio >= RATIO,
        f"{count} transactions of 3 HTTP tasks by REST in batches of {BATCH}, "
        "first request → last success; 2 workers",
        {"per_second": per_second, "ratio": ratio, "cpu_ms": costs.each_ms(count)},
    )
    bare_words = f"{bare.per_second:.0f}/s, {bare.cpu_ms:.2f} ms of CPU each; ratio {ratio:.2f}"
    return [
        figure,
        Figure(
            "throughput",
            "the bare loop",
            bare_words,
            how="the same calls with the same client on one event loop, recording nothing; "
            "best of three",
            values={"per_second": bare.per_second, "cpu_ms": bare.cpu_ms},
        ),
        Figure("throughput", "memory after it", mebibytes(costs.memory)),
    ]


def rate(bench: Bench, prefix: str, count: int) -> float:
    """Transactions per second, from the first request to the last success."""
    sent = submit_in_batches(bench.platform.url, prefix, count, BATCH)
    bench.platform.wait_for_all(prefix, count, PATIENCE, lambda done: bench.tell(done, count))
    return count / (last_success(bench, prefix) - sent.began)


def last_success(bench: Bench, prefix: str) -> float:
    """Unix time of the last success among transactions whose ids begin like this."""
    [(ended,)] = bench.platform.rows(
        "SELECT MAX(completed_at) FROM task_group_instance WHERE id >= :low AND id < :high",
        low=prefix,
        high=prefix + "~",
    )
    return float(ended.replace(tzinfo=UTC).timestamp())
