"""`python -m benchmarks.cleanup`: how long it takes to delete five million events, and what the disk has back.

Samples of six days are stored in servers of their own by `weir telemetry test`, five of the days older than events
stay; some traces are made to go on over midnight, some are pinned, chains are built and the tables looked at as
maintenance would. Then everything is copied into a second database of the same server, for the reference: the events of
one day deleted there by `delete`, and all the days dropped by bare `drop table`. What is measured is the whole of what
`weir telemetry cleanup --force` does: finding and keeping what stays, dropping, chains, and all else that is due.

Afterwards it is looked at whether all that should be kept is there, and nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from psycopg import Connection

from benchmarks.__main__ import OtherPrograms, quiet
from benchmarks.filling import fill
from benchmarks.servers import BenchmarkFailed, Servers, running_servers, wait_until
from telemetry.chains import build_chains
from telemetry.clock import SystemClock, to_unix_us
from telemetry.connections import connect
from telemetry.ids import least_id_at
from telemetry.retention import Day, list_days
from telemetry.settings import RetentionSettings
from telemetry.sql import queries
from workers.services.cleaner import STATEMENT_TIMEOUT, Cleaner

SQL = queries(__file__)

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
#: Days that are stored; all but the last are older than events stay.
_DAYS: Final = 6
#: Traces of each midnight that go on, and pinned ones of each day.
_GOING_ON: Final = 200
_PINNED: Final = 20
#: What is asked: so many events within so many seconds, and their disk within a minute.
_LIMIT: Final = (5_000_000, 5.0)
_DISK_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Disk:
    """What a database takes, in bytes.

    Attributes:
        tables: Files of its tables.
        log: The server's write-ahead log, of all databases.
    """

    tables: int
    log: int

    def __str__(self) -> str:
        return f"{self.tables / 1e6:,.0f} MB of tables, {self.log / 1e6:,.0f} MB of log"


def main(arguments: Sequence[str]) -> int:
    """Fill, clean, compare, print. The exit code: 1 if it took longer than it may, or something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cleanup", description="How long cleaning takes.")
    parser.add_argument("--events", type=int, default=_LIMIT[0], help="how many go, about")
    options = parser.parse_args(arguments)
    others = OtherPrograms()
    try:
        with quiet(), running_servers() as servers:
            seconds_of_all = _measure(servers, options.events)
    except BenchmarkFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"Other programs used {others.cores():.1f} cores meanwhile. Limits are for a machine that does nothing else.")
    return int(seconds_of_all > _LIMIT[1])


def _measure(servers: Servers, events: int) -> float:
    """Prints what was measured; returns the seconds for as many events as the limit is for."""
    today = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
    keep = RetentionSettings()
    until = today - (keep.raw_events_days - 1) * _DAY
    fill(servers, events * _DAYS // (_DAYS - 1), _DAYS, until)
    with _connected(servers.database_url) as connection:
        going = _prepare(connection, until)
        expected = _counts(connection, "expected", going[-1].ends)
    dropped, deleted, deleted_rows = _reference(servers, going)
    with _connected(servers.database_url) as connection:
        count = sum(day.events for day in going)
        before = _disk(connection)
        connecting = partial(
            connect, servers.database_url, name="weir cleaner", autocommit=True, statement_timeout=STATEMENT_TIMEOUT
        )
        begun, days_gone = perf_counter(), [0.0]
        said = partial(_note_day, begun, days_gone)
        result = Cleaner(connecting, keep, SystemClock()).run_once(patience=None, say=said)
        seconds = perf_counter() - begun
        if not result.is_done or [day.name for day in list_days(connection) if day.ends <= until - _DAY]:
            raise BenchmarkFailed("days that should go are there")
        freed = partial(_has_fallen, connection, before, sum(day.bytes for day in going))
        wait_until(freed, "the disk has the days back", _DISK_PATIENCE_S)
        returned = perf_counter() - begun
        kept = _counts(connection, "kept", going[-1].ends)
        if kept != expected:
            raise BenchmarkFailed(f"kept are {kept}, not {expected}")
        print(f"events that went           {count:>12,} in {len(going)} days")
        print(f"rows kept                  {sum(kept):>12,}: {kept[0]:,} of errors only, {kept[1]:,} of whole traces")
        print(f"days dropped after         {days_gone[-1]:>12.2f} s")
        print(f"cleanup, everything        {seconds:>12.2f} s: {count / seconds:,.0f} events a second")
        print(f"disk returned after        {returned:>12.2f} s")
        print(f"reference, drop table      {dropped:>12.2f} s for the same partitions, and nothing kept")
        print(f"reference, delete          {deleted:>12.2f} s for {deleted_rows:,} events, and no disk returned")
        print(f"data directory before: {before}")
        print(f"data directory after:  {_disk(connection)}")
    return seconds * _LIMIT[0] / count


def _prepare(connection: Connection[Any], until: datetime) -> list[Day]:
    """Make some traces go on and pin some, build chains, and have the tables looked at. The days that go."""
    connection.execute("vacuum analyze telemetry_events")
    going = [day for day in list_days(connection) if day.ends <= until - _DAY]
    for day in going:
        hour = {"first_id": _id(day.ends - _HOUR), "end_id": _id(day.ends), "until_id": _id(day.ends + _HOUR)}
        connection.execute(SQL["make_traces_go_on"], {**hour, "traces": _GOING_ON})
        connection.execute(SQL["pin_traces"], {**hour, "pins": _PINNED})
    while not build_chains(connection).is_done:
        pass
    connection.execute("vacuum analyze telemetry_correlation_chains")
    connection.execute("checkpoint")
    return going


def _counts(connection: Connection[Any], name: str, end: datetime) -> tuple[int, int]:
    """Rows that are kept because they are errors, and because their trace is: `expected`, or `kept`."""
    found = connection.execute(SQL[name], {"end_id": _id(end)}).fetchone()
    assert found is not None  # noqa: S101 - an aggregate has a row
    return found[0], found[1]


def _id(instant: datetime) -> UUID:
    return least_id_at(to_unix_us(instant))


def _reference(servers: Servers, going: Sequence[Day]) -> tuple[float, float, int]:
    """In a copy: seconds that `drop table` takes for all days; that `delete` takes for one; how many that deletes."""
    parts = urlsplit(servers.database_url)
    with _connected(urlunsplit(parts._replace(path="/postgres"))) as connection:
        connection.execute(f"create database reference template {parts.path[1:]} strategy file_copy".encode())
    with _connected(urlunsplit(parts._replace(path="/reference"))) as connection:
        smallest = min(going, key=lambda day: day.events)
        with connection.transaction(force_rollback=True):
            begun = perf_counter()
            rows = connection.execute(f"delete from {smallest.name}".encode()).rowcount  # noqa: S608 - of our own
            deleted = perf_counter() - begun
        begun = perf_counter()
        for day in going:
            connection.execute(f"drop table {day.name}".encode())
        dropped = perf_counter() - begun
    with _connected(urlunsplit(parts._replace(path="/postgres"))) as connection:
        connection.execute("drop database reference")
        connection.execute("checkpoint")
    return dropped, deleted, rows


def _disk(connection: Connection[Any]) -> Disk:
    found = connection.execute(SQL["where"]).fetchone()
    assert found is not None  # noqa: S101 - it has a row
    return Disk(_size(Path(found[0], "base", found[1])), _size(Path(found[0], "pg_wal")))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # Postgres has just removed it
    return total


def _has_fallen(connection: Connection[Any], before: Disk, bytes_: int) -> bool:
    """Whether the tables take less by nearly what the days took: some rows of them are kept elsewhere."""
    return before.tables - _disk(connection).tables >= bytes_ * 0.9


def _note_day(begun: float, days_gone: list[float], line: str) -> None:
    if line.startswith("events of "):
        days_gone.append(perf_counter() - begun)


@contextmanager
def _connected(url: str) -> Iterator[Connection[Any]]:
    with connect(url, name="weir benchmarks", autocommit=True, statement_timeout=STATEMENT_TIMEOUT) as connection:
        yield connection


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
