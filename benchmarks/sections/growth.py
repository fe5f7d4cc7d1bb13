"""Whether a ledger that has grown costs more, and how a backlog is worked off."""

import time
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Any

from benchmarks.bench import Bench
from benchmarks.machine import Usage
from benchmarks.report import Figure, percentiles
from benchmarks.sections.throughput import BATCH, PATIENCE, last_success, rate
from benchmarks.seeding import pending_copies, settled_copies
from benchmarks.submitting import submit_in_batches
from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger.records import DispatchLimits
from dist_task_pipelines.settings import Settings

SEEDED = 1_000_000
COUNT = 6_000  # transactions to measure the cost of one
ROUNDS = 3  # of which the cheapest counts: whatever disturbs the others is not their cost
SETTLE = 15.0  # seconds in which MySQL writes what it has been given to the disk
MOST_GROWTH = 1.2  # times, to be reached
QUERY_MS = 50.0  # to be reached
QUERIES = 20  # of each kind
BACKLOG = 100_000
STEADY, FLAT = 0.8, 1.2  # of the rate of a short run, times the memory: to be reached
MEMORY_LOOK = 2.0  # seconds between two looks at memory


def growth(bench: Bench) -> list[Figure]:
    """What a transaction costs with few in the ledger, and with a million."""
    flow = bench.platform.apply(bench.participant.url)
    _cost_of_round(bench, "warm_")
    before = _cost(bench, "few_")
    settled_copies(
        bench.platform.ledger, "few_0_0000000", "seed_", SEEDED, lambda n: bench.tell(n, SEEDED)
    )
    time.sleep(SETTLE)
    after = _cost(bench, "full_")
    ratio = after / before
    cost = Figure(
        "growth",
        "CPU for a transaction",
        f"{before:.2f} ms with few there, {after:.2f} ms with {SEEDED:,}: {ratio:.2f} times",
        f"≤ {MOST_GROWTH} times",
        ratio <= MOST_GROWTH,
        f"{COUNT} transactions, the cheapest of {ROUNDS} rounds; all processes, MySQL included",
        {"before": before, "after": after, "ratio": ratio},
    )
    return [cost, _queries(bench, flow)]


def backlog(bench: Bench) -> list[Figure]:
    """Transactions that wait all at once."""
    bench.platform.apply(bench.participant.url)
    steady = rate(bench, "steady_", COUNT)
    memory: list[dict[str, Usage]] = []
    pending_copies(bench.platform.ledger, "steady_0000000", "backlog_", BACKLOG)
    began = time.time()
    with _Watching(bench, memory):
        bench.platform.wait_for_all(
            "backlog_", BACKLOG, PATIENCE, lambda done: bench.tell(done, BACKLOG)
        )
    per_second = BACKLOG / (last_success(bench, "backlog_") - began)
    return [
        Figure(
            "backlog",
            "worked off",
            f"{per_second:.0f}/s, {per_second / steady:.2f} of {steady:.0f}/s for {COUNT}",
            f"≥ {STEADY} of it",
            per_second >= STEADY * steady,
            f"{BACKLOG:,} pending at once, committed → last success",
            {"per_second": per_second, "steady": steady},
        ),
        _memory_figure(memory),
    ]


def _memory_figure(memory: list[dict[str, Usage]]) -> Figure:
    """The platform's memory: at a quarter of the way, and the most after it."""
    totals = [sum(used.memory for used in each.values()) / 2**20 for each in memory]
    quarter, most = totals[len(totals) // 4], max(totals[len(totals) // 4 :])
    return Figure(
        "backlog",
        "memory, resident, summed over the platform's processes",
        f"{quarter:.0f} MB after a quarter, at most {most:.0f} MB after that",
        f"≤ {FLAT} times",
        most <= FLAT * quarter,
        "a page that several processes share counted each time",
        values={"quarter": quarter, "most": most},
    )


class _Watching:
    """Looks at the platform's memory while the block runs."""

    def __init__(self, bench: Bench, into: list[dict[str, Usage]]) -> None:
        self._bench, self._into, self._done = bench, into, Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        self._into.append(self._bench.platform.usage())
        while not self._done.wait(MEMORY_LOOK):
            self._into.append(self._bench.platform.usage())


def _cost(bench: Bench, prefix: str) -> float:
    """Milliseconds of CPU that a transaction costs, in all processes; of the cheapest round."""
    return min(_cost_of_round(bench, f"{prefix}{number}_") for number in range(ROUNDS))


def _cost_of_round(bench: Bench, prefix: str) -> float:
    with bench.costs() as costs:
        submit_in_batches(bench.platform.url, prefix, COUNT, BATCH)
        bench.platform.wait_for_all(prefix, COUNT, PATIENCE, lambda done: bench.tell(done, COUNT))
    return sum(costs.each_ms(COUNT).values())


def _queries(bench: Bench, flow: str) -> Figure:
    paths = {
        "list": "/transactions",
        "list by status": f"/transactions?status=success&flow_id={flow}",
        "page 100": "/transactions?page=100&page_size=100",
        "exceptions": "/exceptions?handled=false",
        "overview": "/stats/overview",
        "flow": f"/stats/flows/{flow}",
    }
    times = {
        name: _median_ms(partial(bench.platform.request, "GET", path))
        for name, path in paths.items()
    }
    times["claim"] = _claim_ms(bench, flow)
    words = ", ".join(f"{name} {ms:.0f}" for name, ms in times.items())
    return Figure(
        "growth",
        "queries",
        f"{words} ms",
        f"each ≤ {QUERY_MS:g} ms",
        max(times.values()) <= QUERY_MS,
        f"with {SEEDED:,}; by REST, the claim in the ledger; p50 of {QUERIES}",
        times,
    )


def _claim_ms(bench: Bench, flow: str) -> float:
    """How long a look for something to dispatch takes: the lock, the count, the index."""
    ledger = open_ledger(Settings.load(None, bench.platform.home))
    limits = DispatchLimits()
    pending = TransactionStatus.PENDING
    try:
        return _median_ms(
            lambda: ledger.dispatcher.dispatch(limits, status=pending, flow_ids=[flow])
        )
    finally:
        ledger.close()


def _median_ms(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(QUERIES):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return percentiles(times, 50)[0]
