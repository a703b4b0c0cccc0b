"""Values spread over bins that grow by the same factor: merged exactly, read with a bounded error.

The bins of scale s grow by 2^(1/2^s), as OpenTelemetry's exponential histograms do
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram). Values are whole numbers, so the
bounds are, too: ceil(2^(i/2^s)), computed with integers, each once. Where bins would be narrower than one they hold one
value. So Python and SQL (`histogram_bin`, migration 0027) cannot disagree by the rounding of a logarithm, and every
bound of a scale is one of the next finer scale: two scales merge at the coarser one without error.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any, Final

#: Of all that is counted: bins grow by 2^(1/32).
FINEST: Final = 5
#: Of what is kept longest.
COARSEST: Final = 0
#: Values of this and more, in one bin: as microseconds, 4.5 years.
_LAST_POWER: Final = 47


@cache
def bounds(scale: int) -> tuple[int, ...]:
    """The least value of each bin from the first on, ascending; bin 0 is below all of them.

    Raises:
        ValueError: There is no such scale.
    """
    if not COARSEST <= scale <= FINEST:
        raise ValueError(f"scale is {COARSEST} to {FINEST}, not {scale}")
    parts = 1 << scale
    return tuple(sorted({_root_above(power, parts) for power in range(_LAST_POWER * parts + 1)}))


def bin_of(value: int, scale: int = FINEST) -> int:
    """The bin that a value is in: how many bounds are not above it. Below 1 it is 0."""
    return bisect_right(bounds(scale), value)


def error_percent(scale: int) -> float:
    """By how many percent a quantile may be off, at most (`middle_of`); to one decimal, never less."""
    growth = 2 ** (1 / (1 << scale))
    return math.ceil(1000 * (growth - 1) / (growth + 1)) / 10


def middle_of(number: int, scale: int = FINEST) -> float:
    """The value that is nearest, in proportion, to all of a bin: off by 1.09 % at most at the finest scale.

    The last bin has no end; its least value stands for it.
    """
    if number == 0:
        return 0.0
    edges = bounds(scale)
    least = edges[number - 1]
    if number == len(edges):
        return float(least)
    greatest = edges[number] - 1
    return 2 * least * greatest / (least + greatest)


@dataclass(slots=True)
class Histogram:
    """How many values were in which bin.

    Attributes:
        scale: Of the bins, `COARSEST` to `FINEST`.
        counts: By bin; none is 0.
        least: Of the values, exactly; none without any.
        greatest: The same.
    """

    scale: int = FINEST
    counts: dict[int, int] = field(default_factory=dict)
    least: int | None = None
    greatest: int | None = None

    @classmethod
    def of(cls, values: Iterable[int], scale: int = FINEST) -> Histogram:
        """Of these values."""
        made = cls(scale)
        for value in values:
            made.add(value)
        return made

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts.values())

    def add(self, value: int) -> None:
        """Count one value."""
        number = bin_of(value, self.scale)
        self.counts[number] = self.counts.get(number, 0) + 1
        self.least = value if self.least is None else min(self.least, value)
        self.greatest = value if self.greatest is None else max(self.greatest, value)

    def merged(self, other: Histogram) -> Histogram:
        """Both together, at the coarser of the two scales. Associative and commutative."""
        scale = min(self.scale, other.scale)
        mine, theirs = self.scaled(scale), other.scaled(scale)
        counts = dict(mine.counts)
        for number, count in theirs.counts.items():
            counts[number] = counts.get(number, 0) + count
        return Histogram(
            scale,
            counts,
            _one_of(min, self.least, other.least),
            _one_of(max, self.greatest, other.greatest),
        )

    @classmethod
    def total(cls, parts: Iterable[Histogram]) -> Histogram:
        """All of them together, as merging them one by one would give; nothing of nothing."""
        parts = tuple(parts)
        if len(parts) == 1:
            return parts[0]
        scale = min((each.scale for each in parts), default=FINEST)
        counts: dict[int, int] = {}
        for each in parts:
            for number, count in each.scaled(scale).counts.items():
                counts[number] = counts.get(number, 0) + count
        return cls(
            scale,
            counts,
            min((each.least for each in parts if each.least is not None), default=None),
            max((each.greatest for each in parts if each.greatest is not None), default=None),
        )

    def scaled(self, scale: int) -> Histogram:
        """The same at a coarser scale: what counting the values at that scale had made.

        Raises:
            ValueError: The scale is finer; what was merged cannot be told apart again.
        """
        if scale == self.scale:
            return self
        if scale > self.scale:
            raise ValueError(f"a histogram of scale {self.scale} cannot be read at scale {scale}")
        edges = bounds(self.scale)
        counts: dict[int, int] = {}
        for number, count in self.counts.items():
            coarse = bin_of(edges[number - 1], scale) if number else 0
            counts[coarse] = counts.get(coarse, 0) + count
        return Histogram(scale, counts, self.least, self.greatest)

    def quantile(self, share: float) -> float | None:
        """The value that this share of all values does not exceed, by nearest rank; none without values.

        The rank is ceil(share * count), at least 1, as in Postgres's `percentile_disc`. Least and greatest are exact.

        Args:
            share: 0 to 1.
        """
        return next(iter(self.quantiles(share)), None)

    def quantiles(self, *shares: float) -> list[float]:
        """Several at once, as `quantile` tells each; none at all without values."""
        if self.least is None or self.greatest is None:
            return []
        numbers = sorted(self.counts)
        seen = list(accumulate(map(self.counts.__getitem__, numbers)))
        return [self._at(max(math.ceil(share * seen[-1]), 1), numbers, seen) for share in shares]

    def _at(self, rank: int, numbers: Sequence[int], seen: Sequence[int]) -> float:
        assert self.least is not None  # noqa: S101 - there are values
        assert self.greatest is not None  # noqa: S101 - likewise
        if rank in (1, seen[-1]):
            return float(self.least if rank == 1 else self.greatest)
        number = numbers[bisect_left(seen, rank)]
        return float(min(max(middle_of(number, self.scale), self.least), self.greatest))

    def to_json(self) -> dict[str, Any]:
        """All that is known of it: bins by their number, with their bounds to be found by `scale`."""
        return {
            "scale": self.scale,
            "least": self.least,
            "greatest": self.greatest,
            "bins": {str(number): self.counts[number] for number in sorted(self.counts)},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Histogram:
        """What `to_json` told."""
        counts = {int(number): count for number, count in told["bins"].items()}
        return cls(told["scale"], counts, told["least"], told["greatest"])


def _one_of(choose: Any, mine: int | None, other: int | None) -> int | None:  # noqa: ANN401 - min or max
    known = [value for value in (mine, other) if value is not None]
    return choose(known) if known else None


def _root_above(power: int, parts: int) -> int:
    """The least whole number n with n >= 2^(power/parts): a guess by floats, put right by integers."""
    target = 1 << power
    number = math.ceil(2 ** (power / parts))
    while number**parts < target:
        number += 1
    while (number - 1) ** parts >= target:
        number -= 1
    return number
