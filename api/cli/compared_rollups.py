"""What `weir telemetry verify --rollups` adds: whether roll-ups say what the events say."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from api.cli.output import Column, Item, local_time, table
from api.cli.progress import progress
from api.cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from psycopg import Connection

#: Differences that are named.
MOST_NAMED: Final = 20


def compared(connection: Connection[Any], since: datetime, until: datetime) -> Item:
    """Make every roll-up of a time anew, in one view of the database; what was compared, and what differs.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    from psycopg import IsolationLevel

    from telemetry.clock import to_unix_us
    from telemetry.rollups.comparison import compare, lock_events

    first, end = (to_unix_us(each) // 60_000_000 for each in (since, until))
    minutes: dict[str, int] = {}
    differences: list[Item] = []
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    with progress("comparing roll-ups") as bar, connection.transaction():
        lock_events(connection)
        for each in compare(connection, first, end):
            name = f"{each.width} by {each.dimension}"
            minutes[name] = minutes.get(name, 0) + each.minutes
            bar.note(name)
            differences += [_told(difference) for difference in each.differences]
    told = [{"buckets": name, "minutes": count} for name, count in minutes.items()]
    return {"compared": told, "differences_count": len(differences), "differences": differences[:MOST_NAMED]}


def show_compared(found: Item, terminal: Terminal) -> None:
    """Print it, for people."""
    count = found["differences_count"]
    spans = ", ".join(f"{each['buckets']} {_span(each['minutes'])}" for each in found["compared"])
    terminal.say()
    said = "equal to their events" if not count else f"NOT EQUAL to their events, {plural(count, 'difference')}"
    terminal.say(f"roll-ups: {said}", "failed" if count else "succeeded")
    terminal.say(f"compared: {spans or 'nothing, none is made of that time'}", "dim")
    for line in table(found["differences"], _DIFFERENCES, terminal) if count else ():
        terminal.say(line)
    if count:
        terminal.say("`weir telemetry rollup --from TIME --to TIME` makes them once more.", "dim")


def _span(minutes: int) -> str:
    from telemetry.settings import format_duration

    return format_duration(timedelta(minutes=minutes))


def _told(difference: Any) -> Item:  # noqa: ANN401 - a Difference, imported when it is needed
    return {
        "fault": difference.fault,
        "width": difference.width,
        "dimension": difference.dimension,
        "starts_at": difference.starts_at.isoformat(),
        "event_type": difference.event_type,
        "measure": difference.measure,
        "events": difference.events,
        "total": difference.total,
    }


_DIFFERENCES = (
    Column("FAULT", lambda row: row["fault"]),
    Column("WIDTH", lambda row: row["width"]),
    Column("BY", lambda row: row["dimension"]),
    Column("BEGINS", lambda row: local_time(row["starts_at"])),
    Column("TYPE", lambda row: row["event_type"], shrinks=True),
    Column("MEASURE", lambda row: row["measure"]),
    Column("EVENTS", lambda row: str(row["events"]), right=True),
)
