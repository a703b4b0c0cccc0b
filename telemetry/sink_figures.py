"""What a sink has done, and what waits for it: one turn, and all of them so far."""

from __future__ import annotations

from dataclasses import dataclass, fields

from telemetry.settings import TelemetrySettings
from telemetry.stream import Backlog

#: Share of the entries it may hold from which on the stream counts as full, in percent.
_FULL_PERCENT = 80


@dataclass(frozen=True, slots=True)
class SinkResult:
    """What one turn did.

    Attributes:
        entries: Entries of the stream that are acknowledged now.
        events: Events that were in them.
        stored: Events that are in the store because of this turn.
        duplicates: Events that were there already.
        skipped: Events of entries that came again, and had been dealt with; not even decoded.
        malformed: Events that are none of the catalogue, or that Postgres refused, and entries that are no batch.
        quarantined: How many of those are kept, as their shape or whole.
        too_old: Events of days whose partition is gone, or never was.
        too_new: Events of days that have no partition yet.
    """

    entries: int = 0
    events: int = 0
    stored: int = 0
    duplicates: int = 0
    skipped: int = 0
    malformed: int = 0
    quarantined: int = 0
    too_old: int = 0
    too_new: int = 0


class SinkFigures:
    """The sum of all turns of one sink. Written by its loop, read by whoever asks for its health.

    Attributes:
        totals: By the names of `SinkResult`.
        lag_us: How long the oldest entry of the last turn had been in the stream when it was stored, in microseconds,
            by two clocks; 0 when nothing waits.
        waits: Times that a server was away.
        backlog: What the stream held at the last look.
    """

    def __init__(self) -> None:
        self.totals = {each.name: 0 for each in fields(SinkResult)}
        self.lag_us = 0
        self.waits = 0
        self._worst_lag_us = 0
        self.backlog = Backlog()

    def add(self, result: SinkResult, *, lag_us: int) -> None:
        """Count a turn."""
        for name in self.totals:
            self.totals[name] += getattr(result, name)
        self.lag_us = max(0, lag_us)
        self._worst_lag_us = max(self._worst_lag_us, self.lag_us)

    def take_worst_lag(self) -> int:
        """The longest `lag_us` since this was asked before."""
        worst, self._worst_lag_us = self._worst_lag_us, 0
        return worst

    def warning(self, settings: TelemetrySettings) -> str | None:
        """What is wrong with the size of the stream: the setting that it nears, or None."""
        if self.backlog.size_bytes >= settings.stream_warn_bytes:
            return "stream_warn_bytes"
        if self.backlog.entries * 100 >= settings.stream_max_entries * _FULL_PERCENT:
            return "stream_max_entries"
        return None

    def shown(self) -> dict[str, int]:
        """As numbers under names, for a health answer."""
        return {
            **self.totals,
            "lag_ms": self.lag_us // 1000,
            "stream_entries": self.backlog.entries,
            "stream_waiting": self.backlog.waiting,
            "stream_bytes": self.backlog.size_bytes,
        }
