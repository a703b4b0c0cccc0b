"""A ring of minutes: what one measure of some requests was in each of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from sys import getsizeof
from typing import Final

from telemetry.rollups.histogram import FINEST, Histogram, bin_of
from telemetry.rollups.metrics import CATEGORIES, Tally

#: No minute: what a slot says that has none.
_NONE: Final = -1
_KINDS: Final = len(CATEGORIES)


class TimeSeriesBuffer:
    """Sums and a histogram for each of the newest minutes. Arrays of numbers, none of which grows but the bins in use.

    Args:
        slots: Minutes it has room for. A newer one takes the place of the one so many minutes before it.

    Attributes:
        size_bytes: Of all its arrays, as Python counts them.
    """

    __slots__ = (
        *("_bins", "_categories", "_counts", "_errors", "_events", "_greatest", "_least", "_measured", "_minutes"),
        *("_size", "_total", "size_bytes"),
    )

    def __init__(self, slots: int) -> None:
        self._size = slots
        self._minutes = array("q", [_NONE]) * slots
        self._events, self._errors, self._measured = (array("q", [0]) * slots for _ in range(3))
        self._total, self._least, self._greatest = (array("q", [0]) * slots for _ in range(3))
        #: Bins in use and what is in each, ascending; none where there are no values.
        self._bins: list[array[int] | None] = [None] * slots
        self._counts: list[array[int] | None] = [None] * slots
        #: Errors by category, slot after slot; none until there is one.
        self._categories: array[int] | None = None
        self.size_bytes = self._measure()

    def add(self, minute: int, value: int | None, category: int | None = None) -> bool:
        """Count one request; false if its minute's place is a newer one's.

        Args:
            minute: Since 1970, 0 or more.
            value: Of the measure; none if it has none.
            category: Of its error, as a place in `CATEGORIES`; none if it is no error.
        """
        slot = self._slot(minute)
        if slot is None:
            return False
        self._events[slot] += 1
        if category is not None:
            self._errors[slot] += 1
            self._count_errors(slot, category, 1)
        if value is not None:
            self._include(slot, 1, value, value, value)
            self._spread(slot, bin_of(value), 1)
        return True

    def merge(self, minute: int, tally: Tally) -> bool:
        """Count what is known of many; false as `add`.

        Raises:
            ValueError: Their histogram is coarser than what is counted here.
        """
        slot = self._slot(minute)
        if slot is None:
            return False
        if tally.histogram.scale != FINEST:
            raise ValueError(f"a histogram of scale {tally.histogram.scale} cannot be counted at {FINEST}")
        self._events[slot] += tally.events
        self._errors[slot] += tally.errors
        for name, count in tally.categories.items():
            self._count_errors(slot, CATEGORIES.index(name), count)
        histogram = tally.histogram
        if tally.measured:
            self._include(slot, tally.measured, tally.total, histogram.least or 0, histogram.greatest or 0)
        for number, count in histogram.counts.items():
            self._spread(slot, number, count)
        return True

    def get_range(self, first: int, end: int) -> Tally:
        """What is known of the minutes from `first` to before `end`."""
        tally = Tally()
        histogram = tally.histogram
        counts = histogram.counts
        for slot, minute in enumerate(self._minutes):
            if not first <= minute < end:
                continue
            tally.events += self._events[slot]
            tally.errors += self._errors[slot]
            if self._errors[slot] and self._categories is not None:
                for kind, name in enumerate(CATEGORIES):
                    if errors := self._categories[slot * _KINDS + kind]:
                        tally.categories[name] = tally.categories.get(name, 0) + errors
            if not self._measured[slot]:
                continue
            tally.measured += self._measured[slot]
            tally.total += self._total[slot]
            least, greatest = self._least[slot], self._greatest[slot]
            histogram.least = least if histogram.least is None else min(histogram.least, least)
            histogram.greatest = greatest if histogram.greatest is None else max(histogram.greatest, greatest)
            for number, count in zip(self._bins[slot] or (), self._counts[slot] or (), strict=True):
                counts[number] = counts.get(number, 0) + count
        return tally

    def events(self, first: int) -> int:
        """How many were counted in the minutes from `first` on."""
        return sum(count for minute, count in zip(self._minutes, self._events, strict=True) if minute >= first)

    def cleanup(self, before: int) -> bool:
        """Forget the minutes before this one; whether any are left."""
        for slot, minute in enumerate(self._minutes):
            if _NONE < minute < before:
                self._clear(slot, _NONE)
        return any(minute != _NONE for minute in self._minutes)

    def minutes(self) -> list[int]:
        """Those it knows anything of, ascending."""
        return sorted(minute for minute in self._minutes if minute != _NONE)

    def _slot(self, minute: int) -> int | None:
        """Where a minute is, made ready for it; none if a newer one is there."""
        slot = minute % self._size
        held = self._minutes[slot]
        if held != minute:
            if held > minute:
                return None
            self._clear(slot, minute)
        return slot

    def _clear(self, slot: int, minute: int) -> None:
        self._minutes[slot] = minute
        for numbers in (self._events, self._errors, self._measured, self._total, self._least, self._greatest):
            numbers[slot] = 0
        bins, counts = self._bins[slot], self._counts[slot]
        if bins is not None:
            self.size_bytes -= getsizeof(bins) + getsizeof(counts)
        self._bins[slot] = self._counts[slot] = None
        if self._categories is not None:
            self._categories[slot * _KINDS : (slot + 1) * _KINDS] = array("q", [0]) * _KINDS

    def _include(self, slot: int, measured: int, total: int, least: int, greatest: int) -> None:
        if not self._measured[slot]:
            self._least[slot], self._greatest[slot] = least, greatest
        self._measured[slot] += measured
        self._total[slot] += total
        self._least[slot] = min(self._least[slot], least)
        self._greatest[slot] = max(self._greatest[slot], greatest)

    def _spread(self, slot: int, number: int, count: int) -> None:
        bins, counts = self._bins[slot], self._counts[slot]
        if bins is None or counts is None:
            bins, counts = self._bins[slot], self._counts[slot] = array("H", [number]), array("q", [count])
            self.size_bytes += getsizeof(bins) + getsizeof(counts)
            return
        place = bisect_left(bins, number)
        if place < len(bins) and bins[place] == number:
            counts[place] += count
            return
        before = getsizeof(bins) + getsizeof(counts)
        bins.insert(place, number)
        counts.insert(place, count)
        self.size_bytes += getsizeof(bins) + getsizeof(counts) - before

    def _count_errors(self, slot: int, category: int, count: int) -> None:
        if self._categories is None:
            self._categories = array("q", [0]) * (self._size * _KINDS)
            self.size_bytes += getsizeof(self._categories)
        self._categories[slot * _KINDS + category] += count

    def _measure(self) -> int:
        fixed = (self._minutes, self._events, self._errors, self._measured, self._total, self._least, self._greatest)
        return sum(map(getsizeof, (self, *fixed, self._bins, self._counts)))


def histogram_without(whole: Histogram, part: Histogram) -> Histogram:
    """What is left of a histogram when a part of it is taken away; least and greatest stay those of the whole."""
    counts = {number: count - part.counts.get(number, 0) for number, count in whole.counts.items()}
    left = {number: count for number, count in counts.items() if count > 0}
    return Histogram(whole.scale, left, whole.least if left else None, whole.greatest if left else None)
