"""What is random in samples: the same from the same seed, in every process and version of Python. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from math import exp
from random import Random
from statistics import NormalDist
from typing import Final, Generic, TypeVar

from telemetry.ids import mint

T = TypeVar("T")

#: Factors that a log-normal duration with a median of 1 has, evenly over its distribution; a power of two of them.
_BITS: Final = 10
_NORMAL: Final = NormalDist()


def _spread(sigma: float) -> tuple[float, ...]:
    count = 1 << _BITS
    return tuple(exp(sigma * _NORMAL.inv_cdf((number + 0.5) / count)) for number in range(count))


#: What a step in the own database takes varies little, what waits for others a lot.
STEADY: Final = _spread(0.35)
WILD: Final = _spread(0.8)


class Weighted(Generic[T]):
    """Things with weights, to draw one from."""

    def __init__(self, things: Sequence[T], weights: Sequence[float]) -> None:
        self._things = things
        self._upper = list(accumulate(weights))

    def draw(self, dice: Dice) -> T:
        """One of them, each as often as its share of the weights."""
        at = bisect(self._upper, dice.fraction() * self._upper[-1])
        return self._things[min(at, len(self._things) - 1)]


class Dice:
    """Random numbers of one seed, made of any words and numbers."""

    def __init__(self, *seed: object) -> None:
        random = Random(":".join(map(str, seed)))
        #: A number from 0 to 1; so many random bits.
        self.fraction, self.bits = random.random, random.getrandbits

    def id_at(self, unix_us: int) -> bytes:
        """An id of that instant."""
        return mint(unix_us, self.bits)

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` - 1."""
        return int(self.fraction() * end)

    def duration_us(self, median_us: int, spread: Sequence[float] = STEADY) -> int:
        """A duration around its median."""
        return int(median_us * spread[self.bits(_BITS)])
