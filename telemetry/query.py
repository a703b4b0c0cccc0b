"""The read side: one trace, pages of events, and the one JSON shape of an event.

Whatever reads events goes through here, from one query over the days and what outlived them, so it is one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.clock import from_unix_us
from telemetry.components import component_name, event_type_name
from telemetry.errors import StoreTooSlow, StoreUnavailable, TraceNotFound
from telemetry.filters.conditions import Conditions, conditions
from telemetry.filters.syntax import EVERYTHING, Clause, Compare, Filter, Is, Value
from telemetry.ids import least_id_at
from telemetry.sql import queries

SQL = queries(__file__)

#: Events whose duration is the running time of a whole execution.
_WHOLE_EXECUTIONS: Final = frozenset({"command.execution.completed", "command.execution.failed"})
#: Events that are held at a time where all of them need not be; each takes some kilobytes.
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A stored event; columns as in the schema, whose meanings are those of `telemetry.events`."""

    event_id: UUID
    occurred_at: datetime
    event_type: str
    component: str
    operation: str
    level: str
    correlation_id: UUID
    execution_id: UUID | None
    parent_id: UUID | None
    step_path: str | None
    step_type: str | None
    command_slug: str | None
    definition_hash: bytes | None
    user_id: bytes | None
    space_id: UUID | None
    request_source: str
    dry_run: bool
    attempt: int | None
    step_try: int | None
    duration_us: int | None
    outcome: str | None
    error_type: str | None
    error_category: str | None
    error_fingerprint: bytes | None
    fragment_id: UUID | None
    mutations_count: int | None
    measures: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything stored of one correlation id.

    Attributes:
        correlation_id: The whole trace.
        events: In the order they occurred; at least one.
    """

    correlation_id: UUID
    events: tuple[StoredEvent, ...]


@dataclass(frozen=True, slots=True)
class EventFilters:
    """Which events; what is None does not matter. Each is a clause of the filter that `whole` gives.

    Attributes:
        event_type: A full event type, or the first words of some: `dsl`, `dsl.step`.
        component: Of the event; `tool_telemetry` means `tool` (`telemetry.components`).
        level: Exactly this one.
        correlation_id: Of one trace.
        execution_id: Of one execution.
        command: Slug.
        step_type: Name of a step type.
        user_id: Pseudonym of a user (`telemetry.privacy.Pseudonyms.user`), 16 bytes.
        space_id: Of a space.
        outcome: `succeeded`, `failed`, ...
        since: Occurred at this instant or later; aware.
        until: Occurred before this instant; aware.
        more: Has to hold too; names of users and spaces resolved.
    """

    event_type: str | None = None
    component: str | None = None
    level: str | None = None
    correlation_id: UUID | None = None
    execution_id: UUID | None = None
    command: str | None = None
    step_type: str | None = None
    user_id: bytes | None = None
    space_id: UUID | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    more: Filter = EVERYTHING

    def whole(self) -> Filter:
        """All of it as one filter."""
        component = None if self.component is None else component_name(self.component)
        given: dict[str, Value | None] = {
            "event_type": None if self.event_type is None else event_type_name(self.event_type),
            "component": component,
            "level": self.level,
            "correlation_id": self.correlation_id,
            "execution_id": self.execution_id,
            "command": self.command,
            "type": self.step_type,
            "user_id": self.user_id,
            "space_id": self.space_id,
            "outcome": self.outcome,
        }
        clauses = [Clause(name, (Is(value),)) for name, value in given.items() if value is not None]
        if self.since is not None:
            clauses.append(Clause("occurred_at", (Compare(">=", self.since),)))
        if self.until is not None:
            clauses.append(Clause("occurred_at", (Compare("<", self.until),)))
        return Filter(tuple(clauses)).and_also(self.more)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some of the events that match, newest first.

    Attributes:
        items: At most as many as asked for.
        next_cursor: Pass it for the page after this one; None when this is the last.
    """

    items: tuple[StoredEvent, ...]
    next_cursor: UUID | None


def trace(connection: Connection[Any], correlation_or_execution_id: UUID) -> Trace:
    """All events of a correlation id, or of the one that an execution belongs to.

    Raises:
        TraceNotFound: No event of it is stored (yet).
        StoreUnavailable: Postgres did not answer.
    """
    with store_errors():
        found = connection.execute(SQL["find_correlation"], {"execution_id": correlation_or_execution_id}).fetchone()
        correlation_id: UUID = found[0] if found else correlation_or_execution_id
        where, order = sql.SQL("where correlation_id = %(correlation_id)s"), sql.SQL("order by occurred_at, event_id")
        events = _select(connection, where, order, {"correlation_id": correlation_id})
    if not events:
        raise TraceNotFound(
            f"no event of {correlation_or_execution_id} is stored",
            hint="Events arrive within a second; is the sink running?",
            id=str(correlation_or_execution_id),
        )
    return Trace(correlation_id, tuple(events))


def events(
    connection: Connection[Any],
    filters: EventFilters,
    limit: int,
    cursor: UUID | None = None,
    stored_after: int | None = None,
) -> EventPage:
    """A page of the events that match all of `filters`, newest first.

    Args:
        connection: To a migrated database.
        filters: What to look for.
        limit: Events of a page, at least 1.
        cursor: `next_cursor` of the page before.
        stored_after: A `position`: only what was stored since, and perhaps some of what was stored shortly before.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    found = list(each_event(connection, filters, limit + 1, cursor, stored_after))
    items = tuple(found[:limit])
    return EventPage(items, items[-1].event_id if len(found) > limit else None)


def each_event(
    connection: Connection[Any],
    filters: EventFilters,
    limit: int,
    cursor: UUID | None = None,
    stored_after: int | None = None,
) -> Iterator[StoredEvent]:
    """The events of a page, one after the other: who makes each into something small never holds them all.

    Arguments and errors as of `events`; the statement runs until the last one is taken.
    """
    with store_errors():
        wanted = _conditions(connection, filters, cursor)
        if stored_after is not None and not _restrict_to_stored_after(connection, wanted, stored_after):
            return
        statement = stored(wanted.where(), sql.SQL("order by event_id desc limit %(limit)s"))
        values = {**wanted.values, "limit": limit}
        with connection.cursor(row_factory=class_row(StoredEvent)) as rows:
            # Few are asked for together, by a statement that is prepared.
            yield from (
                rows.execute(statement, values) if limit <= _AT_ONCE else rows.stream(statement, values, size=_AT_ONCE)
            )


def stored_before(
    connection: Connection[Any], filters: EventFilters, before: int, limit: int, after: UUID | None = None
) -> list[StoredEvent]:
    """Events that match all of `filters` and were stored before a `position`, in the order of their ids.

    Which these are does not change any more, whatever is stored later, and under whichever id: only deleting takes
    some of them.

    Args:
        connection: To a migrated database.
        filters: What to look for.
        before: A `position`.
        limit: At most so many.
        after: The last id of the page before.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    with store_errors():
        wanted = _conditions(connection, filters, None)
        _restrict_to_stored_before(wanted, before)
        if after is not None:
            wanted.add(sql.SQL("event_id > %(after)s"), after=after)
        order = sql.SQL("order by event_id limit %(limit)s")
        return _select(connection, wanted.where(), order, {**wanted.values, "limit": limit})


def count(connection: Connection[Any], filters: EventFilters, before: int | None = None) -> int:
    """How many events match all of `filters`, of those stored before a `position` if one is given.

    Raises as `events`.
    """
    with store_errors():
        wanted = _conditions(connection, filters, None)
        if before is not None:
            _restrict_to_stored_before(wanted, before)
        counts = [
            connection.execute(sql.SQL(SQL[name]) + wanted.where(), wanted.values).fetchone()
            for name in ("count_events", "count_kept")
        ]
    return sum(int(found[0]) for found in counts if found)


def position(connection: Connection[Any]) -> int:
    """How far storing has come: the id of the oldest transaction that may still be storing something.

    What is stored is not what occurred last: events of an hour ago may arrive now. Who reads `position` and events in
    one transaction, then what was stored after it, and so on, misses nothing; what he sees twice has the same id.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with store_errors():
        found = connection.execute(SQL["position"]).fetchone()
    return int(found[0]) if found else 0


def end_position(connection: Connection[Any]) -> int:
    """Where `position` will be, or beyond, once all that stores something now has ended.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with store_errors():
        found = connection.execute(SQL["end_position"]).fetchone()
    return int(found[0]) if found else 0


def event_json(event: StoredEvent) -> dict[str, Any]:
    """The one JSON shape of an event, for REST and CLI. Durations are milliseconds; hashes are hexadecimal."""
    return {
        "event_id": str(event.event_id),
        "occurred_at": event.occurred_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event_type": event.event_type,
        "component": event.component,
        "operation": event.operation,
        "level": event.level,
        "correlation_id": str(event.correlation_id),
        "execution_id": _text(event.execution_id),
        "parent_id": _text(event.parent_id),
        "step_path": event.step_path,
        "step_id": step_id(event.step_path),
        "step_type": event.step_type,
        "command_slug": event.command_slug,
        "definition_hash": _hex(event.definition_hash),
        "user_id": _hex(event.user_id),
        "space_id": _text(event.space_id),
        "request_source": event.request_source,
        "dry_run": event.dry_run,
        "attempt": event.attempt,
        "try": event.step_try,
        "duration_ms": _ms(event.duration_us),
        "outcome": event.outcome,
        "error_type": event.error_type,
        "error_category": event.error_category,
        "error_fingerprint": _hex(event.error_fingerprint),
        "fragment_id": _text(event.fragment_id),
        "mutations_count": event.mutations_count,
        "measures": _measures(event),
    }


def step_id(path: str | None) -> str | None:
    """The id a step was declared with, from its path: `triage[17].note` is a run of `note`."""
    return None if path is None else path.rpartition(".")[2].partition("[")[0]


def _measures(event: StoredEvent) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, value in (event.measures or {}).items():
        if key.endswith("_at_us"):
            shown[key.removesuffix("_us")] = from_unix_us(value).isoformat()
        elif key.endswith("_us"):
            shown[f"{key.removesuffix('_us')}_ms"] = _ms(value)
        else:
            shown[key] = value
    if event.event_type in _WHOLE_EXECUTIONS:
        shown["total_duration_ms"] = _ms(event.duration_us)
    return shown


def _conditions(connection: Connection[Any], filters: EventFilters, cursor: UUID | None) -> Conditions:
    whole = filters.whole()
    execution_id = whole.only("execution_id")
    wanted = conditions(whole)
    if execution_id is not None and whole.only("correlation_id") is None:
        # There is an index on the correlation id, and none on executions.
        found = connection.execute(SQL["find_correlation"], {"execution_id": execution_id}).fetchone()
        if found:
            wanted.add(sql.SQL("correlation_id = %(correlation_id)s"), correlation_id=found[0])
    if cursor is not None:
        wanted.add(sql.SQL("event_id < %(cursor)s"), cursor=cursor)
    return wanted


def _restrict_to_stored_after(connection: Connection[Any], wanted: Conditions, stored_after: int) -> bool:
    """Only events of transactions since then, looked for in the minutes that these touched; false if none did.

    An event may have been written in a part of its transaction, under an id that nobody notes. But that is never lower
    than the transaction's, so an event with an id below `stored_after` was there at that time.
    """
    after = {"stored_after": stored_after}
    touched = connection.execute(SQL["minutes_touched_after"], after).fetchall()
    if not touched:
        return False
    spans = []
    for first, end in touched:
        low, high = (wanted.parameter(least_id_at(minute * 60_000_000)) for minute in (first, end))
        spans.append(sql.SQL("event_id >= {} and event_id < {}").format(low, high))
    wanted.add(sql.SQL("({})").format(sql.SQL(" or ").join(spans)))
    wanted.add(
        sql.SQL("age(xmin) between 0 and age(%(stored_after)s::text::xid8::xid)"), stored_after=str(stored_after)
    )
    return True


def _restrict_to_stored_before(wanted: Conditions, before: int) -> None:
    """Only events of transactions that had ended then: an id below it is none that anybody still writes under.

    Rows keep their id when they are frozen, and the age of one that is two billion transactions old is negative.
    """
    wanted.add(
        sql.SQL("age(xmin) not between 0 and age(%(stored_before)s::text::xid8::xid)"), stored_before=str(before)
    )


def stored(where: sql.Composable, order: sql.Composable) -> sql.Composed:
    """A query over all events: of the days that have a partition, and those that outlived their day.

    Each is read with its own order and limit, for a page of the days is read from the newest on, and no further than
    it is full; through a view of both, every day would be begun.

    Args:
        where: Conditions, or nothing.
        order: By columns of events, and the limit if there is one.
    """
    each = sql.SQL("({select} {where} {order})")
    selects = (sql.SQL(SQL["select_events"]), sql.SQL(SQL["select_kept"]))
    parts = [each.format(select=select, where=where, order=order) for select in selects]
    return sql.Composed([sql.SQL(" union all ").join(parts), sql.SQL(" "), order])


def _select(
    connection: Connection[Any], where: sql.Composable, order: sql.Composable, values: Mapping[str, Any]
) -> list[StoredEvent]:
    with connection.cursor(row_factory=class_row(StoredEvent)) as cursor:
        return cursor.execute(stored(where, order), values).fetchall()


@contextmanager
def store_errors() -> Iterator[None]:
    """What Postgres raises while events are read, as our own errors."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise StoreTooSlow("reading events took too long", hint="Ask for a shorter time, or for fewer.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(f"events could not be read: {error}") from error


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _ms(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1000
