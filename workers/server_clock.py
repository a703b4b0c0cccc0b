"""The wall clock of the database, as a machine beside it can tell: one for all, whatever their own clocks say."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from telemetry.clock import Clock, from_unix_us, to_unix_us

log = structlog.get_logger(__name__)

#: By how much the two may differ before it is minded: an answer is on its way for a while.
NEAR = timedelta(milliseconds=100)

_MICROSECOND = timedelta(microseconds=1)


class ServerClock:
    """A machine's clock that is set by what the database says; until it said something, the machine's.

    Args:
        machine: Goes on between two answers, and has the monotonic clock.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._ahead_us = 0

    def follow(self, server: datetime) -> None:
        """Take over what the database says now."""
        ahead_us = to_unix_us(server) - self._machine.unix_us()
        if abs(ahead_us - self._ahead_us) <= NEAR // _MICROSECOND:
            return
        near = abs(ahead_us) <= NEAR // _MICROSECOND
        self._ahead_us = 0 if near else ahead_us
        log.warning("clocks_differ", database_ahead_s=round(self._ahead_us / 1e6, 1))

    def now(self) -> datetime:
        return from_unix_us(self.unix_us())

    def unix_us(self) -> int:
        return self._machine.unix_us() + self._ahead_us

    def monotonic_us(self) -> int:
        return self._machine.monotonic_us()
