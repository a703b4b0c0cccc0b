"""What tests of every package need and nothing else does. No doubles of Postgres or Redis: those are real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from telemetry.clock import from_unix_us, to_unix_us

#: Where a ManualClock starts unless told otherwise: a Tuesday noon, far from any change of clocks.
NOON = datetime(2026, 1, 13, 12, tzinfo=UTC)


class ManualClock:
    """A `telemetry.clock.Clock` that stands still until it is told to move.

    The wall clock and the monotonic clock move together with `advance`; only the wall clock jumps with `set`, as a
    machine's does when somebody corrects it.
    """

    def __init__(self, start: datetime = NOON) -> None:
        self._unix_us = to_unix_us(start)
        self._monotonic_us = 0

    def now(self) -> datetime:
        return from_unix_us(self._unix_us)

    def unix_us(self) -> int:
        return self._unix_us

    def monotonic_us(self) -> int:
        return self._monotonic_us

    def advance(self, duration: timedelta) -> None:
        """Let time pass.

        Raises:
            ValueError: `duration` is negative; a wall clock goes back with `set`, a monotonic one never.
        """
        if duration < timedelta(0):
            raise ValueError("time only passes forwards; use set() to correct the wall clock")
        micros = duration // timedelta(microseconds=1)
        self._unix_us += micros
        self._monotonic_us += micros

    def set(self, instant: datetime) -> None:
        """Correct the wall clock to an aware datetime, forwards or back. The monotonic clock does not notice."""
        self._unix_us = to_unix_us(instant)
