"""Chains: what became of each trace, in one row, built from the events that are stored.

The batches of the store are followed in the order of the transactions that wrote them, up to the oldest one that still
runs: what is below that can only be read, nothing can come in any more. A batch says which minutes its events occurred
in; the events of these minutes are gone through in slices, and every trace that one belongs to is built anew, from all
its events, those too that outlived their day. Doing it twice does no harm.

Whoever removes events says so in a batch, too. A chain of which all are gone goes; one of which some are goes on to say
what became of the trace, and that it is `cut`. With days of events chains go by themselves (`telemetry.retention`).

One row says how far that has come. Each step of it is a transaction, which builds the traces of a slice of bounded size
and moves the place on. Killed anywhere, nothing of the step has happened, and whoever comes next goes on from there. Of
two at once, one leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final, Literal
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, dict_row, scalar_row

from telemetry.clock import to_unix_us
from telemetry.ids import least_id_at
from telemetry.sql import queries

SQL = queries(__file__)

Status = Literal["running", "succeeded", "failed", "cancelled"]

#: Events that one transaction goes through, batches that are read at a time, and events that are counted of one trace,
#: at most.
SLICE_EVENTS: Final = 5000
BATCHES: Final = 5000
MOST_EVENTS: Final = 100_000
#: How long one round goes on, about; what is left is for the next.
PATIENCE: Final = timedelta(seconds=10)

_MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A row of `telemetry_correlation_chains`; durations in microseconds.

    Attributes:
        correlation_id: The trace.
        first_event_id: Its least; pages are in this order.
        last_event_id: Its greatest.
        status: Of the executions that no other of the trace began, `running` as long as any is; of requests, where
            there are no executions.
        depth: Levels of executions that began each other; 0 without any.
        events: How many are stored.
        executions: How many there were.
        steps: Paths that ran, failed or were skipped.
        errors: Events of level error.
        started_at: When the first thing in it began.
        ended_at: When the last thing in it ended.
        duration_us: Between these.
        truncated: Whether it has more events than are counted.
        root_execution_id: The first execution that no other began.
        command_slug: Its command, or that which was refused.
        request_source: The door it came through.
        user_id: Pseudonym.
        space_id: Of the first event that has one.
        components: Of its events, in the order of the alphabet.
        cut: Whether some of its events are gone; what is told is of when they were all there, and of what came since.
    """

    correlation_id: UUID
    first_event_id: UUID
    last_event_id: UUID
    status: Status
    depth: int
    events: int
    executions: int
    steps: int
    errors: int
    started_at: datetime
    ended_at: datetime
    duration_us: int
    truncated: bool
    root_execution_id: UUID | None
    command_slug: str | None
    request_source: str
    user_id: bytes | None
    space_id: UUID | None
    components: Sequence[str]
    cut: bool


@dataclass(slots=True)
class ChainsResult:
    """What one round did.

    Attributes:
        batches: That were read.
        slices: Of events that were gone through.
        written: Chains that are new or have changed.
        is_done: Whether nothing was left.
    """

    batches: int = 0
    slices: int = 0
    written: int = 0
    is_done: bool = False


def build_chains(
    connection: Connection[Any],
    *,
    patience: timedelta = PATIENCE,
    slice_events: int = SLICE_EVENTS,
    batches: int = BATCHES,
    most_events: int = MOST_EVENTS,
) -> ChainsResult:
    """One round: on from where the last one ended, until nothing is left or for as long as `patience`.

    Args:
        connection: To a migrated database, in autocommit mode.
        patience: After which no step is begun.
        slice_events: Events that one step goes through, at most.
        batches: That are read at a time.
        most_events: That are counted of one trace.

    Raises:
        psycopg.Error: Postgres did not answer; what was done stays done.
    """
    deadline = monotonic() + patience.total_seconds()
    result = ChainsResult()
    connection.execute(SQL["number_anew"])
    limits = {"events": slice_events, "batches": batches, "most": most_events}
    while _step(connection, limits, result) and monotonic() < deadline:
        pass
    return result


def is_wanted(connection: Connection[Any], interval: timedelta) -> bool:
    """Whether there is something to build: at once if a round was cut short, else `interval` after the last one.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    return bool(connection.cursor(row_factory=scalar_row).execute(SQL["is_wanted"], {"interval": interval}).fetchone())


def page(  # noqa: PLR0913 - one keyword per filter
    connection: Connection[Any],
    *,
    limit: int,
    status: str | None = None,
    correlation_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: UUID | None = None,
) -> list[Chain]:
    """Chains, newest first; what is None does not matter.

    Args:
        connection: To a migrated database.
        limit: At most.
        status: Only with this one.
        correlation_id: Only this trace.
        since: Whose first event occurred then or later; aware.
        until: Whose first event occurred before; aware.
        before: `first_event_id` of the last one of the page before.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    values = {
        "status": status,
        "correlation_id": correlation_id,
        "first_id": None if since is None else _least(since),
        "end_id": None if until is None else _least(until),
        "before": before,
        "rows": limit,
    }
    # Planned for the filters that are given: one plan for all of them would read every chain.
    with connection.cursor(row_factory=class_row(Chain)) as cursor:
        return cursor.execute(SQL["page"], values, prepare=False).fetchall()


def _step(connection: Connection[Any], limits: dict[str, int], result: ChainsResult) -> bool:
    """One transaction, whole or not at all; whether there may be more.

    1. Hold the place, or leave it to who has it. 2. If nothing is to be gone through, read more batches. 3. Build the
    traces of a slice. 4. Move the place on: behind the slice, or to the next stretch of minutes.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        place = cursor.execute(SQL["lock_progress"]).fetchone()
        if place is None:
            return False
        if place["end_minute"] is None:
            read = cursor.execute(SQL["read_batches"], {"batches": limits["batches"]}).fetchone()
            if read is None:
                cursor.execute(SQL["finish"])
                result.is_done = True
                return False
            result.batches += read["count"]
            return True
        first_id = place["next_event_id"] or least_id_at(place["first_minute"] * _MINUTE_US)
        bounds = {"first_id": first_id, "end_id": least_id_at(place["end_minute"] * _MINUTE_US)}
        ends = connection.cursor(row_factory=scalar_row)
        cut = ends.execute(SQL["slice_end"], {**bounds, "events": limits["events"]}).fetchone()
        if cut is not None:
            bounds["end_id"] = cut
        result.written += cursor.execute(SQL["build"], {**bounds, "most": limits["most"]}).rowcount
        result.slices += 1
        if cut is None:
            cursor.execute(SQL["leave_stretch"], place)
        else:
            cursor.execute(SQL["advance"], {"next_event_id": bounds["end_id"]})
    return True


def _least(instant: datetime) -> UUID:
    return least_id_at(to_unix_us(instant))
