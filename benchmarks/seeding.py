"""A database as it is after a month of work: executions with their steps, claims, changes, keys and occurrences."""

from __future__ import annotations

from psycopg import Connection

from telemetry.sql import queries

SQL = queries(__file__)

#: Executions that are not final, at most; and at most a tenth of all.
MAX_OPEN = 3000


def seed(connection: Connection, count: int) -> None:
    """Store executions in a migrated database that has none, and look at the tables as autovacuum would.

    Nine in ten have succeeded; of the newest, some are queued behind whatever else is submitted to the default lane,
    others scheduled for later, waiting for a child, or running on a worker whose lease lasts.

    Args:
        connection: In autocommit mode.
        count: How many, from 100 to some millions: a million takes two or three minutes and 3 GB.
    """
    parameters = {"count": count, "open": min(count // 10, MAX_OPEN)}
    for name in SQL:
        connection.execute(SQL[name], parameters if name == "executions" else {})
    connection.execute("vacuum analyze")
