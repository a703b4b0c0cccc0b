"""The sink: from the stream into the store, each event once.

One turn of `run_once`: read entries, store their events in one transaction, acknowledge after its commit, trim now and
then. Killed anywhere, it loses nothing and doubles nothing: what was not acknowledged is delivered again, to this sink
or another one, and an event that is stored already is recognised by its id.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog
from psycopg import Connection

from telemetry.batch import BatchMalformed, Limits
from telemetry.clock import Clock
from telemetry.errors import StoreUnavailable, StreamUnavailable
from telemetry.events import MEASURES, Measures
from telemetry.intake import Delivery, Garbage, Intake
from telemetry.producers import Arrival, read_arrival
from telemetry.pulse import Pulse
from telemetry.recorder import NullRecorder, Recorder
from telemetry.settings import TelemetrySettings
from telemetry.sink_figures import SinkFigures, SinkResult
from telemetry.sink_report import SinkReport
from telemetry.stream import Entry, StreamReader, appended_us
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: Entries that another sink has had for longer than this are taken over: it died, or it is stuck.
CLAIM_IDLE: Final = timedelta(seconds=10)
#: How often dead sinks are looked for, and acknowledged entries trimmed, at most, in microseconds.
_CLAIM_US: Final = 5_000_000
_TRIM_US: Final = 1_000_000
#: How often the size of the stream is looked at, at most, in microseconds.
_WATCH_US: Final = 5_000_000
#: Encoded bytes of one transaction, at most (one entry more).
_MAX_BYTES: Final = 16_777_216
#: Shortest and longest wait before the next try when a server is away, in seconds.
_LEAST_PAUSE_S: Final = 0.1
_MOST_PAUSE_S: Final = 5.0
#: How often a waiting loop that should stop is told so, in seconds.
_NUDGE_S: Final = 0.05
_STOP_TIMEOUT: Final = timedelta(seconds=10)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class _Haul:
    """What one turn read.

    Attributes:
        ids: Entries to acknowledge.
        arrivals: The batches in them.
        garbage: Entries that are no batch.
        events: How many the batches hold.
        size_bytes: Of the batches.
        redelivered: Whether the entries were delivered before.
    """

    ids: list[bytes] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    garbage: list[Garbage] = field(default_factory=list)
    events: int = 0
    size_bytes: int = 0
    redelivered: bool = False

    def add(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.ids.append(entry.id)
            data = entry.data or b""
            try:
                arrival = read_arrival(entry.id, data)
            except BatchMalformed:
                self.garbage.append(Garbage(entry.id, data))
            else:
                self.arrivals.append(arrival)
                self.events += len(arrival.events)
                self.size_bytes += len(data)

    def leave_out(self, settled: list[bool]) -> int:
        """Forget batches that were dealt with before; how many events that is."""
        before = self.events
        self.arrivals = [each for each, is_settled in zip(self.arrivals, settled, strict=True) if not is_settled]
        self.events = sum(len(arrival.events) for arrival in self.arrivals)
        return before - self.events

    def delivery(self) -> Delivery:
        """All of it, to be stored."""
        events = [event for arrival in self.arrivals for event in arrival.events]
        return Delivery(events, self.arrivals, self.garbage, redelivered=self.redelivered)


class Sink:
    """One consumer of the stream. Any number may run, each in a process of its own.

    Args:
        settings: Sizes and intervals.
        reader: Of the stream; closed when `run` ends.
        connect: Opens a connection to a migrated database; called when there is none, or the last one failed.
        clock: Decides which partitions to make.
        claim_idle: Entries that are pending elsewhere for longer are taken over.
        measures: What steps may report of themselves.
        recorder: Takes what the sink tells of itself; closed when `run` ends.

    Attributes:
        pulse: Beats with each turn of `run` that both servers took part in.
        figures: What it has done so far, and what waits; another thread may read them.
    """

    def __init__(  # noqa: PLR0913 - one collaborator or limit each
        self,
        settings: TelemetrySettings,
        reader: StreamReader,
        connect: Callable[[], Connection[Any]],
        *,
        clock: Clock,
        claim_idle: timedelta = CLAIM_IDLE,
        measures: Measures = MEASURES,
        recorder: Recorder | None = None,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._clock = clock
        self._claim_idle = claim_idle
        self._intake = Intake(connect, clock=clock, partitions_ahead=settings.partitions_ahead, measures=measures)
        self._limits = Limits(settings.sink_batch_size, _MAX_BYTES, settings.sink_flush_interval // _MICROSECOND)
        self._entries_at_once = max(1, settings.sink_batch_size // settings.batch_size)
        self._looks_back = True  # whether delivered entries may be unacknowledged
        self._claim_due_us = self._trim_due_us = self._watch_due_us = self._silence_due_us = 0
        self._untrimmed = 0
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._is_running = False
        self._thread: threading.Thread | None = None
        self._throttle = Throttle(clock)
        self.pulse = Pulse(clock)
        self.figures = SinkFigures()
        self._recorder = recorder or NullRecorder()
        self._report = SinkReport(self.figures, self._recorder, clock)

    def run_once(self, block: timedelta = timedelta(0)) -> SinkResult:
        """One turn: at most about `sink_batch_size` events, waiting up to `block` for the first.

        Raises:
            StoreUnavailable: Postgres is away; nothing was acknowledged.
            StreamUnavailable: Redis is away; if something was stored, it will come again and be recognised.
        """
        self._intake.prepare()
        try:
            haul = self._read(block)
            if not haul.ids:
                self.figures.lag_us = 0
                self._note_silence()
                self._trim(idle=True)
                self._watch()
                return SinkResult()
            skipped = haul.leave_out(self._intake.settled(haul.arrivals)) if haul.redelivered else 0
            tally = self._intake.store(haul.delivery())
            self._reader.acknowledge(haul.ids)
        except (StoreUnavailable, StreamUnavailable):
            self._looks_back = True
            raise
        result = SinkResult(
            entries=len(haul.ids),
            events=haul.events + skipped,
            stored=tally.stored,
            duplicates=tally.duplicates,
            skipped=skipped,
            malformed=len(haul.garbage) + tally.malformed.total(),
            quarantined=tally.quarantined,
            too_old=tally.too_old,
            too_new=tally.too_new,
        )
        self.figures.add(result, lag_us=self._clock.unix_us() - appended_us(haul.ids[0]))
        if haul.garbage and self._throttle.allows("malformed"):
            log.warning("telemetry_entries_malformed", count=len(haul.garbage))
        self._untrimmed += len(haul.ids)
        self._trim(idle=False)
        self._watch()
        return result

    def run(self) -> None:
        """Turn after turn until `stop`; servers that are away are waited for."""
        block = max(self._settings.sink_idle_block, self._settings.sink_flush_interval)
        pause_s = _LEAST_PAUSE_S
        has_turned = False
        self._is_running = True
        try:
            while not self._stopping.is_set():
                try:
                    self.run_once(block)
                    self.pulse.beat()
                    pause_s = _LEAST_PAUSE_S
                except (StoreUnavailable, StreamUnavailable) as error:
                    self.figures.waits += 1
                    if self._throttle.allows(error.code):
                        log.warning("telemetry_sink_waits", error=error.code, pause_ms=round(pause_s * 1000))
                    self._stopping.wait(pause_s * random.uniform(0.5, 1.0))
                    pause_s = min(2 * pause_s, _MOST_PAUSE_S)
                self._report.tell_if_due()
                has_turned = True
            if has_turned:
                self._tell_the_last()
        finally:
            self._leave()
            self._ended.set()

    def start(self) -> None:
        """`run` in a thread. Does nothing if it was started before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name="weir-sink", daemon=True)
            self._thread.start()

    def stop(self, timeout: timedelta = _STOP_TIMEOUT) -> bool:
        """End `run` after its turn, and wait for that; False if it took longer than `timeout`.

        May be called twice, before `run`, and from a signal handler that interrupts `run` (which it then cannot wait
        for: it returns at once).
        """
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._nudge, name="weir-sink-stop", daemon=True).start()
        if self._thread is None:
            return self._ended.is_set()
        return self._ended.wait(timeout.total_seconds())

    def _read(self, block: timedelta) -> _Haul:
        """Delivered and unacknowledged entries first; else new ones, until they make a batch by count, bytes or age."""
        haul = _Haul()
        self._claim()
        if self._looks_back:
            haul.add(self._reader.read_pending(self._entries_at_once))
            haul.redelivered = self._looks_back = bool(haul.ids)
        if haul.redelivered:
            return haul
        haul.add(self._reader.read_new(self._entries_at_once, block))
        if not haul.ids:
            return haul
        if len(haul.ids) < self._entries_at_once and not self._is_full(haul):
            self._stopping.wait(self._limits.age_us / 1e6)
        while not self._is_full(haul) and (entries := self._reader.read_new(self._entries_at_once)):
            haul.add(entries)
        return haul

    def _is_full(self, haul: _Haul) -> bool:
        return self._limits.are_reached(haul.events, haul.size_bytes, 0)

    def _claim(self) -> None:
        now_us = self._clock.monotonic_us()
        if now_us >= self._claim_due_us:
            claimed = self._reader.claim(self._claim_idle, self._entries_at_once)
            # As many as were asked for: there are more, and their consumer will not come back for them.
            self._claim_due_us = now_us + (_CLAIM_US if claimed < self._entries_at_once else 0)
            self._looks_back = self._looks_back or claimed > 0

    def _note_silence(self) -> None:
        """Say now and then that nothing comes: as often as whoever is alive would say so."""
        now_us = self._clock.monotonic_us()
        if now_us >= self._silence_due_us:
            self._intake.looked()
            self._silence_due_us = now_us + self._settings.alive_interval // _MICROSECOND

    def _trim(self, *, idle: bool) -> None:
        """Delete what is acknowledged: once a second, and at the end of a burst."""
        now_us = self._clock.monotonic_us()
        if self._untrimmed and (idle or now_us >= self._trim_due_us):
            self._trim_due_us = now_us + _TRIM_US
            self._reader.trim()
            self._untrimmed = 0

    def _watch(self) -> None:
        """See now and then how much waits, and how large the stream is."""
        now_us = self._clock.monotonic_us()
        if now_us < self._watch_due_us:
            return
        self._watch_due_us = now_us + _WATCH_US
        backlog = self.figures.backlog = self._reader.backlog()
        if (warning := self.figures.warning(self._settings)) and self._throttle.allows("stream"):
            log.warning(
                "telemetry_stream_large", setting=warning, entries=backlog.entries, size_bytes=backlog.size_bytes
            )

    def _nudge(self) -> None:
        """Wake the loop out of its wait, also if it begins one just now."""
        while self._is_running and not self._ended.wait(_NUDGE_S):
            self._reader.unblock()

    def _tell_the_last(self) -> None:
        """Tell of the rest, and store that at once; where it cannot be, the next sink does it."""
        if not self._recorder.enabled:
            return
        self._report.tell()
        self._recorder.close()
        try:
            self.run_once()
        except (StoreUnavailable, StreamUnavailable) as error:
            log.info("telemetry_sink_left_entries_behind", error=error.code)

    def _leave(self) -> None:
        try:
            self._reader.leave()
        except StreamUnavailable:
            log.info("telemetry_sink_left_group_behind")
        self._recorder.close()
        self._reader.close()
        self._intake.close()
