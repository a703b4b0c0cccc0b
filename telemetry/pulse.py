"""Whether a loop still comes round: it says so at each turn, and whoever asks learns how long ago that was."""

from __future__ import annotations

from datetime import timedelta

from telemetry.clock import Clock


class Pulse:
    """When a loop last came round; one that has not begun yet counts from here. Costs one look at the clock a turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat_us = clock.monotonic_us()

    def beat(self) -> None:
        """The loop has come round."""
        self._beat_us = self._clock.monotonic_us()

    @property
    def age(self) -> timedelta:
        """How long ago that was."""
        return timedelta(microseconds=self._clock.monotonic_us() - self._beat_us)
