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
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.clock import Clock, from_unix_us
from telemetry.errors import StreamUnavailable
from telemetry.ids import mint
from telemetry.live.deltas import Figures, changes
from telemetry.live.follower import Follower
from telemetry.live.store import MetricsStore
from telemetry.live.tail import StreamTail
from telemetry.live.view import View, figures, units
from telemetry.reading import reading
from telemetry.settings import LiveSettings
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: Tellings that are kept for those who are slow, or come back.
KEPT: Final = 64
#: Different views that are remembered although nobody looks at them, about.
_MOST_CHANNELS: Final = 64
#: Of the number of a telling: readers say what they know, and of very many digits nothing is made.
_MOST_DIGITS: Final = 18
#: Between two attempts to reach the stream.
_LEAST_AWAY_S, _MOST_AWAY_S = 0.1, 5.0
#: How long the thread may take to end; then it is left to the end of the process.
_CLOSE_S: Final = 3.0

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
        is_awaited: Whether its figures are of a time when nobody looked on, or there are none yet.
    """

    def __init__(self, view: View, name: str, kept: int) -> None:
        self.view = view
        self.number = 0
        self.viewers = 0
        self.is_awaited = True
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
        self.is_awaited = False
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
        is_ours = name == self._name and number.isdecimal() and len(number) <= _MOST_DIGITS
        return int(number) if is_ours else None

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
            channel.is_awaited = channel.is_awaited or not channel.viewers
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
                lambda: self._is_closed or not (channel.is_awaited or channel.number == number), timeout_s
            )
            if channel.is_awaited or channel.number == number:
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
        follower: Follower | None = None
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

    def _follower(self) -> Follower:
        return Follower(
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

    def _publish(self, follower: Follower) -> None:
        """Tell each channel that has something new, or that was told nothing for a while."""
        with self._changed:
            channels = [channel for channel in self._channels.values() if channel.viewers]
        channels = [channel for channel in channels if follower.knows(channel.view)]
        if not follower.is_due(is_awaited=any(channel.is_awaited for channel in channels)):
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

    def _give_up(self, follower: Follower | None) -> None:
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
