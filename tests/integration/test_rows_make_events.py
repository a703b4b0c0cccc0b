"""Every event of an execution can be made again from its committed row alone: all that a lost process leaves behind."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from fixtures.ledgers import Bookkeeper
from psycopg import Connection

from dsl.fragments import Change, Draft, Fragment
from dsl.notes import Note
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.events import CATALOGUE, Event, Scope, event_type
from telemetry.ids import new_id
from telemetry.transport import HAVE_ROWS
from workers.edits import Edits
from workers.imports import Imports
from workers.ledger_events import make_events
from workers.testing import World

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


@pytest.mark.req("S-01", "C-03")
@pytest.mark.usefixtures("slow_transforms")
@pytest.mark.parametrize("source", [ALL_KINDS, FAILS, SLOW], ids=["all-kinds", "fails", "slow"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_every_event_equals_what_its_row_says(
    world: World, connection: Connection[Any], source: str, dry_run: bool
) -> None:
    world.run(source, dry_run=dry_run, user="Ada")

    rebuilt = _rebuild(world, connection)

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

    rebuilt = _rebuild(world, connection)

    assert world.recorder.types.count("command.execution.retried") == 2
    assert {event.event_id: event for event in world.recorder.events} == rebuilt


@pytest.mark.req("S-01", "C-03")
def test_events_of_every_kind_equal_what_their_rows_say(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()

    rebuilt = _rebuild(bookkeeper.world, connection)

    have_rows = {cls for cls in CATALOGUE if event_type(cls).startswith(HAVE_ROWS)}
    assert {type(event) for event in bookkeeper.events} == have_rows
    assert {event.event_id: event for event in bookkeeper.events} == rebuilt


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

    rebuilt = _rebuild(world, connection)
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


def _rebuild(world: World, connection: Connection[Any]) -> dict[bytes, Event]:
    """Every event that a row stands for, by id, as the reconciler makes it."""
    kinds = "select kind, array_agg(event_id) from ledger_events group by kind"
    ids: dict[str, list[UUID]] = dict(connection.execute(kinds).fetchall())
    return {event.event_id: event for event in make_events(connection, ids, world.pseudonyms.user)}
