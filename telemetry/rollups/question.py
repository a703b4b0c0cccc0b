"""What roll-ups are asked: of when, what is told apart, what is left out. Values only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from telemetry.filters.syntax import EVERYTHING, Filter
from telemetry.rollups.parts import MINUTES, Dimension, Width


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of buckets.

    Attributes:
        since: The first instant; moved to the beginning of its minute, or of the narrowest bucket that is still kept.
        until: The end, not included; moved likewise.
        width: Of the buckets of the answer; none for one that is all of the time.
        dimension: What may be told apart beside what all buckets do.
        by: What is told apart: `component`, `event_type`, `level`, `dry_run`, `outcome`, `error_category`, `measure`,
            and the dimension's own: `operation` (of a request of HTTP its method and route), `space_id` or `user_id`.
        only: Values by the same names: others are left out.
        spread: Whether quantiles are wanted; without them it is several times as fast.
        every: How many of that width make one bucket of the answer.
        is_exact: Whether the first instant and the end are kept to, as far as there are events of their minutes.
        where: Has to hold, too; of fields whose columns may be told apart.
        stored_before: Only what was stored before this position (`telemetry.query.position`), whenever it is asked.
    """

    since: datetime
    until: datetime
    width: Width | None = None
    dimension: Dimension = "operation"
    by: tuple[str, ...] = ()
    only: Mapping[str, Collection[Any]] = field(default_factory=dict)
    spread: bool = True
    every: int = 1
    is_exact: bool = False
    where: Filter = EVERYTHING
    stored_before: int | None = None

    @property
    def step(self) -> timedelta | None:
        """How long a bucket of the answer is."""
        return None if self.width is None else timedelta(minutes=self.every * MINUTES[self.width])
