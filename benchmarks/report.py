"""The table: figures, what they are held against, and where the table is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

BEGIN = "<!-- the table begins: `make bench DOC=1` writes it -->"
END = "<!-- the table ends -->"
COLUMNS = ("", "measured", "figure", "target", "reached", "how")


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table.

    Attributes:
        text: the figure in words.
        target: what it is to reach, in words; empty where there is none.
        reached: None where there is no target.
        how: what was done.
        values: the numbers behind it.
    """

    section: str
    what: str
    text: str
    target: str = ""
    reached: bool | None = None
    how: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the target is reached, in a word."""
        return {True: "yes", False: "**no**", None: ""}[self.reached]

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        return (self.section, self.what, self.text, self.target, self.verdict, self.how)


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run, the machine it was made on, and the command."""

    machine: Mapping[str, str]
    command: str
    figures: list[Figure]
    at: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

    def table(self) -> Table:
        """For a terminal."""
        table = Table(*COLUMNS, title=f"{self.command} · {self.at}", show_lines=True)
        for figure in self.figures:
            style = {True: "green", False: "red", None: ""}[figure.reached]
            table.add_row(*figure.cells(), style=style)
        return table

    def markdown(self) -> str:
        """For a document."""
        facts = "\n".join(f"- {name}: {words}" for name, words in self.machine.items())
        rows = [COLUMNS, ("---",) * len(COLUMNS), *(figure.cells() for figure in self.figures)]
        table = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)
        return f"`{self.command}`, {self.at}\n\n{facts}\n\n{table}\n"

    def store(self, folder: Path) -> None:
        """Keep it as `latest.json` and `latest.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / "latest.json").write_text(text + "\n")
        (folder / "latest.md").write_text(self.markdown())

    def write_into(self, document: Path) -> None:
        """Replace what stands between the markers of the document."""
        before, _, rest = document.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        document.write_text(f"{before}{BEGIN}\n\n{self.markdown()}\n{END}{after}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def percentiles(values: Sequence[float], *wanted: float) -> list[float]:
    """The percentiles by the nearest-rank method."""
    ordered = sorted(values)
    places = (max(0, round(len(ordered) * each / 100 + 0.5) - 1) for each in wanted)
    return [ordered[min(place, len(ordered) - 1)] for place in places]
