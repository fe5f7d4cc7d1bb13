"""How long things took: counts in buckets, and what a quantile comes to between two bounds."""

import bisect
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)  # seconds
SUM_MEASURE = "duration_ms"

_MEASURES = tuple(f"duration_le_{bound}" for bound in (*BOUNDS, "inf"))


def duration_measure(seconds: float) -> str:
    """The measure that counts a duration: `duration_le_0.5`, up to `duration_le_inf`."""
    return _MEASURES[bisect.bisect_left(BOUNDS, seconds)]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations by bucket.

    Attributes:
        counts: one for each of BOUNDS, each without those below it, and one for what took longer.
        seconds: all durations together.
    """

    counts: tuple[int, ...]
    seconds: float = 0.0

    @classmethod
    def of(cls, measures: Mapping[str, int]) -> Self:
        """The histogram in these totals, by measure."""
        counts = tuple(measures.get(measure, 0) for measure in _MEASURES)
        return cls(counts, measures.get(SUM_MEASURE, 0) / 1000)

    def quantile(self, share: float) -> float | None:
        """The seconds within which this share of all ended; None when there were none.

        Within a bucket the durations count as spread evenly; what took longer than the last
        bound counts as that.
        """
        rank = share * sum(self.counts)
        if not rank:
            return None
        up_to = [0, *itertools.accumulate(self.counts)]
        place = bisect.bisect_left(up_to, rank) - 1
        if place == len(BOUNDS):
            return float(BOUNDS[-1])
        below = (0, *BOUNDS)[place]
        return below + (BOUNDS[place] - below) * (rank - up_to[place]) / self.counts[place]
