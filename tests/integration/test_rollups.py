"""Buckets say what the events say, at every moment, whoever is late, killed, or at it twice.

Making, reading and sealing stand together: what they leave is compared in the same ways, with all events.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event as Signal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fixtures.samples import ERROR, make_scope, make_step, now_us
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from psycopg_pool import ConnectionPool

from telemetry import chains
from telemetry.clock import from_unix_us, to_unix_us
from telemetry.events import Event, ExecutionStarted, HttpRequestCompleted, StepFailed
from telemetry.ids import mint
from telemetry.partitions import make_days, name_of
from telemetry.reading import reading
from telemetry.retention import clear_component, drop_day, list_days
from telemetry.rollups.aggregator import LOCK_KEY, Aggregator, AggregatorResult, is_wanted
from telemetry.rollups.comparison import compare
from telemetry.rollups.histogram import Histogram
from telemetry.rollups.keeping import COARSE, Kept, forget
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answer
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_new_events
from telemetry.testing import ManualClock

pytestmark = pytest.mark.req("A-05", "A-06", "S-01", "S-13")

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
USERS = [bytes([number]) * 16 for number in range(3)]
SPACES = [mint(now_us()) for _ in range(3)]


@pytest.fixture
def noon_us() -> int:
    """Noon of the day before yesterday."""
    return now_us() // DAY_US * DAY_US - 2 * DAY_US + DAY_US // 2


@pytest.fixture
def clock(noon_us: int) -> ManualClock:
    return ManualClock(from_unix_us(noon_us))


@pytest.fixture(autouse=True)
def partitions(connection: Connection, noon_us: int) -> None:
    make_days(connection, [from_unix_us(noon_us // DAY_US * DAY_US + number * DAY_US) for number in (-1, 0, 1)])


@pytest.fixture
def aggregator(database_url: str, clock: ManualClock) -> Iterator[Aggregator]:
    with psycopg.connect(database_url, autocommit=True) as own:
        yield Aggregator(own, clock, members_interval=timedelta(0))


def some_event(chance: random.Random, at_us: int) -> Event:
    scope = make_scope(
        user_id=chance.choice([*USERS, None]),
        space_id=chance.choice([*SPACES, None]),
        command_slug=chance.choice("abc"),
        dry_run=chance.random() < 0.2,
    )
    duration_us = int(chance.lognormvariate(8, 2))
    kind = chance.randrange(4)
    if kind == 0:
        return make_step(scope, at_us, step_type=chance.choice(["transform", "validate"]), duration_us=duration_us)
    if kind == 1:
        return StepFailed(mint(at_us), at_us, scope, "check", "validate", duration_us, ERROR)
    if kind == 2:
        return ExecutionStarted(mint(at_us), at_us, scope, duration_us)
    return HttpRequestCompleted(mint(at_us), at_us, scope, "/api/commands", "GET", 200, duration_us, "succeeded")


def store(connection: Connection, events: Iterable[Event]) -> None:
    """As a sink does."""
    events = list(events)
    encode = RowEncoder().encode
    with connection.transaction():
        stored = insert_new_events(connection, [encode(event) for event in events])
        minutes = sorted({event.occurred_at_us // MINUTE_US for event in events})
        append_batch(connection, events=stored, duplicates=len(events) - stored, minutes=minutes)


def all_values(connection: Connection[Any]) -> list[dict[str, Any]]:
    """What every event says, once for each measure."""
    cursor = connection.cursor(row_factory=dict_row)
    values = []
    for row in cursor.execute("select * from telemetry_events").fetchall():
        if row["component"] == "http":
            row["operation"] = f"{row['measures']['method']} {row['operation']}"
        row["at_us"] = to_unix_us(row["occurred_at"])
        values.append({**row, "measure": "duration", "value": row["duration_us"]})
        if row["event_type"] == "command.execution.started":
            values.append({**row, "measure": "queue_wait", "value": row["measures"]["queue_wait_us"]})
    return values


def recomputed(values: Iterable[dict[str, Any]], question: Question) -> list[tuple[Any, ...]]:
    """What those of the time say, plainly."""
    step_us = question.step // timedelta(microseconds=1) if question.step is not None else None
    first_us, end_us = to_unix_us(question.since), to_unix_us(question.until)
    groups: dict[tuple[Any, ...], list[tuple[bool, int | None, datetime]]] = {}
    for known in values:
        at_us = known["at_us"]
        if not first_us <= at_us < end_us or any(known[name] not in only for name, only in question.only.items()):
            continue
        at = None if step_us is None else from_unix_us(at_us // step_us * step_us)
        key = (at, *(known[name] for name in question.by))
        groups.setdefault(key, []).append((known["level"] == "error", known["value"], known["occurred_at"]))
    return [
        (
            key,
            len(members),
            sum(is_error for is_error, _, _ in members),
            sum(value is not None for _, value, _ in members),
            sum(value or 0 for _, value, _ in members),
            spread(Histogram.of(value for _, value, _ in members if value is not None), question),
            max(at for _, _, at in members),
        )
        for key, members in groups.items()
    ]


def spread(histogram: Histogram, question: Question) -> Histogram:
    return histogram if question.spread else Histogram(histogram.scale, {}, histogram.least, histogram.greatest)


def told(figures: Sequence[Figure]) -> list[tuple[Any, ...]]:
    return [
        (
            (figure.starts_at, *figure.key.values()),
            figure.events,
            figure.errors,
            figure.measured,
            figure.total,
            figure.histogram,
            figure.last_at,
        )
        for figure in figures
    ]


def ordered(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: str(row[0]))


def questions(noon_us: int) -> list[Question]:
    since, until = from_unix_us(noon_us - 3 * HOUR_US), from_unix_us(noon_us + 2 * HOUR_US)
    odd = from_unix_us(noon_us - 91 * MINUTE_US)
    exact = Question(odd + timedelta(microseconds=1_234_567), from_unix_us(noon_us - 20_500_000), is_exact=True)
    durations = {"measure": ["duration"]}
    return [
        replace(exact, by=("event_type", "level", "dry_run")),
        replace(exact, by=("operation", "outcome"), only=durations),
        replace(exact, width="minute", every=15, by=("level",), only=durations, spread=False),
        replace(exact, dimension="user", by=("user_id",), only=durations),
        Question(since, until),
        Question(odd, until, "minute", by=("event_type", "measure"), spread=False),
        Question(odd, until, by=("event_type", "operation", "outcome", "measure")),
        Question(odd, until, "minute", by=("component",), only={"measure": ["duration"]}),
        Question(since, until, "hour", by=("operation",), only={"component": ["dsl"], "measure": ["duration"]}),
        Question(since, until, "hour", "user", ("user_id", "event_type"), {"measure": ["duration"]}),
        Question(odd, until, None, "space", ("space_id", "error_category")),
        Question(since, until, "day", "user", ("user_id",), {"event_type": ["http.request.completed"]}),
    ]


def assert_all_equal(pool: ConnectionPool[Any], noon_us: int) -> None:
    assert_equal(pool, *questions(noon_us))


def assert_equal(pool: ConnectionPool[Any], *asked: Question) -> None:
    with reading(pool, timedelta(seconds=30)) as connection:
        values = all_values(connection)
        for question in asked:
            found = answer(connection, question)
            assert ordered(told(found.figures)) == ordered(recomputed(values, question)), question


def test_figures_equal_the_events_at_every_moment(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(7)
    for _ in range(15):
        now = int(clock.now().timestamp() * 1e6)
        late = [
            chance.randrange(1, 90) * MINUTE_US if chance.random() < 0.1 else chance.randrange(MINUTE_US)
            for _ in range(60)
        ]
        events = [some_event(chance, now - ago) for ago in late]
        store(connection, [*events, *chance.sample(events, 5)])
        if chance.random() < 0.5:
            assert_all_equal(pool, noon_us)
        if chance.random() < 0.7:
            aggregator.run_once()
            assert_all_equal(pool, noon_us)
        clock.advance(timedelta(minutes=chance.randrange(1, 10)))
    assert aggregator.run_once().is_done
    assert_all_equal(pool, noon_us)


def numbers(at_us: int) -> int:
    return at_us // MINUTE_US


def compared(pool: ConnectionPool[Any], noon_us: int) -> dict[tuple[str, str], int]:
    """Minutes that were compared, by width and dimension; nothing may differ."""
    minutes: dict[tuple[str, str], int] = {}
    with reading(pool, timedelta(seconds=30)) as connection:
        for each in compare(connection, numbers(noon_us) - 720, numbers(noon_us) + 720):
            assert each.differences == []
            key = (each.width, each.dimension)
            minutes[key] = minutes.get(key, 0) + each.minutes
    return minutes


def test_hours_and_days_are_the_exact_sums_of_what_is_narrower(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(3)
    store(connection, [some_event(chance, noon_us - chance.randrange(DAY_US // 2)) for _ in range(500)])
    clock.advance(timedelta(days=1))

    result = aggregator.run_once()

    assert result.is_done
    widths = connection.execute("select distinct dimension, width from telemetry_metrics order by 1, 2").fetchall()
    assert widths == [
        *(("operation", width) for width in ("day", "hour", "minute")),
        *(("space", width) for width in ("day", "hour")),
        *(("user", width) for width in ("day", "hour")),
    ]
    assert compared(pool, noon_us)[("minute", "operation")] == 1440
    assert_all_equal(pool, noon_us)
    day = Question(
        from_unix_us(noon_us - DAY_US // 2), from_unix_us(noon_us + DAY_US // 2), only={"measure": ["duration"]}
    )
    connection.execute("alter table telemetry_events rename to telemetry_elsewhere")  # no event is looked at
    connection.execute("create view telemetry_events as select * from telemetry_elsewhere where false")
    with reading(pool, timedelta(seconds=30)) as reader:
        assert [figure.events for figure in answer(reader, day).figures] == [500]


def test_a_bucket_that_is_wrong_is_named(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    store(connection, [make_step(make_scope(), noon_us - HOUR_US, duration_us=50)])
    clock.advance(timedelta(hours=2))
    aggregator.run_once()
    connection.execute("update telemetry_metrics set counts = '{2}' where width = 'hour' and dimension = 'space'")

    with reading(pool, timedelta(seconds=30)) as reader:
        found = [
            (each.width, each.dimension, fault.fault, fault.event_type, fault.starts_at)
            for each in compare(reader, numbers(noon_us) - 720, numbers(noon_us) + 720)
            for fault in each.differences
        ]

    hour = from_unix_us((noon_us - HOUR_US) // HOUR_US * HOUR_US)
    assert found == [("hour", "space", fault, "dsl.step.executed", hour) for fault in ("missing", "surplus")]


def test_what_commits_after_a_later_batch_was_taken_in_is_not_missed(  # noqa: PLR0913 - fixtures
    database_url: str,
    connection: Connection,
    pool: ConnectionPool[Any],
    aggregator: Aggregator,
    clock: ManualClock,
    noon_us: int,
) -> None:
    chance = random.Random(5)
    with psycopg.connect(database_url) as slow:
        event = some_event(chance, noon_us - 5 * MINUTE_US)
        insert_new_events(slow, [RowEncoder().encode(event)])
        append_batch(slow, events=1, duplicates=0, minutes=[numbers(event.occurred_at_us)])
        store(connection, [some_event(chance, noon_us - 5 * MINUTE_US)])
        aggregator.run_once()
        slow.commit()

    assert_all_equal(pool, noon_us)
    clock.advance(timedelta(minutes=1))
    assert aggregator.run_once().minutes == 1
    assert_all_equal(pool, noon_us)


def test_one_aggregator_leaves_while_another_is_at_it(
    database_url: str, connection: Connection, aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    store(connection, [some_event(random.Random(1), noon_us - HOUR_US)])
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", (LOCK_KEY,))

        assert aggregator.run_once() == AggregatorResult(is_held=True)
        other.execute("select pg_advisory_unlock(%s)", (LOCK_KEY,))

    assert aggregator.run_once().minutes == 1


def test_hours_by_member_are_made_in_pieces_and_anew_if_a_minute_is(
    database_url: str, connection: Connection, pool: ConnectionPool[Any], clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(29)
    since, until = from_unix_us(noon_us - HOUR_US), from_unix_us(noon_us)
    asked = [
        Question(since, until, None, "space", ("space_id", "measure")),
        Question(since, until, None, "user", ("user_id", "measure")),
    ]
    store(connection, [some_event(chance, at) for at in range(noon_us - HOUR_US, noon_us, MINUTE_US) for _ in range(3)])
    clock.advance(timedelta(minutes=1))
    with psycopg.connect(database_url, autocommit=True) as own:
        aggregator = Aggregator(own, clock, most_minutes=7, members_interval=timedelta(0))

        def until_done() -> list[int]:
            """Minutes that each transaction added; answers are right after each."""
            pieces = []
            while not (result := aggregator.run_once(timedelta(0))).is_done:
                assert_equal(pool, *asked)
                pieces.append(result.member_minutes)
            assert compared(pool, noon_us)[("hour", "user")] == 1440
            return [piece for piece in pieces if piece]

        first = until_done()
        assert (sum(first), max(first), len(first) > 8) == (60, 7, True)
        store(connection, [some_event(chance, noon_us - number * MINUTE_US) for number in (3, 30)])
        assert sum(until_done()) == 60  # both are in it
        store(connection, [some_event(chance, noon_us)])
        clock.advance(timedelta(minutes=1))
        assert until_done() == [1]  # nothing of it is in its hour yet


def test_an_hour_by_member_that_is_half_made_is_begun_again_if_a_minute_of_it_has_to_be_made(
    database_url: str, connection: Connection, pool: ConnectionPool[Any], clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(31)
    store(connection, [some_event(chance, at) for at in range(noon_us - HOUR_US, noon_us, MINUTE_US)])
    clock.advance(timedelta(minutes=1))
    with psycopg.connect(database_url, autocommit=True) as own:
        aggregator = Aggregator(own, clock, most_minutes=20, members_interval=timedelta(0))
        while not (added := aggregator.run_once(timedelta(0)).member_minutes):
            pass
        assert 0 < added <= 20
        store(connection, [some_event(chance, noon_us - MINUTE_US)])  # of what was added

        again = aggregator.run_once(timedelta(minutes=1))

    assert (again.minutes, again.member_minutes, again.is_done) == (1, 60, True)
    assert compared(pool, noon_us)[("hour", "space")] == 1440
    assert_all_equal(pool, noon_us)


def test_minutes_of_late_events_are_made_at_most_once_a_minute(
    database_url: str, connection: Connection, pool: ConnectionPool[Any], clock: ManualClock, noon_us: int
) -> None:
    def come(minutes_ago: int) -> None:
        now_us = to_unix_us(clock.now())
        store(connection, [make_step(make_scope(), now_us - minutes_ago * MINUTE_US)])

    with psycopg.connect(database_url, autocommit=True) as own:
        aggregator = Aggregator(own, clock)
        come(30)
        assert aggregator.run_once().minutes == 1
        come(20)
        assert not is_wanted(connection, clock.now())
        come(2)
        assert is_wanted(connection, clock.now())
        assert aggregator.run_once().minutes == 1
        assert not is_wanted(connection, clock.now())
        assert_all_equal(pool, noon_us)
        clock.advance(timedelta(minutes=1))
        assert is_wanted(connection, clock.now())
        assert aggregator.run_once().minutes == 1
        assert_all_equal(pool, noon_us)


def test_nothing_is_made_twice_and_a_minute_is_left_alone_until_it_is_over(
    connection: Connection, aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    store(connection, [make_step(make_scope(), noon_us)])

    assert not is_wanted(connection, clock.now())
    assert aggregator.run_once().minutes == 0
    clock.advance(timedelta(seconds=63))
    assert is_wanted(connection, clock.now())
    assert aggregator.run_once().minutes == 1
    assert not is_wanted(connection, clock.now())
    assert aggregator.run_once() == AggregatorResult(is_done=True)


def test_a_sealed_day_is_told_from_its_buckets_and_never_made_again(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(11)
    store(connection, [some_event(chance, noon_us - chance.randrange(DAY_US // 3)) for _ in range(200)])
    clock.advance(timedelta(days=1))
    aggregator.run_once()
    whole_hours = [question for question in questions(noon_us) if not question.since.minute]
    by_minute = [question for question in questions(noon_us) if question.dimension == "operation"]
    asked = [*whole_hours, *by_minute]
    with reading(pool, timedelta(seconds=30)) as reader:
        before = [told(answer(reader, question).figures) for question in asked]
    day = from_unix_us(noon_us)
    connection.execute(
        "insert into telemetry_sealed values (%s, '', %s, %s, '{}')",
        (day.date(), UUID(int=0), UUID(int=1)),
    )
    connection.execute(SQL("drop table {}").format(Identifier(name_of(day))))
    append_batch(connection, events=0, duplicates=0, minutes=range(numbers(noon_us) - 300, numbers(noon_us)))

    assert aggregator.run_once().minutes == 0
    with reading(pool, timedelta(seconds=30)) as reader:
        assert [told(answer(reader, question).figures) for question in asked] == before
        # By space only hours are kept: that is what can be told of a time that began in the middle of one.
        odd = answer(reader, Question(from_unix_us(noon_us - 91 * MINUTE_US), day, None, "space"))
        assert odd.since == from_unix_us(noon_us - 2 * HOUR_US)


def test_a_day_that_goes_leaves_its_figures_even_if_nobody_had_made_them(
    connection: Connection, pool: ConnectionPool[Any], noon_us: int
) -> None:
    chance = random.Random(12)
    store(connection, [some_event(chance, noon_us - chance.randrange(DAY_US // 3)) for _ in range(100)])
    asked = whole_day(noon_us)
    with reading(pool, timedelta(seconds=30)) as reader:
        before = told(answer(reader, asked).figures)
    (day,) = (each for each in list_days(connection) if each.begins.date() == from_unix_us(noon_us).date())

    assert drop_day(connection, day, reason="age", errors_from=day.ends)

    with reading(pool, timedelta(seconds=30)) as reader:
        assert told(answer(reader, asked).figures) == before


def test_a_day_stays_as_long_as_somebody_else_makes_roll_ups(
    database_url: str, connection: Connection, noon_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(connection, [some_event(random.Random(1), noon_us)])
    for module in ("telemetry.rollups.aggregator", "telemetry.partitions"):
        monkeypatch.setattr(f"{module}.sleep", lambda _: None)
    (day,) = (each for each in list_days(connection) if each.begins.date() == from_unix_us(noon_us).date())
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", (LOCK_KEY,))
        assert not drop_day(connection, day, reason="age", errors_from=day.ends)
        assert clear_component(connection, day, "http", errors_from=day.ends) == 0

    assert connection.execute("select count(*) from telemetry_events").fetchone() == (1,)
    assert connection.execute("select count(*) from telemetry_sealed").fetchone() == (0,)
    assert drop_day(connection, day, reason="age", errors_from=day.ends)


def test_a_component_that_is_sealed_keeps_its_figures_while_others_are_made_again(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(13)
    store(connection, [some_event(chance, noon_us - chance.randrange(DAY_US // 3)) for _ in range(200)])
    clock.advance(timedelta(days=1))
    aggregator.run_once()
    with reading(pool, timedelta(seconds=30)) as reader:
        before = recomputed(all_values(reader), whole_day(noon_us))
    connection.execute("delete from telemetry_events where component = 'http'")
    connection.execute(
        "insert into telemetry_sealed values (%s, 'http', %s, %s, '{}')",
        (from_unix_us(noon_us).date(), UUID(int=0), UUID(int=1)),
    )
    late = [make_step(make_scope(), noon_us - HOUR_US + number) for number in range(3)]
    store(connection, late)

    for _ in range(2):  # from events, then from buckets
        with reading(pool, timedelta(seconds=30)) as reader:
            figures = answer(reader, whole_day(noon_us)).figures
        counts = {figure.key["component"]: figure.events for figure in figures}
        assert counts == {key[1]: events + (3 if key[1] == "dsl" else 0) for key, events, *_ in before}
        aggregator.run_once()


def whole_day(noon_us: int) -> Question:
    since, until = from_unix_us(noon_us - DAY_US // 2), from_unix_us(noon_us + DAY_US // 2)
    return Question(since, until, by=("component",), only={"measure": ["duration"]})


def test_buckets_are_kept_the_longer_the_wider_they_are(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(19)
    store(connection, [some_event(chance, noon_us - chance.randrange(DAY_US // 3)) for _ in range(200)])
    clock.advance(timedelta(days=4))
    aggregator.run_once()

    def kept() -> set[str]:
        forget(
            connection,
            Kept(timedelta(days=3), timedelta(days=90), timedelta(days=400), timedelta(days=90)),
            clock.now(),
        )
        assert_all_equal(pool, noon_us)
        return {width for (width,) in connection.execute("select distinct width from telemetry_metrics")}

    assert kept() == {"hour", "day"}
    store(connection, [make_step(make_scope(), noon_us - HOUR_US)])  # its hour is folded from events
    assert aggregator.run_once().minutes == 0
    assert kept() == {"hour", "day"}
    clock.advance(timedelta(days=90))
    whole = whole_day(noon_us)
    with reading(pool, timedelta(seconds=30)) as reader:
        fine = {figure.key["component"]: figure.histogram for figure in answer(reader, whole).figures}
    assert kept() == {"day"}
    with reading(pool, timedelta(seconds=30)) as reader:
        coarse = {figure.key["component"]: figure.histogram for figure in answer(reader, whole).figures}
    assert coarse["http"] == fine["http"].scaled(COARSE) != fine["http"]
    assert {name: each.scaled(COARSE) for name, each in coarse.items()} == {
        name: each.scaled(COARSE) for name, each in fine.items()
    }
    clock.advance(timedelta(days=400))
    forget(
        connection, Kept(timedelta(days=3), timedelta(days=90), timedelta(days=400), timedelta(days=90)), clock.now()
    )
    assert connection.execute("select count(*) from telemetry_metrics").fetchone() == (0,)


def test_sinks_and_aggregators_at_once_and_killed_leave_every_answer_right(
    database_url: str, connection: Connection, pool: ConnectionPool[Any], clock: ManualClock, noon_us: int
) -> None:
    """Three sinks, two aggregators whose connections are cut at random; some events are late, some come twice."""
    is_over = Signal()
    rounds = [0]

    def sink(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(database_url, autocommit=True) as own:
            kept: list[Event] = []
            while not is_over.is_set():
                now = int(clock.now().timestamp() * 1e6)
                ages = [chance.randrange(1, 90) * MINUTE_US if chance.random() < 0.1 else 0 for _ in range(20)]
                fresh = [some_event(chance, now - age - chance.randrange(MINUTE_US)) for age in ages]
                store(own, [*fresh, *chance.sample(kept, min(len(kept), 3))])
                kept = fresh
                clock.advance(timedelta(seconds=chance.randrange(20)))

    def aggregate() -> None:
        while not is_over.is_set():
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(database_url, autocommit=True, application_name="aggregator") as own,
            ):
                aggregator = Aggregator(own, clock, most_minutes=5, members_interval=timedelta(0))
                while not is_over.is_set():
                    aggregator.run_once(timedelta(seconds=1))
                    rounds[0] += 1

    chance = random.Random(17)
    with ThreadPoolExecutor(5) as threads:
        working = [threads.submit(sink, seed) for seed in range(3)] + [threads.submit(aggregate) for _ in range(2)]
        try:
            for _ in range(12):
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = 'aggregator' and datname = current_database() and random() < 0.5"
                )
                assert_equal(pool, chance.choice(questions(noon_us)))
        finally:
            is_over.set()
        for each in working:
            each.result()

    assert rounds[0] > 0
    clock.advance(timedelta(days=2))
    with psycopg.connect(database_url, autocommit=True) as own:
        assert Aggregator(own, clock, members_interval=timedelta(0)).run_once(timedelta(minutes=1)).is_done
    assert_all_equal(pool, noon_us)
    assert compared(pool, noon_us)[("hour", "user")] == 1440


def test_a_database_restored_into_a_younger_server_counts_what_comes(
    connection: Connection, autocommit_pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock
) -> None:
    """Views and ids of transactions come along in a dump, and are of times to come: what is new looked long known."""
    chance, first = random.Random(3), clock.now()
    store(connection, [some_event(chance, to_unix_us(first)) for _ in range(3)])
    clock.advance(timedelta(minutes=2))
    aggregator.run_once()
    connection.execute("update telemetry_batches set written_by = (10000000000 + id)::text::xid8")
    connection.execute("update telemetry_rollup_progress set view = '10000000100:10000000100:'")
    connection.execute(
        "update telemetry_chain_progress set read_batch = (select max(id) from telemetry_batches),"
        " read_xid = (select max(written_by) from telemetry_batches)"
    )
    store(connection, [some_event(chance, to_unix_us(first)) for _ in range(4)])

    assert chains.is_wanted(connection, timedelta(hours=1))
    chains.build_chains(connection)

    for _ in range(2):
        with reading(autocommit_pool, timedelta(seconds=5)) as one_view:
            found = answer(one_view, Question(first, clock.now(), only={"measure": ["duration"]}))
        assert sum(figure.events for figure in found.figures) == 7
        result = aggregator.run_once()
    assert (result.is_done, result.minutes) == (True, 0)
    assert not is_wanted(connection, clock.now())
