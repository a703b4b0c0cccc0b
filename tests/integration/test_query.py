"""Reading events back: traces, filtered pages, and their JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fixtures.samples import make_scope, make_step, now_us, one_of_each

from telemetry.clock import SystemClock, from_unix_us
from telemetry.components import component_name
from telemetry.connections import connect
from telemetry.errors import StoreUnavailable, TraceNotFound
from telemetry.events import CATALOGUE, Event, Scope, event_type
from telemetry.partitions import make_partitions
from telemetry.query import EventFilters, event_json, events, step_id, trace
from telemetry.rows import RowEncoder
from telemetry.store import insert_events

Store = Callable[..., None]

#: Events of `one_of_each`.
EACH = len(CATALOGUE)


@pytest.fixture
def store(connection: psycopg.Connection) -> Store:
    """Stores events."""
    make_partitions(connection, SystemClock().now(), 1)
    encode = RowEncoder().encode

    def insert(*new: Event) -> None:
        insert_events(connection, [encode(event) for event in new])

    return insert


def add_execution(connection: psycopg.Connection, scope: Scope) -> UUID:
    """The row of an execution that was just accepted."""
    values = {"id": UUID(bytes=scope.execution_id), "correlation_id": UUID(bytes=scope.correlation_id)}
    connection.execute("insert into command_definitions (hash, slug, source) values (%b, 'todo.add', '')", (bytes(16),))
    connection.execute(
        "insert into command_executions (id, slug, definition_hash, state, request_source, user_name, space_id, "
        "correlation_id, inputs, queued_at, run_at) select %(id)s, 'todo.add', hash, 'queued', 'api', 'tester', "
        "spaces.id, %(correlation_id)s, '{}', now(), now() from command_definitions, spaces limit 1",
        values,
    )
    return values["id"]


@pytest.mark.req("S-01", "C-05")
def test_a_trace_is_all_of_one_correlation_id_in_the_order_it_happened(
    connection: psycopg.Connection, store: Store
) -> None:
    scope = make_scope()
    of_trace = one_of_each(scope)
    store(*reversed(of_trace), *one_of_each())

    found = trace(connection, UUID(bytes=scope.correlation_id))

    assert found.correlation_id.bytes == scope.correlation_id
    assert [event.event_type for event in found.events] == [event_type(event) for event in of_trace]
    assert [event.event_id.bytes for event in found.events] == [event.event_id for event in of_trace]


@pytest.mark.req("C-05")
def test_an_execution_id_finds_the_trace_it_belongs_to(connection: psycopg.Connection, store: Store) -> None:
    scope = make_scope()
    store(*one_of_each(scope))
    execution_id = add_execution(connection, scope)

    assert trace(connection, execution_id) == trace(connection, UUID(bytes=scope.correlation_id))


def test_a_trace_of_nothing_is_not_found(connection: psycopg.Connection, store: Store) -> None:
    nothing_stored = add_execution(connection, make_scope())

    for unknown in (UUID(int=1), nothing_stored):
        with pytest.raises(TraceNotFound) as missing:
            trace(connection, unknown)
        assert missing.value.facts == {"id": str(unknown)}


@pytest.mark.req("S-01")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 2 * EACH),
        ({"event_type": "dsl.step.executed"}, 2),
        ({"event_type": "dsl.step"}, 6),
        ({"event_type": "dsl"}, 6),
        ({"event_type": "dsl.ste"}, 0),
        ({"event_type": "dsl_step"}, 0),
        ({"event_type": "%"}, 0),
        ({"component": "fragment"}, 6),
        ({"component": "fragment_telemetry"}, 6),
        ({"component": "Fragment"}, 6),
        ({"level": "error"}, 6),
        ({"outcome": "dead"}, 2),
        ({"command": "todo.add"}, EACH),
        ({"command": "note.add"}, EACH),
        ({"user_id": bytes(range(16))}, EACH),
        ({"component": "command", "level": "error", "command": "note.add"}, 1),
        ({"component": "'; drop table telemetry_events; --"}, 0),
    ],
    ids=str,
)
def test_filters_are_all_fulfilled(
    connection: psycopg.Connection, store: Store, filters: dict[str, Any], expected: int
) -> None:
    store(*one_of_each(make_scope()), *one_of_each(make_scope(command_slug="note.add", user_id=bytes(16))))

    page = events(connection, EventFilters(**filters), limit=100)

    assert len(page.items) == expected
    assert page.next_cursor is None


@pytest.mark.req("S-01")
def test_ids_are_filters(connection: psycopg.Connection, store: Store) -> None:
    scope = make_scope()
    store(*one_of_each(scope), *one_of_each())
    ids: dict[str, Any] = {
        "correlation_id": scope.correlation_id,
        "execution_id": scope.execution_id,
        "space_id": scope.space_id,
    }

    for name, value in ids.items():
        filters: dict[str, Any] = {name: UUID(bytes=value)}
        found = events(connection, EventFilters(**filters), limit=100).items
        assert {getattr(event, name).bytes for event in found} == {value}
        assert len(found) == EACH


@pytest.mark.req("S-01")
def test_times_are_half_open_to_the_microsecond(connection: psycopg.Connection, store: Store) -> None:
    start_us = now_us() // 1000 * 1000
    instants = [start_us - 1, start_us, start_us + 1, start_us + 999, start_us + 1000]
    store(*(make_step(at_us=instant) for instant in instants))

    def found(since_us: int, until_us: int) -> list[int]:
        filters = EventFilters(since=from_unix_us(since_us), until=from_unix_us(until_us))
        occurred = {event.occurred_at for event in events(connection, filters, limit=100).items}
        return [instant for instant in instants if from_unix_us(instant) in occurred]

    assert found(start_us, start_us + 999) == instants[1:3]
    assert found(start_us + 1, start_us + 1001) == instants[2:]
    assert found(start_us - 1, start_us) == instants[:1]
    assert found(start_us + 1000, start_us + 1000) == []


@pytest.mark.req("S-01")
def test_a_time_range_rules_out_partitions(connection: psycopg.Connection, store: Store) -> None:
    since = SystemClock().now() - timedelta(minutes=1)
    plan: list[Any] = []

    class Explaining(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:  # noqa: ANN401 - as psycopg's
            plan.extend(connection.execute(b"explain (format json) " + query.as_bytes(self), params).fetchone() or ())
            return super().execute(query, params)

    with connect(connection.info.dsn, name="test") as explaining:
        explaining.cursor_factory = Explaining
        events(explaining, EventFilters(since=since, until=since + timedelta(seconds=1)), limit=10)

    scanned = set(re.findall(r"telemetry_events_p\d{8}", json.dumps(plan)))
    assert scanned <= {f"telemetry_events_p{day:%Y%m%d}" for day in (since, since + timedelta(seconds=1))}
    assert scanned


@pytest.mark.req("S-01")
def test_pages_follow_one_another_without_gap_or_repetition(connection: psycopg.Connection, store: Store) -> None:
    scope, start_us = make_scope(), now_us()
    stored = [make_step(scope, at_us=start_us + 1000 * number) for number in range(10)]
    store(*stored)

    cursor, sizes, found = None, [], []
    while True:
        page = events(connection, EventFilters(component="dsl"), limit=4, cursor=cursor)
        sizes.append(len(page.items))
        found += [event.event_id.bytes for event in page.items]
        store(make_step(at_us=start_us + 60_000_000))  # what is new does not disturb who pages
        if page.next_cursor is None:
            break
        cursor = page.next_cursor

    assert sizes == [4, 4, 2]
    assert found == [event.event_id for event in reversed(stored)]


@pytest.mark.req("C-02", "C-03", "C-04")
def test_an_event_has_one_json_shape(connection: psycopg.Connection, store: Store) -> None:
    scope = make_scope()
    store(*one_of_each(scope))

    shown = {
        found["event_type"]: found
        for found in map(event_json, trace(connection, UUID(bytes=scope.correlation_id)).events)
    }

    failed = shown["dsl.step.failed"]
    assert {key: failed[key] for key in ("operation", "step_path", "step_id", "step_type", "try", "duration_ms")} == {
        "operation": "validate",
        "step_path": "triage[17].note",
        "step_id": "note",
        "step_type": "validate",
        "try": 2,
        "duration_ms": 0.05,
    }
    assert failed["error_fingerprint"] == "0102030405060708"
    assert failed["definition_hash"] == bytes(range(16, 32)).hex()
    assert failed["user_id"] == bytes(range(16)).hex()
    assert failed["parent_id"] is None
    assert failed["occurred_at"].endswith("Z")
    completed = shown["command.execution.completed"]
    assert completed["duration_ms"] == completed["measures"]["total_duration_ms"] == 120.0
    assert completed["measures"]["queue_wait_ms"] == 3.0
    assert completed["measures"]["steps_executed"] == 4
    assert shown["dsl.step.skipped"]["measures"] == {}
    assert shown["dsl.step.executed"]["measures"] == {"items": 3, "branch": "then"}
    assert len({tuple(found) for found in shown.values()}) == 1
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize(
    ("path", "expected"),
    [(None, None), ("note", "note"), ("triage[17].note", "note"), ("a[1].b[2]", "b"), ("check.then_step", "then_step")],
)
def test_the_id_of_a_step_is_the_last_one_of_its_path(path: str | None, expected: str | None) -> None:
    assert step_id(path) == expected


@pytest.mark.parametrize("text", ["tool", "tool_telemetry", " Tool_Telemetry "])
def test_components_are_known_by_their_old_names_too(text: str) -> None:
    assert component_name(text) == "tool"


def test_a_store_that_is_away_is_said_to_be_unavailable(connection: psycopg.Connection) -> None:
    connection.close()

    with pytest.raises(StoreUnavailable):
        trace(connection, UUID(int=1))
    with pytest.raises(StoreUnavailable):
        events(connection, EventFilters(), limit=1)
