"""Live figures for all who look on: one thread follows the stream for a whole process, as long as anybody looks.

What it knows is always the stored figures of one moment, and each event that came since, once:

1. Read all that the stream holds. What it does not hold any more was stored before.
2. Read the stored figures, and which numbers of which producers are in them, in one view of the database.
3. Count of the stream what is not in them; then go on with what comes.

It begins again so every minute, and at once when it may have missed something: the stream was away, was trimmed before
it was read, or was made anew. An event that was on its way for long is not counted when it comes, for it may be one
that was made again from its row, under another number: it is in the stored figures once the sink has it, and those are
read again.

Figures are written down once for all who see the same, and kept for a while. Who is too slow for that is shown
everything anew, and nothing is ever queued for anybody.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Final

import msgspec
import psycopg
import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

from telemetry.batch import BatchMalformed
from telemetry.clock import Clock, from_unix_us
from telemetry.errors import StreamUnavailable
from telemetry.ids import mint
from telemetry.live.deltas import Figures, changes
from telemetry.live.requests import EventMalformed, request_of
from telemetry.live.seen import Seen
from telemetry.live.store import By, MetricsStore
from telemetry.live.stored import fill, read_seen
from telemetry.live.tail import StreamTail
from telemetry.live.view import View, figures, units
from telemetry.producers import Arrival, read_arrival
from telemetry.reading import reading
from telemetry.settings import LiveSettings
from telemetry.stream import Entry, appended_us
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: How long a reading of the stream waits: also how long an order to end may.
_BLOCK: Final = timedelta(milliseconds=250)
#: Between two tellings: no shorter, and no less than so many times what the last one took.
_LEAST_PAUSE_S, _PAUSE_PER_COST, _MOST_PAUSE_S = 0.02, 9.0, 1.0
#: How often something is told, although nothing has happened: windows move on.
_TICK_S: Final = 5.0
#: How often it is made sure that nothing was missed, and memory is tidied up.
_AUDIT_S: Final = 1.0
#: Between two readings of what is stored: no shorter, and no less than so many times what the last one took.
_LEAST_REREAD_S, _REREAD_PER_COST = 2.0, 20.0
#: An event that arrives so long after it occurred may have been made again from its row.
_LATE_US: Final = 20_000_000
#: Tellings that are kept for those who are slow, or come back.
KEPT: Final = 64
#: Different views that are remembered although nobody looks at them, about.
_MOST_CHANNELS: Final = 64
#: Between two attempts to reach the stream.
_LEAST_AWAY_S, _MOST_AWAY_S = 0.1, 5.0
#: How long the thread may take to end; then it is left to the end of the process.
_CLOSE_S: Final = 3.0
_MINUTE_US: Final = 60_000_000

_encode = msgspec.json.Encoder().encode


class Telling(msgspec.Struct, frozen=True, array_like=True):
    """One thing that is told.

    Attributes:
        name: `snapshot` or `delta`.
        id: To go on after it.
        data: JSON, one line.
    """

    name: str
    id: str
    data: bytes


class Channel:
    """What all are told who see the same.

    Attributes:
        view: What they see.
        number: Of the last telling; 0 before the first.
    """

    def __init__(self, view: View, name: str, kept: int) -> None:
        self.view = view
        self.number = 0
        self.viewers = 0
        self._name = name
        self._deltas: deque[Telling] = deque(maxlen=kept)
        self._figures: Figures | None = None
        self._about: Figures = {}
        self._snapshot: Telling | None = None

    def tell(self, found: Figures, about: Figures) -> None:
        """Take in figures, and what is said about them; the first are a snapshot only."""
        before, self._figures = self._figures, found
        self._about = about
        self.number += 1
        self._snapshot = None
        if before is not None:
            delta = Telling("delta", self._id(), _encode({**about, **changes(before, found)}))
            self._deltas.append(delta)

    def say_again(self, about: Figures) -> None:
        """Only what is said about the figures has changed; nothing, before there are any."""
        if self._figures is not None:
            self.tell(self._figures, {**self._about, **about})

    def since(self, number: int | None) -> tuple[Sequence[Telling], int]:
        """What somebody is told who knows everything up to a number, and the number then; all of it anew if that is too
        long ago, or none.
        """
        if self._figures is None:
            return (), 0
        if number is not None and 0 < number <= self.number and self.number - number <= len(self._deltas):
            return list(self._deltas)[len(self._deltas) - (self.number - number) :], self.number
        if self._snapshot is None:
            self._snapshot = Telling(
                "snapshot", self._id(), _encode({**self._about, "units": units(), **self._figures})
            )
        return (self._snapshot,), self.number

    def number_of(self, last_id: str | None) -> int | None:
        """The number of the last telling that somebody knows; none if it is none of this channel's."""
        name, _, number = (last_id or "").rpartition(".")
        return int(number) if name == self._name and number.isdecimal() else None

    def _id(self) -> str:
        return f"{self._name}.{self.number}"


class LiveFeed:
    """Follows the stream while anybody looks on, and tells them.

    Args:
        settings: Sizes and intervals.
        open_tail: Opens what follows the stream.
        pool: Connections to Postgres, in autocommit mode.
        timeout: How long one statement may run.
        clock: Says which minute it is.
        kept: Tellings that are kept for those who are slow, or come back.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        settings: LiveSettings,
        open_tail: Callable[[], StreamTail],
        pool: ConnectionPool[Any],
        timeout: timedelta,
        clock: Clock,
        *,
        kept: int = KEPT,
    ) -> None:
        self._settings = settings
        self._open_tail = open_tail
        self._pool = pool
        self._timeout = timeout
        self._clock = clock
        self._kept = kept
        self._throttle = Throttle(clock)
        self._changed = threading.Condition()
        self._channels: dict[View, Channel] = {}
        self._thread: threading.Thread | None = None
        self._left_at = time.monotonic()
        self._is_closed = False
        self._counts: Counter[str] = Counter()

    @property
    def is_closed(self) -> bool:
        """Whether the process ends: nobody is told anything any more."""
        return self._is_closed

    def is_following(self) -> bool:
        """Whether there is a thread that follows the stream."""
        return self._thread is not None

    @contextmanager
    def watching(self, view: View) -> Iterator[Channel]:
        """Look on."""
        with self._changed:
            channel = self._channels.get(view)
            if channel is None:
                channel = self._channels[view] = Channel(view, mint(self._clock.unix_us())[4:].hex(), self._kept)
            channel.viewers += 1
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            yield channel
        finally:
            with self._changed:
                channel.viewers -= 1
                self._left_at = time.monotonic()

    def wait(self, channel: Channel, number: int | None, timeout_s: float) -> tuple[Sequence[Telling], int | None]:
        """What there is to tell to somebody who knows everything up to a number; waits for it, at once when closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or (channel.number > 0 and channel.number != number), timeout_s
            )
            if channel.number in {0, number}:
                return (), number
            return channel.since(number)

    def end(self) -> None:
        """Let all who look on go; idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Likewise, and wait until the stream is not followed any more."""
        self.end()
        if thread := self._thread:
            thread.join(_CLOSE_S)

    def _run(self) -> None:
        follower: _Follower | None = None
        away_s = _LEAST_AWAY_S
        try:
            while not self._is_over():
                try:
                    if follower is None:
                        follower = self._follower()
                    follower.turn(self._views())
                    self._publish(follower)
                    away_s = _LEAST_AWAY_S
                    continue
                except StreamUnavailable as error:
                    if self._throttle.allows(error.code):
                        log.warning("live_figures_stale", error=error.code)
                except Exception:
                    # Whatever it is, who looks on must not wait for a thread that has ended.
                    log.exception("live_figures_stale")
                self._give_up(follower)
                follower = None
                self._pause(away_s * random.uniform(0.5, 1.0))
                away_s = min(2 * away_s, _MOST_AWAY_S)
        finally:
            if follower is not None:
                follower.close()

    def _follower(self) -> _Follower:
        return _Follower(
            self._settings,
            self._open_tail(),
            self._reading,
            clock=self._clock,
            throttle=self._throttle,
            counts=self._counts,
            pause=self._pause,
        )

    def _pause(self, seconds: float) -> None:
        """Wait; not any longer when closed."""
        if seconds > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, seconds)

    def _is_over(self) -> bool:
        """Whether nobody has looked on for a while; then all is forgotten."""
        with self._changed:
            is_seen = any(channel.viewers for channel in self._channels.values())
            lingers = time.monotonic() - self._left_at < self._settings.linger.total_seconds()
            if not self._is_closed and (is_seen or lingers):
                return False
            self._thread = None
            self._channels.clear()
            return True

    def _views(self) -> list[View]:
        with self._changed:
            if len(self._channels) > _MOST_CHANNELS:
                self._channels = {view: each for view, each in self._channels.items() if each.viewers}
            return [view for view, channel in self._channels.items() if channel.viewers]

    def _publish(self, follower: _Follower) -> None:
        """Tell each channel that has something new, or that was told nothing for a while."""
        with self._changed:
            channels = [channel for channel in self._channels.values() if channel.viewers]
        if not follower.is_due(is_awaited=any(channel.number == 0 for channel in channels)):
            return
        begun = time.monotonic()
        now_us = self._clock.unix_us()
        about = {"state": "live", **follower.about(now_us)}
        for channel in channels:
            found = figures(follower.store, channel.view, now_us)
            with self._changed:
                channel.tell(found, about)
                self._changed.notify_all()
        follower.told(time.monotonic() - begun)

    def _give_up(self, follower: _Follower | None) -> None:
        """The stream is away: say so. What was counted stays to be seen until there is something better."""
        if follower is not None:
            self._counts["gaps"] += 1
            follower.close()
        stale = {"state": "stale", "reasons": ["stream_away"], "as_of": from_unix_us(self._clock.unix_us())}
        with self._changed:
            for channel in self._channels.values():
                if channel.number == 0:
                    channel.tell(figures(self._empty(), channel.view, self._clock.unix_us()), stale)
                else:
                    channel.say_again(stale)
            self._changed.notify_all()

    def _empty(self) -> MetricsStore:
        return MetricsStore(1, 0, 0)

    @contextmanager
    def _reading(self) -> Iterator[Connection[Any]]:
        with reading(self._pool, self._timeout) as connection:
            yield connection


class _Follower:
    """What is known since the stream was last reached.

    Attributes:
        store: The figures.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        settings: LiveSettings,
        tail: StreamTail,
        read: Callable[[], AbstractContextManager[Connection[Any]]],
        *,
        clock: Clock,
        throttle: Throttle,
        counts: Counter[str],
        pause: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._tail = tail
        self._read = read
        self._clock = clock
        self._throttle = throttle
        self._pause = pause
        self.store = self._new_store(())
        self._seen = Seen()
        self._reasons: set[str] = {"starting"}
        self._counts = counts
        self._newest_us = 0
        self._reread_at: int | None = None
        self._reread_due = self._reread_least = self._audit_due = self._told_due = self._tick_due = 0.0
        self._has_news = True
        self._is_again = False

    def turn(self, views: Sequence[View]) -> None:
        """Read what comes, and begin again if that is due.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        now = time.monotonic()
        wanted = {view.by for view in views if view.by is not None} | set(self.store.told_apart)
        if now >= self._reread_due or (now >= self._reread_least and self._is_unsure(wanted)):
            self._begin_again(wanted)
        elif now >= self._audit_due:
            entries, has_missed = self._tail.audit()
            self._count(entries)
            if has_missed:
                self._note("gaps")
                self._reasons.add("gap")
                self._reread_least = 0.0
            self.store.cleanup(self._clock.unix_us() // _MINUTE_US)
            self._audit_due = now + _AUDIT_S
        elif self._has_news:
            # Redis is not asked to wait for as short as this: it would be late.
            self._pause(self._told_due - now)
            self._count(self._tail.read())
        else:
            until = min(self._audit_due, self._tick_due)
            self._count(self._tail.read(min(_BLOCK, timedelta(seconds=max(0.001, until - now)))))

    def is_due(self, *, is_awaited: bool) -> bool:
        """Whether something is to be told now; to somebody who was told nothing yet it is always."""
        now = time.monotonic()
        if "starting" in self._reasons:
            return False
        return is_awaited or (now >= self._told_due and self._has_news) or now >= self._tick_due

    def told(self, cost_s: float) -> None:
        """It was, and took so long."""
        now = time.monotonic()
        self._told_due = now + min(max(_LEAST_PAUSE_S, _PAUSE_PER_COST * cost_s), _MOST_PAUSE_S)
        self._tick_due = now + _TICK_S
        self._has_news = False

    def about(self, now_us: int) -> Figures:
        """What is said with all figures."""
        return {
            "as_of": from_unix_us(now_us),
            "newest_at": from_unix_us(self._newest_us) if self._newest_us else None,
            "reread_at": None if self._reread_at is None else from_unix_us(self._reread_at),
            "reasons": sorted(self._reasons),
            "counts": {
                **{name: self._counts[name] for name in ("requests", "duplicates", "malformed", "late", "gaps")},
                "grouped": self.store.grouped,
                "memory_bytes": self.store.size_bytes,
            },
        }

    def close(self) -> None:
        """Close the connections."""
        self._tail.close()

    def _is_unsure(self, wanted: set[By]) -> bool:
        return bool(self._reasons) or self._seen.is_full or not wanted <= self.store.told_apart

    def _begin_again(self, wanted: set[By]) -> None:
        begun = time.monotonic()
        found = self._tail.whole()
        if found is None and self._is_whole():
            # There is more than can be read at once, and nothing of it was missed: go on.
            self._due_again(begun)
            return
        if found is None:
            self._tail.skip()
        store, seen = self._new_store(wanted), None
        now_minute = self._clock.unix_us() // _MINUTE_US
        first = now_minute - self._settings.minutes
        try:
            with self._read() as connection:
                seen = read_seen(connection, first)
                fill(connection, store, first, now_minute + 2, self._settings.series)
        except (psycopg.Error, PoolTimeout) as error:
            if self._throttle.allows("live_stored"):
                log.warning("live_figures_not_read", reason=type(error).__name__)
        if seen is None:
            self._reasons = (self._reasons - {"starting"}) | {"store_away"}
        else:
            self.store, self._seen = store, seen
            self._reasons = set() if found is not None else {"sink_behind"}
            self._reread_at = self._clock.unix_us()
        known, new = found or ((), ())
        self._is_again = True
        self._count(known)
        self._is_again = False
        self._count(new)
        self._has_news = True
        self._due_again(begun)

    def _is_whole(self) -> bool:
        return not self._reasons - {"late"}

    def _due_again(self, begun: float) -> None:
        now = time.monotonic()
        self._reread_due = now + self._settings.reread.total_seconds()
        self._reread_least = now + max(_LEAST_REREAD_S, _REREAD_PER_COST * (now - begun))

    def _new_store(self, told_apart: Sequence[By] | set[By]) -> MetricsStore:
        settings = self._settings
        # One place for the running minute, and one for clocks that are ahead.
        return MetricsStore(settings.minutes + 2, settings.series, settings.memory_bytes, told_apart)

    def _count(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.data is None:
                continue
            try:
                arrival = read_arrival(entry.id, entry.data)
            except BatchMalformed:
                self._note("malformed")
                continue
            self._count_batch(arrival, appended_us(entry.id))

    def _count_batch(self, arrival: Arrival, appended_at_us: int) -> None:
        first = arrival.header.first
        fresh = self._seen.take(arrival.header.epoch, first, arrival.end)
        if duplicates := len(arrival.events) - sum(end - begin for begin, end in fresh):
            self._note("duplicates", duplicates)
        for begin, end in fresh:
            for data in arrival.events[begin - first : end - first]:
                self._count_event(data, appended_at_us)

    def _count_event(self, data: bytes, appended_at_us: int) -> None:
        try:
            request = request_of(data)
        except EventMalformed:
            self._note("malformed")
            return
        if request is None or request.at_us > self._clock.unix_us() + _MINUTE_US:
            return
        if appended_at_us - request.at_us > _LATE_US:
            if request.minute >= self.store.first_minute:
                self._note("late")
                self._reasons.add("late")
            return
        if self.store.add(request):
            self._note("requests")
            self._newest_us = max(self._newest_us, request.at_us)

    def _note(self, what: str, count: int = 1) -> None:
        if not self._is_again:
            self._counts[what] += count
        self._has_news = True
