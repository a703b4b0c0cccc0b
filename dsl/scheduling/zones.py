"""Zones of the IANA database, and which instants a reading of a local clock stands for.

Where clocks go forward, some readings never come (a gap); where they go back, some come twice (a fold). PEP 495 has
the arithmetic; that of midnight gaps and of whole days left out is the same.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dsl.scheduling.errors import TimingInvalid

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_MAX_NAME = 64
_SECOND = timedelta(seconds=1)


@cache
def zone_named(name: str) -> ZoneInfo:
    """The zone of that name.

    Raises:
        TimingInvalid: There is none.
    """
    try:
        if len(name) <= _MAX_NAME and _NAME.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        pass  # not a zone, or a folder of zones
    message = f"there is no time zone {name[:_MAX_NAME]!r}"
    raise TimingInvalid("timezone", message, "a name of the IANA database, such as Europe/Berlin", _like(name))


def reading(instant: datetime, zone: ZoneInfo) -> datetime:
    """What a local clock shows, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def instants(local: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants (UTC) at which a local clock shows this: none in a gap, two in a fold, in order."""
    first, second = _both(local, zone)
    if first == second:
        return (first,)
    return (first, second) if first < second else ()


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """The one instant (UTC) meant by a reading: the first of two, and in a gap the moment the gap ends."""
    first, second = _both(local, zone)
    # In a gap the offset before it gives the later instant, the one after it the earlier.
    return first if first <= second else change_between(second, first, zone)


def is_first_of_two(instant: datetime, zone: ZoneInfo) -> bool:
    """Whether the local clock will show the same once more."""
    found = instants(reading(instant, zone), zone)
    return len(found) > 1 and instant == found[0]


def change_between(start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """The first second after `start` at which the offset is that of `end`; clocks change once in between."""
    offset = end.astimezone(zone).utcoffset()
    seconds = -(-(end - start) // _SECOND)
    low, high = 0, seconds  # the offset is another at `low`, and that of the end at `high`
    while high - low > 1:
        middle = (low + high) // 2
        if (start + middle * _SECOND).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return start + high * _SECOND


def _both(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """A reading by the offset before a change of clocks, and by the one after; equal when there is none."""
    aware = local.replace(tzinfo=zone)
    return aware.replace(fold=0).astimezone(UTC), aware.replace(fold=1).astimezone(UTC)


def _like(name: str) -> tuple[str, ...]:
    """Zones that may have been meant: a few hundred names are too many to compare with."""
    wanted = name.rpartition("/")[2].lower()
    zones = sorted(available_timezones())
    near = [zone for zone in zones if zone.rpartition("/")[2].lower() == wanted]
    return tuple(near or [zone for zone in zones if zone.rpartition("/")[2][:2].lower() == wanted[:2]])
