"""Counts that stop: of many rows nobody needs to know the last one."""

from dataclasses import dataclass

COUNTED_AT_MOST = 10_000  # rows of one count


@dataclass(frozen=True, slots=True)
class CappedCount:
    """A number of rows; `is_capped` where there are more, and nobody counted on."""

    count: int
    is_capped: bool = False

    def __str__(self) -> str:
        return f"{self.count}{'+' if self.is_capped else ''}"
