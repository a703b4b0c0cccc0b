"""When a schedule is due: by cron, every so often, or once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from dsl.scheduling.cron import Cron
from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.zones import instant_of, zone_named
from telemetry.settings import format_duration

#: Where intervals are counted from unless said otherwise.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Shortest and longest interval.
MIN_EVERY, MAX_EVERY = timedelta(seconds=1), timedelta(days=365)

#: Years that a single time or an anchor may be in.
FIRST_YEAR, LAST_YEAR = 1970, 2200

_SECOND = timedelta(seconds=1)
_ONE_OF = "one of cron, every, at"
_LOCAL = "a date and time, such as 2026-03-01T09:00, in the schedule's zone; or with an offset"


class Timing(Protocol):
    """Due times, in order; instants are aware UTC."""

    def next(self, after: datetime) -> datetime | None:
        """The first due time after an instant; none when there is no more."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Due at the anchor and at every interval before and after it: elapsed time, which no change of clocks touches."""

    interval: timedelta
    anchor: datetime = EPOCH

    def next(self, after: datetime) -> datetime | None:
        return self.anchor + ((after - self.anchor) // self.interval + 1) * self.interval

    def __str__(self) -> str:
        """In words."""
        counted = "" if self.anchor == EPOCH else f", counted from {self.anchor.isoformat()}"
        return f"Every {format_duration(self.interval)}{counted}"


@dataclass(frozen=True, slots=True)
class Once:
    """Due once."""

    at: datetime

    def next(self, after: datetime) -> datetime | None:
        return self.at if after < self.at else None

    def __str__(self) -> str:
        """In words."""
        return f"Once, at {self.at.isoformat()}"


def timing_of(
    zone: str,
    *,
    cron: str | None = None,
    every: timedelta | None = None,
    anchor: datetime | None = None,
    at: datetime | None = None,
) -> Timing:
    """The timing that somebody wrote down.

    Args:
        zone: Name of a zone.
        cron: An expression.
        every: Or an interval.
        anchor: From where intervals are counted.
        at: Or the one time.

    Raises:
        TimingInvalid: It is none, or more than one.
    """
    given = [name for name, value in (("cron", cron), ("every", every), ("at", at)) if value is not None]
    if len(given) != 1:
        raise TimingInvalid(given[-1] if given else "cron", f"a schedule has exactly {_ONE_OF}", _ONE_OF)
    if anchor is not None and every is None:
        raise TimingInvalid("anchor", "only `every` has an anchor", "`every`, or no `anchor`")
    place = zone_named(zone)
    if cron is not None:
        return Cron(cron, place)
    if at is not None:
        return Once(at)
    if every is None or not MIN_EVERY <= every <= MAX_EVERY:
        bounds = f"{format_duration(MIN_EVERY)} to {format_duration(MAX_EVERY)}"
        raise TimingInvalid("every", "the interval is too short or too long", bounds)
    return Every(every, anchor or EPOCH)


def instant(key: str, text: str, zone: str) -> datetime:
    """What a date and time mean: with an offset an instant, without one a reading of the zone's clock.

    Raises:
        TimingInvalid: It is none.
    """
    place = zone_named(zone)
    try:
        parsed = datetime.fromisoformat(text)
        found = instant_of(parsed, place) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise TimingInvalid(key, f"`{key}` is not a date and time", _LOCAL) from error
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise TimingInvalid(key, f"`{key}` is too far away", f"a year from {FIRST_YEAR} to {LAST_YEAR}")
    return found


def last(timing: Timing, after: datetime, until: datetime) -> datetime | None:
    """The last due time after one instant and at or before another, found without walking through all of them."""
    found = timing.next(after)
    if found is None or found > until:
        return None
    low, high = found, until
    while (middle := low + (high - low) / 2) > low and high - low > _SECOND / 2:
        due = timing.next(middle)
        if due is not None and due <= until:
            low = due
        else:
            high = middle
    due = timing.next(low)
    return low if due is None or due > until else due


def count(timing: Timing, after: datetime, until: datetime, most: int) -> int:
    """How many due times lie after one instant and at or before another; `most` when there are as many or more."""
    if isinstance(timing, Every):
        steps = (until - timing.anchor) // timing.interval - (after - timing.anchor) // timing.interval
        return max(0, min(most, steps))
    number, due = 0, timing.next(after)
    while due is not None and due <= until and number < most:
        number, due = number + 1, timing.next(due)
    return number
