"""What a count is compared with: the same time of past days, or the hours before. Pure.

Each hour of which something is known counts, with nothing in it as well: an hour without errors says as much as one
with some. Days on which nothing at all was recorded say nothing, and neither does what was before the first hour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from telemetry.analytics.baseline import Baseline

#: Days of the past that are looked at, and how few will do; of the same weekday; hours before, and how few.
MOST_DAYS: Final = 28
LEAST_DAYS: Final = 7
LEAST_WEEKS: Final = 3
MOST_HOURS: Final = 24
LEAST_HOURS: Final = 6
#: Days of the past of which the same five minutes are looked at: minutes are kept for no more.
DAYS_OF_SLOTS: Final = 2

HOUR: Final = timedelta(hours=1)
SLOT: Final = timedelta(minutes=5)

#: Errors by the beginning of their hour, or five minutes; none where there were none.
Counts = Mapping[datetime, int]


@dataclass(frozen=True, slots=True)
class Known:
    """Of when something is known.

    Attributes:
        since: The first hour, of which perhaps only a part is; none if nothing is.
        days: Days, UTC, on which something was recorded.
    """

    since: datetime | None
    days: Collection[date]

    def has(self, instant: datetime) -> bool:
        """Whether that hour is known, all of it."""
        return self.since is not None and instant >= self.since + HOUR and instant.date() in self.days


def of_hour(hour: datetime, counts: Counts, known: Known, zone: ZoneInfo, share: float = 1.0) -> list[Baseline]:
    """What an hour is compared with, or a part of it: nothing, if too little is known.

    Args:
        hour: Its beginning.
        counts: By hour.
        known: Of when.
        zone: Whose times of day.
        share: Of the hour that is judged.
    """
    days = _known(counts, known, (_same_time(hour, day, zone, HOUR) for day in range(1, MOST_DAYS + 1)))
    if len(days) < LEAST_DAYS:
        hours = _known(counts, known, (hour - number * HOUR for number in range(1, MOST_HOURS + 1)))
        return [Baseline("hours", hours, share)] if len(hours) >= LEAST_HOURS else []
    weeks = _known(counts, known, (_same_time(hour, day, zone, HOUR) for day in range(7, MOST_DAYS + 1, 7)))
    return [Baseline("days", days, share), *([Baseline("weeks", weeks, share)] if len(weeks) >= LEAST_WEEKS else [])]


def of_slot(slot: datetime, hours: Counts, slots: Counts, known: Known, zone: ZoneInfo) -> list[Baseline]:
    """What five minutes are compared with: their share of the hour, and the same five minutes before.

    What runs at the full hour, or at three each night, is nothing new then.

    Args:
        slot: Their beginning.
        hours: Counts by hour.
        slots: Counts by five minutes, as far back as they are needed.
        known: Of when.
        zone: Whose times of day.
    """
    found = of_hour(slot.replace(minute=0), hours, known, zone, SLOT / HOUR)
    if not found:
        return []
    of_hours = _known(slots, known, (slot - number * HOUR for number in range(1, MOST_HOURS + 1)))
    of_days = _known(slots, known, (_same_time(slot, day, zone, SLOT) for day in range(1, DAYS_OF_SLOTS + 1)))
    found += [Baseline("slots", of_hours)] if len(of_hours) >= LEAST_HOURS else []
    return found + ([Baseline("slot_days", of_days)] if of_days else [])


def floor(instant: datetime, step: timedelta) -> datetime:
    """The beginning of the hour, or whatever divides a day, that an instant is in; UTC."""
    return instant - (instant - datetime(1970, 1, 1, tzinfo=UTC)) % step


def _same_time(instant: datetime, days: int, zone: ZoneInfo, step: timedelta) -> datetime:
    """The same time of day, some days before, by the clocks of a zone."""
    local = instant.astimezone(zone).replace(tzinfo=None) - timedelta(days=days)
    return floor(local.replace(tzinfo=zone).astimezone(UTC), step)


def _known(counts: Counts, known: Known, instants: Iterable[datetime]) -> list[int]:
    return [counts.get(instant, 0) for instant in instants if known.has(instant)]
