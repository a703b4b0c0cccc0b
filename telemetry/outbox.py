"""What is on its way from a recorder's buffer into the stream: numbered, and on disk while the stream takes nothing.

A batch gets its numbers when it is sealed, right before it goes: to the stream, or to the spool if the stream is away.
From then on it has the same number and the same events, whatever way it takes and however often it is sent. Everything
goes in the order of its numbers: what is on disk first, then what is in memory.

Killed at any line: what was sealed and not yet given to stream or spool is lost with its numbers, and the gap shows;
what was given to both, or twice, is recognised by its numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import structlog

from telemetry.batch import FORMAT, Batch, BatchHeader, Limits, Rung, cut, encode_batch
from telemetry.breaker import Breaker
from telemetry.clock import Clock
from telemetry.errors import StreamUnavailable
from telemetry.segments import Record
from telemetry.settings import TelemetrySettings
from telemetry.spool import Orphan, Spool
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

_MICROSECOND: Final = timedelta(microseconds=1)
#: How often the stream is asked how long it is, at most, in microseconds.
_LENGTH_CHECK_US: Final = 1_000_000
#: How long a spool without room is left alone, in microseconds.
_FULL_PAUSE_US: Final = 1_000_000
#: What an event is taken to weigh before some were seen, in bytes.
_TYPICAL_BYTES: Final = 200
#: What a header, and each event's length, add to a record, in bytes: an estimate from above.
_HEADER_BYTES, _LENGTH_BYTES = 2048, 5


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
class _Sealed:
    """A batch that has its numbers, from `first` on."""

    first: int
    batch: Batch


class Outbox:
    """The way out of one epoch. Made for one thread; its public attributes may be read from others.

    Args:
        settings: Sizes, pauses, and how long the stream may be.
        open_stream: Called when there is something to append, and after no more than a pause again if it failed.
        spool: Where batches wait on disk; without one they stay in memory.
        producer: Kind and number of the process.
        epoch: 16 bytes.
        clock: Stamps and paces.
        dropped: What was lost so far, by type.

    Attributes:
        held: Events in memory that are no longer in the buffer. Who takes them out of it, or puts them back, counts
            along, so that the sum is right to a few events at every moment.
        rung: For the headers; whoever sees the buffer too sets it.
        mean_bytes: Of the events added last.
        handed_over: Events that the stream took.
        batches: Entries they made.
        adopted: Events of dead processes that were handed over for them.
        failures: Times that the stream took nothing.
        is_reachable: Whether the last attempt succeeded; true before the first.
    """

    def __init__(  # noqa: PLR0913 - one keyword per thing that a recorder knows and this does not
        self,
        settings: TelemetrySettings,
        open_stream: Callable[[], Stream],
        spool: Spool | None,
        *,
        producer: str,
        epoch: bytes,
        clock: Clock,
        dropped: Callable[[], Mapping[str, int]],
    ) -> None:
        self._settings = settings
        self._open_stream = open_stream
        self._spool = spool
        self._producer = producer
        self._epoch = epoch
        self._clock = clock
        self._dropped = dropped
        self.limits = Limits(settings.batch_size, settings.batch_max_bytes, settings.flush_interval // _MICROSECOND)
        self._breaker = Breaker(clock, settings.breaker_pause)
        self._throttle = Throttle(clock)
        self._batches: deque[Batch] = deque()  # without numbers
        self._sealed: _Sealed | None = None
        self._next = 1
        self._cut_at_us = 0
        self._stream: Stream | None = None
        self._length_due_us = self._full_until_us = self._alive_due_us = 0
        self._replayed = 0  # records of the oldest segment
        self._has_ended = False
        self._orphan: Orphan | None = None
        self.held = 0
        self.rung: Rung = "normal"
        self.mean_bytes = _TYPICAL_BYTES
        self.handed_over = self.batches = self.adopted = self.failures = 0
        self.is_reachable = True

    @property
    def spooled(self) -> int:
        """Events of this epoch on disk."""
        return 0 if self._spool is None else self._spool.events

    @property
    def spooled_bytes(self) -> int:
        """What they take there."""
        return 0 if self._spool is None else self._spool.size_bytes

    @property
    def is_spooling(self) -> bool:
        """Whether batches of this epoch wait on disk."""
        return self._spool is not None and not self._spool.is_empty

    def takes(self) -> bool:
        """Whether there is anywhere to go: to the stream, which may be tried, or to disk."""
        return self._breaker.allows() or self._has_room()

    def due_in_us(self) -> int | None:
        """How long until there is something to do here, if that is known.

        A new attempt, a sync, a sign of life, a look at what others may have left.
        """
        now_us = self._clock.monotonic_us()
        retry_at_us = self._breaker.retry_at_us or 0
        times = [time for time in (retry_at_us, self._full_until_us) if time > now_us and not self._breaker.is_closed]
        if self._next > 1:
            times.append(self._alive_due_us)
        if self._spool is not None and self._spool.sync_due_us is not None:
            times.append(self._spool.sync_due_us)
        if self._breaker.is_closed and not self.is_spooling and (look_due_us := self._look_due_us()) is not None:
            times.append(look_due_us)
        return max(0, min(times) - now_us) if times else None

    def add(self, events: list[bytes], cut_at_us: int) -> None:
        """Take all that was in the buffer.

        Args:
            events: Encoded, in order; may be none. `held` counts them already.
            cut_at_us: Before the buffer was looked at: whatever is recorded later occurred about then, or later.
        """
        self._cut_at_us = cut_at_us
        if not events:
            return
        batches = list(cut(events, self.limits))
        self._batches.extend(batches)
        self.mean_bytes = sum(batch.size_bytes for batch in batches) // len(events)

    def take_back(self) -> list[bytes]:
        """Give back what has no numbers yet, in order, for the buffer. `held` counts it still."""
        events = [event for batch in self._batches for event in batch.events]
        self._batches.clear()
        return events

    def give_up(self) -> list[bytes]:
        """Forget what is in memory; what that was."""
        sealed, self._sealed = self._sealed, None
        events = ([] if sealed is None else sealed.batch.events) + self.take_back()
        self.held = 0
        return events

    def reach(self) -> bool:
        """Whether the stream may be used now. After a failure and a pause, asking how long it is is the probe."""
        if self._breaker.is_closed:
            return True
        return self._breaker.allows() and self._try(self._require_room)

    def hurry(self) -> None:
        """Allow an attempt before the pause is over: the process ends."""
        self._breaker.hurry()

    def replay(self) -> bool:
        """Hand over the oldest segment on disk; False if the stream, or the disk, did not go along."""
        if self._spool is None:
            return True
        records = self._spool.read()
        if records is None:
            return False
        for record in records[self._replayed :]:
            if not self._append(record.payload):
                return False
            self._replayed += 1
            self.handed_over += record.events
            self.batches += 1
        self._spool.discard()
        self._replayed = 0
        self._full_until_us = 0
        return True

    def hand_over(self) -> bool:
        """Hand over what is in memory; False if some of it is left. Only when nothing is on disk."""
        while (sealed := self._seal()) is not None:
            if not self._append(self._entry(sealed)):
                return False
            self._forget(sealed)
            self.handed_over += len(sealed.batch.events)
            self.batches += 1
        return True

    def spill(self) -> bool:
        """Put what is in memory on disk, behind what is there; False if there is no room for some of it, or more."""
        if self._spool is None or not self._has_room():
            return False
        while self._sealed is not None or self._batches:
            if not self._spill_next(self._spool):
                self._full_until_us = self._clock.monotonic_us() + _FULL_PAUSE_US
                return False
        return True

    def sync(self) -> None:
        """Have what is on disk written there for good, if that is due."""
        if self._spool is not None:
            self._spool.sync()

    def say_alive(self) -> None:
        """Once numbers were given: an empty batch, if the stream has heard nothing for a while."""
        if self._next == 1 or self._clock.monotonic_us() < self._alive_due_us:
            return
        self._stay_quiet()
        if self.reach() and not (self.held or self.is_spooling):
            self._append(encode_batch(self._header(self._next), []))

    def end(self) -> None:
        """Say that the epoch ends, if it ever began: to the stream, or behind what is on disk. Once."""
        if self._has_ended or self.held or (self._next == 1 and not self._dropped()):
            return
        self._has_ended = True
        entry = encode_batch(self._header(self._next, is_last=True), [])
        if not self.is_spooling and self.reach() and self._append(entry):
            return
        if self._spool is not None:
            self._spool.append(Record(entry, 0))

    def has_orphans(self) -> bool:
        """Whether other producers have folders beside ours: of some of them the process may be gone."""
        try:
            return self._spool is not None and any(True for _ in self._spool.others())
        except OSError:
            return False  # the thread will see it again, and say so

    def adopt(self) -> bool:
        """Hand over one segment of a process that is gone; whether there may be more of that."""
        if self._spool is None or not self.reach():
            return False
        self._orphan = self._orphan or self._spool.adopt()
        if self._orphan is None:
            return False
        is_sent = self._send_orphan(self._spool, self._orphan)
        if not is_sent or self._orphan.is_empty:
            self._spool.release(self._orphan)
            self._orphan = None
        return is_sent

    def close(self) -> None:
        """Let go of stream and spool. What is on disk is somebody else's from now on."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        except Exception as error:  # noqa: BLE001 - a process that ends must not fail for its telemetry
            log.warning("telemetry_stream_not_closed", error=type(error).__name__)
        if self._spool is not None:
            if self._orphan is not None:
                self._spool.release(self._orphan)
                self._orphan = None
            self._spool.close()

    def abandon(self) -> None:
        """In a child after a fork: let go of the parent's files without touching them."""
        if self._orphan is not None:
            self._orphan.abandon()
        if self._spool is not None:
            self._spool.abandon()

    def _look_due_us(self) -> int | None:
        return None if self._spool is None else self._spool.look_due_us

    def _has_room(self) -> bool:
        """Whether the disk may be tried: there was room the last time, or a while has passed."""
        if self._spool is None or self._clock.monotonic_us() < self._full_until_us:
            return False
        return self._spool.has_room()

    def _seal(self) -> _Sealed | None:
        """The batch whose turn it is, with its numbers; None if there is none."""
        if self._sealed is None and self._batches:
            batch = self._batches.popleft()
            self._sealed = _Sealed(self._next, batch)
            self._next += len(batch.events)
        return self._sealed

    def _forget(self, sealed: _Sealed) -> None:
        self._sealed = None
        self.held -= len(sealed.batch.events)

    def _spill_next(self, spool: Spool) -> bool:
        """Without room nothing is sealed: what has no numbers may still be dropped and counted."""
        if self._sealed is None:
            batch = self._batches[0]
            if not spool.has_room(batch.size_bytes + _LENGTH_BYTES * len(batch.events) + _HEADER_BYTES):
                return False
        sealed = self._seal()
        if sealed is None:
            return True
        if self.rung == "normal":
            self.rung = "spooling"
        if not spool.append(Record(self._entry(sealed), len(sealed.batch.events))):
            return False
        self._forget(sealed)
        return True

    def _send_orphan(self, spool: Spool, orphan: Orphan) -> bool:
        records = orphan.read()
        if records is None:
            spool.look_later()
            return False
        for record in records:
            if not self._append(record.payload):
                return False
        self.adopted += sum(record.events for record in records)
        orphan.discard()
        return True

    def _entry(self, sealed: _Sealed) -> bytes:
        return encode_batch(self._header(sealed.first), sealed.batch.events)

    def _header(self, first: int, *, is_last: bool = False) -> BatchHeader:
        """It says what those behind it still hold."""
        oldest_us = min([self._cut_at_us, *(batch.oldest_us for batch in self._batches)])
        dropped = dict(self._dropped())
        return BatchHeader(FORMAT, self._producer, self._epoch, oldest_us, dropped, first, is_last, self.rung)

    def _append(self, entry: bytes) -> bool:
        def append(stream: Stream) -> None:
            if self._clock.monotonic_us() >= self._length_due_us:
                self._require_room(stream)
            stream.append(entry)

        if not self._try(append):
            return False
        self._stay_quiet()
        return True

    def _stay_quiet(self) -> None:
        self._alive_due_us = self._clock.monotonic_us() + self._settings.alive_interval // _MICROSECOND

    def _require_room(self, stream: Stream) -> None:
        if stream.length() >= self._settings.stream_max_entries:
            raise StreamUnavailable(f"the telemetry stream has its {self._settings.stream_max_entries} entries")
        self._length_due_us = self._clock.monotonic_us() + _LENGTH_CHECK_US

    def _try(self, act: Callable[[Stream], None]) -> bool:
        try:
            if self._stream is None:
                self._stream = self._open_stream()
            act(self._stream)
        except Exception as error:  # noqa: BLE001 - the thread must outlive every fault; it is counted and logged
            self.failures += 1
            self.is_reachable = False
            self._breaker.failed()
            if self._throttle.allows("failure"):
                log.warning("telemetry_stream_failed", error=type(error).__name__, waiting=self.held)
            return False
        self.is_reachable = True
        self._breaker.succeeded()
        return True
