"""What a section of the benchmark works with."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from benchmarks.bare import Bare, bare_loop
from benchmarks.machine import Usage, each, named, sample, spent
from benchmarks.platform import Platform
from benchmarks.services import Service

AT_ONCE = 64  # calls under way, in the bare loop as in one run of the platform
OURS = "bench"


@dataclass(slots=True)
class Costs:
    """CPU seconds by process over a stretch of time, and memory at its end."""

    cpu: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Usage] = field(default_factory=dict)

    def each_ms(self, count: int) -> dict[str, float]:
        """Milliseconds of CPU for each of so many transactions."""
        return {name: seconds / count * 1000 for name, seconds in self.cpu.items()}

    def words(self, count: int) -> str:
        """CPU for each of so many transactions, in all and by process."""
        shares = self.each_ms(count)
        return f"{sum(shares.values()):.2f} ms of CPU each: {each(shares, 'ms')}"


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    platform: Platform
    mysql: Service
    participant: Service
    folder: Path
    quick: bool
    _show: Callable[[int, int], None] = field(default=lambda done, total: None)

    def show(self, how: Callable[[int, int], None]) -> None:
        """Show from now on in this way how far a section is, of how much."""
        self._show = how

    def tell(self, done: int, total: int) -> None:
        """Say how far the section is."""
        self._show(done, total)

    @contextmanager
    def costs(self) -> Iterator[Costs]:
        """What the block costs: the platform, MySQL, the participant and the benchmark itself."""
        processes = self._processes()
        before, result = sample(processes), Costs()
        yield result
        processes |= self._processes()
        result.memory = sample(processes)
        result.cpu = spent(before, result.memory)

    def bare(self, count: int) -> Bare:
        """The bare loop at its best of three: whatever disturbs it is not its cost."""
        runs = [bare_loop(self.participant.url, count, AT_ONCE) for _ in range(3)]
        return max(runs, key=lambda run: run.per_second)

    def _processes(self) -> dict[int, str]:
        port = f"--port={sa.make_url(self.mysql.url).port}"
        return {
            **self.platform.processes(),
            **dict.fromkeys(named("--datadir", port), "mysqld"),
            **dict.fromkeys(named("nginx"), "nginx"),
            os.getpid(): OURS,
        }
