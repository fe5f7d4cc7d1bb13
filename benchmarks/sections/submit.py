"""How many transactions are accepted in a second, each committed before it is answered."""

from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.report import Figure
from benchmarks.submitting import Submitted, submit_in_batches, submit_singly

SINGLE, QUICK_SINGLE = 6_000, 1_500
BATCHED, QUICK_BATCHED = 30_000, 5_000
CONNECTIONS, BATCH = 32, 500
SINGLE_RATE, BATCH_RATE = 600, 6_000  # to be reached
PATIENCE = 600.0  # seconds


def submit(bench: Bench) -> list[Figure]:
    """Singly and in batches: the server alone, and while the platform runs what it accepted."""
    bench.platform.apply(bench.participant.url)
    with bench.platform.workers_paused():
        alone = [_singly(bench, "alone_"), _in_batches(bench, "alone_many_")]
    _settle(bench, "alone_", alone)
    busy = [_singly(bench, "busy_")]
    _settle(bench, "busy_", busy)
    busy.append(_in_batches(bench, "busy_many_"))
    _settle(bench, "busy_", busy)
    return [
        *_figures(alone, "the workers stand still meanwhile"),
        *_figures(busy, "they are run meanwhile, on the same cores"),
    ]


def _singly(bench: Bench, prefix: str) -> Submitted:
    count = QUICK_SINGLE if bench.quick else SINGLE
    return submit_singly(bench.platform.url, prefix, count, CONNECTIONS)


def _in_batches(bench: Bench, prefix: str) -> Submitted:
    count = QUICK_BATCHED if bench.quick else BATCHED
    return submit_in_batches(bench.platform.url, prefix, count, BATCH)


def _settle(bench: Bench, prefix: str, sent: Sequence[Submitted]) -> None:
    """Wait until all of them have succeeded."""
    count = sum(each.count for each in sent)
    bench.platform.wait_for_all(prefix, count, PATIENCE, lambda done: bench.tell(done, count))


def _figures(sent: Sequence[Submitted], meanwhile: str) -> list[Figure]:
    singly, batched = sent
    return [
        _figure("single", singly, SINGLE_RATE, f"{CONNECTIONS} connections; {meanwhile}"),
        _figure("in batches", batched, BATCH_RATE, f"{BATCH} a request; {meanwhile}"),
    ]


def _figure(what: str, sent: Submitted, target: int, how: str) -> Figure:
    return Figure(
        "submit",
        what,
        f"{sent.per_second:.0f}/s",
        f"≥ {target}/s",
        sent.per_second >= target,
        f"{sent.count} by REST, {how}",
        {"per_second": sent.per_second},
    )
