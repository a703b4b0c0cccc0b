"""The only place that reads the time. Everything else is handed a `Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for differences; both in whole microseconds."""

    def now(self) -> datetime:
        """The wall clock as an aware UTC datetime."""
        ...

    def unix_us(self) -> int:
        """The wall clock in microseconds since 1970-01-01 UTC."""
        ...

    def monotonic_us(self) -> int:
        """A clock that never goes back; only differences mean something."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


def from_unix_us(unix_us: int) -> datetime:
    """Microseconds since the epoch as an aware UTC datetime, exactly."""
    seconds, micros = divmod(unix_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def to_unix_us(instant: datetime) -> int:
    """An aware datetime as microseconds since the epoch, exactly (no float on the way)."""
    delta = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
