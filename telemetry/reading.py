"""Transactions that only read: each has one view of the database, a limit on every statement, and cannot write.

While one is open, no day of events is dropped; whoever drops one tries again (`telemetry.partitions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from psycopg import Connection, sql
from psycopg_pool import ConnectionPool

_ONE_VIEW: Final = "set local hash_mem_multiplier = 16; lock table only telemetry_events in access share mode"
#: One round trip for all. What it sees is fixed by its first statement that reads: the lock comes before that. A table
#: that is dropped is gone for older views, too; held like this, no day of events is dropped while somebody reads, and
#: what he sees was there at one moment, in its day or kept. Tables of groups get 16 times `work_mem`: Postgres thinks
#: that what is grouped by several expressions has nearly as many groups as rows, and where it sees no room for them it
#: sorts all rows on disk. There are dozens, and they take kilobytes.
_BEGIN: Final = sql.SQL(
    "begin isolation level repeatable read, read only; set local statement_timeout = {}; " + _ONE_VIEW
)


@contextmanager
def reading(pool: ConnectionPool[Any], timeout: timedelta) -> Iterator[Connection[Any]]:
    """A connection inside a transaction that reads: Postgres itself refuses whatever would write.

    Not a role of its own: that would be one more thing to make, to grant and to lose on every server of the users'.

    Args:
        pool: Of connections in autocommit mode.
        timeout: How long one statement may run, if the connections' own limit is not shorter.

    Raises:
        psycopg.errors.QueryCanceled: A statement ran longer.
        psycopg.errors.ReadOnlySqlTransaction: A statement would have written.
        psycopg_pool.PoolTimeout: No connection was free in time.
    """
    with pool.connection() as connection:
        # The pool's own block ends it: with a commit, or a rollback when something was raised.
        connection.execute(_BEGIN.format(timeout // timedelta(milliseconds=1)))
        yield connection


@contextmanager
def one_view(connection: Connection[Any]) -> Iterator[None]:
    """The same for a connection that has limits of its own, and all of whose transactions have one view.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    with connection.transaction():
        connection.execute(_ONE_VIEW)
        yield
