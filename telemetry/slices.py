"""Deleting old rows of a table in slices: each a transaction of bounded size, from the oldest row on.

A kind of rows is one entry: its table, the column that sorts by time and has an index, the column that says how old a
row is, and what stays whatever its age. Killed anywhere, whole slices are gone and the next run goes on with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import Connection, sql
from psycopg.rows import scalar_row

from telemetry.archive import Archive
from telemetry.sql import queries
from telemetry.store import append_batch

SQL = queries(__file__)

#: Rows of one slice.
SLICE_ROWS: Final = 5000
#: Rows that the size of all is reckoned from.
_SAMPLE_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows that are deleted once they are old.

    Attributes:
        name: What people call them.
        table: Where they are.
        key: A column that sorts as rows came to be, with an index; values are of one row each.
        time: When a row was, timestamptz. A later key may have an earlier time.
        stays: A condition for rows `t` that stay, whatever their age and number.
        whole: The row as it is archived, JSON.
        are_events: Whether whoever follows the store has to be told that some are gone.
    """

    name: str
    table: str
    key: str
    time: str
    stays: LiteralString = "false"
    whole: LiteralString = "to_jsonb(t)"
    are_events: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """What may stay of a kind.

    Attributes:
        before: Rows of before this instant go.
        max_rows: Older ones go until there are no more than these.
        max_bytes: And until they take no more than these.
    """

    before: datetime
    max_rows: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How large a table is.

    Attributes:
        rows: By the server's last count.
        bytes: On disk, with indexes and what was deleted and not yet used again.
    """

    rows: int
    bytes: int


_IN_ORDER: Final = sql.SQL("select {key} from {table} order by {key} desc offset %(max_rows)s limit 1")
_SAMPLE: Final = sql.SQL(
    "select avg(pg_column_size(s.*)) from (select * from {table} tablesample system (%(percent)s) limit %(rows)s) as s"
)
_GOES: Final = sql.SQL("(t.{time} < %(before)s or t.{key} <= %(last)s) and not ({stays})")
_COUNT: Final = sql.SQL("select count(*) from {table} as t where {goes}")
_SLICE: Final = sql.SQL(
    "with slice as materialized ("
    " select {key} as key, {time} < %(before)s or {key} <= %(last)s as is_old from {table} {after} order by {key}"
    " limit %(rows)s"
    "), gone as ("
    " delete from {table} as t using slice where t.{key} = slice.key and {goes} returning {whole}::text as whole"
    ") select (select count(*) from slice), (select count(*) from slice where is_old),"
    " (select key from slice order by key desc limit 1),"
    " (select count(*) from gone), (select array_agg(whole) from gone where %(archived)s)"
)
_FIRST: Final = sql.SQL("")
_AFTER: Final = sql.SQL("where {key} > %(after)s")


def size_of(connection: Connection[Any], table: str) -> Size | None:
    """How large a table is; None if there is none of that name.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    found = connection.execute(SQL["size"], {"table": table}).fetchone()
    return None if found is None else Size(*found)


def most_rows(connection: Connection[Any], limit: Limit, *tables: str) -> int | None:
    """How many rows of the first table may stay, by number and by bytes of all of them.

    Bytes are the average of a sample of each table times its rows: what was deleted before does not count, although
    it takes room until it is used again.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    if limit.max_bytes is None:
        return limit.max_rows
    sizes = {table: size for table in tables if (size := size_of(connection, table)) is not None}
    taken = sum(size.rows * _row_bytes(connection, table, size) for table, size in sizes.items())
    if taken <= limit.max_bytes:
        return limit.max_rows
    fitting = int(sizes[tables[0]].rows * limit.max_bytes / taken)
    return fitting if limit.max_rows is None else min(fitting, limit.max_rows)


def newest_beyond(connection: Connection[Any], table: str, key: str, max_rows: int | None) -> Any:  # noqa: ANN401 - of the key's type
    """The key of the newest row that is one too many; None if there is none.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    if max_rows is None:
        return None
    statement = _IN_ORDER.format(table=sql.Identifier(table), key=sql.Identifier(key))
    return connection.cursor(row_factory=scalar_row).execute(statement, {"max_rows": max_rows}).fetchone()


def count_going(connection: Connection[Any], kind: Kind, limit: Limit) -> int:
    """How many rows `delete_slices` would delete.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    values = {"before": limit.before, "last": _last(connection, kind, limit)}
    statement = _COUNT.format(table=sql.Identifier(kind.table), goes=_goes(kind))
    return connection.cursor(row_factory=scalar_row).execute(statement, values).fetchone() or 0


def delete_slices(  # noqa: PLR0913 - one keyword each
    connection: Connection[Any],
    kind: Kind,
    limit: Limit,
    *,
    go_on: Callable[[], bool],
    archive: Archive | None = None,
    archive_name: str = "",
    rows: int = SLICE_ROWS,
) -> Iterator[int]:
    """Delete what is old or too much; yields how many went with each slice, after it is committed.

    Args:
        connection: In autocommit mode.
        kind: Of rows.
        limit: What may stay.
        go_on: Asked before each slice.
        archive: Where rows are written before they are gone.
        archive_name: Of the file there.
        rows: Of a slice.

    Raises:
        ArchiveFailed: A slice could not be written; it is there.
        psycopg.Error: Postgres did not answer; whole slices are gone.
    """
    names = {
        "table": sql.Identifier(kind.table),
        "key": sql.Identifier(kind.key),
        "time": sql.Identifier(kind.time),
        "goes": _goes(kind),
        "whole": sql.SQL(kind.whole),
    }
    values = {
        "before": limit.before,
        "last": _last(connection, kind, limit),
        "rows": rows,
        "archived": archive is not None,
    }
    after: sql.Composable = _FIRST
    while go_on():
        with connection.transaction():
            found = connection.execute(_SLICE.format(**names, after=after), values).fetchone()
            assert found is not None  # noqa: S101 - it has a row
            seen, old, values["after"], gone, whole = found
            if archive is not None and whole:
                archive.append(archive_name, whole)
            if kind.are_events and gone:
                append_batch(connection, events=0, duplicates=0, minutes=())
        yield gone
        if seen < rows or old == 0:
            return
        after = _AFTER.format(key=names["key"])


def _goes(kind: Kind) -> sql.Composed:
    return _GOES.format(time=sql.Identifier(kind.time), key=sql.Identifier(kind.key), stays=sql.SQL(kind.stays))


def _last(connection: Connection[Any], kind: Kind, limit: Limit) -> Any:  # noqa: ANN401 - of the key's type
    return newest_beyond(connection, kind.table, kind.key, most_rows(connection, limit, kind.table))


def _row_bytes(connection: Connection[Any], table: str, size: Size) -> float:
    percent = min(100.0, 100.0 * _SAMPLE_ROWS / max(1, size.rows))
    values = {"percent": percent, "rows": _SAMPLE_ROWS}
    found = connection.cursor(row_factory=scalar_row).execute(_SAMPLE.format(table=sql.Identifier(table)), values)
    return float(found.fetchone() or 0)
