"""Rows as Postgres reads them back, and each of them once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from fixtures.samples import make_scope, make_step, now_us, one_of_each
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row

from telemetry.clock import SystemClock, from_unix_us
from telemetry.partitions import make_partitions
from telemetry.rows import MOST, RowEncoder
from telemetry.store import insert_events, insert_new_events, prepare_session


@pytest.fixture(autouse=True)
def partitions(connection: psycopg.Connection) -> None:
    make_partitions(connection, SystemClock().now(), 1)


def rows_of(*events: Any) -> list[bytes]:  # noqa: ANN401 - events of any type
    encode = RowEncoder().encode
    return [encode(event) for event in events]


def count(connection: psycopg.Connection) -> int:
    (found,) = connection.execute("select count(*) from telemetry_events").fetchone() or (0,)
    return int(found)


@pytest.mark.req("S-01", "C-02", "C-03")
def test_every_field_of_every_event_arrives_in_its_column(connection: psycopg.Connection) -> None:
    scope, started_us = make_scope(), now_us()
    events = one_of_each(scope, started_us)

    assert insert_events(connection, rows_of(*events)) == len(events)

    with connection.cursor(row_factory=dict_row) as cursor:
        stored = cursor.execute("select * from telemetry_events order by occurred_at").fetchall()
    for event, row in zip(events, stored, strict=True):
        assert row["event_id"].bytes == event.event_id
        assert row["occurred_at"] == from_unix_us(event.occurred_at_us)
        assert row["component"] == event.component
        assert row["level"] == event.level
        assert row["correlation_id"].bytes == scope.correlation_id
        assert row["space_id"].bytes == scope.space_id
        assert row["user_id"] == scope.user_id
        assert row["definition_hash"] == scope.definition_hash
        assert (row["dry_run"], row["attempt"], row["parent_id"]) == (False, 1, None)
        assert row["outcome"] == getattr(event, "outcome", None)
        assert row["step_path"] == getattr(event, "step_path", None)
    failed = next(row for row in stored if row["event_type"] == "dsl.step.failed")
    assert (failed["operation"], failed["step_type"], failed["duration_us"]) == ("validate", "validate", 50)
    assert (failed["step_try"], failed["mutations_count"]) == (2, 0)
    assert failed["measures"] == {"faults": 1, "failed_fields": [{"field": "rules[0]", "rule": "pattern"}]}
    assert (failed["error_type"], failed["error_category"]) == ("StepFailed", "validation")
    assert failed["error_fingerprint"] == bytes(range(1, 9))
    deleted = next(row for row in stored if row["event_type"] == "fragment.deleted")
    assert (deleted["fragment_id"], deleted["mutations_count"]) == (None, 250)


@pytest.mark.req("S-01")
def test_extremes_of_every_column_arrive(connection: psycopg.Connection) -> None:
    scope = make_scope(dry_run=True, attempt=32_767, user_id=None, space_id=None, execution_id=None, command_slug=None)
    event = make_step(scope, duration_us=MOST, step_try=-32_768, mutations_count=-(1 << 31), step_path="a" * 1000)

    insert_events(connection, rows_of(event))

    found = connection.execute(
        "select duration_us, step_try, mutations_count, length(step_path), dry_run, attempt, user_id "
        "from telemetry_events"
    ).fetchone()
    assert found == (MOST, -32_768, -(1 << 31), 1000, True, 32_767, None)


@pytest.mark.req("S-02")
def test_an_event_that_is_stored_is_not_stored_again(connection: psycopg.Connection) -> None:
    rows = rows_of(*one_of_each())
    prepare_session(connection)
    with connection.transaction():
        insert_events(connection, rows[:5])

    with pytest.raises(UniqueViolation), connection.transaction():
        insert_events(connection, rows)
    assert count(connection) == 5
    for expected in (len(rows) - 5, 0):
        with connection.transaction():
            assert insert_new_events(connection, [*rows, *rows]) == expected
    assert count(connection) == len(rows)


def test_no_rows_are_no_harm(connection: psycopg.Connection) -> None:
    with connection.transaction():
        assert insert_events(connection, []) == 0
        assert insert_new_events(connection, []) == 0


def test_a_server_that_commits_asynchronously_does_not_for_us(connection: psycopg.Connection) -> None:
    connection.execute("set synchronous_commit = off")

    prepare_session(connection)
    assert connection.execute("show synchronous_commit").fetchone() == ("on",)
    connection.execute("set synchronous_commit = remote_apply")
    prepare_session(connection)
    assert connection.execute("show synchronous_commit").fetchone() == ("remote_apply",)
