"""Which buckets an answer may be read from, and what has to be read from events: pure.

Stretches are half-open, in minutes since 1970, ascending and apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from telemetry.rollups.parts import MINUTES, Width

Stretch: TypeAlias = tuple[int, int]

WIDEST_FIRST: Final[tuple[Width, ...]] = ("day", "hour", "minute")
#: Later than any minute there is.
NEVER: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to be read.

    Attributes:
        dirty: Of each width what is not made, or not made again.
        kept_from: Of each width the first minute from which on buckets are kept; `NEVER` if there are none.
        sealed: Whole days whose events are gone.
    """

    dirty: Mapping[Width, Sequence[Stretch]]
    kept_from: Mapping[Width, int]
    sealed: Sequence[Stretch] = ()


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where an answer is read: every minute of it in exactly one place.

    Attributes:
        buckets: Stretches of clean buckets, by width.
        events: What is left.
    """

    buckets: dict[Width, list[Stretch]] = field(default_factory=dict)
    events: list[Stretch] = field(default_factory=list)


def cover(wanted: Iterable[Stretch], known: Known, widest: Width = "day") -> Coverage:
    """The widest clean buckets that lie within what is wanted, none wider than `widest`; events for the rest."""
    left = list(wanted)
    coverage = Coverage()
    for width in WIDEST_FIRST[WIDEST_FIRST.index(widest) :]:
        inner = [aligned(stretch, MINUTES[width]) for stretch in left]
        kept = within([stretch for stretch in inner if stretch is not None], (known.kept_from[width], NEVER))
        clean = without(kept, known.dirty[width])
        if clean:
            coverage.buckets[width] = clean
            left = without(left, clean)
    coverage.events.extend(left)
    return coverage


def snapped(wanted: Stretch, known: Known, widest: Width = "day") -> Stretch:
    """What can be told of a stretch: where neither its events nor its narrow buckets are kept, whole wider buckets.

    Args:
        wanted: In minutes.
        known: What there is.
        widest: Ends are moved by less than one of these.
    """
    first, end = wanted
    return _moved(first, known, widest, up=False), _moved(end, known, widest, up=True)


def aligned(stretch: Stretch, step: int) -> Stretch | None:
    """The whole steps within a stretch, if there are any."""
    first, end = -(-stretch[0] // step) * step, stretch[1] // step * step
    return (first, end) if first < end else None


def within(stretches: Iterable[Stretch], bounds: Stretch) -> list[Stretch]:
    """What of the stretches is within bounds."""
    cut = ((max(first, bounds[0]), min(end, bounds[1])) for first, end in stretches)
    return [(first, end) for first, end in cut if first < end]


def without(stretches: Iterable[Stretch], holes: Sequence[Stretch]) -> list[Stretch]:
    """What of the stretches is in none of the holes."""
    left: list[Stretch] = []
    for first, end in stretches:
        at = first
        for hole_first, hole_end in holes:
            if hole_end <= at:
                continue
            if hole_first >= end:
                break
            if hole_first > at:
                left.append((at, hole_first))
            at = max(at, hole_end)
        if at < end:
            left.append((at, end))
    return left


def _moved(minute: int, known: Known, widest: Width, *, up: bool) -> int:
    """To the nearest bound of the narrowest buckets that are kept there, or where it is if events are."""
    # The end of a stretch belongs to the minute before it.
    inside = minute - 1 if up else minute
    if not any(first <= inside < end for first, end in known.sealed):
        return minute
    for width in reversed(WIDEST_FIRST[WIDEST_FIRST.index(widest) :]):
        if inside >= known.kept_from[width]:
            step = MINUTES[width]
            return -(-minute // step) * step if up else minute // step * step
    return minute
