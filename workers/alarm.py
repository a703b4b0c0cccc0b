"""The thread that queues what was put off for a moment as soon as it is due, instead of at the next sweep.

It sleeps until then; with nothing put off it never wakes. Nothing depends on it: a process that dies takes its alarms
along, and the sweep finds what is due.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

from telemetry.clock import Clock
from telemetry.errors import WeirError

log = structlog.get_logger(__name__)

#: Alarms that are kept. What comes beyond them waits for the sweep.
MAX_PENDING = 10_000


class Alarm:
    """One thread a worker process.

    Args:
        ring: Queues all that is due.
        clock: Monotonic differences.
        horizon: What is put off for as long or longer is left to the sweep, which by then knows of it.
    """

    def __init__(self, ring: Callable[[], object], clock: Clock, horizon: timedelta) -> None:
        self._ring = ring
        self._clock = clock
        self._horizon = horizon
        self._due_us: list[int] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="alarm", daemon=True)

    def start(self) -> None:
        """Start the thread; after a fork, in the child."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, whatever is pending; idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def after(self, delay: timedelta) -> None:
        """Ring once that much time has passed. Called after the commit of what is due then, so never too early."""
        if delay >= self._horizon:
            return
        with self._changed:
            if len(self._due_us) < MAX_PENDING:
                # Rounded up: Postgres keeps whole microseconds too.
                heapq.heappush(self._due_us, self._clock.monotonic_us() + delay // timedelta(microseconds=1) + 1)
                self._changed.notify()

    def _run(self) -> None:
        while self._await_due():
            try:
                self._ring()
            except WeirError as error:
                log.warning("alarm_not_heard", reason=error.code)
            except Exception:
                log.exception("alarm_not_heard")

    def _await_due(self) -> bool:
        """Sleep until the next alarm; all that are due by then are one. False once it is to stop."""
        with self._changed:
            while not self._stopping:
                left_us = self._due_us[0] - self._clock.monotonic_us() if self._due_us else None
                if left_us is not None and left_us <= 0:
                    now_us = self._clock.monotonic_us()
                    while self._due_us and self._due_us[0] <= now_us:
                        heapq.heappop(self._due_us)
                    return True
                self._changed.wait(None if left_us is None else left_us / 1e6)
            return False
