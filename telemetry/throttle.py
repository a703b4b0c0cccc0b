"""Log lines about what happens thousands of times a second, written now and then."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from telemetry.clock import Clock

_INTERVAL: Final = timedelta(seconds=10)


class Throttle:
    """Allows one line of a kind per interval."""

    def __init__(self, clock: Clock, interval: timedelta = _INTERVAL) -> None:
        self._clock = clock
        self._interval_us = interval // timedelta(microseconds=1)
        self._next_us: dict[str, int] = {}

    def allows(self, kind: str) -> bool:
        """Whether a line of this kind is due; if so, the next one is not before the interval has passed."""
        now_us = self._clock.monotonic_us()
        if now_us < self._next_us.get(kind, now_us):
            return False
        self._next_us[kind] = now_us + self._interval_us
        return True
