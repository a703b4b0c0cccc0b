"""One schedule, as its row says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from dsl.scheduling.misfire import FireAt, jittered
from dsl.scheduling.spec import Misfire, Overlap, ScheduleSpec
from dsl.scheduling.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A row of `schedules` with its space's name. Instants are aware UTC."""

    id: UUID
    name: str
    slug: str
    declared_id: str | None
    cron: str | None
    every_us: int | None
    anchor: datetime | None
    at: datetime | None
    timezone: str
    jitter_us: int
    misfire: Misfire
    window_us: int
    overlap: Overlap
    pause_after: int | None
    inputs: dict[str, Any]
    user_name: str
    space_id: UUID
    space: str
    priority: int
    next_due_at: datetime | None
    wake_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    failures_since: datetime
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None

    @property
    def spec(self) -> ScheduleSpec:
        """What somebody wrote down."""
        return ScheduleSpec(
            cron=self.cron,
            every=None if self.every_us is None else timedelta(microseconds=self.every_us),
            anchor=self.anchor,
            at=self.at,
            timezone=self.timezone,
            jitter=timedelta(microseconds=self.jitter_us),
            misfire=self.misfire,
            window=timedelta(microseconds=self.window_us),
            overlap=self.overlap,
            pause_after=self.pause_after,
            inputs=self.inputs,
            user=self.user_name,
            space=self.space,
            priority=self.priority,
        )

    @property
    def timing(self) -> Timing:
        """When it is due.

        Raises:
            TimingInvalid: In a zone that this machine does not know.
        """
        return self.spec.timing

    def fire_at(self, timing: Timing) -> FireAt:
        """Its jitter."""
        return jittered(self.id, timing, timedelta(microseconds=self.jitter_us))

    @property
    def state(self) -> str:
        """`active`, `paused`, `done` when it is never due again, or `removed`."""
        if self.removed_at is not None:
            return "removed"
        if self.paused_at is not None:
            return "paused"
        return "active" if self.next_due_at is not None else "done"
