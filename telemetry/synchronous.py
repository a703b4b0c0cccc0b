"""Recording without the stream: each event is in the store before `record` returns."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from psycopg.errors import UniqueViolation

from telemetry.clock import Clock
from telemetry.connections import ANSWER_MARGIN
from telemetry.events import MEASURES, Event, Measures
from telemetry.forks import renew_in_children
from telemetry.patience import PatientConnection
from telemetry.recorder import CLOSE_TIMEOUT, FLUSH_TIMEOUT, Prepared, RecorderStats, type_of
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events, prepare_session
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)


#: How long one event may take to be stored: a table that is locked must not hold up a command for longer.
STATEMENT_TIMEOUT = timedelta(seconds=1)

_MINUTE_US = 60_000_000


class SynchronousRecorder:
    """Records straight into the store, over a connection of its own: for tests and very low traffic.

    Args:
        connect: Opens a connection to a migrated database; called when there is something to store.
        clock: Paces log lines.
        measures: What steps may report of themselves.
    """

    enabled = True

    def __init__(
        self, connect: Callable[[], PatientConnection], *, clock: Clock, measures: Measures = MEASURES
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._measures = measures
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin with nothing: at the start, and in the child after a fork."""
        self._lock = threading.Lock()
        self._connection: PatientConnection | None = None
        self._rows = RowEncoder(self._measures)
        self._stored = self._failures = 0
        self._is_reachable = True
        self._is_closed = False
        self._dropped: Counter[str] = Counter()
        self._throttle = Throttle(self._clock)

    def record(self, event: Event) -> None:
        with self._lock:
            try:
                self._store(self._rows.encode(event), event.occurred_at_us // _MINUTE_US)
            except Exception as error:  # noqa: BLE001 - nothing about telemetry may fail its caller; it is counted
                self._dropped[type_of(event)] += 1
                self._failures += 1
                self._is_reachable = False
                self._disconnect()
                if self._throttle.allows("failure"):
                    log.warning("telemetry_store_failed", error=type(error).__name__)
            else:
                self._stored += 1
                self._is_reachable = True

    def prepare(self, events: Sequence[Event]) -> Prepared:
        return Prepared(events)

    def record_prepared(self, prepared: Prepared) -> None:
        for event in prepared.events:
            self.record(event)

    def flush(self, timeout: timedelta = FLUSH_TIMEOUT) -> bool:
        return True

    def close(self, timeout: timedelta = CLOSE_TIMEOUT) -> None:
        with self._lock:
            self._is_closed = True
            self._disconnect()

    def stats(self) -> RecorderStats:
        return RecorderStats(
            handed_over=self._stored,
            batches=self._stored,
            dropped=dict(self._dropped),
            failures=self._failures,
            is_reachable=self._is_reachable,
        )

    def _store(self, row: bytes, minute: int) -> None:
        if self._is_closed:
            raise RuntimeError("recorded after close")
        if self._connection is None:
            self._connection = self._connect()
            self._connection.patience = STATEMENT_TIMEOUT + ANSWER_MARGIN
            prepare_session(self._connection, STATEMENT_TIMEOUT)
        try:
            with self._connection.transaction():
                insert_events(self._connection, (row,))
                append_batch(self._connection, events=1, duplicates=0, minutes=(minute,))
        except UniqueViolation:
            return  # recorded twice under one id: it is stored

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
