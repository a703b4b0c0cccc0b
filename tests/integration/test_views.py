"""Overview, performance and statistics say the same from roll-ups as from events, at every moment and of every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from fixtures.samples import make_scope, now_us, one_of_each
from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.events import Event
from telemetry.filters.parsing import parse
from telemetry.filters.syntax import Clause, Filter, Is
from telemetry.ids import mint
from telemetry.overview import counts_json, look
from telemetry.partitions import make_days
from telemetry.performance import Kind, Performance, read
from telemetry.query import EventFilters
from telemetry.reading import reading
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.asked import slice_of
from telemetry.rows import RowEncoder
from telemetry.stats import groups, stats
from telemetry.store import append_batch, insert_new_events
from telemetry.testing import ManualClock

pytestmark = pytest.mark.req("A-05", "A-06", "S-10")

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
KINDS: tuple[Kind | None, ...] = (None, "command", "step", "tool", "model", "http")
#: What roll-ups know of events.
FILTERS = (
    "",
    "dry_run:false",
    "level:error",
    "-level:debug,info component:command,dsl",
    "event_type:command.execution -outcome:failed",
    "operation:todo.add,transform,/api/commands/<slug>/executions",
    "type:fragment.create,ai.generate",
    "category:* dry_run:true,false",
    "event_type:chat,fragm* -component:alert",
)
#: Nobody's: it leaves out no event, and roll-ups cannot tell.
ANYBODY = Filter((Clause("user_id", (Is(b"\xff" * 16),), negated=True),))


@pytest.fixture
def clock(connection: Connection[Any]) -> ManualClock:
    """One in the morning of yesterday: days begin among the events."""
    day_us = now_us() // DAY_US * DAY_US - DAY_US
    make_days(connection, [from_unix_us(day_us + number * DAY_US) for number in (-1, 0)])
    return ManualClock(from_unix_us(day_us + HOUR_US))


@pytest.fixture
def aggregator(database_url: str, clock: ManualClock) -> Iterator[Aggregator]:
    with psycopg.connect(database_url, autocommit=True) as own:
        yield Aggregator(own, clock, most_minutes=7, members_interval=timedelta(0))


def some_events(chance: random.Random, now: datetime) -> list[Event]:
    """One of each type, some minutes old, or hours."""
    made = []
    scope = make_scope(
        user_id=chance.choice([bytes(16), None]),
        command_slug=chance.choice(["todo.add", "digest", "team.chat.reply"]),
        dry_run=chance.random() < 0.2,
    )
    for event in one_of_each(scope):
        at_us = to_unix_us(now) - int(chance.expovariate(1 / (20 * MINUTE_US)))
        changes: dict[str, Any] = {"event_id": mint(at_us), "occurred_at_us": at_us}
        for name in ("duration_us", "total_duration_us"):
            if hasattr(event, name):
                changes[name] = int(chance.lognormvariate(8, 2))
        if hasattr(event, "step_type"):
            changes["step_type"] = chance.choice(["fragment.create", "transform", "ai.generate", "tool.call"])
        made.append(msgspec.structs.replace(event, **changes))
    return made


def store(connection: Connection[Any], events: Sequence[Event]) -> None:
    """As a sink does."""
    encode = RowEncoder().encode
    with connection.transaction():
        stored = insert_new_events(connection, [encode(event) for event in events])
        minutes = sorted({event.occurred_at_us // MINUTE_US for event in events})
        append_batch(connection, events=stored, duplicates=len(events) - stored, minutes=minutes)


def performance_told(found: Performance) -> dict[Any, tuple[Any, ...]]:
    return {
        (line.kind, line.name, line.is_all): (line.count, line.failures, line.max_us, line.total_us, line.last_at)
        for line in (*found.lines, *found.whole.values())
    }


def assert_as_near(found: Performance, exact: Performance) -> None:
    """Percentiles are within what is promised."""
    by_name = {(line.kind, line.name): line for line in (*exact.lines, *exact.whole.values())}
    for line in (*found.lines, *found.whole.values()):
        same = by_name[(line.kind, line.name)]
        for told, true in ((line.p50_us, same.p50_us), (line.p95_us, same.p95_us), (line.p99_us, same.p99_us)):
            assert told == pytest.approx(true, rel=found.error_percent / 100)


def assert_equal(pool: ConnectionPool[Any], text: str, since: datetime, until: datetime, kind: Kind | None) -> None:
    asked = EventFilters(since=since, until=until, more=parse(text)).whole()
    by_events = asked.and_also(ANYBODY)
    assert slice_of(asked) is not None
    assert slice_of(by_events) is None
    with reading(pool, timedelta(seconds=30)) as connection:
        found, exact = look(connection, asked, since, until), look(connection, by_events, since, until)
        assert counts_json(found, until) == counts_json(exact, until)
        assert performance_told(found.performance) == performance_told(exact.performance)
        assert_as_near(found.performance, exact.performance)
        one, same = read(connection, asked, kind, "name"), read(connection, by_events, kind, "name")
        assert [line.name for line in one.lines] == [line.name for line in same.lines]
        assert {key: told for key, told in performance_told(one).items() if not key[2]} == performance_told(same)
        assert stats(groups(connection, asked).groups) == stats(groups(connection, by_events).groups)
        assert exact.performance.error_percent == same.error_percent == 0


def test_views_are_the_same_from_roll_ups_and_from_events(
    connection: Connection[Any], pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock
) -> None:
    chance = random.Random(23)
    stored: list[Event] = []
    for _ in range(9):
        fresh = some_events(chance, clock.now())
        store(connection, [*fresh, *chance.sample(stored, min(len(stored), 5))])
        stored.extend(fresh)
        if chance.random() < 0.6:
            aggregator.run_once()
        for text in chance.sample(FILTERS, 3):
            until = clock.now() - chance.choice([timedelta(0), timedelta(seconds=chance.uniform(0, 7000))])
            since = until - timedelta(seconds=chance.choice([chance.uniform(0.001, 90), chance.uniform(90, 90_000)]))
            assert_equal(pool, text, since, until, chance.choice(KINDS))
        clock.advance(timedelta(seconds=chance.uniform(1, 900)))
    assert aggregator.run_once().is_done
    for text in FILTERS:
        assert_equal(pool, text, from_unix_us(0), clock.now(), chance.choice(KINDS))


def test_what_postgres_reckons_with_is_as_before_once_it_is_told(pool: ConnectionPool[Any], clock: ManualClock) -> None:
    names = ("random_page_cost", "parallel_setup_cost", "hash_mem_multiplier")

    with reading(pool, timedelta(seconds=30)) as reader:
        before = [reader.execute(f"show {name}").fetchone() for name in names]
        groups(reader, EventFilters(since=clock.now()).whole())
        assert [reader.execute(f"show {name}").fetchone() for name in names] == before


def test_of_a_day_whose_events_are_gone_whole_minutes_are_told_and_the_answer_says_so(
    connection: Connection[Any], pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock
) -> None:
    chance = random.Random(3)
    for _ in range(3):
        store(connection, some_events(chance, clock.now()))
    until = clock.now()
    since = until - timedelta(minutes=30, seconds=17, milliseconds=3)
    whole = EventFilters(since=since - timedelta(seconds=43), until=until).whole()
    with reading(pool, timedelta(seconds=30)) as reader:
        minutes = counts_json(look(reader, whole, since - timedelta(seconds=43), until), until)["events"]
    clock.advance(timedelta(days=1))
    aggregator.run_once()
    connection.execute(
        "insert into telemetry_sealed values (%s, '', gen_random_uuid(), 'ffffffff-ffff-ffff-ffff-ffffffffffff', '{}')",
        (until.date(),),
    )
    connection.execute("delete from telemetry_events")
    asked = EventFilters(since=since, until=until).whole()

    with reading(pool, timedelta(seconds=30)) as reader:
        seen, timed, counted = look(reader, asked, since, until), read(reader, asked, None), groups(reader, asked)

    begins = since.replace(second=0, microsecond=0)
    assert seen.since == timed.since == counted.since == begins
    assert sum(each.events for each in seen.counted) == stats(counted.groups)["events"]
    assert counts_json(seen, until)["minutes"] == pytest.approx(31, abs=0.01)
    assert minutes <= sum(each.events for each in seen.counted)
