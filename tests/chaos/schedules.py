"""The schedules of the load: made over REST, one by a command file; ended by giving each a timing that is never due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chaos.recipes import TICK, TICK_INPUTS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A schedule of the load."""

    name: str
    every_s: int
    misfire: str
    overlap: str
    is_declared: bool = False

    @property
    def every(self) -> timedelta:
        """Between two due times."""
        return timedelta(seconds=self.every_s)

    @property
    def is_every_one_run(self) -> bool:
        """Whether no due time may be left out, however late."""
        return self.misfire == "all" and self.overlap in ("allow", "queue")

    def body(self) -> dict[str, Any]:
        """Of the request that makes it."""
        return {
            "name": self.name,
            "command": TICK.slug,
            "every": f"{self.every_s}s",
            "misfire": self.misfire,
            "overlap": self.overlap,
            "inputs": TICK_INPUTS,
        }


WANTED: Sequence[Wanted] = (
    Wanted("all-allow", 1, "all", "allow"),
    Wanted("all-queue", 2, "all", "queue"),
    Wanted("latest-skip", 1, "latest", "skip"),
    Wanted("skip-allow", 2, "skip", "allow"),
    Wanted("latest-queue", 1, "latest", "queue"),
    Wanted(f"{TICK.slug}:declared", 1, "all", "allow", is_declared=True),
)
