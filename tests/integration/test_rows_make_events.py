"""Every event of an execution can be made again from its committed row alone: all that a lost process leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import dict_row

from dsl.fragments import Change, Draft, Fragment
from dsl.notes import Note
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.clock import to_unix_us
from telemetry.events import (
    ErrorFacts,
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionQueued,
    ExecutionRetried,
    ExecutionStarted,
    FieldFault,
    FragmentCreated,
    FragmentDeleted,
    FragmentUpdated,
    Scope,
    StepExecuted,
    StepFailed,
    StepSkipped,
)
from telemetry.ids import new_id
from workers.edits import Edits
from workers.imports import Imports
from workers.testing import World

Row = dict[str, Any]

ALL_KINDS = """
slug: all-kinds
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept, tags: [a]}}
  - {id: change, type: fragment.update, with: {id: "{{ steps.keep.output.fragment_id }}", title: changed}}
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2]' | from_json }}"
      do:
        - {id: tell, type: notify, if: item == 2, with: {channel: inbox, message: two}}
  - {id: find, type: fragment.query, with: {type: note}}
"""

FAILS = ALL_KINDS.replace("all-kinds", "fails") + (
    "  - {id: check, type: validate, with: {rules: [{value: '', required: true}]}}\n"
)

TRIES_AGAIN = """
slug: again
retry: {max_attempts: 2, backoff: 1ms}
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: break, type: breaks, retry: {max_attempts: 2, backoff: 1ms}}
"""


class Breaks(Step):
    """Always."""

    type = "breaks"
    effect = Effect.NONE
    Params = StepParams

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        raise RuntimeError


SLOW = """
slug: slow
steps:
  - {id: quick, type: transform, with: {template: 100}}
  - id: each
    type: list.map
    with: {items: [1000, 3000, 2000], do: [{id: wait, type: transform, with: {template: "{{ item }}"}}]}
"""

FRAGMENT_EVENTS = {"created": FragmentCreated, "updated": FragmentUpdated, "deleted": FragmentDeleted}


@pytest.mark.req("S-01", "C-03")
@pytest.mark.usefixtures("slow_transforms")
@pytest.mark.parametrize("source", [ALL_KINDS, FAILS, SLOW], ids=["all-kinds", "fails", "slow"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_every_event_equals_what_its_row_says(
    world: World, connection: Connection[Any], source: str, dry_run: bool
) -> None:
    execution = world.run(source, dry_run=dry_run, user="Ada")

    rebuilt = {event.event_id: event for event in _rebuild(world, connection, execution.id)}

    assert len(world.recorder.events) == len(rebuilt)
    for event in world.recorder.events:
        assert rebuilt[event.event_id] == event


@pytest.mark.req("S-01", "C-03")
def test_every_event_of_every_attempt_equals_what_its_row_says(world: World, connection: Connection[Any]) -> None:
    world.step_types[Breaks.type] = Breaks()
    execution_id = world.run(TRIES_AGAIN, user="Ada").id
    while world.executions.get(execution_id).state != "failed":
        connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
        world.executions.promote()
        world.runner().run_lane("default")

    rebuilt = {event.event_id: event for event in _rebuild(world, connection, execution_id)}

    assert world.recorder.types.count("command.execution.retried") == 2
    assert {event.event_id: event for event in world.recorder.events} == rebuilt


@pytest.mark.req("C-03", "C-05")
def test_every_event_of_a_change_from_outside_equals_what_its_row_says(
    world: World, connection: Connection[Any]
) -> None:
    scope = Scope(new_id(1).bytes, "cli", user_id=world.pseudonyms.user("Ada"))
    edits = Edits(world.pool, world.clock, world.recorder, world.pseudonyms.content)
    imports = Imports(world.pool, world.clock, world.recorder)

    kept = edits.create(Draft("note", title="kept"), "lab", "Ada", scope).fragment
    edits.update(kept.id, Change(title="changed"), "Ada", scope, lambda _: None)
    edits.delete(kept.id, "Ada", scope, lambda _: None)
    imports.run([Note("one", "", ""), Note("two", "", "")], imports.space_id("lab"), "Ada", scope)
    imports.run([Note(str(number), "", "") for number in range(101)], imports.space_id("lab"), "Ada", scope)

    connection.row_factory = dict_row
    told = connection.execute("select * from mutations where event_id is not null").fetchall()
    rebuilt = {change["event_id"].bytes: _outside(world, change) for change in told}
    assert len(world.recorder.events) == len(rebuilt) == 3 + 2 + 1
    for event in world.recorder.events:
        assert rebuilt[event.event_id] == event


def test_a_change_from_outside_that_is_undone_leaves_neither_row_nor_event(
    world: World, connection: Connection[Any]
) -> None:
    scope = Scope(new_id(1).bytes, "api")
    edits = Edits(world.pool, world.clock, world.recorder, world.pseudonyms.content)
    kept = edits.create(Draft("note", title="kept"), "default", "Ada", scope).fragment

    def refuse(fragment: Fragment) -> None:
        raise Refused

    with pytest.raises(Refused):
        edits.update(kept.id, Change(title="changed"), "Ada", scope, refuse)
    with pytest.raises(Refused):
        edits.delete(kept.id, "Ada", scope, refuse)

    assert world.recorder.types == ["fragment.created"]
    assert connection.execute("select operation from mutations").fetchall() == [("created",)]
    assert connection.execute("select title from fragments").fetchall() == [("kept",)]


class Refused(Exception):
    """What a check of a test raises."""


def _outside(world: World, change: Row) -> Event:
    scope = Scope(
        correlation_id=change["correlation_id"].bytes,
        request_source=change["request_source"],
        user_id=world.pseudonyms.user(change["user_name"]),
        space_id=change["space_id"].bytes,
    )
    fragment_id = change["entity_id"].bytes if change["event_rows"] == 1 else None
    kind = FRAGMENT_EVENTS[change["operation"]]
    return kind(*_stamp(change, "event_id", "occurred_at"), scope, fragment_id, None, change["event_rows"])


def _rebuild(world: World, connection: Connection[Any], execution_id: UUID) -> Iterator[Event]:
    connection.row_factory = dict_row
    (execution,) = _rows(connection, "select * from command_executions where id = %s", execution_id)
    accepted = _scope(world, execution, 0)
    yield ExecutionQueued(*_stamp(execution, "queued_event_id", "queued_at"), accepted, execution["priority"])
    for attempt in _rows(connection, "select * from command_attempts where execution_id = %s", execution_id):
        scope = _scope(world, execution, attempt["attempt"])
        yield ExecutionStarted(*_stamp(attempt, "event_id", "claimed_at"), scope, attempt["queue_wait_us"])
        if attempt["retried_event_id"] is not None:
            yield _retried(scope, attempt)
    for step in _rows(connection, "select * from command_steps where execution_id = %s", execution_id):
        yield _step(_scope(world, execution, step["attempt"]), step)
    changes = "select * from mutations where execution_id = %s and event_id is not null"
    for change in _rows(connection, changes, execution_id):
        kind = FRAGMENT_EVENTS[change["operation"]]
        scope = _scope(world, execution, change["attempt"])
        stamp = _stamp(change, "event_id", "occurred_at")
        yield kind(*stamp, scope, change["entity_id"].bytes, change["step_path"], change["event_rows"])
    yield _end(_scope(world, execution, execution["attempt"]), execution)


def _rows(connection: Connection[Any], statement: str, execution_id: UUID) -> list[Row]:
    return connection.execute(statement, [execution_id]).fetchall()


def _stamp(row: Row, event_id: str, at: str) -> tuple[bytes, int]:
    return row[event_id].bytes, to_unix_us(row[at])


def _scope(world: World, row: Row, attempt: int) -> Scope:
    return Scope(
        correlation_id=row["correlation_id"].bytes,
        request_source=row["request_source"],
        user_id=world.pseudonyms.user(row["user_name"]),
        space_id=row["space_id"].bytes,
        execution_id=row["id"].bytes,
        command_slug=row["slug"],
        definition_hash=row["definition_hash"],
        dry_run=row["dry_run"],
        attempt=attempt,
    )


def _step(scope: Scope, row: Row) -> Event:
    stamp = _stamp(row, "event_id", "occurred_at")
    if row["outcome"] == "skipped":
        return StepSkipped(*stamp, scope, row["path"], row["step_type"])
    fragment = row["fragment_id"] and row["fragment_id"].bytes
    rest = (row["step_try"], row["mutations_count"], fragment, row["measures"])
    if row["outcome"] == "failed":
        facts = ErrorFacts(row["error_type"], row["error_category"], row["error_fingerprint"])
        fields = tuple(FieldFault(each["field"], each["rule"]) for each in row["error"].get("failed_fields", ()))
        return StepFailed(
            *stamp, scope, row["path"], row["step_type"], row["duration_us"], facts, *rest, failed_fields=fields
        )
    return StepExecuted(*stamp, scope, row["path"], row["step_type"], row["duration_us"], *rest)


def _retried(scope: Scope, row: Row) -> Event:
    facts = row["error_type"] and ErrorFacts(row["error_type"], row["error_category"], row["error_fingerprint"])
    stamp = _stamp(row, "retried_event_id", "released_at")
    return ExecutionRetried(*stamp, scope, row["reason"], row["delay_us"], row["step_path"], facts)


def _end(scope: Scope, row: Row) -> Event:
    stamp = _stamp(row, "finished_event_id", "finished_at")
    elapsed_us = to_unix_us(row["finished_at"]) - to_unix_us(row["queued_at"])
    measures = (
        row["running_us"],
        row["queue_wait_us"],
        elapsed_us,
        row["steps_executed"],
        row["steps_successful"],
        row["steps_failed"],
        row["steps_skipped"],
        row["mutations_count"],
    )
    mark = (row["slow"], row["slowest_step"], row["slowest_step_type"], row["slowest_step_us"])
    if row["state"] == "succeeded":
        return ExecutionCompleted(*stamp, scope, *measures, "succeeded", *mark)
    error = row["error"]
    facts = ErrorFacts(error["type"], error["category"], bytes.fromhex(error["fingerprint"]))
    return ExecutionFailed(*stamp, scope, *measures, row["state"], facts, *mark)
