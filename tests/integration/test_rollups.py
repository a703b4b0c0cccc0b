"""Buckets say what the events say, at every moment, whoever is late, killed, or at it twice."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from fixtures.samples import ERROR, make_scope, make_step, now_us
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from telemetry.clock import from_unix_us
from telemetry.events import Event, ExecutionStarted, HttpRequestCompleted, StepFailed
from telemetry.ids import mint
from telemetry.partitions import make_days
from telemetry.reading import reading
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.histogram import Histogram
from telemetry.rollups.reading import Figure, Question, answer
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_new_events
from telemetry.testing import ManualClock

pytestmark = pytest.mark.req("A-05", "A-06", "S-13")

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


def recomputed(connection: Connection[Any], question: Question) -> list[tuple[Any, ...]]:
    """What every event of the time says, plainly."""
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(
        "select *, (measures->>'queue_wait_us')::bigint as queue_wait_us from telemetry_events"
        " where occurred_at >= %s and occurred_at < %s",
        (question.since, question.until),
    ).fetchall()
    groups: dict[tuple[Any, ...], list[tuple[bool, int | None]]] = {}
    for row in rows:
        measures = [("duration", row["duration_us"])]
        if row["event_type"] == "command.execution.started":
            measures.append(("queue_wait", row["queue_wait_us"]))
        for measure, value in measures:
            known = {**row, "measure": measure}
            if any(known[name] not in values for name, values in question.only.items()):
                continue
            width = {"minute": MINUTE_US, "hour": HOUR_US, "day": DAY_US, None: None}[question.width]
            at = None
            if width is not None:
                at_us = int(row["occurred_at"].timestamp() * 1e6 + 0.5)
                at = from_unix_us(at_us // width * width)
            key = (at, *(known[name] for name in question.by))
            groups.setdefault(key, []).append((row["level"] == "error", value))
    return [
        (
            key,
            len(members),
            sum(is_error for is_error, _ in members),
            sum(value or 0 for _, value in members),
            Histogram.of(value for _, value in members if value is not None),
        )
        for key, members in groups.items()
    ]


def told(figures: Sequence[Figure]) -> list[tuple[Any, ...]]:
    return [
        ((figure.starts_at, *figure.key.values()), figure.events, figure.errors, figure.total, figure.histogram)
        for figure in figures
    ]


def ordered(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: str(row[0]))


def questions(noon_us: int) -> list[Question]:
    since, until = from_unix_us(noon_us - 3 * HOUR_US), from_unix_us(noon_us + 2 * HOUR_US)
    odd = from_unix_us(noon_us - 91 * MINUTE_US)
    return [
        Question(since, until),
        Question(odd, until, by=("event_type", "operation", "outcome", "measure")),
        Question(odd, until, "minute", by=("component",), only={"measure": ["duration"]}),
        Question(since, until, "hour", by=("operation",), only={"component": ["dsl"], "measure": ["duration"]}),
        Question(since, until, "hour", "user", ("user_id", "event_type"), {"measure": ["duration"]}),
        Question(odd, until, None, "space", ("space_id", "error_category")),
        Question(since, until, "day", "user", ("user_id",), {"event_type": ["http.request.completed"]}),
    ]


def assert_all_equal(pool: ConnectionPool[Any], noon_us: int) -> None:
    for question in questions(noon_us):
        with reading(pool, timedelta(seconds=30)) as connection:
            found = answer(connection, question)
            assert ordered(told(found.figures)) == ordered(recomputed(connection, question)), question


def test_figures_equal_the_events_at_every_moment(
    connection: Connection, pool: ConnectionPool[Any], aggregator: Aggregator, clock: ManualClock, noon_us: int
) -> None:
    chance = random.Random(7)
    for _ in range(30):
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
