"""Gives back events that were lost, from the rows of the ledger that they tell of.

A row is committed first, its event recorded after that; a process that is killed in between, or with a full buffer,
takes the event with it. The row has the event's id and every field of it. So the ledger is compared with what is
stored, in the order of the ids, up to the watermark, and what is missing is stored under its own id.

One row says how far that has come. Each step of it is a transaction: what is missing in a slice of bounded size is
stored and marked, and the place moves on. Killed anywhere, nothing of the step has happened, and whoever comes next
goes on from there. Two at once take turns. An event that arrives after all finds itself stored.

Rows are compared again, for some are committed later than what they tell of: those of the last two minutes in every
round, those of two hours once an hour. What is later still is found by `weir telemetry verify`, which sets the place
back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.errors import DataError, IntegrityError
from psycopg.rows import scalar_row

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.completeness import SLICE_ROWS, kept_stretches, occurred_at
from telemetry.completeness import SQL as COMPLETENESS
from telemetry.events import MEASURES, Event, Measures
from telemetry.ids import least_id_at
from telemetry.rows import MalformedEvent, RowEncoder
from telemetry.sql import queries
from telemetry.store import insert_new_events
from telemetry.transport import SILENCE, watermark
from workers.executions import reaching_store
from workers.ledger_events import Hide, make_events

SQL = queries(__file__)

log = structlog.get_logger(__name__)

#: Events that one transaction gives back, at most.
AT_ONCE: Final = 1000
#: How long one round goes on, about; what is left is for the next.
PATIENCE: Final = timedelta(seconds=10)
#: How long nothing is compared although something is missing that was seen by now.
PAUSE: Final = timedelta(seconds=10)
#: How far is looked back in every round, and how far once an hour.
BACK: Final = timedelta(minutes=2)
FAR_BACK: Final = timedelta(hours=2)
FAR_EVERY: Final = timedelta(hours=1)

_MINUTE_US: Final = 60_000_000
#: Before anything.
_BEGINNING: Final = from_unix_us(0)


@dataclass(slots=True)
class ReconcileResult:
    """What one round did.

    Attributes:
        given_back: Events that were stored.
        impossible: Rows whose event cannot be made or stored; `weir telemetry verify` names them.
        healed: Producers whose gaps are healed.
        is_done: Whether it came up to the watermark.
    """

    given_back: int = 0
    impossible: int = 0
    healed: int = 0
    is_done: bool = False


class Reconciler:
    """Compares the ledger with the stored events, and stores what is missing.

    Args:
        connect: Opens a connection to a migrated database, in autocommit mode; it is closed after each round.
        hide: Makes of a user's name what telemetry knows them by.
        measures: What steps may report of themselves.
        grace: How long an event may be on its way.
        slice_rows: Rows of the ledger that one step compares.
        at_once: Events that one step stores, at most.
    """

    def __init__(  # noqa: PLR0913 - one collaborator or limit each
        self,
        connect: Callable[[], Connection[Any]],
        hide: Hide,
        *,
        measures: Measures = MEASURES,
        silence: timedelta = SILENCE,
        grace: timedelta | None = None,
        slice_rows: int = SLICE_ROWS,
        at_once: int = AT_ONCE,
    ) -> None:
        self._connect = connect
        self._hide = hide
        self._rows = RowEncoder(measures)
        self._silence = silence
        self._grace = grace
        self._slice_rows = slice_rows
        self._most = at_once

    def run_once(self, patience: timedelta = PATIENCE) -> ReconcileResult:
        """One round: on from where the last one ended, to the watermark or for as long as `patience`.

        Raises:
            StoreUnavailable: Postgres did not answer; what was done stays done.
        """
        deadline = monotonic() + patience.total_seconds()
        result = ReconcileResult()
        with reaching_store(), closing(self._connect()) as connection:
            note_gaps(connection, self._silence)
            # Fixed for this round: while it goes on, the watermark does too.
            cutoff = watermark(connection, self._silence).cutoff(self._grace)
            self._begin(connection, cutoff)
            while self._step(connection, cutoff, result) and monotonic() < deadline:
                pass
        if result.given_back or result.impossible or result.healed:
            log.info(
                "ledger_reconciled",
                given_back=result.given_back,
                impossible=result.impossible,
                producers_healed=result.healed,
            )
        return result

    def _begin(self, connection: Connection[Any], cutoff: datetime) -> None:
        kept, _ = kept_stretches(connection, _BEGINNING, cutoff)
        first = kept[0][0] if kept else cutoff
        place = connection.cursor(row_factory=scalar_row).execute(SQL["place"]).fetchone()
        # A place behind the watermark is of before the clock was set back.
        ended = cutoff if place is None else min(cutoff, occurred_at(place))
        parameters = {
            "first_id": _least(first),
            "back_id": _least(max(first, ended - BACK)),
            "far_back_id": _least(max(first, ended - FAR_BACK)),
            "far_every": FAR_EVERY,
        }
        connection.execute(SQL["begin"], parameters)

    def _step(self, connection: Connection[Any], cutoff: datetime, result: ReconcileResult) -> bool:
        """One slice, whole or not at all; whether there may be more."""
        at_once = self._most
        while True:
            try:
                return self._compare(connection, cutoff, result, at_once)
            except (DataError, IntegrityError) as error:
                # One of them is what Postgres refuses: fewer, until it is alone, and then on behind it.
                log.warning("reconciled_events_refused", error=type(error).__name__, at_most=at_once)
                if at_once == 0:
                    raise
                at_once //= 2

    def _compare(self, connection: Connection[Any], cutoff: datetime, result: ReconcileResult, at_once: int) -> bool:
        """One transaction; with `at_once` 0 the first that is missing is passed over.

        1. Take the place, and hold it alone. 2. See what is missing in the slice from there on. 3. Make, store and mark
        it. 4. Move the place on: behind the slice, or behind what was given back if that was as much as may be.
        """
        with connection.transaction():
            place = connection.cursor(row_factory=scalar_row).execute(SQL["lock_place"]).fetchone()
            if place is None:
                result.is_done = True  # somebody else has just come to the end
                return False
            kept, _ = kept_stretches(connection, occurred_at(place), cutoff)
            if place >= _least(cutoff) or not kept:
                result.healed += self._finish(connection, max(place, _least(cutoff)))
                result.is_done = True
                return False
            bounds = self._slice(connection, max(place, _least(kept[0][0])), _least(kept[0][1]))
            missing = connection.execute(SQL["missing"], {**bounds, "limit": max(1, at_once)}).fetchall()
            stored, made = self._give_back(connection, missing) if at_once else (0, 0)
            if len(missing) == max(1, at_once):
                bounds["end_id"] = _after(missing[-1][1])
            connection.execute(SQL["advance"], {"end_id": bounds["end_id"]})
        result.given_back += stored
        result.impossible += len(missing) - made
        return True

    def _slice(self, connection: Connection[Any], first_id: UUID, end_id: UUID) -> dict[str, Any]:
        bounds = {"first_id": first_id, "end_id": end_id}
        cut = connection.execute(COMPLETENESS["slice_end"], {**bounds, "rows": self._slice_rows}).fetchone()
        return bounds if cut is None else {**bounds, "end_id": cut[0]}

    def _give_back(self, connection: Connection[Any], missing: Sequence[tuple[str, UUID]]) -> tuple[int, int]:
        """Store the events of these rows; how many were stored, and how many could be made."""
        kinds = groupby(sorted(missing), key=itemgetter(0))
        ids = {kind: [event_id for _, event_id in rows] for kind, rows in kinds}
        rows, minutes = [], set()
        for event in make_events(connection, ids, self._hide):
            encoded = self._encode(event)
            if encoded is not None:
                rows.append(encoded)
                minutes.add(event.occurred_at_us // _MINUTE_US)
        if not rows:
            return 0, 0
        stored = insert_new_events(connection, rows)
        connection.execute(SQL["mark"], {"ids": [event_id for _, event_id in missing]})
        batch = {"events": stored, "duplicates": len(rows) - stored, "minutes": sorted(minutes)}
        connection.execute(SQL["append_batch"], batch)
        return stored, len(rows)

    def _encode(self, event: Event) -> bytes | None:
        try:
            return self._rows.encode(event)
        except MalformedEvent as error:
            log.warning("ledger_event_malformed", reason=str(error))
            return None

    def _finish(self, connection: Connection[Any], place: UUID) -> int:
        """Note that the watermark is reached; how many producers are healed by that."""
        connection.execute(SQL["advance"], {"end_id": place})
        return len(connection.execute(SQL["finish"], {"until": occurred_at(place)}).fetchall())


def note_gaps(connection: Connection[Any], silence: timedelta = SILENCE) -> None:
    """Note producers of which something is missing that nobody has seen yet.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    at = watermark(connection, silence).transport_at
    connection.execute(SQL["note_gaps"], {"transport_at": at, "silence": silence})


def is_wanted(connection: Connection[Any], interval: timedelta, silence: timedelta = SILENCE) -> bool:
    """Whether the reconciler should go round now: `interval` after the last time, sooner if something is missing.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    note_gaps(connection, silence)
    parameters = {"interval": interval, "pause": PAUSE}
    return bool(connection.cursor(row_factory=scalar_row).execute(SQL["is_wanted"], parameters).fetchone())


def _least(instant: datetime) -> UUID:
    return least_id_at(to_unix_us(instant))


def _after(event_id: UUID) -> UUID:
    return UUID(int=event_id.int + 1)
