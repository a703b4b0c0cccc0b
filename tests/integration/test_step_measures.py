"""What the event of every step type says of it: its own numbers, in a real run, in a dry run, and when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
import pytest
import yaml

from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.testing import TASKS
from telemetry.events import StepExecuted, StepFailed
from workers.testing import World

#: Two notes and a digest, and what came of the first of them.
BEFORE = """
- {id: one, type: fragment.create, with: {type: note, title: a weir, tags: [x]}}
- {id: two, type: fragment.create, with: {type: note, title: another weir}}
"""


class Case(NamedTuple):
    """A step, what its event says, how many rows it changes, and whether it is about a fragment."""

    step: str
    measures: Mapping[str, Any]
    mutations: int = 0
    fragment: bool = False


FIRST = "'{{ steps.one.output.id }}'"
OPEN = "[{column: done, value: false}]"
CASES = {
    "command.run": Case("{command: note.add, inputs: {content: x}}", {}),
    "condition": Case("{if: '1 > 2', then: [{id: a, type: respond, with: {value: 1}}]}", {"branch": "none"}),
    "database.update": Case(
        f"{{table: tasks, set: {{done: true, effort: 1}}, where: {OPEN}}}",
        {"rows": 2, "fields": 2, "model": "tasks"},
        mutations=2,
    ),
    "fragment.create": Case("{type: todo, title: x}", {}, mutations=1, fragment=True),
    "fragment.delete": Case("{type: note, limit: 10}", {"rows": 2}, mutations=2),
    "fragment.query": Case("{type: note}", {"rows": 2}),
    "fragment.update": Case(
        f"{{id: {FIRST}, title: new, state: {{a: 1}}, add_tags: [y]}}", {"fields": 3}, mutations=1, fragment=True
    ),
    "list.map": Case(
        "{items: [1, 2, x], on_error: continue, do: [{id: a, type: validate, with: {rules: "
        "[{value: '{{ item }}', type: integer}]}}]}",
        {"items": 3, "succeeded": 2, "failed": 1},
    ),
    "model.create": Case("{table: tasks, values: {title: x}}", {"rows": 1, "model": "tasks"}, mutations=1),
    "model.delete": Case(f"{{table: tasks, where: {OPEN}}}", {"rows": 2, "model": "tasks"}, mutations=2),
    "model.query": Case("{table: fragments, where: [{column: type, value: note}]}", {"rows": 2, "model": "fragments"}),
    "model.update": Case(
        "{table: tasks, key: 1, set: {done: true}}", {"rows": 1, "fields": 1, "model": "tasks"}, mutations=1
    ),
    "notify": Case(
        "{channel: inbox, level: warning, message: x}", {"channel": "inbox", "message_level": "warning"}, mutations=1
    ),
    "respond": Case("{value: 1}", {}),
    "search.query": Case("{text: weir, limit: 1}", {"rows": 1}),
    "transform": Case("{template: x}", {}),
    "validate": Case("{rules: [{value: x, required: true}]}", {"faults": 0}),
}

#: Steps that fail, and what is known of them all the same.
FAILURES = {
    "database.update": Case("{table: tasks, set: {title: ''}, where: [{column: id, value: 1}]}", {"model": "tasks"}),
    "list.map": Case(
        "{items: [1, x, 2], do: [{id: a, type: validate, with: {rules: [{value: '{{ item }}', type: integer}]}}]}",
        {"items": 3, "succeeded": 1, "failed": 1},
    ),
    "model.create": Case("{table: tasks, values: {title: ''}}", {"model": "tasks"}),
    "model.delete": Case("{table: tasks, key: 99}", {"model": "tasks"}),
    "model.query": Case("{table: tasks, limit: 1000}", {"model": "tasks"}),
    "model.update": Case("{table: tasks, key: 99, set: {done: true}}", {"model": "tasks"}),
    "notify": Case(
        """{channel: inbox, message: "{{ '\\"\\\\u0000\\"' | from_json }}"}""",
        {"channel": "inbox", "message_level": "info"},
    ),
    "validate": Case("{rules: [{value: '', required: true}]}", {"faults": 1}),
}


def run(world: World, name: str, case: Case, *, dry_run: bool) -> StepExecuted | StepFailed:
    """The event of the step after it ran behind `BEFORE`."""
    world.settings = DslSettings(tables=(TASKS,))
    step = {"id": "it", "type": name, "with": yaml.safe_load(case.step)}
    world.run(yaml.safe_dump({"slug": "a", "steps": [*yaml.safe_load(BEFORE), step]}), dry_run=dry_run)
    [event] = [
        event
        for event in world.recorder.events
        if isinstance(event, (StepExecuted, StepFailed)) and event.step_path == "it"
    ]
    return event


def test_there_is_a_case_for_every_step_type() -> None:
    assert set(CASES) == set(REGISTRY)


@pytest.mark.req("C-08", "C-10")
@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry"])
@pytest.mark.parametrize("name", CASES)
def test_the_event_of_a_step_says_what_it_did(
    world: World, tasks: psycopg.Connection[Any], name: str, dry_run: bool
) -> None:
    event = run(world, name, CASES[name], dry_run=dry_run)

    assert isinstance(event, StepExecuted)
    assert (event.step_type, event.scope.dry_run) == (name, dry_run)
    assert (event.measures or {}) == CASES[name].measures
    assert event.mutations_count == CASES[name].mutations
    # What a dry run creates is gone when anybody could look for it.
    assert (event.fragment_id is not None) is (CASES[name].fragment and not (dry_run and name == "fragment.create"))


@pytest.mark.req("C-08")
@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry"])
@pytest.mark.parametrize("name", FAILURES)
def test_the_event_of_a_step_that_failed_says_what_was_known(
    world: World, tasks: psycopg.Connection[Any], name: str, dry_run: bool
) -> None:
    event = run(world, name, FAILURES[name], dry_run=dry_run)

    assert isinstance(event, StepFailed)
    assert (event.measures or {}) == FAILURES[name].measures
    assert event.mutations_count == 0
