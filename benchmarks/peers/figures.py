"""What is compared, and the table and file it is shown in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import shown


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that Weir and others did in turn.

    Attributes:
        name: Key in the results.
        unit: Of every value.
        values: Medians over the rounds, by who did it; Weir's under `WEIR`.
        more_is_better: Whether a ratio is Weir's value over the other's, or the other way round.
    """

    name: str
    unit: str
    values: Mapping[str, float]
    more_is_better: bool = True

    def ratio(self, who: str) -> float:
        """How many times better Weir is than `who`; below 1, `who` is better."""
        ours, theirs = self.values[WEIR], self.values[who]
        return ours / theirs if self.more_is_better else theirs / ours


#: How Weir is called among others.
WEIR = "Weir"


def table(comparisons: list[Comparison]) -> str:
    """One line for each who did it."""
    rows = [("figure", "who", "value", "unit", "Weir is better by")]
    for comparison in comparisons:
        for number, (who, value) in enumerate(comparison.values.items()):
            times = "" if who == WEIR else f"{comparison.ratio(who):.2g} x"
            rows.append((comparison.name if not number else "", who, shown(value), comparison.unit, times))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if place in {2, 4} else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def document(comparisons: list[Comparison], versions: Mapping[str, str]) -> dict[str, Any]:
    """`{"versions": {who: version}, "figures": {name: {"unit": ..., "values": {who: value}, "ratios": {who: x}}}}`."""
    return {
        "versions": dict(versions),
        "figures": {
            each.name: {
                "unit": each.unit,
                "values": dict(each.values),
                "ratios": {who: each.ratio(who) for who in each.values if who != WEIR},
            }
            for each in comparisons
        },
    }


def write(comparisons: list[Comparison], versions: Mapping[str, str], path: Path) -> None:
    """Write `document` to a file."""
    path.write_text(json.dumps(document(comparisons, versions), indent=2) + "\n", encoding="utf-8")
