"""What a step type may report of itself: numbers and enums under registered keys, and nothing else gets through."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final, TypeAlias, TypeGuard

from telemetry.events import MEASURES

Measures: TypeAlias = dict[str, int | float | str]

_NUMBERS: Final = frozenset(key for key, words in MEASURES.items() if words is None)
_WORDS: Final = {key: frozenset(words) for key, words in MEASURES.items() if words is not None}
#: Whole numbers must fit where sums of them are kept.
_LARGEST: Final = (1 << 63) - 1


def allowed_measures(measures: Mapping[str, object]) -> Measures:
    """Those of `measures` that `telemetry.events.MEASURES` allows: finite numbers, and the words of an enum.

    Never raises, whatever the values are: a step type of somebody's own may report anything.
    """
    return {key: value for key, value in measures.items() if _is_allowed(value, key)}


def _is_allowed(value: object, key: str) -> TypeGuard[int | float | str]:
    if isinstance(value, str):
        return value in _WORDS.get(key, ())
    if key not in _NUMBERS or isinstance(value, bool):
        return False
    return -_LARGEST <= value <= _LARGEST if isinstance(value, int) else isinstance(value, float) and isfinite(value)
