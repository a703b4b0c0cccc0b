"""One supervised process: started, watched until it is ready, started again when it ends."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Literal, Protocol

import structlog

from telemetry.clock import Clock
from telemetry.errors import WeirError

State = Literal["starting", "running", "backing_off", "stopped", "failed"]

#: Seconds between two looks at whether a process is ready.
READY_INTERVAL = 0.05
#: Seconds after which a process that cannot be asked counts as ready: what is wrong with it shows sooner.
SETTLED_AFTER = 0.5

log = structlog.get_logger(__name__)


class Handle(Protocol):
    """A child process that leads its own process group."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Its exit code (negative: a signal), once, and if, it ended; reaps it."""
        ...

    def stop(self) -> None:
        """Ask it to stop; nothing happens if it ended."""
        ...


class Backoff:
    """How long to wait before the next start: 0.2 s, doubled up to 30 s; a process that lived a minute starts over."""

    FIRST = 0.2
    MOST = 30.0
    FORGIVEN_AFTER = 60.0

    def __init__(self) -> None:
        self._next = self.FIRST

    def after(self, lived: float) -> float:
        """Seconds to wait, given the seconds that the process lived."""
        if lived >= self.FORGIVEN_AFTER:
            self._next = self.FIRST
        delay = self._next
        self._next = min(self._next * 2, self.MOST)
        return delay


class Supervised:
    """One process and what became of it.

    Args:
        name: As it is shown.
        start: Starts it.
        is_ready: Whether it does its work; asked while it starts. None: once it has lived for `SETTLED_AFTER`.
        ready_within: Seconds it may take to become ready; it is killed, and counts as ended, when it takes longer.
        clock: Time.

    Attributes:
        state: Where it is.
        since: When it got there; aware UTC.
        restarts: How often it was started again.
        early_ends: How often it ended, or could not be started, since it was last ready.
        last_error: Why it could not be started the last time.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Handle],
        *,
        is_ready: Callable[[], bool] | None,
        ready_within: float,
        clock: Clock,
    ) -> None:
        self.name = name
        self.state: State = "stopped"
        self.since: datetime = clock.now()
        self.restarts = 0
        self.early_ends = 0
        self.last_error: WeirError | OSError | None = None
        self._start = start
        self._is_ready = is_ready
        self._ready_within = ready_within
        self._clock = clock
        self._backoff = Backoff()
        self._process: Handle | None = None
        self._begun = 0.0
        self._due = 0.0
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it; if that fails, it backs off like one that ended at once."""
        self._begun = self._now()
        self.last_error = None
        try:
            self._process = self._start()
        except (WeirError, OSError) as error:
            self.last_error = error
            detail = error.detail if isinstance(error, WeirError) else error.strerror
            log.error("process_not_started", name=self.name, error_type=type(error).__qualname__, detail=detail)  # noqa: TRY400 - `detail` says it
            self._back_off()
            return
        self._due = self._begun
        self._enter("starting")
        log.info("process_started", name=self.name, pid=self._process.pid, restarts=self.restarts)

    def wait(self) -> float | None:
        """Seconds until `look` has something to do; None when only an end of the process can change anything."""
        if self._stopping or self._due == math.inf or self.state not in {"starting", "backing_off"}:
            return None
        return max(0.0, self._due - self._now())

    def look(self) -> None:
        """Notice that it ended, became ready, took too long, or is due to be started again."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._note_end(self._process, code)
        elif self._now() < self._due:
            return
        elif self.state == "backing_off":
            self.restarts += 1
            self.start()
        elif self.state == "starting" and not self._stopping:
            self._look_whether_ready()

    def stop(self) -> None:
        """Ask it to stop, and start it no more."""
        self._stopping = True
        if self._process is None:
            self._enter("stopped")
        else:
            self._process.stop()

    def kill(self) -> None:
        """Kill it and what it started."""
        if self._process is not None:
            _kill_group(self._process.pid)

    def fail(self) -> None:
        """Note that it is given up."""
        self._enter("failed")

    def _look_whether_ready(self) -> None:
        self._due = self._now() + READY_INTERVAL
        lived = self._now() - self._begun
        if self._is_ready() if self._is_ready is not None else lived >= SETTLED_AFTER:
            self.early_ends = 0
            self._enter("running")
            log.info("process_ready", name=self.name, pid=self.pid)
        elif lived > self._ready_within:
            log.error("process_not_ready_in_time", name=self.name, pid=self.pid, seconds=self._ready_within)
            self._due = math.inf
            self.kill()

    def _note_end(self, process: Handle, code: int) -> None:
        self._process = None
        _kill_group(process.pid)
        if self._stopping:
            log.info("process_stopped", name=self.name, pid=process.pid, **_how(code))
            self._enter("stopped")
            return
        log.error("process_ended", name=self.name, pid=process.pid, **_how(code))
        self._back_off()

    def _back_off(self) -> None:
        self.early_ends += 1
        delay = self._backoff.after(self._now() - self._begun)
        self._due = self._now() + delay
        self._enter("backing_off")

    def _enter(self, state: State) -> None:
        self.state = state
        self.since = self._clock.now()

    def _now(self) -> float:
        return self._clock.monotonic_us() / 1e6


def _kill_group(leader: int) -> None:
    """Kill what is left of a process's group. A leader that was just reaped: its number cannot be a new group's yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _how(code: int) -> dict[str, object]:
    """An exit code as facts: a number, or the name of a signal."""
    if code >= 0:
        return {"exit_code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:
        return {"signal": -code}
