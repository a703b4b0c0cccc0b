"""Daily partitions on a real database: made ahead, once, without holding anybody up."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fixtures.samples import make_scope, make_step
from psycopg.errors import CheckViolation, LockNotAvailable

from telemetry.clock import to_unix_us
from telemetry.connections import connect
from telemetry.partitions import Horizon, drop_partition, list_partitions, make_partitions, name_of
from telemetry.rows import RowEncoder
from telemetry.store import insert_events

NOW = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
MADE = ["telemetry_events_p20260228", "telemetry_events_p20260301", "telemetry_events_p20260302"]


@pytest.mark.req("S-01")
def test_partitions_are_made_from_yesterday_on_and_only_once(connection: psycopg.Connection) -> None:
    assert make_partitions(connection, NOW, 1) == MADE
    assert make_partitions(connection, NOW, 1) == []
    assert make_partitions(connection, NOW + timedelta(microseconds=1), 1) == ["telemetry_events_p20260303"]
    assert list_partitions(connection) == [*MADE, "telemetry_events_p20260303"]


def test_days_are_those_of_utc(connection: psycopg.Connection) -> None:
    elsewhere = datetime.fromisoformat("2026-03-02T05:00:00+09:00")

    assert make_partitions(connection, elsewhere, 0) == MADE[:2]


@pytest.mark.req("S-01")
def test_every_instant_of_a_day_goes_into_its_partition(connection: psycopg.Connection) -> None:
    make_partitions(connection, NOW, 1)
    scope, encode = make_scope(), RowEncoder().encode
    midnight_us = to_unix_us(datetime(2026, 3, 1, tzinfo=UTC))
    instants = {
        midnight_us - 1: MADE[0],
        midnight_us: MADE[1],
        midnight_us + 86_399_999_999: MADE[1],
        midnight_us + 86_400_000_000: MADE[2],
    }

    for instant, partition in instants.items():
        event = make_step(scope, at_us=instant)
        insert_events(connection, [encode(event)])
        found = connection.execute(
            "select tableoid::regclass::text from telemetry_events where event_id = %s", (event.event_id.hex(),)
        )
        assert found.fetchone() == (partition,)


@pytest.mark.req("S-01")
def test_partitions_have_the_indexes_of_their_parent(connection: psycopg.Connection) -> None:
    make_partitions(connection, NOW, 0)
    count = "select count(*) from pg_index where indrelid = %s::regclass and indisvalid"

    (of_parent,) = connection.execute(count, ("telemetry_events",)).fetchone() or (0,)
    (of_partition,) = connection.execute(count, (MADE[0],)).fetchone() or (0,)
    loose = connection.execute(
        "select count(*) from pg_index where indrelid = %s::regclass "
        "and not exists (select from pg_inherits where inhrelid = indexrelid)",
        (MADE[0],),
    ).fetchone()

    assert of_partition == of_parent
    assert loose == (0,)


def test_many_may_make_them_at_once(database_url: str) -> None:
    made: list[list[str]] = []
    at_once = threading.Barrier(4)

    def make() -> None:
        with connect(database_url, name="test", autocommit=True) as connection:
            at_once.wait()
            made.append(make_partitions(connection, NOW, 1))

    makers = [threading.Thread(target=make) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert sorted(name for names in made for name in names) == MADE


def test_it_is_all_or_nothing_and_can_be_part_of_a_transaction(connection: psycopg.Connection) -> None:
    with connection.transaction(force_rollback=True):
        assert make_partitions(connection, NOW, 1) == MADE

    assert list_partitions(connection) == []


def test_readers_and_writers_of_other_days_are_not_waited_for(
    connection: psycopg.Connection, database_url: str
) -> None:
    make_partitions(connection, NOW, 0)
    with connect(database_url, name="test") as busy:
        busy.execute("select count(*) from telemetry_events")
        insert_events(busy, [RowEncoder().encode(make_step(at_us=to_unix_us(NOW)))])

        assert make_partitions(connection, NOW, 1) == MADE[2:]


def test_a_lock_that_somebody_keeps_is_given_up_on(connection: psycopg.Connection, database_url: str) -> None:
    with connect(database_url, name="test") as busy:
        busy.execute("lock table telemetry_events in access exclusive mode")

        with pytest.raises(LockNotAvailable):
            make_partitions(connection, NOW, 0)


def test_a_day_is_dropped_once_nobody_holds_it(
    connection: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_partitions(connection, NOW, 0)
    pauses: list[float] = []
    with connect(database_url, name="test") as busy:
        busy.execute("select count(*) from telemetry_events")
        monkeypatch.setattr("telemetry.partitions.sleep", pauses.append)
        assert not drop_partition(connection, MADE[0], tries=2)
        assert list_partitions(connection) == MADE[:2]

        monkeypatch.setattr("telemetry.partitions.sleep", lambda _: busy.rollback())
        assert drop_partition(connection, MADE[0], tries=2)
    assert list_partitions(connection) == MADE[1:2]
    assert len(pauses) == 1
    assert drop_partition(connection, MADE[0])  # it is gone
    with pytest.raises(ValueError, match="no daily partition"):
        drop_partition(connection, "telemetry_events")


def test_the_horizon_is_the_days_that_have_a_partition(connection: psycopg.Connection) -> None:
    make_partitions(connection, NOW, 0)
    horizon = Horizon([*list_partitions(connection), "telemetry_events_default"])
    day = timedelta(days=1)

    instants = [to_unix_us(NOW + number * day) for number in (-2, -1, 0, 1)]

    assert [horizon.holds(instant) for instant in instants] == [False, True, True, False]
    assert [horizon.ends_before(instant) for instant in instants] == [False, False, False, True]
    with pytest.raises(CheckViolation):
        insert_events(connection, [RowEncoder().encode(make_step(at_us=to_unix_us(NOW + day)))])
    assert name_of(NOW + day) == MADE[2]
