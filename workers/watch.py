"""The thread that brings runs to their end: that are cancelled, that take too long, whose worker stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from telemetry.clock import Clock
from workers.control import RunControl
from workers.fence import Fence

log = structlog.get_logger(__name__)

_MICROSECOND = timedelta(microseconds=1)
#: Between two looks at a run that was asked to stop.
_INTERVAL_S = 0.25


@dataclass(slots=True)
class Run:
    """One attempt that is going on.

    Attributes:
        fence: Writes for it.
        control: Stops it.
        asked_us: When it was asked to stop; monotonic.
    """

    fence: Fence
    control: RunControl
    asked_us: int | None = None


class Watch:
    """Looks after the runs of a process.

    A run that is cancelled has `patience` until its next step; then, as one that takes too long at once, it is
    interrupted, again and again; what does not end of that is stuck.

    Args:
        clock: Monotonic.
        patience: Before a cancelled run is interrupted.
        stuck_after: After which a run is stuck that was asked to stop.
        on_stuck: Called in this thread, with the run; it is not expected to return.
    """

    def __init__(
        self, clock: Clock, *, patience: timedelta, stuck_after: timedelta, on_stuck: Callable[[Run], None]
    ) -> None:
        self._clock = clock
        self._patience_us = patience // _MICROSECOND
        self._stuck_after_us = stuck_after // _MICROSECOND
        self._on_stuck = on_stuck
        # By attempt: one that was taken for lost may go on beside the one that took its place.
        self._runs: dict[tuple[UUID, int], Run] = {}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="run-watch", daemon=True)

    def start(self) -> None:
        """Start the thread; after a fork, in the child."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; idempotent."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def control(self, timeout: timedelta | None) -> RunControl:
        """What stops a run of the calling thread; `timeout` is the running time that is left to it."""
        return RunControl(self._clock, timeout, self._hurry)

    @contextmanager
    def watching(self, fence: Fence, control: RunControl) -> Iterator[None]:
        """Look after a run while it lasts."""
        attempt = fence.claim.id, fence.claim.attempt
        with self._changed:
            self._runs[attempt] = Run(fence, control)
            if control.deadline_us is not None:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._runs[attempt]
                if not self._runs:
                    self._changed.notify_all()

    def _hurry(self) -> None:
        """A run has a new deadline."""
        with self._changed:
            self._changed.notify()

    def cancel(self, execution_ids: Collection[UUID]) -> None:
        """Let those of them that run here come to an end."""
        with self._changed:
            for run in self._runs.values():
                if run.fence.claim.id in execution_ids:
                    self._ask(run, "cancelled")
            self._changed.notify()

    def hand_over(self) -> None:
        """Let every run end before its next step."""
        with self._changed:
            for run in self._runs.values():
                run.control.ask("worker_stopped")

    def interrupt(self, patience: timedelta) -> None:
        """Interrupt every run, and wait for their end; what their steps did not commit was not done."""
        for run in self.left():
            run.control.interrupt()
        with self._changed:
            self._changed.wait_for(lambda: not self._runs, patience.total_seconds())

    def left(self) -> list[Run]:
        """Runs that are going on."""
        with self._changed:
            return list(self._runs.values())

    def _ask(self, run: Run, reason: str) -> None:
        if run.control.asked is None:
            run.asked_us = self._clock.monotonic_us()
        run.control.ask(reason)  # type: ignore[arg-type] # one of its own

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._until_due_s())
                if self._is_stopping:
                    return
                stuck = [run for run in list(self._runs.values()) if self._look_at(run)]
            for run in stuck:
                self._on_stuck(run)

    def _until_due_s(self) -> float | None:
        """Nothing running: no wake-ups at all."""
        if any(run.asked_us is not None for run in self._runs.values()):
            return _INTERVAL_S
        deadlines = [at for run in self._runs.values() if (at := run.control.deadline_us) is not None]
        return max(0.0, (min(deadlines) - self._clock.monotonic_us()) / 1e6) if deadlines else None

    def _look_at(self, run: Run) -> bool:
        """Bring it nearer to its end; whether it is stuck."""
        now_us = self._clock.monotonic_us()
        reason = run.control.overdue(now_us)
        if reason is None:
            run.control.withdraw()
        elif run.control.asked in (None, "step_timed_out"):
            self._ask(run, reason)
        if run.control.asked is None:
            run.asked_us = None  # a step ended of its interrupt, and the run goes on
        if run.asked_us is None:
            return False
        waited_us = now_us - run.asked_us
        if run.control.asked != "cancelled" or waited_us >= self._patience_us:
            run.control.interrupt()
        return waited_us >= self._stuck_after_us
