"""What one process knows of the live figures: the stored ones of one moment, and each event that came since, once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection
from psycopg_pool import PoolTimeout

from telemetry.batch import BatchMalformed
from telemetry.clock import Clock, from_unix_us
from telemetry.live.deltas import Figures
from telemetry.live.requests import EventMalformed, request_of
from telemetry.live.seen import Seen
from telemetry.live.store import By, MetricsStore
from telemetry.live.stored import fill, read_seen
from telemetry.live.tail import StreamTail
from telemetry.live.view import View
from telemetry.producers import Arrival, read_arrival
from telemetry.settings import LiveSettings
from telemetry.stream import Entry, appended_us
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: How long a reading of the stream waits: also how long an order to end may.
_BLOCK: Final = timedelta(milliseconds=250)
#: The same while what is stored is being read, and between two looks before anything can be told.
_READING_BLOCK, _STARTING_S = timedelta(milliseconds=1), 0.01
#: Bytes of entries that are kept meanwhile; with more, it is given up, and tried again.
_MOST_HELD_BYTES: Final = 16 << 20
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
_MINUTE_US: Final = 60_000_000


class Rereading:
    """A reading of what is stored, in a thread of its own: nobody who looks on waits for it.

    Args:
        read: Opens a transaction with one view.
        store: Filled with what is stored.
        clock: Says which minute it is.
        settings: Say how far back.
        is_whole: Whether all that the stream held was read before.

    Attributes:
        seen: What is in the store now; none until it is read, and if it could not be.
        error: Why not.
        seconds: How long it took.
    """

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Connection[Any]]],
        store: MetricsStore,
        clock: Clock,
        settings: LiveSettings,
        *,
        is_whole: bool,
    ) -> None:
        self.store = store
        self.is_whole = is_whole
        self.seen: Seen | None = None
        self.error: Exception | None = None
        self.seconds = 0.0
        self._read = read
        self._minute = clock.unix_us() // _MINUTE_US
        self._settings = settings
        self._thread = threading.Thread(target=self._run, name="live-stored", daemon=True)
        self._thread.start()

    def has_ended(self) -> bool:
        """Whether there is something to be had, or never will be."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        begun = time.monotonic()
        first = self._minute - self._settings.minutes
        try:
            with self._read() as connection:
                seen = read_seen(connection, first)
                fill(connection, self.store, first, self._minute + 2, self._settings.series)
            self.seen = seen
        except (psycopg.Error, PoolTimeout) as error:
            self.error = error
        finally:
            self.seconds = time.monotonic() - begun


class Follower:
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
        self._reread_due = self._reread_least = self._put_off_until = 0.0
        self._audit_due = self._told_due = self._tick_due = 0.0
        self._has_news = True
        self._is_again = False
        self._rereading: Rereading | None = None
        self._held: list[Entry] = []
        self._held_bytes = 0
        self._gaps = self._gaps_before = 0

    def turn(self, views: Sequence[View]) -> None:
        """Read what comes, and begin again if that is due.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        now = time.monotonic()
        wanted = {view.by for view in views if view.by is not None} | set(self.store.told_apart)
        if self._rereading is not None and self._rereading.has_ended():
            self._take_over(self._rereading)
        elif self._rereading is None and self._is_reread_due(now, wanted):
            self._begin_again(wanted)
        elif "starting" in self._reasons:
            self._pause(_STARTING_S)
            self._take(self._tail.read())
        elif now >= self._audit_due:
            entries, has_missed = self._tail.audit()
            self._take(entries)
            if has_missed:
                self._gaps += 1
                self._note("gaps")
                self._reasons.add("gap")
                self._reread_least = 0.0
            self.store.cleanup(self._clock.unix_us() // _MINUTE_US)
            self._audit_due = now + _AUDIT_S
        elif self._has_news:
            # Redis is not asked to wait for as short as this: it would be late.
            self._pause(self._told_due - now)
            self._take(self._tail.read())
        else:
            longest = _BLOCK if self._rereading is None else _READING_BLOCK
            left = timedelta(seconds=max(0.001, min(self._audit_due, self._tick_due) - now))
            self._take(self._tail.read(min(longest, left)))

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
        """Close the connections; what reads the store ends by itself, at the end of its statement."""
        self._tail.close()

    def knows(self, view: View) -> bool:
        """Whether there is something to tell of a view, as far as can be known."""
        return view.by is None or view.by in self.store.told_apart or "store_away" in self._reasons

    def _is_reread_due(self, now: float, wanted: set[By]) -> bool:
        is_lacking = not wanted <= self.store.told_apart
        if now < self._put_off_until:
            return False
        if now >= self._reread_due or (is_lacking and "store_away" not in self._reasons):
            return True
        return now >= self._reread_least and (is_lacking or bool(self._reasons) or self._seen.is_full)

    def _begin_again(self, wanted: set[By]) -> None:
        found = self._tail.whole()
        if found is None and self._is_whole():
            # There is more than can be read at once, and nothing of it was missed: go on.
            self._put_off_until = time.monotonic() + _LEAST_REREAD_S
            return
        if found is None:
            self._tail.skip()
            self._reasons.add("sink_behind")
        known, new = found or ((), ())
        self._held = [*known, *new]
        self._held_bytes = sum(len(entry.data or b"") for entry in self._held)
        self._rereading = Rereading(
            self._read, self._new_store(wanted), self._clock, self._settings, is_whole=found is not None
        )
        self._gaps_before = self._gaps
        self._count(new)

    def _take_over(self, rereading: Rereading) -> None:
        """Put what is stored in the place of what was counted, and count what came since."""
        self._rereading = None
        held, self._held = self._held, []
        self._reasons.discard("starting")
        self._due_again(rereading.seconds)
        if rereading.seen is None:
            self._reasons.add("store_away")
            if rereading.error is not None and self._throttle.allows("live_stored"):
                log.warning("live_figures_not_read", reason=type(rereading.error).__name__)
            return
        if self._held_bytes > _MOST_HELD_BYTES:
            # Not all of it was kept.
            if self._reread_at is None:
                self._reasons.add("busy")
            return
        has_missed = self._gaps != self._gaps_before
        self.store, self._seen, self._reread_at = rereading.store, rereading.seen, self._clock.unix_us()
        self._reasons = {"gap"} if has_missed else set() if rereading.is_whole else {"sink_behind"}
        self._is_again = True
        self._count(held)
        self._is_again = False
        self._has_news = True

    def _take(self, entries: Sequence[Entry]) -> None:
        """Count what has come; and keep it as long as what is stored is being read, to be counted with that, too."""
        if self._rereading is not None and self._held_bytes <= _MOST_HELD_BYTES:
            self._held.extend(entries)
            self._held_bytes += sum(len(entry.data or b"") for entry in entries)
        self._count(entries)

    def _is_whole(self) -> bool:
        return not self._reasons - {"late"}

    def _due_again(self, cost_s: float) -> None:
        now = time.monotonic()
        self._reread_due = now + self._settings.reread.total_seconds()
        self._reread_least = now + max(_LEAST_REREAD_S, _REREAD_PER_COST * cost_s)

    def _new_store(self, told_apart: Sequence[By] | set[By]) -> MetricsStore:
        settings = self._settings
        # One place for the running minute, and one for clocks that are ahead. While what is stored is read again there
        # are two of them, and together they take no more than there may be.
        return MetricsStore(settings.minutes + 2, settings.series, settings.memory_bytes // 2, told_apart)

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
