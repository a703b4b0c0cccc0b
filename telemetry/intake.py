"""Encoded events into the store, each once, whatever is in them: the half of the sink that knows no stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

import psycopg
import structlog
from psycopg import Connection
from psycopg.errors import CheckViolation, DataError, IntegrityError, LockNotAvailable, UniqueViolation

from telemetry.clock import Clock
from telemetry.errors import StoreUnavailable
from telemetry.events import MEASURES, Measures
from telemetry.misfits import UNDECODABLE, Examiner
from telemetry.partitions import Horizon, list_partitions, make_partitions
from telemetry.producers import SQL as PRODUCERS
from telemetry.producers import Arrival, Origins, settle, settled
from telemetry.quarantine import Quarantine, Reject
from telemetry.rows import MalformedEvent, RowEncoder, decode_event
from telemetry.store import append_batch, clear_staging, insert_events, insert_new_events, prepare_session
from telemetry.throttle import Throttle

log = structlog.get_logger(__name__)

#: How often partitions are made and looked up, in microseconds.
_HORIZON_US: Final = 60_000_000

#: Microseconds of a minute.
_MINUTE_US: Final = 60_000_000

Insert: TypeAlias = Callable[[Connection[Any], Iterable[bytes]], int]


@dataclass(slots=True)
class Tally:
    """What became of the events of one transaction.

    Attributes:
        rows: Events that were given to the store.
        stored: Those of them that it did not have yet.
        too_old: Events of days whose partition is gone, or never was; skipped.
        too_new: Events of days that have no partition yet; skipped.
        outside_at: Positions of both.
        misfits: Positions of events that cannot be stored, each with whether it was Postgres that refused it.
        malformed: Why those cannot, and how many for each reason. Reasons quote nothing.
        quarantined: What was kept of them, and of entries that are no batch.
        minutes: Minutes since 1970 that the events given to the store occurred in.
    """

    rows: int = 0
    stored: int = 0
    too_old: int = 0
    too_new: int = 0
    outside_at: set[int] = field(default_factory=set)
    misfits: dict[int, bool] = field(default_factory=dict)
    malformed: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    minutes: set[int] = field(default_factory=set)

    @property
    def duplicates(self) -> int:
        """Events that the store had already."""
        return self.rows - self.stored

    @property
    def outside(self) -> int:
        """Events of days without partition."""
        return self.too_old + self.too_new

    @property
    def handled(self) -> int:
        """Events that were looked at, so the position of the next one."""
        return self.rows + self.outside + len(self.misfits)

    def leave_outside(self, *, is_new: bool) -> None:
        """Leave an event out that has no partition to go to."""
        self.outside_at.add(self.handled)
        self.too_new += is_new
        self.too_old += not is_new

    def skip(self, position: int, why: str, *, by_postgres: bool = False) -> None:
        """Leave an event out that cannot be stored."""
        self.misfits[position] = by_postgres
        self.malformed[why] += 1


@dataclass(frozen=True, slots=True)
class Garbage:
    """An entry of the stream that is no batch.

    Attributes:
        entry_id: Its place in the stream.
        data: What is in it.
    """

    entry_id: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one transaction is to deal with.

    Attributes:
        events: Each encoded by itself.
        arrivals: The batches they came in, in the same order; none if they did not come through the stream.
        garbage: Entries that are no batch.
        redelivered: Whether some events are likely stored already; only a matter of speed.
        with_quarantine: Whether to keep what cannot be stored. Not of what is in quarantine already.
    """

    events: list[bytes]
    arrivals: Sequence[Arrival] = ()
    garbage: Sequence[Garbage] = ()
    redelivered: bool = False
    with_quarantine: bool = True


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
        self._examiner = Examiner(measures)
        self._quarantine = Quarantine(clock)
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

    def store(self, delivery: Delivery) -> Tally:
        """Store what can be stored, in one transaction, committed on return.

        In it are the events, what cannot be stored (quarantine), one row of `telemetry_batches` if events were given to
        the store, and last the accounts of their producers.

        Raises:
            StoreUnavailable: Nothing was stored, or it is not known whether it was; try again.
        """
        try:
            connection, horizon = self._ready()
            tally = self._store(connection, horizon, delivery)
        except psycopg.Error as error:
            self._fail(error)
        self._report(tally)
        return tally

    def settled(self, arrivals: Sequence[Arrival]) -> list[bool]:
        """Whether each of these batches was dealt with before: its numbers are in its producer's account.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        try:
            connection, _ = self._ready()
            return settled(connection, arrivals)
        except psycopg.Error as error:
            self._fail(error)

    def looked(self) -> None:
        """Note that there is nothing new in the stream: whoever is silent now is silent, and not only unheard.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        try:
            connection, _ = self._ready()
            connection.execute(PRODUCERS["looked"])
        except psycopg.Error as error:
            self._fail(error)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store(self, connection: Connection[Any], horizon: Horizon, delivery: Delivery) -> Tally:
        """The fast way, else the way that tolerates what is stored already, else without what Postgres refuses."""
        if not delivery.redelivered:
            try:
                return self._insert(connection, horizon, delivery, insert_events)
            except UniqueViolation:
                log.debug("telemetry_events_repeated")
            except CheckViolation:
                # A partition went between our look and now. Its events have no place any more.
                horizon = self._look_around(connection)
            except (DataError, IntegrityError) as error:
                log.debug("telemetry_batch_refused", error=type(error).__name__)
        try:
            return self._insert(connection, horizon, delivery, insert_new_events)
        except (DataError, IntegrityError) as error:
            if isinstance(error, CheckViolation):
                horizon = self._look_around(connection)  # as above
            log.warning("telemetry_batch_refused", error=type(error).__name__, events=len(delivery.events))
            return self._insert_by_halves(connection, horizon, delivery)

    def _insert(self, connection: Connection[Any], horizon: Horizon, delivery: Delivery, insert: Insert) -> Tally:
        tally = Tally()
        with connection.transaction():
            if delivery.events:
                tally.stored = insert(connection, self._encode(delivery.events, horizon, tally))
            self._conclude(connection, delivery, tally)
        return tally

    def _insert_by_halves(self, connection: Connection[Any], horizon: Horizon, delivery: Delivery) -> Tally:
        """For a batch that Postgres refused although every event of it looked right: leave out only the culprits.

        What is refused is halved until it is a single row; so each culprit costs about log2 of the batch's size.
        """
        tally = Tally()
        with connection.transaction():
            # Each with its position: the last of those that were looked at when it came out.
            parts = [[(tally.handled - 1, row) for row in self._encode(delivery.events, horizon, tally)]]
            while parts:
                part = parts.pop()
                try:
                    with connection.transaction():
                        tally.stored += insert_new_events(connection, (row for _, row in part))
                        clear_staging(connection)
                except (DataError, IntegrityError) as error:
                    if len(part) > 1:
                        middle = len(part) // 2
                        parts += [part[middle:], part[:middle]]
                    else:
                        tally.rows -= 1
                        tally.skip(part[0][0], f"refused: {error.sqlstate}", by_postgres=True)
            self._conclude(connection, delivery, tally)
        return tally

    def _conclude(self, connection: Connection[Any], delivery: Delivery, tally: Tally) -> None:
        """What goes along with the events in their transaction; the accounts, which others wait for, last."""
        if delivery.with_quarantine and (tally.misfits or delivery.garbage):
            tally.quarantined = self._quarantine.keep(connection, self._rejects(delivery, tally))
        if tally.rows:
            append_batch(connection, events=tally.stored, duplicates=tally.duplicates, minutes=tally.minutes)
        settle(connection, delivery.arrivals)

    def _rejects(self, delivery: Delivery, tally: Tally) -> list[Reject]:
        origins, examine = Origins(delivery.arrivals), self._examiner
        rejects = []
        for position, by_postgres in tally.misfits.items():
            data = delivery.events[position]
            misfit = examine.refused(data) if by_postgres else examine.event(data)
            rejects.append(Reject(misfit, origins.of(position)))
        return rejects + [Reject(examine.entry(each.data), entry_id=each.entry_id) for each in delivery.garbage]

    def _encode(self, events: list[bytes], horizon: Horizon, tally: Tally) -> Iterator[bytes]:
        """Rows of those events that have one, each decoded and checked by itself. Counts into `tally`."""
        encode, minutes = self._rows.encode, tally.minutes
        for data in events:
            try:
                event = decode_event(data)
                minute = event.occurred_at_us // _MINUTE_US
                if minute not in minutes:
                    if not horizon.holds(event.occurred_at_us):
                        tally.leave_outside(is_new=horizon.ends_before(event.occurred_at_us))
                        continue
                    minutes.add(minute)
                row = encode(event)
            except MalformedEvent as error:
                tally.skip(tally.handled, str(error))
                continue
            except UNDECODABLE:
                tally.skip(tally.handled, "not of the catalogue")
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
            reasons, kept = dict(tally.malformed), tally.quarantined
            count = tally.malformed.total()
            log.warning("telemetry_events_malformed", count=count, reasons=reasons, quarantined=kept)
        if tally.outside and self._throttle.allows("outside"):
            log.warning("telemetry_events_outside", too_old=tally.too_old, too_new=tally.too_new)
        if self._rows.dropped_measures and self._throttle.allows("measures"):
            log.warning("telemetry_measures_dropped", count=self._rows.dropped_measures)
            self._rows.dropped_measures = 0
