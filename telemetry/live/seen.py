"""Which events were counted, by their numbers in their producers' epochs: each counts once, however often it comes."""

from __future__ import annotations

from bisect import insort
from typing import Final

from telemetry.rollups.coverage import Stretch, without

#: Epochs, and ranges of all of them together, that are remembered; with more, all is read again from what is stored.
MAX_EPOCHS: Final = 4096
MAX_RANGES: Final = 32_768


class Seen:
    """Numbers that came, as half-open ranges by epoch."""

    def __init__(self) -> None:
        self._ranges: dict[bytes, list[Stretch]] = {}
        self._count = 0

    @property
    def is_full(self) -> bool:
        """Whether there are more ranges than may be remembered."""
        return len(self._ranges) > MAX_EPOCHS or self._count > MAX_RANGES

    def take(self, epoch: bytes, first: int, end: int) -> list[Stretch]:
        """Note these numbers; those that had not come before, as ranges."""
        if first >= end:
            return []
        ranges = self._ranges.setdefault(epoch, [])
        if not ranges or ranges[-1][1] < first:
            ranges.append((first, end))
            self._count += 1
            return [(first, end)]
        if ranges[-1][1] == first:
            ranges[-1] = ranges[-1][0], end
            return [(first, end)]
        fresh = without([(first, end)], ranges)
        before = len(ranges)
        for stretch in fresh:
            insort(ranges, stretch)
        ranges[:] = _joined(ranges)
        self._count += len(ranges) - before
        return fresh


def _joined(ranges: list[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for first, end in ranges:
        if joined and joined[-1][1] >= first:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined
