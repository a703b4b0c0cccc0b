"""Recording events: never slow, never in the way, and every loss counted.

`record` encodes the event and appends it to a bounded buffer; a thread takes the buffer to the stream, many events an
entry. Under pressure it goes down a ladder, and says on which rung it is:

    normal     the stream takes what is recorded
    spooling   it does not: batches wait on disk (telemetry/spool.py), and go before all others when it does again
    dropping   nor is there room on disk: the buffer fills, and what tells of progress goes before errors and ends

While there is nothing to do the thread sleeps. Before the first event there is no thread, unless a process that is gone
left something on disk.

The file is long because both sides of the buffer, the callers' and the thread's, are right only together.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

import msgspec
import structlog

from telemetry.batch import Rung
from telemetry.clock import Clock
from telemetry.events import CATALOGUE, Event, RecorderState, Scope, event_type
from telemetry.forks import renew_in_children
from telemetry.ids import mint
from telemetry.outbox import Outbox, Stream
from telemetry.settings import TelemetrySettings
from telemetry.shedding import PROGRESS, is_progress, type_of_encoded
from telemetry.spool import Spool
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

_TYPES: Final = frozenset(CATALOGUE)
#: What is kept for longer than progress.
_KEPT: Final = _TYPES - PROGRESS
#: A mark that no buffer reaches: the thread is at work and need not be woken.
_NEVER: Final = 1 << 60
#: Room that errors and ends have beyond everybody's: one part in so many of it.
_RESERVE: Final = 8
#: Events taken out of the buffer, or put back, between two looks at how many there are.
_AT_ONCE: Final = 100
#: How long after a thread could not be started until it is tried again, in microseconds.
_START_PAUSE_US: Final = 100_000
#: How often the recorder tells of itself while it is pressed, in microseconds.
_STATE_US: Final = 60_000_000
FLUSH_TIMEOUT: Final = timedelta(seconds=5)
CLOSE_TIMEOUT: Final = timedelta(seconds=2)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """What became of the events of this process (since it was forked, if it was).

    Attributes:
        handed_over: Events that the stream has (synchronously: the store).
        batches: Entries they made.
        waiting: Events in memory.
        dropped: Events lost, by type.
        failures: Times that stream or store did not take what it was given.
        is_reachable: Whether the last attempt succeeded; true before the first.
        rung: How hard it is pressed.
        spooled: Events on disk.
        spooled_bytes: What they take there.
        adopted: Events of processes that are gone, handed over for them.
    """

    handed_over: int = 0
    batches: int = 0
    waiting: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    is_reachable: bool = True
    rung: Rung = "normal"
    spooled: int = 0
    spooled_bytes: int = 0
    adopted: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """Events that are told of once it is known that they happened.

    Attributes:
        events: In order.
        encoded: Each of them; none where each is to be recorded by itself.
    """

    events: Sequence[Event] = ()
    encoded: Sequence[bytes] = ()


class Recorder(Protocol):
    """What everybody holds who records.

    Attributes:
        enabled: Ask before building an event, so that telemetry that is off costs one `if`.
    """

    enabled: bool

    def record(self, event: Event) -> None:
        """Take an event. Never raises; never waits (except in synchronous mode)."""
        ...

    def prepare(self, events: Sequence[Event]) -> Prepared:
        """Do for events what can be done before it is known whether they happen. Never raises; never waits."""
        ...

    def record_prepared(self, prepared: Prepared) -> None:
        """Take them, as `record` would."""
        ...

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        """Wait until what was recorded before is handed over; False if it was not within `timeout`."""
        ...

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        """Flush and stop; idempotent.

        What is not handed over by then stays on disk for whoever comes after, or is dropped and counted, as is what
        comes later.
        """
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

    def prepare(self, events: Sequence[Event]) -> Prepared:
        return Prepared()

    def record_prepared(self, prepared: Prepared) -> None:
        """Forget them."""

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        return True

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        """Nothing was opened."""

    def stats(self) -> RecorderStats:
        return RecorderStats()


class BufferedRecorder:
    """Records through the stream. One for each process; after a fork the child's is empty and of a new epoch.

    The thread is woken by a bell, and `_ring_at` is how full the buffer must be for `record` to ring it: 1 while the
    thread sleeps, a full batch while it lets one ripen, never while it works or has nowhere to put anything. The
    thread sets the mark before it looks at the buffer, `record` appends before it looks at the mark; so one of the two
    sees the other.
    """

    enabled = True

    def __init__(
        self, settings: TelemetrySettings, stream_factory: Callable[[], Stream], *, name: str, clock: Clock
    ) -> None:
        self._settings = settings
        self._stream_factory = stream_factory
        self._name = name
        self._clock = clock
        self._encode = msgspec.msgpack.Encoder().encode
        self._begin()
        renew_in_children(self)
        if self._outbox.has_orphans():
            self._ring()

    def renew(self) -> None:
        """In the child after a fork: begin a new epoch with nothing in it."""
        self._outbox.abandon()
        self._begin()

    def _begin(self) -> None:
        self._epoch = mint(self._clock.unix_us())
        self._bound = self._settings.buffer_max_events
        self._last_bound = self._bound + self._bound // _RESERVE
        #: How full the buffer is, its reserve included, when progress has to make room.
        self._shed_at = (self._bound + self._last_bound) // 2
        self._buffer: deque[bytes] = deque()
        self._must_shed = False
        self._is_pressed = False  # for want of room, since the last turn
        self._rung: Rung = "normal"
        self._ring_at = 1
        self._bell = threading.Event()
        self._flushes: deque[threading.Event] = deque()
        self._awaited: list[threading.Event] = []  # flushes that the thread has seen
        self._closing = False
        self._close_by_us = 0
        self._has_more = False  # of what others left
        self._thread: threading.Thread | None = None
        self._start_at_us = 0  # not before, if it could not be started
        self._lock = threading.Lock()
        self._dropped: Counter[str] = Counter()
        self._reported = 0  # of those dropped
        self._told: tuple[Rung, int] = ("normal", 0)  # rung and losses, as the last event of its own says
        self._told_before: tuple[Rung, int] = self._told
        self._tell_at_us = 0
        self._own: bytes | None = None  # that event
        self._throttle = Throttle(self._clock)
        self._outbox = Outbox(
            self._settings,
            self._stream_factory,
            self._open_spool(),
            producer=f"{self._name}-{os.getpid()}",
            epoch=self._epoch,
            clock=self._clock,
            dropped=lambda: self._dropped,
        )

    def _open_spool(self) -> Spool | None:
        folder = self._settings.spool_dir
        if folder is None:
            return None
        return Spool(folder, self._epoch, max_bytes=self._settings.spool_max_bytes, clock=self._clock)

    def record(self, event: Event) -> None:
        try:
            buffer = self._buffer
            if type(event) not in _TYPES or len(buffer) + self._outbox.held >= self._bound:
                self._squeeze(event)
                return
            buffer.append(self._encode(event))
            if len(buffer) >= self._ring_at:
                self._ring()
        except Exception:  # noqa: BLE001 - nothing about telemetry may fail its caller; it is counted
            self._drop(event)

    def prepare(self, events: Sequence[Event]) -> Prepared:
        try:
            encoded = [self._encode(event) for event in events] if _TYPES.issuperset(map(type, events)) else []
        except Exception:  # noqa: BLE001 - which one it is shows when each is recorded by itself
            encoded = []
        return Prepared(events, encoded)

    def record_prepared(self, prepared: Prepared) -> None:
        buffer, encoded = self._buffer, prepared.encoded
        if not encoded or len(buffer) + self._outbox.held + len(encoded) > self._bound:
            for event in prepared.events:
                self.record(event)
            return
        buffer.extend(encoded)
        if len(buffer) >= self._ring_at:
            self._ring()

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        if self._closing:
            return not (self._buffer or self._outbox.held or self._outbox.spooled)
        done = threading.Event()
        self._flushes.append(done)
        self._start_at_us = 0
        self._ring()
        return done.wait(timeout.total_seconds())

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        self._bound = self._last_bound = 0
        self._close_by_us = self._clock.monotonic_us() + timeout // _MICROSECOND // 2
        self._closing = True
        if self._thread is None:
            self._finish()
        else:
            self._bell.set()
            self._thread.join(timeout.total_seconds())
            if self._thread.is_alive():
                log.warning("telemetry_recorder_not_stopped", waiting=self.stats().waiting)
                return
        self._give_up()
        self._outbox.close()

    def stats(self) -> RecorderStats:
        outbox = self._outbox
        return RecorderStats(
            handed_over=outbox.handed_over,
            batches=outbox.batches,
            waiting=len(self._buffer) + outbox.held,
            dropped=dict(self._dropped),
            failures=outbox.failures,
            is_reachable=outbox.is_reachable,
            rung=outbox.rung,
            spooled=outbox.spooled,
            spooled_bytes=outbox.spooled_bytes,
            adopted=outbox.adopted,
        )

    def _squeeze(self, event: Event) -> None:
        """Without room: errors and ends have some of their own, and the thread makes more of it."""
        filled = len(self._buffer) + self._outbox.held
        if type(event) in _KEPT and filled < self._last_bound:
            self._buffer.append(self._encode(event))
            self._is_pressed = True
            if filled >= self._shed_at:
                self._shed_at = _NEVER
                self._must_shed = True
                self._ring()
            return
        self._is_pressed = self._is_pressed or type(event) in _TYPES
        self._drop(event)
        if self._thread is None and not self._closing:
            self._ring()

    def _drop(self, event: Event) -> None:
        with self._lock:
            self._dropped[type_of(event)] += 1

    def _ring(self) -> None:
        self._ring_at = _NEVER
        if self._thread is None and not self._start():
            self._ring_at = 1  # the next event asks again
            return
        self._bell.set()

    def _start(self) -> bool:
        """Start the thread; False if there is none to be had: the machine, or the container, may have no more."""
        with self._lock:
            if self._thread is None:
                now_us = self._clock.monotonic_us()
                if now_us < self._start_at_us:
                    return False
                thread = threading.Thread(target=self._run, name="weir-recorder", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    self._start_at_us = now_us + _START_PAUSE_US
                    return False
                self._thread = thread
        return True

    # The rest runs in the recorder's own thread (and in `close`, if there never was one).

    def _run(self) -> None:
        while not self._closing:
            self._sleep()
            self._work()
        self._finish()

    def _sleep(self) -> None:
        """Until something was recorded, and then until it makes a batch: by count, bytes or age.

        With nowhere to put it, until there may be. Not at all if more waits to be done; and no longer than until the
        stream is to be tried, the disk to be synced, or a sign of life to be given.
        """
        self._bell.clear()
        if not self._outbox.takes():
            if not self._is_called():
                self._wait(self._outbox.due_in_us())
            return
        self._ring_at = 1
        if not (self._buffer or self._is_called()):
            self._wait(self._outbox.due_in_us())
        self._bell.clear()
        limits = self._outbox.limits
        self._ring_at = full = limits.events_of(self._outbox.mean_bytes)
        if self._buffer and not (len(self._buffer) >= full or self._is_called()):
            self._wait(limits.age_us)
        self._ring_at = _NEVER

    def _is_called(self) -> bool:
        """Whether the thread has something to do other than what is in the buffer."""
        is_news = self._outbox.rung != self._told[0] and self._outbox.takes()
        return bool(self._flushes) or self._closing or self._has_more or self._must_shed or is_news

    def _wait(self, duration_us: int | None) -> None:
        self._bell.wait(None if duration_us is None else duration_us / 1e6)

    def _work(self) -> None:
        """One turn: hand over what there is; what the stream does not take goes to disk, or stays."""
        self._awaited += [self._flushes.popleft() for _ in range(len(self._flushes))]
        is_done = self._hand_over()
        if not is_done:
            self._spill()
        self._shed()
        self._judge()
        self._report_losses()
        if is_done:
            for done in self._awaited:
                done.set()
            self._awaited.clear()
        self._outbox.say_alive()
        self._outbox.sync()
        self._has_more = is_done and not self._closing and self._outbox.adopt()

    def _hand_over(self) -> bool:
        """Into the stream: what is on disk, then what is in memory. Whether nothing is left of it."""
        outbox = self._outbox
        if not outbox.reach():
            return not (self._buffer or outbox.held or outbox.is_spooling)
        while outbox.is_spooling:
            if self._is_late() or not outbox.replay():
                return False
            if len(self._buffer) >= self._settings.buffer_max_events // 2:
                self._spill()
        self._fill()
        return outbox.hand_over()

    def _is_late(self) -> bool:
        """Whether the process ends, and cannot wait for what is on disk."""
        return self._closing and self._clock.monotonic_us() >= self._close_by_us

    def _fill(self) -> None:
        """Take what is in the buffer, and what is to be told of this recorder."""
        cut_at_us = self._clock.unix_us()
        state = self._state()
        events: list[bytes] = []
        for _ in range(0, len(self._buffer), _AT_ONCE):
            some = [self._buffer.popleft() for _ in range(min(_AT_ONCE, len(self._buffer)))]
            self._outbox.held += len(some)
            events += some
        if state is not None:
            self._own = self._encode(state)
            self._outbox.held += 1
            events.append(self._own)
        self._outbox.add(events, cut_at_us)

    def _spill(self) -> None:
        """To disk, what has room there; the rest goes back to the buffer. What was to be told is told later."""
        if self._outbox.spill():
            self._fill()
            self._outbox.spill()
        events = self._outbox.take_back()
        if events and events[-1] is self._own:
            events.pop()
            self._outbox.held -= 1
            self._told, self._tell_at_us = self._told_before, 0
        self._put_back(events)

    def _put_back(self, events: list[bytes]) -> None:
        """To the front of the buffer, in order; `held` counts them until they are there."""
        for end in range(len(events), 0, -_AT_ONCE):
            some = events[max(0, end - _AT_ONCE) : end]
            self._buffer.extendleft(reversed(some))
            self._outbox.held -= len(some)

    def _shed(self) -> None:
        """Drop the oldest that tell of progress until errors and ends have their reserve again."""
        self._must_shed = False
        spare = len(self._buffer) + self._outbox.held - self._settings.buffer_max_events
        self._shed_at = self._settings.buffer_max_events * (2 * _RESERVE + 1) // (2 * _RESERVE)
        if spare <= 0 or self._closing:
            return
        kept: list[bytes] = []
        lost: list[bytes] = []
        while self._buffer and len(lost) < spare:
            event = self._buffer.popleft()
            if is_progress(event):
                lost.append(event)
            else:
                self._outbox.held += 1  # its place is not free meanwhile
                kept.append(event)
        self._put_back(kept)
        if len(lost) < spare:
            self._shed_at = _NEVER  # nothing more to be had; the next turn looks again
        self._count_lost(lost)

    def _judge(self) -> None:
        """Say on which rung this recorder is. One that has dropped stays there until it has room again."""
        is_pressed, self._is_pressed = self._is_pressed, False
        filled = len(self._buffer) + self._outbox.held
        is_full = filled >= self._settings.buffer_max_events * (_RESERVE - 1) // _RESERVE
        before = self._rung
        if is_pressed or (before == "dropping" and is_full):
            self._rung = "dropping"
        else:
            self._rung = "spooling" if self._outbox.is_spooling else "normal"
        self._outbox.rung = self._rung
        if self._rung != before:
            stats = self.stats()
            say = log.info if self._rung == "normal" else log.warning
            facts = {"waiting": stats.waiting, "spooled": stats.spooled, "dropped": sum(stats.dropped.values())}
            say("telemetry_rung_changed", rung=self._rung, before=before, **facts)

    def _state(self) -> RecorderState | None:
        """What is to be told of this recorder, if it is time."""
        outbox, dropped, now_us = self._outbox, self._dropped.total(), self._clock.monotonic_us()
        is_worth_it = outbox.rung != "normal" or dropped > self._told[1]
        if outbox.rung == self._told[0] and (not is_worth_it or now_us < self._tell_at_us):
            return None
        self._told_before, self._told = self._told, (outbox.rung, dropped)
        self._tell_at_us = now_us + _STATE_US
        at_us = self._clock.unix_us()
        counts = (outbox.handed_over, len(self._buffer) + outbox.held, outbox.spooled, outbox.spooled_bytes)
        scope = Scope(correlation_id=self._epoch, request_source="weir")
        return RecorderState(mint(at_us), at_us, scope, outbox.rung, *counts, dropped, outbox.failures)

    def _finish(self) -> None:
        """The last turn: whatever can still go goes, and then the end of the epoch, which says what could not."""
        self._outbox.hurry()
        self._work()
        self._give_up_buffer()
        self._outbox.end()

    def _give_up_buffer(self) -> None:
        """Count as dropped what has no numbers, and nowhere to go before the end."""
        lost = [self._buffer.popleft() for _ in range(len(self._buffer))]
        self._count_lost([event for event in lost if event is not self._own])

    def _give_up(self) -> None:
        """The same of all that is left; what is told of ourselves is no loss."""
        self._count_lost([event for event in self._outbox.give_up() if event is not self._own])
        self._give_up_buffer()
        self._report_losses()

    def _count_lost(self, events: list[bytes]) -> None:
        with self._lock:
            self._dropped.update(map(type_of_encoded, events))

    def _report_losses(self) -> None:
        lost = self._dropped.total()
        if lost > self._reported and self._throttle.allows("loss"):
            log.warning("telemetry_events_dropped", count=lost - self._reported, dropped=dict(self._dropped))
            self._reported = lost
