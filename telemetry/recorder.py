"""Recording events: never slow, never in the way, and every loss counted.

`record` encodes the event and appends it to a bounded buffer; a thread takes the buffer to the stream, many events an
entry. With the stream gone the buffer fills, and what no longer fits is dropped and counted by type; when it returns,
what was kept is sent. While there is nothing to do the thread sleeps without polling.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final, Protocol

import msgspec
import structlog

from telemetry.batch import FORMAT, Batch, BatchHeader, Limits, cut, encode_batch
from telemetry.clock import Clock
from telemetry.errors import StreamUnavailable
from telemetry.events import CATALOGUE, Event, event_type
from telemetry.forks import renew_in_children
from telemetry.ids import mint
from telemetry.settings import TelemetrySettings
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

_TYPES: Final = frozenset(CATALOGUE)
#: A mark that no buffer reaches: the thread is at work and need not be woken.
_NEVER: Final = 1 << 60
#: How often the stream is asked how long it is, at most, in microseconds.
_LENGTH_CHECK_US: Final = 1_000_000
#: What an event is taken to weigh before some were seen, in bytes.
_TYPICAL_BYTES: Final = 200
FLUSH_TIMEOUT: Final = timedelta(seconds=5)
CLOSE_TIMEOUT: Final = timedelta(seconds=2)
_MICROSECOND: Final = timedelta(microseconds=1)


class Stream(Protocol):
    """Where a recorder hands over: `telemetry.stream.StreamWriter`."""

    def append(self, data: bytes) -> None:
        """Append one entry, or raise `StreamUnavailable`."""
        ...

    def length(self) -> int:
        """How many entries it holds, or raise `StreamUnavailable`."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """What became of the events of this process (since it was forked, if it was).

    Attributes:
        handed_over: Events that the stream has (synchronously: the store).
        batches: Entries they made.
        waiting: Events in the buffer.
        dropped: Events lost, by type.
        failures: Times that stream or store did not take what it was given.
        is_reachable: Whether the last attempt succeeded; true before the first.
    """

    handed_over: int = 0
    batches: int = 0
    waiting: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    is_reachable: bool = True


class Recorder(Protocol):
    """What everybody holds who records.

    Attributes:
        enabled: Ask before building an event, so that telemetry that is off costs one `if`.
    """

    enabled: bool

    def record(self, event: Event) -> None:
        """Take an event. Never raises; never waits (except in synchronous mode)."""
        ...

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        """Wait until what was recorded before is handed over; False if it was not within `timeout`."""
        ...

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        """Flush and stop. What is not handed over by then is dropped and counted, as is what comes later."""
        ...

    def stats(self) -> RecorderStats:
        """What became of events so far."""
        ...


def type_of(event: object) -> str:
    """The event's type; `unknown` for what is none."""
    return event_type(event) if isinstance(event, Event) else "unknown"


class NullRecorder:
    """Telemetry is off."""

    enabled = False

    def record(self, event: Event) -> None:
        """Forget it."""

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        return True

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        """Nothing was opened."""

    def stats(self) -> RecorderStats:
        return RecorderStats()


class BufferedRecorder:
    """Records through the stream. One for each process; after a fork the child's is empty and of a new epoch.

    The thread is woken by a bell, and `_ring_at` is how full the buffer must be for `record` to ring it: 1 while the
    thread sleeps, a full batch while it lets one ripen, never while it works. The thread sets the mark before it looks
    at the buffer, `record` appends before it looks at the mark; so one of the two sees the other.
    """

    enabled = True

    def __init__(
        self, settings: TelemetrySettings, stream_factory: Callable[[], Stream], *, name: str, clock: Clock
    ) -> None:
        self._settings = settings
        self._stream_factory = stream_factory
        self._name = name
        self._clock = clock
        age_us = settings.flush_interval // _MICROSECOND
        self._limits = Limits(settings.batch_size, settings.batch_max_bytes, age_us)
        self._encode = msgspec.msgpack.Encoder().encode
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin a new epoch with nothing in it: at the start, and in the child after a fork."""
        self._producer = f"{self._name}-{os.getpid()}"
        self._epoch = mint(self._clock.unix_us())
        self._bound = self._settings.buffer_max_events
        self._buffer: deque[bytes] = deque()
        self._batches: deque[Batch] = deque()  # cut, not handed over
        self._held = 0  # events in them
        self._cut_at_us = 0
        self._mean_bytes = _TYPICAL_BYTES
        self._ring_at = 1
        self._bell = threading.Event()
        self._flushes: deque[threading.Event] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._length_due_us = 0
        self._dropped: Counter[str] = Counter()
        self._reported = 0  # of those dropped
        self._handed_over = self._sent_batches = self._failures = 0
        self._is_reachable = True
        self._throttle = Throttle(self._clock)

    def record(self, event: Event) -> None:
        try:
            buffer = self._buffer
            if type(event) not in _TYPES or len(buffer) + self._held >= self._bound:
                self._drop(event)
                return
            buffer.append(self._encode(event))
            if len(buffer) >= self._ring_at:
                self._ring()
        except Exception:  # noqa: BLE001 - nothing about telemetry may fail its caller; it is counted
            self._drop(event)

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        if self._closing:
            return not (self._buffer or self._batches)
        done = threading.Event()
        self._flushes.append(done)
        self._ring()
        return done.wait(timeout.total_seconds())

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        self._bound = 0
        self._closing = True
        if self._thread is None:
            self._work()
        else:
            self._bell.set()
            self._thread.join(timeout.total_seconds())
            if self._thread.is_alive():
                log.warning("telemetry_recorder_not_stopped", waiting=self.stats().waiting)
                return
        self._give_up()
        self._close_stream()

    def stats(self) -> RecorderStats:
        return RecorderStats(
            handed_over=self._handed_over,
            batches=self._sent_batches,
            waiting=len(self._buffer) + self._held,
            dropped=dict(self._dropped),
            failures=self._failures,
            is_reachable=self._is_reachable,
        )

    def _drop(self, event: Event) -> None:
        with self._lock:
            self._dropped[type_of(event)] += 1

    def _ring(self) -> None:
        self._ring_at = _NEVER
        if self._thread is None:
            self._start()
        self._bell.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="weir-recorder", daemon=True)
                thread.start()
                self._thread = thread

    # The rest runs in the recorder's own thread (and in `close`, if there never was one).

    def _run(self) -> None:
        while not self._closing:
            self._sleep()
            if not self._work():
                self._pause()
        self._work()

    def _sleep(self) -> None:
        """Until something was recorded, and then until it makes a batch: by count, bytes or age."""
        self._bell.clear()
        self._ring_at = 1
        if not (self._buffer or self._batches or self._flushes or self._closing):
            self._bell.wait()
        self._bell.clear()
        self._ring_at = full = self._limits.events_of(self._mean_bytes)
        if not (len(self._buffer) >= full or self._batches or self._flushes or self._closing):
            self._bell.wait(self._limits.age_us / 1e6)
        self._ring_at = _NEVER

    def _work(self) -> bool:
        """Hand over what there is now; False if some of it is left."""
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        self._cut()
        while self._batches and self._hand_over(self._batches[0]):
            batch = self._batches.popleft()
            self._held -= len(batch.events)
            self._handed_over += len(batch.events)
            self._sent_batches += 1
        self._report_losses()
        if self._batches:
            self._flushes.extendleft(flushes)
            return False
        for done in flushes:
            done.set()
        return True

    def _cut(self) -> None:
        """Cut what is in the buffer into batches."""
        self._cut_at_us = self._clock.unix_us()
        events = [self._buffer.popleft() for _ in range(len(self._buffer))]
        self._held += len(events)
        batches = list(cut(events, self._limits))
        self._batches.extend(batches)
        if events:
            self._mean_bytes = sum(batch.size_bytes for batch in batches) // len(events)

    def _hand_over(self, batch: Batch) -> bool:
        try:
            if self._stream is None:
                self._stream = self._stream_factory()
            self._require_room(self._stream)
            self._stream.append(encode_batch(self._header(), batch.events))
        except Exception as error:  # noqa: BLE001 - the thread must outlive every fault; it is counted and logged
            self._failures += 1
            self._is_reachable = False
            if self._throttle.allows("failure"):
                log.warning("telemetry_stream_failed", error=type(error).__name__, waiting=self.stats().waiting)
            return False
        self._is_reachable = True
        return True

    def _header(self) -> BatchHeader:
        """For the first of the batches: it says what the others still hold."""
        rest = islice(self._batches, 1, None)
        oldest_us = min([self._cut_at_us, *(batch.oldest_us for batch in rest)])
        return BatchHeader(FORMAT, self._producer, self._epoch, oldest_us, dict(self._dropped))

    def _require_room(self, stream: Stream) -> None:
        now_us = self._clock.monotonic_us()
        if now_us < self._length_due_us:
            return
        if stream.length() >= self._settings.stream_max_entries:
            raise StreamUnavailable(f"the telemetry stream has its {self._settings.stream_max_entries} entries")
        self._length_due_us = now_us + _LENGTH_CHECK_US

    def _pause(self) -> None:
        """Leave a stream alone that failed. Only closing ends it early."""
        until_us = self._clock.monotonic_us() + self._settings.breaker_pause // _MICROSECOND
        while not self._closing and (left_us := until_us - self._clock.monotonic_us()) > 0:
            self._bell.wait(left_us / 1e6)
            self._bell.clear()

    def _give_up(self) -> None:
        """Count as dropped what could not be handed over before the end."""
        left = [event for batch in self._batches for event in batch.events] + list(self._buffer)
        with self._lock:
            self._dropped.update(str(msgspec.msgpack.decode(event)[0]) for event in left)
        self._batches.clear()
        self._buffer.clear()
        self._held = 0
        self._report_losses()

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        except Exception as error:  # noqa: BLE001 - a process that ends must not fail for its telemetry
            log.warning("telemetry_stream_not_closed", error=type(error).__name__)

    def _report_losses(self) -> None:
        lost = self._dropped.total()
        if lost > self._reported and self._throttle.allows("loss"):
            log.warning("telemetry_events_dropped", count=lost - self._reported, dropped=dict(self._dropped))
            self._reported = lost
