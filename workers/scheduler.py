"""The scheduler: one leader that does periodic work, by asking others or in its own loop.

Sweeps run in the loop itself, so that a dead queue is not silence. Maintenance is a message to its own worker. Several
schedulers may run: the one that holds an advisory lock works, the others try to get it at every tick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread

import psycopg
import structlog

from telemetry.clock import Clock
from telemetry.connections import connect
from telemetry.errors import WeirError
from telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

_LEAST_WAIT_S = 0.05
#: How long the end of the process waits for work that was begun aside.
_END_S = 5.0

#: Key of the advisory lock that makes a leader; any number that nothing else here uses.
LEADER_LOCK = 7_420_001


#: How long a leader that asks for nothing leads: one that is suspended does not die, and must not keep others from it.
SILENCE = timedelta(seconds=30)

#: How long Postgres may take to say who leads.
_ANSWER = timedelta(seconds=5)


class Leadership:
    """Whether this process leads: a session advisory lock, lost with its connection.

    Args:
        database_url: Whose lock.
        silence: After which the server ends the session of a leader that did not ask whether it leads. If it comes
            back, there are two for a moment: nothing that a leader does relies on its being alone.
    """

    def __init__(self, database_url: str, silence: timedelta = SILENCE) -> None:
        self._database_url = database_url
        self._silence_ms = silence // timedelta(milliseconds=1)
        self._connection: psycopg.Connection | None = None

    def is_held(self) -> bool:
        """Try to lead, or make sure we still do. False too when Postgres is away."""
        try:
            if self._connection is None:
                self._connection = connect(
                    self._database_url, name="weir-scheduler-leader", autocommit=True, statement_timeout=_ANSWER
                )
                self._connection.execute(
                    "select set_config('idle_session_timeout', %(ms)s, false)", {"ms": str(self._silence_ms)}
                )
            # Taking a lock that this session holds succeeds again; it is counted, and freed with the session.
            row = self._connection.execute(
                "select exists (select 1 from pg_locks where locktype = 'advisory' and objid = %(key)s and granted"
                " and pid = pg_backend_pid()) or pg_try_advisory_lock(%(key)s)",
                {"key": LEADER_LOCK},
            ).fetchone()
        except (psycopg.Error, WeirError) as error:
            log.warning("leadership_unknown", reason=type(error).__name__)
            self.release()
            return False
        return bool(row and row[0])

    def release(self) -> None:
        """Give it up; idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(slots=True)
class Periodic:
    """Work that is due again an interval after it was last begun.

    Attributes:
        name: For log lines.
        interval: Between two beginnings.
        run: Does it; a `WeirError` is logged, and it is tried again when next due. What it returns, if that is a
            duration, is after how long it wants to be asked again, should that be sooner.
        due_us: Monotonic instant; 0 is at once.
    """

    name: str
    interval: timedelta
    run: Callable[[], object]
    due_us: int = field(default=0)


class Aside:
    """Work that may take long, in a thread of its own, one at a time: nothing else waits for it.

    Args:
        name: For log lines.
        run: Does it, as that of `Periodic`. Stopped anywhere with its process, it may be begun again.
    """

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self._name = name
        self._run = run
        self._thread: Thread | None = None

    def __call__(self) -> None:
        """Begin it, unless it is not done since the last time."""
        if self._thread is not None and self._thread.is_alive():
            log.warning("periodic_work_takes_long", work=self._name)
            return
        self._thread = Thread(target=self._do, name=f"weir {self._name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait until it is done, but not for long."""
        if self._thread is not None:
            self._thread.join(_END_S)

    def _do(self) -> None:
        try:
            self._run()
        except WeirError as error:
            log.warning("periodic_work_failed", work=self._name, reason=error.code)
        except Exception:
            log.exception("periodic_work_failed", work=self._name)


class Scheduler:
    """Runs what is due, as long as it leads.

    Args:
        leadership: Decides whether anything is done at all.
        work: In the order it is done when several are due.
        clock: Monotonic differences only.

    Attributes:
        pulse: Beats with each tick, whether there was something to do or not.
    """

    def __init__(self, leadership: Leadership, work: Sequence[Periodic], clock: Clock) -> None:
        self._leadership = leadership
        self._work = work
        self._clock = clock
        self.pulse = Pulse(clock)

    def run_once(self) -> tuple[str, ...]:
        """Do what is due; names of what was begun."""
        now_us = self._clock.monotonic_us()
        due = [work for work in self._work if work.due_us <= now_us]
        if not due or not self._leadership.is_held():
            return ()
        for work in due:
            work.due_us = now_us + work.interval // timedelta(microseconds=1)
            try:
                wish = work.run()
            except WeirError as error:
                log.warning("periodic_work_failed", work=work.name, reason=error.code)
            except Exception:
                log.exception("periodic_work_failed", work=work.name)
            else:
                if isinstance(wish, timedelta):
                    sooner_us = self._clock.monotonic_us() + wish // timedelta(microseconds=1)
                    work.due_us = min(work.due_us, sooner_us)
        return tuple(work.name for work in due)

    def _until_due_s(self) -> float:
        return (min(work.due_us for work in self._work) - self._clock.monotonic_us()) / 1e6

    def run(self, stop: Event) -> None:
        """Tick until stopped."""
        shortest_s = min(work.interval for work in self._work).total_seconds()
        while not stop.is_set():
            # Not leading, nothing is begun and nothing becomes due later: look again after the shortest interval.
            wait_s = self._until_due_s() if self.run_once() else shortest_s
            self.pulse.beat()
            stop.wait(min(shortest_s, max(_LEAST_WAIT_S, wait_s)))
        self._leadership.release()
