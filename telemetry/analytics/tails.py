"""How improbable a count is: tails of the negative binomial and of the normal distribution. Pure."""

from __future__ import annotations

import math
from typing import Final

#: Where the continued fraction is as exact as a float, and the most steps that it is given: it takes about the square
#: root of the larger parameter.
_EXACT: Final = 1e-15
_STEPS: Final = 100_000
_TINY: Final = 1e-300


def at_least(count: int, mean: float, size: float) -> float:
    """The probability of this count or more, of a negative binomial distribution.

    Its variance is mean + mean²/size: a Poisson count whose rate itself varies, by a share of 1/√size.

    Args:
        count: 0 or more.
        mean: More than 0.
        size: More than 0.
    """
    if count <= 0:
        return 1.0
    # P(X >= count) = I_p(count, size) with p = mean / (mean + size): DLMF § 8.17(i) and (iv).
    share = mean / (mean + size)
    front = math.exp(
        math.lgamma(count + size)
        - math.lgamma(count)
        - math.lgamma(size)
        + count * math.log(share)
        + size * math.log(size / (mean + size))
    )
    if share < (count + 1) / (count + size + 2):
        return min(front * _fraction(count, size, share) / count, 1.0)
    return max(1 - front * _fraction(size, count, 1 - share) / size, 0.0)


def beyond(deviations: float) -> float:
    """The probability of a value as many standard deviations or more off a normal mean, to either side."""
    return math.erfc(abs(deviations) / math.sqrt(2))


def _fraction(first: float, second: float, share: float) -> float:
    """The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    numerator, denominator = 1.0, _safe(1 - (first + second) * share / (first + 1))
    denominator = 1 / denominator
    value = denominator
    for step in range(1, _STEPS):
        even = step * (second - step) * share / ((first + 2 * step - 1) * (first + 2 * step))
        odd = -(first + step) * (first + second + step) * share / ((first + 2 * step) * (first + 2 * step + 1))
        factor = 1.0
        for term in (even, odd):
            denominator = 1 / _safe(1 + term * denominator)
            numerator = _safe(1 + term / numerator)
            factor = numerator * denominator
            value *= factor
        if abs(factor - 1) < _EXACT:
            break
    return value


def _safe(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
