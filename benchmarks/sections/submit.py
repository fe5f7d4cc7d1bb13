"""How many transactions are accepted in a second, each committed before it is answered."""

from benchmarks.bench import Bench
from benchmarks.report import Figure
from benchmarks.submitting import Submitted, submit_in_batches, submit_singly

SINGLE, QUICK_SINGLE = 6_000, 1_500
BATCHED, QUICK_BATCHED = 30_000, 5_000
CONNECTIONS, BATCH = 32, 500
SINGLE_RATE, BATCH_RATE = 600, 6_000  # to be reached
PATIENCE = 600.0  # seconds


def submit(bench: Bench) -> list[Figure]:
    """Singly and in batches, while the platform goes on with what it has accepted."""
    bench.platform.apply(bench.participant.url)
    singly = submit_singly(
        bench.platform.url,
        "one_",
        QUICK_SINGLE if bench.quick else SINGLE,
        CONNECTIONS,
    )
    _settle(bench, "one_", singly)
    batched = submit_in_batches(
        bench.platform.url, "many_", QUICK_BATCHED if bench.quick else BATCHED, BATCH
    )
    _settle(bench, "many_", batched)
    return [
        _figure("single", singly, SINGLE_RATE, f"one a request, {CONNECTIONS} connections"),
        _figure("in batches", batched, BATCH_RATE, f"{BATCH} a request, 2 connections"),
    ]


def _settle(bench: Bench, prefix: str, sent: Submitted) -> None:
    bench.platform.wait_for_all(
        prefix, sent.count, PATIENCE, lambda done: bench.tell(done, sent.count)
    )


def _figure(what: str, sent: Submitted, target: int, how: str) -> Figure:
    return Figure(
        "submit",
        what,
        f"{sent.per_second:.0f}/s",
        f"≥ {target}/s",
        sent.per_second >= target,
        f"{sent.count} by REST, {how}; they are run meanwhile",
        {"per_second": sent.per_second},
    )
