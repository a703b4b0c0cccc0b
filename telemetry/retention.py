"""How long events stay: days are dropped whole, and what outlives its day is kept apart.

A day goes in one transaction: take it from everybody; copy what is kept to `telemetry_events_kept`; forget what was
kept for traces that end with this day; note that the day is sealed; drop it, as the last statement. Killed anywhere,
nothing of that has happened. So a trace is there as a whole or not at all, but for its errors, which stay longer.

What is kept: errors, for as long as they may stay; pinned traces; and the rows of traces that end in a later day, until
that goes too, at most `WHOLE_FOR` later. Where a day goes because all of them take too many bytes, traces are cut.

A component that stays for fewer days loses them one by one, each whole and sealed in one transaction; errors and pinned
traces stay there for as long as the day does. The day that is sealed keeps `telemetry.completeness` and the reconciler
from looking for what is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from psycopg import Connection, sql
from psycopg.errors import LockNotAvailable
from psycopg.rows import class_row, scalar_row

from telemetry.archive import Archive
from telemetry.clock import SystemClock, to_unix_us
from telemetry.ids import least_id_at
from telemetry.partitions import SQL as PARTITIONS
from telemetry.partitions import drop_partition, pause
from telemetry.rollups.aggregator import Aggregator, is_clean
from telemetry.rows import COLUMNS
from telemetry.sql import queries
from telemetry.store import append_batch

SQL = queries(__file__)

#: How long after its day a row is kept for the rest of its trace.
WHOLE_FOR: Final = timedelta(days=7)

#: Rows of the ledger by the component of their events; others have none.
LEDGER_KINDS: Final = {
    "command": ("queued", "claim", "retry", "final"),
    "dsl": ("step",),
    "fragment": ("mutation",),
    "schedule": ("occurrence",),
}

Reason = Literal["age", "rows", "bytes"]

_DAY: Final = timedelta(days=1)
_MINUTE_US: Final = 60_000_000
#: Stretches of minutes that one statement names; of more, the whole time from the first to the last is looked at.
_MOST_SPANS: Final = 100

_COLUMNS: Final = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
_HAS_FINGERPRINT: Final = sql.SQL("e.error_fingerprint is not null and e.event_id >= %(errors_from)s")
#: As the index telemetry_events_failed says it.
_HAS_NONE: Final = sql.SQL("e.level = 'error' and e.error_fingerprint is null and e.event_id >= %(errors_from)s")
_IS_ERROR: Final = sql.SQL("({} or {})").format(_HAS_FINGERPRINT, _HAS_NONE)
_IS_PINNED: Final = sql.SQL("exists (select from telemetry_pins as p where p.correlation_id = e.correlation_id)")
_LOCK: Final = sql.SQL("lock table {day} in share row exclusive mode")
_LOCK_TIMEOUT: Final = "500ms"
_LIST: Final = sql.SQL("insert into telemetry_traces_kept {traces}")
# An index for each of the three reasons: what goes is a hundred times what is kept, and is not looked at.
_KEEP: Final = sql.SQL(
    "insert into telemetry_events_kept ({columns})"
    " select {columns} from {day} as e where {has_fingerprint}"
    " union all select {columns} from {day} as e where {has_none}"
    " union all select {columns} from telemetry_traces_kept join {day} as e using (correlation_id)"
    " on conflict (event_id) do nothing"
)
_PINNED: Final = sql.SQL("select correlation_id from telemetry_pins")
# A chain of too many events may end later than it says.
_CHAINED: Final = sql.SQL(
    "select correlation_id from telemetry_correlation_chains as c where first_event_id < %(end_id)s"
    " and (last_event_id >= %(end_id)s"
    " or truncated and exists (select from ({later}) as l where l.correlation_id = c.correlation_id))"
)
# Of minutes that chains do not tell of yet: what goes on later, and what came late to this day.
_UNCHAINED_LATER: Final = sql.SQL(
    "select l.correlation_id from ({later}) as l where ({spans})"
    " and exists (select from {day} as d where d.correlation_id = l.correlation_id)"
)
_UNCHAINED_HERE: Final = sql.SQL(
    "select l.correlation_id from {day} as l where ({spans})"
    " and exists (select from ({later}) as d where d.correlation_id = l.correlation_id)"
)
_SPAN: Final = sql.SQL("l.event_id >= {first} and l.event_id < {end} and l.component <> 'telemetry'")
_FORGET: Final = sql.SQL(
    "with passing as materialized ("
    " select e.event_id, e.correlation_id from telemetry_events_kept as e"
    " where e.event_id < %(end_id)s and not {is_error} and not {is_pinned}"
    "), ended as materialized ("
    " select correlation_id from (select distinct correlation_id from passing) as p"
    " where not exists (select from ({later}) as l where l.correlation_id = p.correlation_id)"
    "), gone as ("
    " delete from telemetry_events_kept as e using passing"
    " where e.event_id = passing.event_id"
    " and (e.event_id < %(whole_from)s or e.correlation_id in (select correlation_id from ended))"
    " returning e.correlation_id"
    ") update telemetry_correlation_chains as c set cut = true from gone where c.correlation_id = gone.correlation_id"
)
_NO_LATER: Final = sql.SQL("select null::uuid as event_id, null::uuid as correlation_id, '' as component where false")
_COUNT: Final = sql.SQL("select count(*) from {day} as e where {gone}")
_DELETE: Final = sql.SQL("delete from {day} as e where {gone}")
_OF_COMPONENT: Final = sql.SQL("e.component = %(component)s and not {is_error} and not {is_pinned}")
_ROWS: Final = sql.SQL("select row_to_json(e)::text from {day} as e where {gone} order by e.event_id")


@dataclass(frozen=True, slots=True)
class Day:
    """A day of events.

    Attributes:
        name: Of its partition.
        events: How many, by the server's last count.
        bytes: On disk, with indexes.
    """

    name: str
    events: int
    bytes: int

    @property
    def begins(self) -> datetime:
        """Its first instant, in UTC."""
        return datetime.strptime(self.name[-8:], "%Y%m%d").replace(tzinfo=UTC)

    @property
    def ends(self) -> datetime:
        """The first instant after it."""
        return self.begins + _DAY


def list_days(connection: Connection[Any]) -> list[Day]:
    """The days that have a partition, oldest first.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    return connection.cursor(row_factory=class_row(Day)).execute(SQL["list_days"]).fetchall()


def days_to_drop(
    days: Sequence[Day], now: datetime, *, older_than: timedelta, max_rows: int | None, max_bytes: int | None
) -> list[tuple[Day, Reason]]:
    """Which days go, and why, oldest first. Never today, nor one that is still to come.

    Args:
        days: Oldest first.
        now: Aware.
        older_than: Every day goes whose last event is that old.
        max_rows: Days go until there are no more events than these; None: as many as there are.
        max_bytes: Days go until they take no more than these.
    """
    going: list[tuple[Day, Reason]] = []
    rows, size = sum(day.events for day in days), sum(day.bytes for day in days)
    for day in days:
        if day.ends > now:
            break
        if day.ends <= now - older_than:
            going.append((day, "age"))
        elif max_bytes is not None and size > max_bytes:
            going.append((day, "bytes"))
        elif max_rows is not None and rows > max_rows:
            going.append((day, "rows"))
        else:
            break
        rows, size = rows - day.events, size - day.bytes
    return going


def drop_day(  # noqa: PLR0913 - one keyword each
    connection: Connection[Any],
    day: Day,
    *,
    reason: Reason,
    errors_from: datetime,
    archive: Archive | None = None,
    tries: int = 10,
) -> bool:
    """Drop a day, with what is kept of it kept. Whether it is gone; false if somebody held it all the time.

    1. Make its roll-ups, which are all that will be known of it, and write the archive. 2. In one short transaction,
    take the day from everybody: a late event waits, and then has nowhere to go, as any that is too old; one that came
    since the roll-ups or the archive has all of this done again. 3. Keep what is kept. 4. Forget what was kept only for
    traces that end here, and mark the chains of which some events are gone. 5. Seal and drop. The chains of traces that
    are gone are left to `forget_chains`.

    Args:
        connection: In autocommit mode, without a time limit that a day's events would exceed.
        day: Of `list_days`.
        reason: Why it goes; with `bytes` no trace is kept whole.
        errors_from: Errors of this time or later are kept.
        archive: Where all of its events are written before.
        tries: How often it is tried to take it from everybody, waiting 500 ms each time.

    Raises:
        ArchiveFailed: It could not be written; the day is there.
        psycopg.Error: Postgres did not answer, or refused; the day is there.
    """
    values = {
        "errors_from": _least(errors_from),
        "whole_from": _least(day.ends - WHOLE_FOR),
        "first_id": _least(day.begins),
        "end_id": _least(day.ends),
    }

    def keep() -> bool:
        if not _is_rolled_up(connection, day) or (view is not None and _has_changed(connection, day, view)):
            return False
        _keep(connection, day, reason, values)
        _seal(connection, day, "")
        return True

    for number in range(tries):
        if number:
            pause()
        roll_up(connection, day)
        view = None if archive is None else _archived(connection, day, archive)
        if drop_partition(connection, day.name, tries=1, before=keep):
            return True
    return False


def forget_chains(connection: Connection[Any], day: Day) -> int:
    """Delete the chains of traces that ended in a day, if none of their events is kept. Returns how many.

    Those that ended earlier, whose events were kept until now, are left to the cleaner: each call would go over them.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    return connection.execute(
        SQL["forget_chains"], {"first_id": _least(day.begins), "end_id": _least(day.ends)}
    ).rowcount


def _archived(connection: Connection[Any], day: Day, archive: Archive) -> str:
    """Write all events of a day; the view of before, which has them all if nothing came since."""
    view = connection.cursor(row_factory=scalar_row).execute(SQL["view"]).fetchone()
    rows = _ROWS.format(day=sql.Identifier(day.name), gone=sql.SQL("true"))
    archive.write(f"telemetry_events-{day.begins:%Y-%m-%d}", connection, rows)
    return str(view)


def _has_changed(connection: Connection[Any], day: Day, view: str) -> bool:
    """Whether something was stored or removed in a day that is not visible in a view."""
    first, end = (to_unix_us(instant) // _MINUTE_US for instant in (day.begins, day.ends))
    told = connection.execute(SQL["has_changed"], {"view": view, "first": first, "end": end}).fetchone()
    return told == (True,)


def _keep(connection: Connection[Any], day: Day, reason: Reason, values: dict[str, Any]) -> None:
    """Copy what outlives a day, forget what does not any more, and mark chains that are cut by that."""
    later = _later(connection, day)
    names = {"day": sql.Identifier(day.name), "columns": _COLUMNS, "is_error": _IS_ERROR, "is_pinned": _IS_PINNED}
    names |= {"has_fingerprint": _HAS_FINGERPRINT, "has_none": _HAS_NONE}
    connection.execute(SQL["limit_memory"])
    traces = _PINNED if reason == "bytes" else _going_on(connection, day, later)
    connection.execute(SQL["make_list_of_traces"])
    connection.execute(_LIST.format(traces=traces), values)
    connection.execute(SQL["count_list_of_traces"])
    connection.execute(_KEEP.format(**names), values)
    connection.execute(_FORGET.format(**names, later=_events_of(later)), values)
    if reason == "bytes":
        connection.execute(SQL["cut_chains_that_go_on"], values)
    connection.execute(SQL["cut_chains"], values)


def clear_component(
    connection: Connection[Any], day: Day, component: str, *, errors_from: datetime, archive: Archive | None = None
) -> int:
    """Delete the events that a component has in a day, but for errors and pinned traces. Returns how many.

    Seal and deletion are one transaction, and whoever follows the store is told. The place is used again once the day
    is vacuumed, and given back to the disk when the day is dropped. While roll-ups do not tell of all its events,
    nothing is deleted.

    Raises:
        ArchiveFailed: It could not be written; nothing is deleted.
        psycopg.Error: Postgres did not answer, or refused; nothing is deleted.
    """
    gone = _OF_COMPONENT.format(is_error=_IS_ERROR, is_pinned=_IS_PINNED)
    values = {"component": component, "errors_from": _least(errors_from)}
    roll_up(connection, day)
    try:
        with connection.transaction():
            # No late event between what roll-ups tell of and what is deleted.
            connection.execute(PARTITIONS["limit_waiting"], {"timeout": _LOCK_TIMEOUT})
            connection.execute(_LOCK.format(day=sql.Identifier(day.name)))
            if not _is_rolled_up(connection, day):
                return 0
            _seal(connection, day, component)
            if archive is not None and component_events(connection, day, component, errors_from):
                rows = _ROWS.format(day=sql.Identifier(day.name), gone=gone)
                archive.write(f"telemetry_events-{day.begins:%Y-%m-%d}-{component}", connection, rows, values)
            count = connection.execute(_DELETE.format(day=sql.Identifier(day.name), gone=gone), values).rowcount
            if count:
                # Of the whole day: what is left of a trace may be in other minutes than what is gone.
                first, end = (to_unix_us(instant) // _MINUTE_US for instant in (day.begins, day.ends))
                append_batch(connection, events=0, duplicates=0, minutes=range(first, end))
            return count
    except LockNotAvailable:  # somebody stores late events; the next round is soon enough
        return 0


def component_events(connection: Connection[Any], day: Day, component: str, errors_from: datetime) -> int:
    """How many events `clear_component` would delete.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    gone = _OF_COMPONENT.format(is_error=_IS_ERROR, is_pinned=_IS_PINNED)
    values = {"component": component, "errors_from": _least(errors_from)}
    count = _COUNT.format(day=sql.Identifier(day.name), gone=gone)
    return connection.cursor(row_factory=scalar_row).execute(count, values).fetchone() or 0


def roll_up(connection: Connection[Any], day: Day) -> None:
    """Make the roll-ups of a day that is to lose events, if they are not made.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    if not _is_rolled_up(connection, day):
        Aggregator(connection, SystemClock()).make_day(to_unix_us(day.begins) // _MINUTE_US)


def _is_rolled_up(connection: Connection[Any], day: Day) -> bool:
    return is_clean(connection, *(to_unix_us(instant) // _MINUTE_US for instant in (day.begins, day.ends)))


def pin(connection: Connection[Any], correlation_id: UUID) -> None:
    """Let no cleaning take a trace, whatever its age.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    connection.execute(SQL["pin"], {"correlation_id": correlation_id})


def unpin(connection: Connection[Any], correlation_id: UUID) -> bool:
    """Treat a trace as all others again; whether it was pinned.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    return connection.execute(SQL["unpin"], {"correlation_id": correlation_id}).rowcount == 1


def _later(connection: Connection[Any], day: Day) -> list[Day]:
    return [each for each in list_days(connection) if each.begins > day.begins]


def _going_on(connection: Connection[Any], day: Day, later: Sequence[Day]) -> sql.Composed:
    """A query of the traces that are kept whole: pinned ones, and those that go on later.

    Chains say where traces end. Of what they were not built from yet, the events are looked at.
    """
    followed = _events_of(each for each in later if each.begins < day.ends + WHOLE_FOR)
    parts: list[sql.Composable] = [_PINNED, _CHAINED.format(later=followed)]
    since = {"first_minute": to_unix_us(day.begins) // _MINUTE_US}
    unread = connection.execute(SQL["unread_minutes"], since).fetchall()
    if len(unread) > _MOST_SPANS:
        unread = [(unread[0][0], unread[-1][1])]
    if unread:
        bounds = (tuple(least_id_at(minute * _MINUTE_US) for minute in span) for span in unread)
        spans = sql.SQL(" or ").join(_SPAN.format(first=first, end=end) for first, end in bounds)
        names = {"day": sql.Identifier(day.name), "later": followed, "spans": spans}
        parts += [_UNCHAINED_LATER.format(**names), _UNCHAINED_HERE.format(**names)]
    return sql.SQL(" union ").join(parts)


def _events_of(days: Iterable[Day]) -> sql.Composable:
    """Events of some days, by name: through their parent, all days would be locked and read."""
    each = sql.SQL("select event_id, correlation_id, component from {day}")
    parts = [each.format(day=sql.Identifier(day.name)) for day in days]
    return sql.SQL(" union all ").join(parts) if parts else _NO_LATER


def _seal(connection: Connection[Any], day: Day, component: str) -> None:
    kinds = LEDGER_KINDS.get(component, ()) if component else sum(LEDGER_KINDS.values(), ())
    values = {
        "day": f"{day.begins:%Y%m%d}",
        "component": component,
        "first_id": _least(day.begins),
        "end_id": _least(day.ends),
        "kinds": list(kinds),
    }
    connection.execute(SQL["seal"], values)


def _least(instant: datetime) -> UUID:
    return least_id_at(to_unix_us(instant))
