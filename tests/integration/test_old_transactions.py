"""What was stored more than two billion transactions ago is read like everything else."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fixtures.running import start_server
from fixtures.samples import make_scope, make_step, now_us
from psycopg import Connection

from migrations.runner import migrate
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.export.request import ExportRequest
from telemetry.partitions import make_partitions
from telemetry.query import EventFilters, count, events, position, stored_before
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events
from workers.embedded.postgres import EmbeddedPostgres
from workers.export_sources import sources_of
from workers.home import Home
from workers.processes import find_server_user, run

#: Transactions whose state one file of Postgres keeps; a jump ends where such a file begins.
A_FILE = 1 << 20
MINUTE_US = 60_000_000


@pytest.fixture
def home(open_folder: Path) -> Home:
    made = Home(open_folder / "home")
    made.prepare(find_server_user())
    return made


def store(connection: Connection[Any]) -> UUID:
    """One event, and one finding of a check-up."""
    event = make_step(make_scope(), now_us())
    with connection.transaction():
        insert_events(connection, [RowEncoder().encode(event)])
        append_batch(connection, events=1, duplicates=0, minutes=[event.occurred_at_us // MINUTE_US])
        connection.execute(
            "insert into telemetry_health_checks (id, window_at, checked_at, name, component, status)"
            " values (%s, clock_timestamp(), now(), 'disk', 'disk', 'healthy')",
            [UUID(bytes=event.event_id)],
        )
    return UUID(bytes=event.event_id)


def freeze(server: EmbeddedPostgres) -> None:
    """As autovacuum does long before, or Postgres takes no more transactions."""
    with connect(server.url, name="test", autocommit=True) as connection:
        connection.execute("update pg_database set datallowconn = true")
        databases = [name for (name,) in connection.execute("select datname from pg_database").fetchall()]
    for database in databases:
        with connect(server.url.replace("/weir?", f"/{database}?"), name="test", autocommit=True) as connection:
            connection.execute("vacuum (freeze)")


def skip_transactions(home: Home, server: EmbeddedPostgres, files: int) -> None:
    """Let the next transaction be that with this number; the server is stopped."""
    data = home.postgres / "data"
    states, owner = data / "pg_xact" / f"{files:04X}", data.stat()
    states.write_bytes(bytes(A_FILE // 4))  # of two bits each
    os.chown(states, owner.st_uid, owner.st_gid)
    resetwal = Path(server.launch().argv[0]).with_name("pg_resetwal")
    next_id = str(files * A_FILE)
    done = run(resetwal, "-x", next_id, "-D", data, user=find_server_user(), directory=home.postgres)
    assert done.returncode == 0, done.stderr


@pytest.mark.req("S-07")
def test_rows_older_than_half_of_all_transaction_ids_are_exported_and_told_once(home: Home) -> None:
    server, log = EmbeddedPostgres(home, durable=False), home.logs / "postgres.log"
    with ExitStack() as first:
        start_server(first, server, log)
        migrate(server.url)
        with connect(server.url, name="test", autocommit=True) as connection:
            make_partitions(connection, SystemClock().now(), 1)
            old = store(connection)
        freeze(server)
    skip_transactions(home, server, 1500)
    with ExitStack() as second:
        start_server(second, server, log)
        freeze(server)
    skip_transactions(home, server, 3000)

    with ExitStack() as third:
        start_server(third, server, log)
        connection = third.enter_context(connect(server.url, name="test", autocommit=True))
        assert connection.execute("select age(xmin) < 0 from telemetry_events").fetchone() == (True,)
        before = position(connection)
        new = store(connection)
        after = position(connection)

        everything = EventFilters()
        assert [event.event_id for event in stored_before(connection, everything, before, 10)] == [old]
        assert count(connection, everything, before) == 1
        assert count(connection, everything, after) == 2
        assert [event.event_id for event in events(connection, everything, 10, None, before).items] == [new]
        for source in sources_of(ExportRequest(beside=("health",))):
            assert [UUID(found) for found, _ in source.page(connection, after, None, 10)] == [old, new]
            assert source.count(connection, before) == 1
