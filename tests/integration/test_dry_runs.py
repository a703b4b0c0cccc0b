"""A dry run changes no row of any table but its own record, and counts what the real run that follows changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from dsl import fragments
from dsl.check import load
from dsl.command import Command
from dsl.inputs import check_inputs
from dsl.library import PACKS
from dsl.notes import Note
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.testing import DEFAULT_SPACE_ID, TASKS
from telemetry.events import Event, event_type
from telemetry.testing import ManualClock
from workers.testing import World

Connection = psycopg.Connection[Any]

FILES = {path.stem: path for path in sorted(PACKS.glob("*.yaml"))}

#: A fragment that `furnished` leaves open, by its title.
OPEN_TODO = "<todo 9>"


class Case(NamedTuple):
    """A pack, what it is run with on what `furnished` leaves behind, how it ends, and whether it changes anything."""

    slug: str
    inputs: Mapping[str, Any] = MappingProxyType({})
    state: str = "succeeded"
    changes: bool = True


CASES = (
    Case("digest.daily", {"type": "todo", "since": "90d"}),
    Case("digest.daily", {"type": "todo", "since": "90d", "limit": 3}),
    Case("digest.daily", {"type": "nothing"}, changes=False),
    Case("digest.daily", {"since": "yesterday"}, "failed", changes=False),
    Case("fragments.archive"),
    Case("fragments.archive", {"limit": 3}, "failed", changes=False),
    Case("fragments.purge", {"older_than": "10d"}),
    Case("fragments.purge", {"older_than": "10d", "limit": 2}, "failed", changes=False),
    Case("fragments.retag", {"from": "reading", "to": "books"}),
    Case("fragments.retag", {"from": "todo"}),
    Case("fragments.retag", {"from": "nothing"}, changes=False),
    Case("inbox.triage"),
    Case("inbox.triage", {"limit": 7}),
    Case("note.add", {"content": "a note", "tags": ["x"]}),
    Case("note.add", {"content": " "}, "failed", changes=False),
    Case("recall", {"about": "some text"}, changes=False),
    Case("remind"),
    Case("remind", {"older_than": "9999d"}, changes=False),
    Case("search", {"text": "note or todo", "limit": 3}, changes=False),
    Case("todo.add", {"body": "now", "priority": "high", "tags": ["home"]}),
    Case("todo.add", {"body": "later"}),
    Case("todo.done", {"text": "todo 9"}),
    Case("todo.done", {"id": OPEN_TODO}),
    Case("todo.done", {"text": "todo"}, "failed", changes=False),
)

#: Every step type that is there, on tables that are declared too; some of it fails inside and goes on.
EVERYTHING = """
slug: everything
inputs: {n: {type: integer}}
steps:
  - {id: text, type: transform, with: {template: "{{ inputs.n }}"}}
  - {id: check, type: validate, with: {rules: [{value: "{{ inputs.n }}", type: integer}]}}
  - {id: new, type: fragment.create, with: {type: note, title: new, tags: [fresh], space: elsewhere}}
  - {id: own, type: fragment.create, with: {type: note, title: own, tags: [fresh]}}
  - {id: change, type: fragment.update, with: {id: "{{ steps.own.output.id }}", title: changed, state: {a: 1}}}
  - {id: find, type: fragment.query, with: {tags: [fresh]}}
  - {id: look, type: search.query, with: {text: changed}}
  - {id: drop, type: fragment.delete, with: {tags: [reading], limit: 50}}
  - {id: make, type: model.create, with: {table: tasks, values: {title: x, labels: [home]}}}
  - {id: read, type: model.query, with: {table: tasks, where: [{column: labels, op: contains, value: home}]}}
  - {id: set, type: model.update, with: {table: tasks, key: "{{ steps.make.output.key }}", set: {done: true}}}
  - {id: all, type: database.update, with: {table: tasks, set: {effort: 3}, where: [{column: id, op: gt, value: 0}]}}
  - {id: some, type: model.delete, with: {table: tasks, where: [{column: done, value: true}]}}
  - id: state
    type: database.update
    with: {table: fragments, set: {state: {seen: true}}, where: [{column: type, value: todo}]}
  - {id: other, type: command.run, with: {command: note.add, inputs: {content: x}}}
  - {id: inbox, type: notify, with: {channel: inbox, message: "all: {{ steps.all.output.count }}"}}
  - {id: log, type: notify, with: {channel: log, message: "all: {{ steps.all.output.count }}"}}
  - id: each
    type: list.map
    with:
      items: [1, x, 3]
      on_error: continue
      do:
        - {id: number, type: validate, with: {rules: [{value: "{{ item }}", type: integer}]}}
        - {id: keep, type: fragment.create, with: {type: number, title: "{{ item }}"}}
        - id: odd
          type: condition
          with:
            if: item == 1
            then: [{id: one, type: notify, with: {channel: inbox, message: one}}]
            else: [{id: more, type: notify, with: {channel: inbox, message: more}}]
  - {id: never, type: fragment.create, if: inputs.n > 5, with: {type: note}}
  - {id: answer, type: respond, with: {value: "{{ steps.each.output.succeeded }}"}}
"""

#: Tables of the database that are not telemetry's, whoever made them, with the schema of each.
OPERATIONAL = """
    select relnamespace::regnamespace::text, relname from pg_class
    where relkind in ('r', 'p', 'm') and relname not like 'telemetry%' and relnamespace::regnamespace::text
        not in ('pg_catalog', 'information_schema', 'pg_toast')
    order by 1, 2
"""

#: Where an execution keeps its own record, and the column that says whose it is. Nothing else of it may stay.
OWN_RECORD = {
    "command_executions": "id",
    "command_attempts": "execution_id",
    "command_steps": "execution_id",
    "mutations": "execution_id",
}


def furnished(world: World, connection: Connection, clock: ManualClock) -> None:
    """Something to do for every pack: notes, to-dos that are open, done and archived, and a table of the user's."""
    notes = [
        Note(
            source=f"{number}.md",
            title=f"Note {number}",
            content="- [ ] do it\n" if number % 3 == 0 else "Some text. " * 200,
            tags=("todo",) if number % 5 == 0 else ("reading",),
        )
        for number in range(30)
    ]
    fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, clock.now())
    for number in range(10):
        run(world, "todo.add", {"body": f"todo {number}"})
    for number in range(8):
        run(world, "todo.done", {"text": f"todo {number}"})
    clock.advance(timedelta(days=31))
    run(world, "fragments.archive", {})
    for number in range(8):
        run(world, "todo.add", {"body": f"later {number}"})
        run(world, "todo.done", {"text": f"later {number}"})
    clock.advance(timedelta(days=31))


def pack(slug: str) -> Command:
    return load(FILES[slug].read_text(encoding="utf-8"), REGISTRY, DslSettings(), origin="pack")


def run(world: World, slug: str, inputs: dict[str, Any]) -> None:
    command = pack(slug)
    execution_id = world.submit(command, check_inputs(command, inputs))
    world.runner().run_lane("default")
    assert world.executions.get(execution_id).state == "succeeded"


def rows(connection: Connection, *own: UUID) -> dict[str, list[Any]]:
    """Every row of every table, with the transaction that wrote it; without the record of some executions."""
    found: dict[str, list[Any]] = {}
    for schema, table in connection.execute(OPERATIONAL).fetchall():
        key = OWN_RECORD.get(table) if schema == "public" else None
        not_own = sql.SQL("where ({} = any(%(own)s)) is not true")
        condition = not_own.format(sql.Identifier(key)) if key else sql.SQL("")
        statement = sql.SQL("select xmin::text, t::text from {} t {} order by 2")
        query = statement.format(sql.Identifier(schema, table), condition)
        found[f"{schema}.{table}"] = connection.execute(query, {"own": list(own)}).fetchall()
    return found


def counts(world: World, execution_id: UUID) -> dict[str, Any]:
    """What an execution says of itself, of each of its steps, and of what it changed by entity and operation."""
    row = world.executions.get(execution_id)
    steps = world.executions.steps(execution_id, limit=10_000)
    return {
        "state": row.state,
        "error": row.error and (row.error["type"], row.error["fingerprint"], row.error["step"]),
        "steps": (row.steps_executed, row.steps_successful, row.steps_failed, row.steps_skipped),
        "mutations": row.mutations_count,
        "effects": world.executions.effects(execution_id),
        "by step": [
            (step.path, step.step_type, step.outcome, step.ordinal, step.mutations_count, step.measures)
            for step in steps
        ],
    }


def told(events: list[Event], execution_id: UUID) -> Counter[tuple[Any, ...]]:
    """What the events of an execution say, but for ids, times, and the changes that a dry run did not make."""
    facts = ("step_path", "step_type", "outcome", "mutations_count", "failed_fields", "steps_executed", "steps_failed")
    own = [event for event in events if event.scope.execution_id == execution_id.bytes]
    return Counter(
        (event_type(event), *(getattr(event, fact, None) for fact in facts), str(getattr(event, "measures", None)))
        for event in own
        if event.component != "fragment"
    )


def compared(world: World, connection: Connection, command: Command, inputs: dict[str, Any]) -> tuple[str, bool]:
    """Run it dry, then for real, and hold them against each other; how they ended, and whether the real one changed
    anything but its own record.
    """
    checked = check_inputs(command, inputs)
    dry_id = world.submit(command, checked, dry_run=True)
    before = rows(connection, dry_id)
    world.runner().run_lane("default")

    assert rows(connection, dry_id) == before
    real_id = world.submit(command, checked)
    world.runner().run_lane("default")
    assert counts(world, dry_id) == counts(world, real_id)
    assert told(world.recorder.events, dry_id) == told(world.recorder.events, real_id)
    assert not any(
        event.component == "fragment" for event in world.recorder.events if event.scope.execution_id == dry_id.bytes
    )
    after = rows(connection, dry_id, real_id)
    # The lists of maps are part of the record of a real run.
    changed = {table for table in before if before[table] != after[table]} - {"public.command_step_items"}
    return world.executions.get(real_id).state, bool(changed)


def test_there_is_a_case_for_every_pack() -> None:
    assert {case.slug for case in CASES} == set(FILES)


@pytest.mark.req("C-10")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.slug}-{'-'.join(case.inputs)}-{case.state}")
def test_a_dry_run_of_a_pack_changes_nothing_and_counts_what_the_real_run_changes(
    world: World, connection: Connection, clock: ManualClock, case: Case
) -> None:
    furnished(world, connection, clock)
    inputs = dict(case.inputs)
    if inputs.get("id") == OPEN_TODO:
        found = connection.execute("select id from fragments where title = 'todo 9'").fetchone()
        inputs["id"] = str(found and found[0])

    assert compared(world, connection, pack(case.slug), inputs) == (case.state, case.changes)


@pytest.mark.req("C-10", "C-08")
def test_a_dry_run_of_every_step_type_changes_nothing_and_counts_what_the_real_run_changes(
    world: World, tasks: Connection, clock: ManualClock
) -> None:
    world.settings = DslSettings(tables=(TASKS,))
    furnished(world, tasks, clock)
    command = load(EVERYTHING, REGISTRY, world.settings, origin="test")
    types = {spec.type for spec in command.steps} | {"condition"}
    assert types == set(REGISTRY)

    assert compared(world, tasks, command, {"n": 3}) == ("succeeded", True)


def test_what_a_dry_run_leaves_behind_would_be_seen(world: World, connection: Connection) -> None:
    """The comparison above is of no use if it overlooks a table."""
    execution_id = world.submit(pack("note.add"), {"content": "x"}, dry_run=True)
    before = rows(connection, execution_id)
    assert {"public.notifications", "public.fragments", "public.spaces", "public.command_step_items"} <= set(before)
    connection.execute(
        "insert into notifications (id, space_id, execution_id, user_name, level, message, created_at) "
        "values (gen_random_uuid(), %s, %s, 'x', 'info', 'x', now())",
        [DEFAULT_SPACE_ID, execution_id],
    )
    assert rows(connection, execution_id) != before
