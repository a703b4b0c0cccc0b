"""The steps that touch the database, each on a real one: their outputs, mutations and measures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import ValidationError

from dsl import fragments, notifications
from dsl.errors import FragmentNotFound, RecordInvalid, StepFailed
from dsl.fragment_selection import Filter
from dsl.step import StepResult
from dsl.steps.fragment_create import FragmentCreate
from dsl.steps.fragment_query import FragmentQuery
from dsl.steps.fragment_update import FragmentUpdate
from dsl.steps.notify import Notify
from dsl.testing import DEFAULT_SPACE_ID, PlainTools, make_execution, run_step
from telemetry.ids import new_id
from telemetry.testing import NOON, ManualClock

Connection = psycopg.Connection[Any]


def create(connection: Connection, **params: Any) -> StepResult:  # noqa: ANN401 - the step's own parameters
    return run_step(FragmentCreate(), {"type": "note"} | params, connection=connection)


def count(connection: Connection, table: str) -> int:
    statement = psycopg.sql.SQL("select count(*) from {}").format(psycopg.sql.Identifier(table))
    [(rows,)] = connection.execute(statement).fetchall()
    return int(rows)


def an_execution(connection: Connection) -> UUID:
    """The row that a notification refers to."""
    execution_id = new_id(1)
    connection.execute("insert into command_definitions (hash, slug, source) values (%s, 'test', '')", [b"0" * 16])
    connection.execute(
        """
        insert into command_executions
            (id, slug, definition_hash, state, request_source, user_name, space_id, correlation_id, inputs,
             queued_at, run_at)
        values (%s, 'test', %s, 'queued', 'api', 'tester', %s, %s, '{}', now(), now())
        """,
        [execution_id, b"0" * 16, DEFAULT_SPACE_ID, execution_id],
    )
    return execution_id


# fragment.create


@pytest.mark.req("C-08")
def test_a_created_fragment_is_stored_and_described(connection: Connection) -> None:
    result = create(connection, title="Buy milk", state={"status": "open"}, tags=["todo"])
    [stored] = fragments.page(connection, Filter(), limit=10)
    assert result.output == {"fragment_id": str(stored.id), **stored.to_json()}
    assert list(result.output) == [
        "fragment_id",
        "id",
        "type",
        "title",
        "content",
        "state",
        "tags",
        "metadata",
        "space",
        "source",
        "created_at",
        "updated_at",
    ]
    assert result.fragment_id == stored.id
    [mutation] = result.mutations
    assert (mutation.entity, mutation.operation, mutation.entity_id) == ("fragment", "created", stored.id)
    assert mutation.changed_fields == ("type", "title", "state", "tags")
    assert (mutation.before, len(mutation.after or b"")) == (None, 16)


def test_a_fragment_goes_into_the_space_it_names(connection: Connection) -> None:
    assert create(connection).output["space"] == "default"
    assert create(connection, space="garden").output["space"] == "garden"
    assert create(connection, space="garden").output["space"] == "garden"
    assert count(connection, "spaces") == 2


@pytest.mark.req("C-10")
def test_a_dry_run_of_a_creation_leaves_no_id_that_leads_nowhere(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        result = run_step(
            FragmentCreate(), {"type": "note"}, connection=connection, execution=make_execution(dry_run=True)
        )
        update = run_step(FragmentUpdate(), {"id": result.output["fragment_id"], "title": "x"}, connection=connection)
    assert update.output["changed"] == ["title"]
    assert result.fragment_id is None
    assert [mutation.entity_id for mutation in result.mutations] == [None]
    assert count(connection, "fragments") == 0


def test_a_fragment_that_cannot_be_stored_fails_the_step(connection: Connection) -> None:
    with pytest.raises(RecordInvalid):
        create(connection, title="a\0b")
    with pytest.raises(ValidationError):
        create(connection, type="Not a type")


# fragment.update


@pytest.mark.req("C-08")
def test_an_update_names_the_fragment_and_counts_the_fields(connection: Connection) -> None:
    created = create(connection, title="old", state={"status": "open", "by": "ada"}, tags=["inbox"])
    params = {
        "id": created.output["fragment_id"],
        "title": "new",
        "state": {"status": "done", "by": None},
        "metadata": {"k": 1},
        "add_tags": ["done"],
        "remove_tags": ["inbox"],
    }
    result = run_step(FragmentUpdate(), params, connection=connection)
    assert result.output == {
        "fragment_id": created.output["fragment_id"],
        "changed": ["title", "state", "tags", "metadata"],
    }
    assert result.measures == {"fields": 4}
    assert result.fragment_id == created.fragment_id
    [mutation] = result.mutations
    assert (mutation.operation, mutation.entity_id) == ("updated", created.fragment_id)
    assert mutation.changed_fields == ("title", "state", "tags", "metadata")
    assert mutation.before == created.mutations[0].after
    assert mutation.after not in {None, mutation.before}
    [stored] = fragments.page(connection, Filter(), limit=10)
    assert (stored.state, stored.tags, stored.metadata) == ({"status": "done"}, ["done"], {"k": 1})


def test_an_update_that_changes_nothing_is_no_mutation(connection: Connection) -> None:
    fragment_id = create(connection, title="same").output["fragment_id"]
    result = run_step(FragmentUpdate(), {"id": fragment_id, "title": "same"}, connection=connection)
    assert result.output == {"fragment_id": fragment_id, "changed": []}
    assert result.mutations == ()
    assert result.measures == {"fields": 0}


def test_an_update_of_what_is_not_there_fails(connection: Connection) -> None:
    with pytest.raises(FragmentNotFound):
        run_step(FragmentUpdate(), {"id": str(new_id(0)), "title": "x"}, connection=connection)
    with pytest.raises(ValidationError):
        run_step(FragmentUpdate(), {"id": "not an id"}, connection=connection)


# fragment.query


@pytest.mark.req("C-08")
def test_a_query_returns_items_and_counts_rows(connection: Connection) -> None:
    clock = ManualClock(NOON - timedelta(hours=1))
    for title in ("one", "two", "three"):
        run_step(FragmentCreate(), {"type": "note", "title": title}, connection=connection, tools=PlainTools(clock))
        clock.advance(timedelta(minutes=20))
    create(connection, type="todo")
    create(connection, space="garden")

    def found(**params: Any) -> list[str]:  # noqa: ANN401 - the step's own parameters
        result = run_step(FragmentQuery(), {"type": "note", "fields": ["title"]} | params, connection=connection)
        assert result.output["count"] == len(result.output["items"]) == result.measures["rows"]
        assert result.mutations == ()
        return [item["title"] for item in result.output["items"]]

    assert found() == ["three", "two", "one"]
    assert found(order="oldest", limit=2) == ["one", "two"]
    assert found(since="30m") == ["three"]
    assert found(since="2026-01-13T11:20:00", until="2026-01-13T12:40:00+01:00") == ["two"]
    assert found(text="T", without_tags=["x"]) == ["three", "two"]
    assert found(space="garden") == [""]
    assert found(tags=["nothing"]) == []


def test_a_query_on_an_empty_database_finds_nothing(connection: Connection) -> None:
    result = run_step(FragmentQuery(), {"type": "note"}, connection=connection)
    assert result.output == {"items": [], "count": 0}


def test_a_query_may_not_ask_for_more_rows_than_the_limit(connection: Connection) -> None:
    with pytest.raises(StepFailed, match="at most 10"):
        run_step(FragmentQuery(), {"limit": 11}, connection=connection, tools=PlainTools(query_max_rows=10))
    for wrong in ({"limit": 0}, {"since": "yesterday"}, {"fields": ["secret"]}, {"order": "random"}):
        with pytest.raises(ValidationError):
            run_step(FragmentQuery(), wrong, connection=connection)


# notify to the inbox


@pytest.mark.req("C-08")
def test_a_notification_is_in_the_inbox_of_the_user(connection: Connection) -> None:
    execution = make_execution(id=an_execution(connection))
    params = {"channel": "inbox", "level": "warning", "message": "look"}
    first = run_step(Notify(), params, connection=connection, execution=execution)
    run_step(Notify(), params | {"user": "grace", "level": "info"}, connection=connection, execution=execution)
    stored = notifications.newest(connection, notifications.Which(DEFAULT_SPACE_ID), limit=10)
    assert sorted((one.user_name, one.level, one.message) for one in stored) == [
        ("grace", "info", "look"),
        ("tester", "warning", "look"),
    ]
    assert {one.execution_id for one in stored} == {execution.id}
    notification_id = first.output["notification_id"]
    assert first.output == {
        "channel": "inbox",
        "level": "warning",
        "user": "tester",
        "message": "look",
        "sent": True,
        "notification_id": notification_id,
    }
    assert first.measures == {"channel": "inbox", "message_level": "warning"}
    [mutation] = first.mutations
    assert (mutation.entity, mutation.operation) == ("notification", "created")
    assert str(mutation.entity_id) == notification_id
    older = notifications.newest(connection, notifications.Which(DEFAULT_SPACE_ID, before=stored[0].id), limit=10)
    assert older == stored[1:]


@pytest.mark.req("C-10")
def test_a_dry_run_of_a_notification_counts_it_and_leaves_none(connection: Connection) -> None:
    execution = make_execution(id=an_execution(connection), dry_run=True)
    with connection.transaction(force_rollback=True):
        result = run_step(Notify(), {"channel": "inbox", "message": "look"}, connection=connection, execution=execution)
    assert (result.output["sent"], result.output["notification_id"]) == (False, None)
    assert [(mutation.count, mutation.entity_id) for mutation in result.mutations] == [(1, None)]
    assert count(connection, "notifications") == 0


def test_a_message_that_cannot_be_kept_fails_the_step(connection: Connection) -> None:
    with pytest.raises(RecordInvalid):
        run_step(Notify(), {"channel": "inbox", "message": "a\0b"}, connection=connection)
