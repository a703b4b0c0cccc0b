"""A process tells of itself: memory, processor, threads, what it runs at a time, what its recorder keeps, its clock.

One row a process and window, written by a thread of its own over a connection of its own, when the process begins and
whenever a window ends. What it tells is of the time before. A process that is killed leaves its last row and writes no
more; one whose Postgres is away passes a window over.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog

from telemetry.clock import Clock
from telemetry.connections import connect
from telemetry.errors import WeirError
from telemetry.ids import new_id
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.checkup.machine import clock_skew_us

SQL = queries(__file__)

log = structlog.get_logger(__name__)

#: How long Postgres may take for one statement.
_PATIENCE: Final = timedelta(seconds=5)
_STOP_PATIENCE_S: Final = 1.0
_MICROSECOND: Final = timedelta(microseconds=1)


class Snapshots:
    """Tells of this process until it is stopped.

    Args:
        kind: Of the process: `api`, `worker`, ...
        database_url: Where to.
        clock: The machine's.
        interval: How long windows are.
        recorder: The process's, if it has one.
        slots: How many things it does at a time, if it has such a limit.
        slots_taken: How many it does now.
    """

    def __init__(  # noqa: PLR0913 - one keyword per thing a process can tell
        self,
        kind: str,
        database_url: str,
        *,
        clock: Clock,
        interval: timedelta,
        recorder: Recorder | None = None,
        slots: int | None = None,
        slots_taken: Callable[[], int] | None = None,
    ) -> None:
        self._kind = kind
        self._database_url = database_url
        self._clock = clock
        self._interval = interval
        self._recorder = recorder
        self._slots = slots
        self._slots_taken = slots_taken
        self._told_us = clock.monotonic_us()
        self._used_ns = time.process_time_ns()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weir-snapshots", daemon=True)

    def start(self) -> None:
        """Begin to tell; call it after the last fork."""
        self._thread.start()

    def stop(self) -> None:
        """Tell no more. Waits a second for a row that is being written; it is written or it is not."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_PATIENCE_S)

    def tell(self) -> None:
        """Write the row of the window that ended last; nothing if this process has told of it.

        Raises:
            StoreUnavailable: Postgres does not take connections.
            psycopg.Error: Postgres did not answer.
        """
        name = f"weir {self._kind} snapshots"
        opened = connect(self._database_url, name=name, autocommit=True, statement_timeout=_PATIENCE)
        with closing(opened) as connection:
            skew_us = clock_skew_us(connection, self._clock)
            connection.execute(SQL["tell"], {**self._facts(), "clock_skew_us": skew_us, "interval": self._interval})

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.tell()
            except (psycopg.Error, WeirError) as error:
                log.info("snapshot_passed_over", process=self._kind, reason=type(error).__name__)
            except Exception:
                log.exception("snapshot_failed", process=self._kind)
            self._stop.wait(self._until_next_s())

    def _until_next_s(self) -> float:
        """A little into the next window, by the database's clock or near it."""
        width_us = self._interval // _MICROSECOND
        return (width_us - self._clock.unix_us() % width_us) / 1e6 + 1

    def _facts(self) -> dict[str, Any]:
        stats = None if self._recorder is None else self._recorder.stats()
        return {
            "id": new_id(self._clock.unix_us()),
            "name": self._kind,
            "host": socket.gethostname(),
            "process_id": os.getpid(),
            "memory_bytes": _memory_bytes(),
            "cpu_share": self._share(),
            "threads": threading.active_count(),
            "slots": self._slots,
            "slots_taken": None if self._slots_taken is None else self._slots_taken(),
            "events_waiting": None if stats is None else stats.waiting,
            "events_spooled": None if stats is None else stats.spooled,
            "events_dropped": None if stats is None else sum(stats.dropped.values()),
        }

    def _share(self) -> float | None:
        """What it used of one processor since it last told."""
        now_us, used_ns = self._clock.monotonic_us(), time.process_time_ns()
        passed_us, spent_us = now_us - self._told_us, (used_ns - self._used_ns) / 1000
        self._told_us, self._used_ns = now_us, used_ns
        return spent_us / passed_us if passed_us > 0 else None


@contextmanager
def telling(snapshots: Snapshots) -> Iterator[None]:
    """Tell of this process meanwhile."""
    snapshots.start()
    try:
        yield
    finally:
        snapshots.stop()


def _memory_bytes() -> int | None:
    """Memory of this process that is in use; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
