"""How long a single transaction takes beside a backlog, and beside runs that hang."""

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
WAIT = 1.0  # seconds that the others may cost a single one, to be reached
SINGLE, SLOW = "single", "slow"


def fairness(bench: Bench) -> list[Figure]:
    """Single transactions of one flow: alone, beside those that hang, and beside a crowd."""
    bench.platform.apply(bench.participant.url)
    bench.platform.apply(bench.participant.url, SINGLE)
    seconds(bench, "model")
    alone = _in_turn(bench, "alone")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, never answers
        bench.platform.apply(f"http://127.0.0.1:{silent.getsockname()[1]}", SLOW)
        for number in range(HANGING):
            bench.platform.request("POST", "/transactions", order(f"slow_{number}", SLOW))
        until(lambda: bench.platform.count("slow_", "running") > 0, PATIENCE, LOOK)
        beside_slow = _in_turn(bench, "beside_slow")
    until(lambda: bench.platform.count("slow_", "failed") == HANGING, PATIENCE, LOOK)
    pending_copies(bench.platform.ledger, "model", "crowd_", CROWD)
    until(lambda: bench.platform.count("crowd_", "success") > 0, PATIENCE, LOOK)
    crowded = _in_turn(bench, "crowded")
    left = CROWD - bench.platform.count("crowd_", "success")
    bench.platform.wait_for_all("crowd_", CROWD, PATIENCE, lambda n: bench.tell(n, CROWD))
    return [
        _figure("beside calls of 30 s", alone, beside_slow, f"{HANGING} of another flow hang"),
        _figure(
            "beside a backlog",
            alone,
            crowded,
            f"{CROWD:,} of another flow are worked off ({left:,} are left at the end)",
        ),
    ]


def _in_turn(bench: Bench, prefix: str) -> list[float]:
    return [seconds(bench, f"{prefix}_{number}", SINGLE) for number in range(COUNT)]


def _figure(what: str, alone: Sequence[float], beside: Sequence[float], others: str) -> Figure:
    [before], [after] = percentiles(alone, 50), percentiles(beside, 50)
    waited = max(beside) - before
    return Figure(
        "fairness",
        what,
        f"p50 {after * 1000:.0f} ms, at most {max(beside) * 1000:.0f} ms; "
        f"alone p50 {before * 1000:.0f} ms",
        f"waits ≤ {WAIT:g} s",
        waited <= WAIT,
        f"{COUNT} single transactions in turn, while {others}",
        {"alone": before, "beside": after, "waited": waited},
    )
