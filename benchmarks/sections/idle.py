"""What the platform costs while nothing happens, and how soon it is there."""

import time

from benchmarks.bench import OURS, Bench
from benchmarks.machine import each, mebibytes, together
from benchmarks.report import Figure

SETTLE, WATCH = 10.0, 30.0  # seconds
IDLE_SHARE = 5.0  # percent of a core, to be reached
START_SECONDS = 10.0  # to be reached
BESIDE = (OURS, "mysqld", "nginx")  # not the platform's own


def idle(bench: Bench) -> list[Figure]:
    """CPU over half a minute, and the memory of each process."""
    time.sleep(SETTLE)
    with bench.costs() as costs:
        time.sleep(WATCH)
    shares = {name: seconds / WATCH * 100 for name, seconds in costs.cpu.items()}
    own = {name: share for name, share in shares.items() if name not in BESIDE}
    memory = {name: used for name, used in costs.memory.items() if name != OURS}
    return [
        Figure(
            "idle",
            "CPU of the platform",
            f"{sum(own.values()):.1f}% of a core: {each(own, '%', 1)}; "
            f"mysqld {shares.get('mysqld', 0):.1f}%",
            f"≤ {IDLE_SHARE:g}%",
            sum(own.values()) <= IDLE_SHARE,
            f"{WATCH:g} s without a transaction",
            {"shares": shares},
        ),
        Figure(
            "idle",
            "memory of the platform",
            f"{together(bench.platform.processes()) / 2**20:.0f} MB",
            how="resident, a page that several processes share counted once",
        ),
        Figure("idle", "memory", mebibytes(memory), how="resident, shared pages counted each time"),
    ]


def start(bench: Bench) -> list[Figure]:
    """From `dist-task up` to `ready`, with databases that are there already."""
    bench.platform.stop()
    bench.platform.start()
    seconds = bench.platform.started_in
    return [
        Figure(
            "start",
            "to `ready`",
            f"{seconds:.1f} s",
            f"≤ {START_SECONDS:g} s",
            seconds <= START_SECONDS,
            "`dist-task up` with databases that were used before",
            {"seconds": seconds},
        )
    ]
