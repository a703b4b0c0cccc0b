"""Events into Postgres: rows of binary COPY into `telemetry_events`, each event once however often it comes.

Rows are encoded by `telemetry.rows`. Whoever calls decides on the transaction: nothing here commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from psycopg import Connection, sql

from telemetry.rows import COLUMNS
from telemetry.sql import queries

SQL = queries(__file__)

#: Rows handed to the driver at a time: enough that a call costs nothing, few enough that Postgres starts at once.
_ROWS_PER_WRITE: Final = 250

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"

_COLUMN_LIST: Final = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
_COPY: Final = sql.SQL("copy {} ({}) from stdin (format binary)")


#: How long one statement that stores a batch may run.
STATEMENT_TIMEOUT = timedelta(seconds=30)


def prepare_session(connection: Connection[Any], timeout: timedelta = STATEMENT_TIMEOUT) -> None:
    """Make a connection fit for storing: autocommit, a time limit, and a commit that is on disk when it returns."""
    connection.set_autocommit(True)
    connection.execute(SQL["prepare_session"], {"timeout": str(timeout // timedelta(milliseconds=1))})


def insert_events(connection: Connection[Any], rows: Iterable[bytes]) -> int:
    """Store encoded rows that are new, by COPY straight into the table. Returns how many.

    `rows` is consumed while Postgres works on what was sent, so a generator that decodes overlaps with it.

    Raises:
        psycopg.errors.UniqueViolation: One of them is stored already; use `insert_new_events`. Nothing was stored.
        psycopg.errors.CheckViolation: One of them belongs to a day without partition. Nothing was stored.
    """
    return _copy(connection, "telemetry_events", rows)


def insert_new_events(connection: Connection[Any], rows: Iterable[bytes]) -> int:
    """Store those of the encoded rows that are not stored yet, by way of a staging table. Returns how many were new.

    Needs a transaction: the staging table, the session's own, is empty after each.

    Raises:
        psycopg.errors.CheckViolation: One of them belongs to a day without partition. Nothing was stored.
    """
    connection.execute(SQL["create_staging"])
    _copy(connection, "telemetry_staging", rows)
    return connection.execute(SQL["insert_staged"]).rowcount


def clear_staging(connection: Connection[Any]) -> None:
    """Empty the staging table, for another part of the same transaction."""
    connection.execute(SQL["clear_staging"])


def append_batch(connection: Connection[Any], *, events: int, duplicates: int, minutes: Iterable[int]) -> None:
    """Note what this transaction stored, for whoever follows the store. A row of its own, never changed.

    Args:
        connection: In the transaction that stores the events.
        events: How many are new.
        duplicates: How many were there.
        minutes: Minutes since 1970 that they occurred in.
    """
    told = "{" + ",".join(f"[{minute},{minute + 1})" for minute in minutes) + "}"
    connection.execute(SQL["append_batch"], {"events": events, "duplicates": duplicates, "minutes": told})


def _copy(connection: Connection[Any], table: str, rows: Iterable[bytes]) -> int:
    with connection.cursor() as cursor:
        with cursor.copy(_COPY.format(sql.Identifier(table), _COLUMN_LIST)) as copy:
            copy.write(_HEADER)
            for chunk in _chunks(rows):
                copy.write(chunk)
            copy.write(_TRAILER)
        return cursor.rowcount


def _chunks(rows: Iterable[bytes]) -> Iterator[bytes]:
    iterator = iter(rows)
    while chunk := b"".join(islice(iterator, _ROWS_PER_WRITE)):
        yield chunk
