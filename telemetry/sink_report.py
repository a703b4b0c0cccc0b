"""What a sink tells of itself, as an event once a minute: it goes the way of all others, and is counted like them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from telemetry.clock import Clock
from telemetry.events import Scope, SinkState
from telemetry.ids import mint
from telemetry.recorder import Recorder
from telemetry.sink_figures import SinkFigures

#: How often. However much there is to tell: what the sink does with its own events makes no more of them.
_INTERVAL: Final = timedelta(minutes=1)
_MICROSECOND: Final = timedelta(microseconds=1)


class SinkReport:
    """Tells of one sink. Its correlation id is made here, and the same for all of them.

    Args:
        figures: What the sink has done so far.
        recorder: Takes the events; never waits for the sink.
        clock: Tells when the next one is due.
    """

    def __init__(self, figures: SinkFigures, recorder: Recorder, clock: Clock) -> None:
        self._figures = figures
        self._recorder = recorder
        self._clock = clock
        self._scope = Scope(correlation_id=mint(clock.unix_us()), request_source="weir")
        self._told = (dict(figures.totals), figures.waits)
        self._told_us = clock.monotonic_us()

    def tell_if_due(self) -> None:
        """Tell, if it is a minute since."""
        if self._clock.monotonic_us() - self._told_us >= _INTERVAL // _MICROSECOND:
            self.tell()

    def tell(self) -> None:
        """Tell what was done since the last time."""
        if not self._recorder.enabled:
            return
        figures, (totals, waits) = self._figures, self._told
        now_us, at_us = self._clock.monotonic_us(), self._clock.unix_us()
        counts = {f"{name}_count": figures.totals[name] - before for name, before in totals.items()}
        state = SinkState(
            mint(at_us),
            at_us,
            self._scope,
            interval_us=now_us - self._told_us,
            **counts,
            waits_count=figures.waits - waits,
            lag_us=figures.take_worst_lag(),
            stream_entries_count=figures.backlog.entries,
            stream_waiting_count=figures.backlog.waiting,
            stream_bytes=figures.backlog.size_bytes,
        )
        self._told, self._told_us = (dict(figures.totals), figures.waits), now_us
        self._recorder.record(state)
