"""Reading without writing, and answers that are kept: never stale, never more than they may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from fixtures.samples import make_scope, make_step
from psycopg_pool import ConnectionPool

from telemetry.clock import SystemClock
from telemetry.connections import connect, open_pool
from telemetry.foreign import remove
from telemetry.partitions import make_partitions
from telemetry.query import EventFilters, count
from telemetry.query_cache import QueryCache
from telemetry.reading import reading
from telemetry.retention import Day, clear_component, drop_day, list_days, pin, unpin
from telemetry.rows import RowEncoder
from telemetry.slices import Limit, delete_slices
from telemetry.store import append_batch, insert_events
from telemetry.testing import ManualClock
from workers.services.retained import RETAINED

TTL = timedelta(minutes=15)
DAY = timedelta(days=1)


@pytest.fixture
def readers(database_url: str) -> Iterator[ConnectionPool[psycopg.Connection]]:
    """A pool as processes have it: in autocommit mode."""
    with open_pool(database_url, name="weir test", max_size=2, autocommit=True) as pool:
        yield pool


@pytest.fixture
def writer(connection: psycopg.Connection) -> psycopg.Connection:
    """Stores events."""
    make_partitions(connection, SystemClock().now(), 1)
    return connection


def store(connection: psycopg.Connection) -> None:
    with connection.transaction():
        insert_events(connection, [RowEncoder().encode(make_step(make_scope(request_source="sample")))])
        append_batch(connection, events=1, duplicates=0, minutes=[1])


class Asker:
    """Asks a cache how many events there are."""

    def __init__(self, cache: QueryCache, pool: ConnectionPool[psycopg.Connection]) -> None:
        self._cache, self._pool = cache, pool
        self.made = 0

    def ask(self, key: str = "how many", size: int = 0) -> int:
        with reading(self._pool, timedelta(seconds=5)) as connection:

            def make() -> bytes:
                self.made += 1
                return str(count(connection, EventFilters())).encode().rjust(size)

            return int(self._cache.answer(connection, key, make))


@pytest.mark.parametrize(
    "statement",
    [
        "insert into telemetry_batches (events) values (1)",
        "delete from telemetry_events",
        "update telemetry_producers set given = 0",
        "create table x ()",
        "drop table telemetry_events",
        "select nextval('telemetry_batches_id_seq')",
    ],
)
def test_who_reads_cannot_write(readers: ConnectionPool[psycopg.Connection], statement: str) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), reading(readers, timedelta(seconds=5)) as connection:
        connection.execute(statement.encode())
    with readers.connection() as connection:  # which others get afterwards as it was
        connection.execute("insert into telemetry_batches (events) values (1)")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_statement_that_reads_has_a_limit(readers: ConnectionPool[psycopg.Connection]) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled), reading(readers, timedelta(milliseconds=20)) as connection:
        connection.execute("select pg_sleep(10)")
    with readers.connection() as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("0",)


@pytest.mark.req("S-15")
def test_who_reads_has_room_to_group_and_others_have_what_they_had(readers: ConnectionPool[psycopg.Connection]) -> None:
    asked = "show hash_mem_multiplier"
    with reading(readers, timedelta(seconds=5)) as connection:
        assert connection.execute(asked).fetchone() == ("16",)
    with readers.connection() as connection:
        assert connection.execute(asked).fetchone() == ("2",)


def test_who_reads_sees_one_view(readers: ConnectionPool[psycopg.Connection], writer: psycopg.Connection) -> None:
    with reading(readers, timedelta(seconds=5)) as connection:
        before = connection.execute("select count(*) from telemetry_events").fetchone()
        store(writer)
        assert connection.execute("select count(*) from telemetry_events").fetchone() == before == (0,)


@pytest.mark.req("S-03")
def test_an_answer_is_given_again_while_it_is_true(
    readers: ConnectionPool[psycopg.Connection], writer: psycopg.Connection
) -> None:
    asker = Asker(QueryCache(10_000, TTL, ManualClock()), readers)

    assert [asker.ask(), asker.ask()] == [0, 0]
    assert asker.made == 1
    store(writer)
    assert [asker.ask(), asker.ask()] == [1, 1]
    assert asker.made == 2


@pytest.mark.req("S-03")
def test_a_batch_that_is_committed_after_a_later_one_is_noticed(
    readers: ConnectionPool[psycopg.Connection], writer: psycopg.Connection, database_url: str
) -> None:
    asker = Asker(QueryCache(10_000, TTL, ManualClock()), readers)
    with connect(database_url, name="test") as slow:
        slow.execute("select 1")  # begins a transaction
        store(slow)
        store(writer)
        assert asker.ask() == 1
        slow.commit()
        assert asker.ask() == 2


def test_a_partition_that_is_gone_is_noticed(
    readers: ConnectionPool[psycopg.Connection], writer: psycopg.Connection
) -> None:
    asker = Asker(QueryCache(10_000, TTL, ManualClock()), readers)
    store(writer)
    assert asker.ask() == 1
    (name,) = writer.execute("select distinct tableoid::regclass::text from telemetry_events").fetchone() or ("",)

    writer.execute(f"drop table {name}".encode())

    assert asker.ask() == 0


def today(connection: psycopg.Connection) -> Day:
    now = SystemClock().now()
    return next(day for day in list_days(connection) if day.begins <= now < day.ends)


def clear_dsl(connection: psycopg.Connection) -> None:
    assert clear_component(connection, today(connection), "dsl", errors_from=SystemClock().now() + DAY) == 1


def remove_samples(connection: psycopg.Connection) -> None:
    assert remove(connection, "sample") == 1


def age_out(connection: psycopg.Connection) -> None:
    kept = next(retained.kind for retained in RETAINED if retained.kind.name == "kept events")
    assert list(delete_slices(connection, kept, Limit(SystemClock().now() + DAY), go_on=lambda: True)) == [1]


def keep_one(connection: psycopg.Connection) -> None:
    """A day is dropped, and its event outlives it."""
    (trace,) = connection.execute("select correlation_id from telemetry_events").fetchone() or ()
    pin(connection, trace)
    day = today(connection)
    assert drop_day(connection, day, reason="age", errors_from=day.ends)
    unpin(connection, trace)


@pytest.mark.req("S-03")
@pytest.mark.parametrize(
    ("is_kept", "take_away"),
    [(False, clear_dsl), (False, remove_samples), (True, remove_samples), (True, age_out)],
)
def test_what_was_deleted_is_not_told_any_more(
    readers: ConnectionPool[psycopg.Connection],
    writer: psycopg.Connection,
    is_kept: bool,
    take_away: Callable[[psycopg.Connection], object],
) -> None:
    store(writer)
    if is_kept:
        keep_one(writer)
    asker = Asker(QueryCache(10_000, TTL, ManualClock()), readers)
    assert [asker.ask(), asker.ask(), asker.made] == [1, 1, 1]

    take_away(writer)

    assert [asker.ask(), asker.made] == [0, 2]


@pytest.mark.req("S-08")
def test_a_day_is_not_dropped_under_somebody_who_reads(
    readers: ConnectionPool[psycopg.Connection], writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever began to read before sees everything in its day; its table is no longer there for older views."""
    monkeypatch.setattr("telemetry.partitions._DROP_TIMEOUT", "10ms")
    store(writer)
    day = today(writer)
    with reading(readers, timedelta(seconds=5)) as connection:
        connection.execute("select count(*) from telemetry_batches")  # from here on it has its view

        assert not drop_day(writer, day, reason="age", errors_from=day.begins, tries=1)

        assert count(connection, EventFilters()) == 1
    assert drop_day(writer, day, reason="age", errors_from=day.begins, tries=1)


@pytest.mark.req("S-03")
def test_an_answer_is_kept_for_a_limited_time(readers: ConnectionPool[psycopg.Connection]) -> None:
    clock = ManualClock()
    asker = Asker(QueryCache(10_000, TTL, clock), readers)

    asker.ask()
    clock.advance(TTL)
    asker.ask()

    assert asker.made == 2


@pytest.mark.req("S-15")
def test_answers_take_no_more_bytes_than_they_may(readers: ConnectionPool[psycopg.Connection]) -> None:
    cache = QueryCache(10_000, TTL, ManualClock())
    asker = Asker(cache, readers)

    for number in range(20):
        asker.ask(str(number), size=2000)
        assert cache.figures().bytes <= 10_000
    asker.ask("too large to keep", size=20_000)
    assert 1 < cache.figures().entries < 5

    asker.ask("19")
    assert cache.figures().hits == 1
    asker.ask("0")  # which had to go
    assert cache.figures().hits == 1


def test_no_bytes_keep_nothing(readers: ConnectionPool[psycopg.Connection]) -> None:
    cache = QueryCache(0, TTL, ManualClock())
    asker = Asker(cache, readers)

    asker.ask()
    asker.ask()

    assert (asker.made, cache.figures().entries, cache.figures().bytes) == (2, 0, 0)
