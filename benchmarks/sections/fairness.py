"""How long a single transaction waits beside a backlog, and beside runs that hang."""

import socket
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.flow import order
from benchmarks.platform import LOOK, until
from benchmarks.report import Figure, percentiles
from benchmarks.sections.latency import seconds
from benchmarks.sections.throughput import PATIENCE
from benchmarks.seeding import pending_copies

CROWD = 50_000  # of one flow, pending at once
HANGING = 20  # of one flow, each with a call that nobody answers
COUNT = 20
WAIT = 1.0  # seconds until a single one has begun, to be reached
SINGLE, SLOW = "single", "slow"


def fairness(bench: Bench) -> list[Figure]:
    """Single transactions of one flow: alone, beside those that hang, and beside a crowd."""
    bench.platform.apply(bench.participant.url)
    bench.platform.apply(bench.participant.url, SINGLE)
    seconds(bench, "model")
    alone = _in_turn(bench, "fair_alone")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, never answers
        bench.platform.apply(f"http://127.0.0.1:{silent.getsockname()[1]}", SLOW)
        for number in range(HANGING):
            bench.platform.request("POST", "/transactions", order(f"slow_{number}", SLOW))
        until(lambda: bench.platform.count("slow_", "running") > 0, PATIENCE, LOOK)
        beside_slow = _in_turn(bench, "fair_slow")
    until(lambda: bench.platform.count("slow_", "failed") == HANGING, PATIENCE, LOOK)
    pending_copies(bench.platform.ledger, "model", "crowd_", CROWD)
    until(lambda: bench.platform.count("crowd_", "success") > 0, PATIENCE, LOOK)
    crowded = _in_turn(bench, "fair_crowd")
    left = CROWD - bench.platform.count("crowd_", "success")
    bench.platform.wait_for_all("crowd_", CROWD, PATIENCE, lambda n: bench.tell(n, CROWD))
    before, slow, crowd = (_words(each) for each in (alone, beside_slow, crowded))
    return [
        _figure(
            "beside calls of 30 s",
            _waited(bench, "fair_slow"),
            f"{slow}; alone {before}",
            f"{HANGING} of another flow hang",
        ),
        _figure(
            "beside a backlog",
            _waited(bench, "fair_crowd"),
            f"{crowd}; alone {before}",
            f"{CROWD:,} of another flow are worked off ({left:,} are left at the end)",
        ),
    ]


def _in_turn(bench: Bench, prefix: str) -> list[float]:
    return [seconds(bench, f"{prefix}_{number}", SINGLE) for number in range(COUNT)]


def _waited(bench: Bench, prefix: str) -> list[float]:
    """Seconds until each was begun."""
    rows = bench.platform.rows(
        "SELECT created_at, started_at FROM task_group_instance WHERE id LIKE :ids",
        ids=f"{prefix}\\_%",
    )
    return [(row.started_at - row.created_at).total_seconds() for row in rows]


def _words(done: Sequence[float]) -> str:
    [p50] = percentiles(done, 50)
    return f"p50 {p50 * 1000:.0f} ms, at most {max(done) * 1000:.0f} ms"


def _figure(what: str, waited: Sequence[float], done: str, others: str) -> Figure:
    return Figure(
        "fairness",
        what,
        f"begun after {_words(waited)}; done after {done}",
        f"begun after ≤ {WAIT:g} s",
        max(waited) <= WAIT,
        f"{COUNT} single transactions in turn, while {others}",
        {"waited": max(waited)},
    )
