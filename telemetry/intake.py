"""Encoded events into the store, each once, whatever is in them: the half of the sink that knows no stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias, Union

import msgspec
import psycopg
import structlog
from psycopg import Connection
from psycopg.errors import CheckViolation, DataError, IntegrityError, LockNotAvailable, UniqueViolation

from telemetry.clock import Clock
from telemetry.errors import StoreUnavailable
from telemetry.events import CATALOGUE, MEASURES, Event, Measures
from telemetry.partitions import Horizon, list_partitions, make_partitions
from telemetry.rows import MalformedEvent, RowEncoder
from telemetry.store import insert_events, insert_new_events, prepare_session
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: How often partitions are made and looked up, in microseconds.
_HORIZON_US: Final = 60_000_000

#: Decodes one event of any type, and refuses what is not exactly one.
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(
    Union[CATALOGUE]  # noqa: UP007 - a union made of a tuple has no other spelling
)

Insert: TypeAlias = Callable[[Connection[Any], Iterable[bytes]], int]


@dataclass(slots=True)
class Tally:
    """What became of the events of one transaction.

    Attributes:
        rows: Events that were given to the store.
        stored: Those of them that it did not have yet.
        outside: Events of days without partition; skipped.
        malformed: Why others were skipped, and how many for each reason. Reasons quote nothing.
    """

    rows: int = 0
    stored: int = 0
    outside: int = 0
    malformed: Counter[str] = field(default_factory=Counter)

    @property
    def duplicates(self) -> int:
        """Events that the store had already."""
        return self.rows - self.stored


class Intake:
    """Stores encoded events over a connection of its own.

    Args:
        connect: Opens a connection to a migrated database; called when there is none, or the last one failed.
        clock: Decides which partitions to make.
        partitions_ahead: Daily partitions made in advance.
        measures: What steps may report of themselves.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        *,
        clock: Clock,
        partitions_ahead: int,
        measures: Measures = MEASURES,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._partitions_ahead = partitions_ahead
        self._connection: Connection[Any] | None = None
        self._horizon: Horizon | None = None
        self._horizon_due_us = self._looked_at_us = 0
        self._rows = RowEncoder(measures)
        self._throttle = Throttle(clock)

    def prepare(self) -> None:
        """Be ready to store: connected, partitions made. Costs nothing if that was so a minute ago.

        Raises:
            StoreUnavailable: Postgres did not answer, or not as it should.
        """
        try:
            self._ready()
        except psycopg.Error as error:
            self._fail(error)

    def store(self, events: list[bytes], *, redelivered: bool = False) -> Tally:
        """Store what can be stored, in one transaction, committed on return.

        Args:
            events: Each encoded by itself.
            redelivered: Whether some are likely stored already; only a matter of speed.

        Raises:
            StoreUnavailable: Nothing was stored, or it is not known whether it was; try again.
        """
        try:
            connection, horizon = self._ready()
            tally = self._store(connection, horizon, events, redelivered=redelivered)
        except psycopg.Error as error:
            self._fail(error)
        self._report(tally)
        return tally

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store(self, connection: Connection[Any], horizon: Horizon, events: list[bytes], *, redelivered: bool) -> Tally:
        """The fast way, else the way that tolerates what is stored already, else one by one."""
        if not redelivered:
            try:
                return self._insert(connection, horizon, events, insert_events)
            except UniqueViolation:
                log.debug("telemetry_events_repeated")
            except CheckViolation:
                # A partition went between our look and now. Its events have no place any more.
                horizon = self._look_around(connection)
            except (DataError, IntegrityError) as error:
                log.debug("telemetry_batch_refused", error=type(error).__name__)
        try:
            return self._insert(connection, horizon, events, insert_new_events)
        except (DataError, IntegrityError) as error:
            log.warning("telemetry_batch_refused", error=type(error).__name__, events=len(events))
            return self._insert_singly(connection, horizon, events)

    def _insert(self, connection: Connection[Any], horizon: Horizon, events: list[bytes], insert: Insert) -> Tally:
        tally = Tally()
        with connection.transaction():
            tally.stored = insert(connection, self._encode(events, horizon, tally))
        return tally

    def _insert_singly(self, connection: Connection[Any], horizon: Horizon, events: list[bytes]) -> Tally:
        """For a batch that Postgres refused although every event of it looked right: leave out only the culprits."""
        tally = Tally()
        with connection.transaction():
            for row in self._encode(events, horizon, tally):
                try:
                    with connection.transaction():
                        tally.stored += insert_new_events(connection, (row,))
                except (DataError, IntegrityError) as error:
                    tally.rows -= 1
                    tally.malformed[f"refused: {error.sqlstate}"] += 1
        return tally

    def _encode(self, events: list[bytes], horizon: Horizon, tally: Tally) -> Iterator[bytes]:
        """Rows of those events that have one, each decoded and checked by itself. Counts into `tally`."""
        decode, encode, holds = _decoder.decode, self._rows.encode, horizon.holds
        for data in events:
            try:
                event = decode(data)
                if not holds(event.occurred_at_us):
                    tally.outside += 1
                    continue
                row = encode(event)
            except MalformedEvent as error:
                tally.malformed[str(error)] += 1
                continue
            except (msgspec.DecodeError, UnicodeDecodeError):
                tally.malformed["not of the catalogue"] += 1
                continue
            tally.rows += 1
            yield row

    def _ready(self) -> tuple[Connection[Any], Horizon]:
        if self._connection is None:
            self._connection = self._connect()
            prepare_session(self._connection)
            self._horizon_due_us = 0
        # The wall clock too: while a machine sleeps, the monotonic one stands still and the days go by.
        jumped = abs(self._clock.unix_us() - self._looked_at_us) >= _HORIZON_US
        if self._horizon is None or jumped or self._clock.monotonic_us() >= self._horizon_due_us:
            return self._connection, self._look_around(self._connection)
        return self._connection, self._horizon

    def _look_around(self, connection: Connection[Any]) -> Horizon:
        """Make partitions that are missing, and see which there are."""
        try:
            make_partitions(connection, self._clock.now(), self._partitions_ahead)
        except LockNotAvailable:
            log.warning("telemetry_partitions_locked")
        self._horizon = Horizon(list_partitions(connection))
        self._horizon_due_us = self._clock.monotonic_us() + _HORIZON_US
        self._looked_at_us = self._clock.unix_us()
        return self._horizon

    def _fail(self, error: psycopg.Error) -> NoReturn:
        self.close()
        raise StoreUnavailable(f"the events could not be stored: {error}") from error

    def _report(self, tally: Tally) -> None:
        if tally.malformed and self._throttle.allows("malformed"):
            log.warning("telemetry_events_malformed", count=tally.malformed.total(), reasons=dict(tally.malformed))
        if tally.outside and self._throttle.allows("outside"):
            log.warning("telemetry_events_outside", count=tally.outside)
        if self._rows.dropped_measures and self._throttle.allows("measures"):
            log.warning("telemetry_measures_dropped", count=self._rows.dropped_measures)
            self._rows.dropped_measures = 0
