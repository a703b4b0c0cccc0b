"""Every filter lets through exactly what its definition says, and nothing that a filter asks for breaks anything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from fixtures.databases import fresh_database
from fixtures.filtering import CLAUSES, FILTERS, lets_through
from fixtures.running import Servers
from fixtures.samples import ERROR, make_scope, now_us, one_of_each
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.clock import SystemClock, from_unix_us
from telemetry.connections import connect
from telemetry.events import Event
from telemetry.filters.fields import BY_NAME, FIELDS
from telemetry.filters.parsing import parse
from telemetry.filters.syntax import Between, Clause, Compare, Exists, Filter, Is, Starts, Test
from telemetry.ids import mint
from telemetry.partitions import make_partitions
from telemetry.query import EventFilters, StoredEvent, events
from telemetry.rows import RowEncoder
from telemetry.store import insert_events

#: Events of the module's only table.
COUNT = 400
SOME = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def filled(servers: Servers, admin: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection to a database with events of all kinds; nothing here changes them."""
    with (
        contextmanager(fresh_database)(servers, admin) as url,
        connect(url, name="weir test", autocommit=True) as found,
    ):
        make_partitions(found, SystemClock().now(), 1)
        encode = RowEncoder().encode
        insert_events(found, [encode(event) for event in any_events(random.Random(7))])
        found.execute("analyze telemetry_events")
        yield found


@pytest.fixture(scope="module")
def stored(filled: psycopg.Connection) -> tuple[StoredEvent, ...]:
    """All that is stored."""
    found = events(filled, EventFilters(), limit=COUNT).items
    assert len(found) == COUNT
    return found


def any_events(dice: random.Random) -> list[Event]:
    """Events of every type, from several doors, of several users, with and without what may be missing."""
    found: list[Event] = []
    start_us = now_us()
    while len(found) < COUNT:
        at_us = start_us + dice.randrange(3) * 1_000_000 + dice.randrange(3000)
        scope = make_scope(
            correlation_id=mint(start_us),
            request_source=dice.choice(["api", "cli", "weir", "schedule"]),
            user_id=dice.choice([None, bytes(16), bytes(range(16))]),
            space_id=dice.choice([None, mint(start_us)]),
            execution_id=dice.choice([None, mint(start_us)]),
            parent_id=dice.choice([None, mint(start_us)]),
            command_slug=dice.choice([None, "todo.add", "todo.done", "note.add"]),
            dry_run=dice.random() < 0.3,
            attempt=dice.randrange(4),
        )
        for event in one_of_each(scope, at_us):
            changes: dict[str, Any] = {
                "step_path": ["note", "triage[17].note", "notes[1]", None],
                "duration_us": [0, 999, 1000, 2_000_000, 90_000_000],
                "step_try": [1, 2, 3],
                "mutations_count": [0, 1, 200],
                "error": [ERROR, msgspec.structs.replace(ERROR, error_type="TimeoutError", error_category="timeout")],
            }
            own = {name: dice.choice(options) for name, options in changes.items() if name in event.__struct_fields__}
            if own.get("step_path") is None and type(event).__name__.startswith("Step"):
                own["step_path"] = "make"
            found.append(msgspec.structs.replace(event, **own))
    return found[:COUNT]


def found_by(connection: psycopg.Connection, asked: Filter) -> set[UUID]:
    page = events(connection, EventFilters(more=asked), limit=COUNT + 1)
    return {event.event_id for event in page.items}


def meant_by(stored: tuple[StoredEvent, ...], asked: Filter) -> set[UUID]:
    return {event.event_id for event in stored if lets_through(asked, event)}


def near(event: StoredEvent, field: str) -> list[Test]:
    """Tests about what an event has, and about what lies next to it."""
    value = getattr(event, BY_NAME[field].column)
    if value is None:
        return [Exists()]
    tests: list[Test] = [Exists(), Is(value)]
    kind = BY_NAME[field].kind
    if kind.has_prefixes:
        tests += [Starts(str(value)[:length]) for length in (1, 5, len(str(value)))]
        tests += [Is(str(value).rpartition(".")[0]), Is(str(value).rpartition(".")[2]), Starts("%"), Starts("_")]
    if kind.is_ordered:
        tests += [Compare(">", value), Compare(">=", value), Compare("<", value), Compare("<=", value)]
        tests.append(Between(value, value))
    return tests


@pytest.mark.req("S-03", "A-06")
@pytest.mark.parametrize("field", [field.name for field in FIELDS if field.name not in {"user", "space"}])
def test_every_field_finds_what_its_definition_says(
    filled: psycopg.Connection, stored: tuple[StoredEvent, ...], field: str
) -> None:
    dice = random.Random(field)
    sizes = set()
    for event in dice.sample(stored, 6):
        tests = near(event, field)
        for test in dice.sample(tests, min(len(tests), 6)):
            for negated in (False, True):
                asked = Filter((Clause(field, (test,), negated),))
                found = found_by(filled, asked)
                assert found == meant_by(stored, asked), asked
                sizes.add(len(found))
    assert sizes - {0}


@pytest.mark.req("S-03")
@SOME
@given(data=st.data())
def test_any_filter_finds_what_its_definition_says(
    filled: psycopg.Connection, stored: tuple[StoredEvent, ...], data: st.DataObject
) -> None:
    clauses = []
    for _ in range(data.draw(st.integers(1, 3))):
        clause = data.draw(CLAUSES.filter(lambda clause: clause.field not in {"user", "space"}))
        tests = near(data.draw(st.sampled_from(stored)), clause.field)
        clauses.append(Clause(clause.field, (*clause.tests, data.draw(st.sampled_from(tests))), clause.negated))
    asked = Filter(tuple(clauses))

    assert found_by(filled, asked) == meant_by(stored, asked)


@pytest.mark.req("S-03")
def test_a_filter_and_the_other_ways_to_ask_are_one(
    filled: psycopg.Connection, stored: tuple[StoredEvent, ...]
) -> None:
    middle = sorted(event.occurred_at for event in stored)[COUNT // 2]
    text = parse(f"command:todo.add event_type:dsl.step time:>={middle.isoformat()}")
    given_apart = EventFilters(command="todo.add", event_type="dsl.step", since=middle)

    found = {event.event_id for event in events(filled, given_apart, limit=COUNT).items}

    assert found == found_by(filled, text) != set()


@pytest.mark.req("S-03")
def test_times_of_a_filter_rule_out_partitions(filled: psycopg.Connection) -> None:
    day = from_unix_us(now_us()) + timedelta(days=1)
    plans: list[str] = []

    class Explaining(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:  # noqa: ANN401 - as psycopg's
            text = b"explain " + query.as_bytes(self)
            plans.extend(line for (line,) in filled.execute(text, params).fetchall())
            return super().execute(query, params)

    with connect(filled.info.dsn, name="test") as explaining:
        explaining.cursor_factory = Explaining
        events(explaining, EventFilters(more=parse(f"time:{day:%Y-%m-%d}T10:00Z..{day:%Y-%m-%d}T11:00Z")), limit=10)

    scanned = {line.partition(" on ")[2].split()[0] for line in plans if "Scan" in line and " on telemetry" in line}
    assert {name.removesuffix("_pkey") for name in scanned} == {
        f"telemetry_events_p{day:%Y%m%d}",
        "telemetry_events_kept",
    }


@SOME
@given(asked=FILTERS.map(lambda asked: Filter(tuple(c for c in asked.clauses if c.field not in {"user", "space"}))))
def test_no_filter_is_more_than_postgres_takes(filled: psycopg.Connection, asked: Filter) -> None:
    events(filled, EventFilters(more=asked), limit=1)
