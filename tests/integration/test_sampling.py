"""Samples in the store: beside what is real, never in its way, and gone again without a trace of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from fixtures.apis import Weir
from fixtures.ledgers import Bookkeeper
from fixtures.samples import make_scope, make_step
from psycopg import Connection
from psycopg.errors import CheckViolation

from telemetry.chains import build_chains
from telemetry.clock import SystemClock, to_unix_us
from telemetry.completeness import verify
from telemetry.connections import connect, open_pool
from telemetry.errors import StoreUnavailable
from telemetry.foreign import open_days, remove, store_batch
from telemetry.partitions import drop_partition, list_partitions, make_partitions, name_of
from telemetry.reading import reading
from telemetry.rows import RowEncoder
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.sampling import Filled, fill
from telemetry.store import insert_events
from telemetry.testing import NOON
from workers.services.reconciler import Reconciler

DAY = timedelta(days=1)
SAMPLES = Samples(1, frozenset(COMPONENTS), [bytes([number]) * 16 for number in range(1, 13)])


def fill_some(connection: Connection[Any], until: datetime = NOON, count: int = 400, days: int = 3) -> Filled:
    return fill(connection, SAMPLES, count, DAY * days, until)


def count(connection: Connection[Any], where: str = "true") -> int:
    (found,) = connection.execute(b"select count(*) from telemetry_events where " + where.encode()).fetchone() or (0,)
    return int(found)


def batches(connection: Connection[Any]) -> list[tuple[int, int]]:
    return connection.execute("select events, duplicates from telemetry_batches order by id").fetchall()


@pytest.mark.req("S-09")
def test_samples_are_stored_in_days_that_had_no_partition(connection: Connection[Any]) -> None:
    assert fill_some(connection) == Filled(stored=400)

    assert count(connection) == count(connection, "request_source = 'sample'") == 400
    assert list_partitions(connection) == [name_of(NOON - DAY * back) for back in (3, 2, 1, 0)]
    assert sum(events for events, _ in batches(connection)) == 400
    (minutes,) = connection.execute(
        "select count(*) from telemetry_events e where not exists (select from telemetry_batches b where"
        " b.minutes @> floor(extract(epoch from e.occurred_at) / 60)::integer)"
    ).fetchone() or (None,)
    assert minutes == 0  # whoever follows the store hears of every minute


@pytest.mark.req("S-09")
def test_doing_it_again_stores_only_what_is_missing(connection: Connection[Any]) -> None:
    fill_some(connection)
    connection.execute("delete from telemetry_events where component = 'http'")
    gone = 400 - count(connection)

    again = fill_some(connection)

    assert (again.stored, again.known) == (gone, 400 - gone)
    assert count(connection) == 400


@pytest.mark.req("S-09", "C-13", "C-15")
def test_completeness_is_the_same_with_samples_as_without(
    bookkeeper: Bookkeeper, connection: Connection[Any], database_url: str
) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.account()
    whole = bookkeeper.stored()
    before = verify(connection, NOON - DAY, NOON + DAY)
    connecting = partial(connect, database_url, name="weir test reconciler", autocommit=True)

    fill_some(connection, bookkeeper.clock.now())
    after = verify(connection, NOON - DAY, NOON + DAY)
    result = Reconciler(connecting, bookkeeper.world.pseudonyms.user).run_once()

    assert before.is_complete
    assert after.is_complete
    assert after.ledger.checked == before.ledger.checked
    assert (result.given_back, result.impossible) == (0, 0)
    assert remove(connection, "sample") == 400
    assert bookkeeper.stored() == whole
    assert verify(connection, NOON - DAY, NOON + DAY).is_complete


@pytest.mark.req("S-09", "C-15")
def test_a_day_whose_events_were_dropped_is_not_made_again(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    drop_partition(connection, name_of(NOON))

    filled = fill_some(connection, NOON + DAY)

    assert filled.stored == 400
    assert filled.days_left_out == [NOON.replace(hour=0)]
    assert name_of(NOON) not in list_partitions(connection)
    assert verify(connection, NOON - DAY, NOON + DAY).is_complete


@pytest.mark.req("S-09")
def test_removing_takes_samples_alone_and_whoever_follows_hears_of_every_minute(connection: Connection[Any]) -> None:
    fill_some(connection)
    real = [make_step(make_scope(), at_us=to_unix_us(NOON - timedelta(hours=hours))) for hours in (1, 2)]
    insert_events(connection, map(RowEncoder().encode, real))
    occurred = "select distinct floor(extract(epoch from occurred_at) / 60)::integer from telemetry_events"
    minutes = set(connection.execute(f"{occurred} where request_source = 'sample'".encode()).fetchall())
    connection.execute("delete from telemetry_batches")

    assert remove(connection, "import") == 0
    assert remove(connection, "sample") == 400
    assert remove(connection, "sample") == 0

    heard = "select distinct generate_series(lower(r), upper(r) - 1) from telemetry_batches, unnest(minutes) as r"
    assert set(connection.execute(heard).fetchall()) == minutes
    assert count(connection) == 2
    assert {events for events, _ in batches(connection)} == {0}


@pytest.mark.req("S-09")
def test_chains_of_samples_go_with_them(connection: Connection[Any]) -> None:
    fill_some(connection)
    store_batch(connection, lambda: [(at, RowEncoder().encode(make_step(at_us=at))) for at in [to_unix_us(NOON)]])
    build_chains(connection)
    chains = "select count(*) from telemetry_correlation_chains where request_source = any(%s)"
    assert connection.execute(chains, (["sample"],)).fetchone() != (0,)

    remove(connection, "sample")

    assert connection.execute(chains, (["sample", "api"],)).fetchone() == (1,)


@pytest.mark.req("S-09")
def test_a_day_of_samples_alone_gives_its_room_back_at_once(connection: Connection[Any]) -> None:
    fill_some(connection, count=3000)
    size = f"select pg_relation_size('{name_of(NOON - DAY)}')".encode()
    before = connection.execute(size).fetchone()

    remove(connection, "sample")

    assert before is not None
    assert before[0] > 0
    assert connection.execute(size).fetchone() == (0,)


@pytest.mark.req("S-09")
def test_a_partition_that_somebody_holds_is_emptied_without_stopping_them(
    connection: Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.foreign._TRIES", 1)
    monkeypatch.setattr("telemetry.foreign._LOCK_TIMEOUT", "1ms")
    fill_some(connection)

    with connect(database_url, name="reader") as reader:
        reader.execute("select count(*) from telemetry_events")  # holds every partition until its transaction ends

        assert remove(connection, "sample") == 400


def test_who_reads_sees_samples_until_he_has_read_them(
    connection: Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.foreign._TRIES", 2)
    monkeypatch.setattr("telemetry.foreign._LOCK_TIMEOUT", "1ms")  # he holds every partition all the time
    fill_some(connection)

    with open_pool(database_url, name="reader", max_size=1, autocommit=True) as pool, reading(pool, DAY) as reader:
        reader.execute("select count(*) from telemetry_batches")  # from here on, what he sees is fixed
        remove(connection, "sample")
        assert count(connection) == 0
        assert count(reader) == 400


def test_a_partition_that_goes_meanwhile_is_an_error_to_be_tried_again(connection: Connection[Any]) -> None:
    make_partitions(connection, NOON, 0)
    old = make_step(make_scope(), at_us=to_unix_us(NOON - DAY * 30))

    with pytest.raises(StoreUnavailable) as caught:
        store_batch(connection, lambda: [(old.occurred_at_us, RowEncoder().encode(old))])

    assert isinstance(caught.value.__cause__, CheckViolation)
    assert caught.value.retryable
    assert open_days(connection, [old.occurred_at_us // 86_400_000_000])
    assert store_batch(connection, lambda: [(old.occurred_at_us, RowEncoder().encode(old))]) == (1, 0)


@pytest.fixture
def test_command(offline_weir: Weir, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Types `weir telemetry test`."""
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    return partial(offline_weir, "telemetry", "test")


@pytest.mark.req("S-09")
def test_the_command_of_the_seeds_works(test_command: Callable[..., Any], connection: Connection[Any]) -> None:
    all_of_them = test_command("--count=50")
    some = test_command("--count=25", "--components=tool_telemetry,command", "--format", "json", "--seed", "2")

    assert (all_of_them.code, all_of_them.err) == (0, "")
    assert all_of_them.out.startswith("50 samples stored, up to ")
    assert (some.json["stored"], some.json["components"]) == (25, ["command", "tool"])
    assert count(connection) == 75
    assert count(connection, "step_type = 'tool.call' or component = 'command'") >= 25
    removed = test_command("--remove", "--format", "json")
    assert removed.json == {"removed": 75}
    refused = test_command("--remove", "--count", "10")
    assert (refused.code, "takes no --count" in refused.err) == (2, True)
    assert count(connection) == 0


@pytest.mark.req("S-09")
def test_the_same_command_line_again_stores_nothing_twice(test_command: Callable[..., Any]) -> None:
    until = (SystemClock().now() - timedelta(minutes=5)).astimezone(UTC).isoformat()
    arguments = ("--count", "60", "--until", until, "--days", "2", "--format", "json")

    first, second = test_command(*arguments).json, test_command(*arguments).json

    assert (first["stored"], first["already_stored"]) == (60, 0)
    assert (second["stored"], second["already_stored"]) == (0, 60)


@pytest.mark.req("S-09")
def test_stopped_half_way_it_says_how_to_go_on(
    test_command: Callable[..., Any], connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("telemetry.sampling.store_batch", stop)
    stopped = test_command("--count", "60", "--seed", "7")
    monkeypatch.undo()

    assert stopped.code == 130
    assert "weir telemetry test --count 60 --days 7 --seed 7 --until 20" in stopped.err
    assert "weir telemetry test --remove" in stopped.err
    assert count(connection) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--components", "tol"), "did you mean tool?"),
        (("--components", ","), "there are command, dsl, fragment, http, schedule, tool, llm, chat"),
        (("--until", "2999-01-01"), "is in the future"),
        (("--until", "soon"), "is not a time"),
        (("--count", "0"), "--count"),
    ],
)
def test_what_is_no_sample_is_a_fault_of_the_command_line(
    test_command: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    typed = test_command(*arguments)

    assert typed.code == 2
    assert said in typed.err
