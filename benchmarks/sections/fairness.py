"""How long a single transaction takes beside a backlog and runs that hang, both other flows'."""

import socket

from benchmarks.bench import Bench
from benchmarks.flow import order
from benchmarks.platform import LOOK, until
from benchmarks.report import Figure, percentiles
from benchmarks.sections.latency import seconds
from benchmarks.sections.throughput import PATIENCE
from benchmarks.seeding import pending_copies

CROWD = 50_000  # of one flow, pending at once
HANGING = 4  # runs that wait 30 s for their participant
COUNT = 20
WAIT = 1.0  # seconds that the crowd may cost a single one, to be reached
SINGLE, SLOW = "single", "slow"


def fairness(bench: Bench) -> list[Figure]:
    """Single transactions of one flow, alone and then in a crowd."""
    bench.platform.apply(bench.participant.url)
    bench.platform.apply(bench.participant.url, SINGLE)
    seconds(bench, "model")
    alone = [seconds(bench, f"alone_{number}", SINGLE) for number in range(COUNT)]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, never answers
        bench.platform.apply(f"http://127.0.0.1:{silent.getsockname()[1]}", SLOW)
        pending_copies(bench.platform.ledger, "model", "crowd_", CROWD)
        for number in range(HANGING):
            bench.platform.request("POST", "/transactions", order(f"slow_{number}", SLOW))
        until(lambda: bench.platform.count("crowd_", "success") > 0, PATIENCE, LOOK)
        crowded = [seconds(bench, f"crowded_{number}", SINGLE) for number in range(COUNT)]
        left = CROWD - bench.platform.count("crowd_", "success")
        bench.platform.wait_for_all("crowd_", CROWD, PATIENCE, lambda n: bench.tell(n, CROWD))
    [before], [after] = percentiles(alone, 50), percentiles(crowded, 50)
    waited = max(crowded) - before
    return [
        Figure(
            "fairness",
            "one transaction in a crowd",
            f"p50 {after * 1000:.0f} ms, at most {max(crowded) * 1000:.0f} ms; "
            f"alone p50 {before * 1000:.0f} ms",
            f"waits ≤ {WAIT:g} s",
            waited <= WAIT,
            f"{COUNT} single transactions in turn, while {CROWD:,} of another flow are worked off "
            f"({left:,} left at the end) and {HANGING} of a third one hang",
            {"alone": before, "crowded": after, "waited": waited},
        )
    ]
