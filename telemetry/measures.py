"""What a step type may report of itself: numbers and enums under registered keys, and nothing else gets through."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final, TypeGuard

from telemetry.events import MEASURES, Measures

#: Whole numbers must fit where sums of them are kept.
_LARGEST: Final = (1 << 63) - 1


class AllowedMeasures:
    """Tells the measures that may be kept from anything else a step type reports.

    Args:
        measures: What steps may report of themselves: numbers (none) and enums (their words), by name.
    """

    def __init__(self, measures: Measures = MEASURES) -> None:
        self._numbers = frozenset(key for key, words in measures.items() if words is None)
        self._words = {key: frozenset(words) for key, words in measures.items() if words is not None}

    def allowed(self, measures: Mapping[str, object]) -> dict[str, int | float | str]:
        """Those that are registered: finite numbers, and the words of an enum.

        Never raises, whatever the values are: a step type of somebody's own may report anything.
        """
        return {key: value for key, value in measures.items() if self._is_allowed(value, key)}

    def _is_allowed(self, value: object, key: str) -> TypeGuard[int | float | str]:
        if isinstance(value, str):
            return value in self._words.get(key, ())
        if key not in self._numbers or isinstance(value, bool):
            return False
        if isinstance(value, int):
            return -_LARGEST <= value <= _LARGEST
        return isinstance(value, float) and isfinite(value)


#: Those of the built-in step types.
BUILT_IN: Final = AllowedMeasures()
