"""When samples occur: how many in which hour, and which of them are stored together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from telemetry.clock import from_unix_us
from telemetry.samples.shapes import HOURS, WEEKDAYS

DAY_US: Final = 86_400_000_000
_HOUR_US: Final = 3_600_000_000

#: Events of one slice, about: what one transaction stores.
SLICE_EVENTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, half-open, in microseconds since 1970; and how busy it is, beside others."""

    first_us: int
    end_us: int
    weight: float


@dataclass(frozen=True, slots=True)
class Slice:
    """Events that are made and stored together.

    Attributes:
        number: From 0; what is random in it is its own.
        spans: When they begin.
        count: How many, exactly.
        limit_us: None occurs at this instant or later.
    """

    number: int
    spans: tuple[Span, ...]
    count: int
    limit_us: int


def spans(first_us: int, until_us: int, days: frozenset[int]) -> list[Span]:
    """The hours of a stretch of time, as busy as people are then; only those of these days, in order."""
    found = []
    start = first_us
    while start < until_us:
        end = min((start // _HOUR_US + 1) * _HOUR_US, until_us)
        if start // DAY_US in days:
            instant = from_unix_us(start)
            busy = HOURS[instant.hour] * WEEKDAYS[instant.weekday()]
            found.append(Span(start, end, busy * (end - start) / _HOUR_US))
        start = end
    return found


def slices(hours: Sequence[Span], count: int) -> Iterator[Slice]:
    """Events spread over hours: small ones together, large ones in parts.

    Args:
        hours: In order; at least one if `count` is not 0.
        count: Events of all together.
    """
    number, waiting, owed = 0, [], 0
    for hour, share in zip(hours, _shares([hour.weight for hour in hours], count), strict=True):
        waiting.append(hour)
        owed += share
        if owed < SLICE_EVENTS and hour is not hours[-1]:
            continue
        parts = max(1, owed // SLICE_EVENTS)
        for spans_of_part, events in zip(_parts(waiting, parts), _shares([1.0] * parts, owed), strict=True):
            yield Slice(number, spans_of_part, events, _limit_us(hours, spans_of_part[-1].end_us))
            number += 1
        waiting, owed = [], 0


def _shares(weights: Sequence[float], count: int) -> list[int]:
    """Whole numbers in proportion to weights; their sum is `count`."""
    total, passed, upper = sum(weights), 0.0, [0]
    for weight in weights:
        passed += weight
        upper.append(round(count * passed / total))
    return [after - before for before, after in pairwise([*upper[:-1], count])]


def _parts(waiting: Sequence[Span], parts: int) -> list[tuple[Span, ...]]:
    if parts == 1:
        return [tuple(waiting)]
    if len(waiting) > 1:  # small hours before a large one: they go with its first part
        first, *others = _parts(waiting[-1:], parts)
        return [(*waiting[:-1], *first), *others]
    (hour,) = waiting
    edges = [hour.first_us + (hour.end_us - hour.first_us) * number // parts for number in range(parts + 1)]
    return [(Span(first, end, hour.weight / parts),) for first, end in pairwise(edges)]


def _limit_us(hours: Sequence[Span], end_us: int) -> int:
    """Where the days in a row that an instant is in come to their end."""
    starts = {hour.first_us: hour.end_us for hour in hours}
    while end_us in starts:
        end_us = starts[end_us]
    return end_us
