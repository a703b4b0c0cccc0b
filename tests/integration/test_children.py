"""Commands that wait for commands: no worker's place is taken meanwhile, and each is run once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from telemetry.events import ExecutionQueued
from workers.executions import Execution
from workers.stops import SQL as STOPS
from workers.stops import Stops
from workers.testing import World

CHILD = """
slug: child
inputs: {title: {type: string, required: true}}
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: "{{ inputs.title }}"}}
  - {id: check, type: validate, with: {rules: [{value: "{{ inputs.title }}", pattern: "^[a-z0-9 .]+$"}]}}
  - {id: say, type: respond, with: {value: {title: "{{ inputs.title }}"}}}
"""
PARENT = """
slug: parent
inputs: {title: {type: string, required: true}}
steps:
  - {id: first, type: fragment.create, with: {type: note, title: first}}
  - {id: ask, type: command.run, with: {command: child, await: true, inputs: {title: "{{ inputs.title }}"}}}
  - {id: say, type: respond, with: {value: "{{ steps.ask.output.result.title }}"}}
"""
MAPPED = """
slug: mapped
steps:
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2, 3]' | from_json }}"
      do:
        - {id: ask, type: command.run, with: {command: child, await: true, inputs: {title: "no. {{ item }}"}}}
"""


@pytest.fixture
def family(world: World, tmp_path: Path) -> World:
    (tmp_path / "child.yaml").write_text(CHILD, encoding="utf-8")
    itself = "slug: itself\nsteps: [{id: again, type: command.run, with: {command: itself, await: true}}]"
    (tmp_path / "itself.yaml").write_text(itself, encoding="utf-8")
    world.folders.append(tmp_path)
    return world


def children(world: World, parent: UUID) -> list[Execution]:
    with world.pool.connection() as connection:
        found = connection.execute(
            "select id from command_executions where parent_id = %s order by id", [parent]
        ).fetchall()
    return [world.executions.get(child) for (child,) in found]


@pytest.mark.req("D-01", "C-08")
def test_a_command_waits_for_another_and_uses_its_answer(family: World, connection: Connection[Any]) -> None:
    parent = family.run(PARENT, {"title": "asked"})

    assert (parent.state, parent.result, parent.attempt) == ("succeeded", "asked", 2)
    [child] = children(family, parent.id)
    assert (child.state, child.link, child.correlation_id) == ("succeeded", "child", parent.correlation_id)
    titles = connection.execute("select title from fragments order by title").fetchall()
    assert titles == [("asked",), ("first",)]
    paths = connection.execute("select path from command_steps where execution_id = %s", [parent.id]).fetchall()
    assert sorted(path for (path,) in paths) == ["ask", "first", "say"]
    assert family.recorder.types.count("command.execution.retried") == 0
    queued = [event for event in family.recorder.events if isinstance(event, ExecutionQueued)]
    assert [event.scope.request_source for event in queued] == ["api", "command"]


def test_while_it_waits_it_takes_no_place(family: World) -> None:
    parent = family.submit(family.load(PARENT), {"title": "asked"})
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None

    family.runner().run(claim)

    assert family.executions.get(parent).state == "waiting"
    assert [child.state for child in children(family, parent)] == ["queued"]


def test_a_map_waits_for_each_of_its_items(family: World, connection: Connection[Any]) -> None:
    parent = family.run(MAPPED)

    assert parent.state == "succeeded"
    assert [each["result"]["title"] for each in parent.result["results"]] == ["no. 1", "no. 2", "no. 3"]
    assert len(children(family, parent.id)) == 3


def test_a_step_around_waits_may_have_a_timeout(family: World) -> None:
    parent = family.run(MAPPED.replace("type: list.map", "type: list.map\n    timeout: 30s"))

    assert (parent.state, parent.result["succeeded"]) == ("succeeded", 3)


def test_a_child_that_fails_fails_the_step(family: World) -> None:
    parent = family.run(PARENT, {"title": "REFUSED"})

    assert parent.state == "failed"
    assert parent.error is not None
    assert (parent.error["code"], parent.error["step"]) == ("step.child_failed", "ask")


def test_a_step_that_is_tried_again_asks_again(family: World) -> None:
    source = PARENT.replace("type: command.run,", "type: command.run, retry: {max_attempts: 2, backoff: 1ms},")
    parent = family.submit(family.load(source), {"title": "REFUSED"})
    family.runner().run_lane("default")
    with family.pool.connection() as connection:
        connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
    family.executions.promote()
    family.runner().run_lane("default")

    assert family.executions.get(parent).state == "failed"
    assert [child.state for child in children(family, parent)] == ["failed", "failed"]


def test_a_worker_that_is_lost_before_it_waits_asks_only_once(family: World, connection: Connection[Any]) -> None:
    parent = family.submit(family.load(PARENT), {"title": "asked"})
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    family.runner().run(claim)
    # As if it had been lost between the child's row and its own: it runs, and nobody runs it.
    connection.execute("update command_executions set state = 'running' where id = %s", [parent])
    family.lose_worker()
    family.reaper(lease=timedelta()).run_once()
    family.runner().run_lane("default")

    assert family.executions.get(parent).state == "succeeded"
    assert len(children(family, parent)) == 1


def test_nothing_waits_for_itself(family: World) -> None:
    parent = family.run("slug: top\nsteps: [{id: again, type: command.run, with: {command: itself, await: true}}]")

    assert parent.state == "failed"
    [child] = children(family, parent.id)
    assert child.error is not None
    assert "wait for itself" in child.error["message"]
    assert children(family, child.id) == []


def test_a_dry_run_runs_the_other_command_within_itself(family: World, connection: Connection[Any]) -> None:
    parent = family.run(PARENT, {"title": "asked"}, dry_run=True)

    assert (parent.state, parent.result, parent.mutations_count) == ("succeeded", "asked", 2)
    assert connection.execute("select count(*) from fragments").fetchone() == (0,)
    assert connection.execute("select count(*) from command_executions").fetchone() == (1,)
    paths = [step.path for step in family.executions.steps(parent.id, limit=10)]
    assert sorted(paths) == ["ask", "ask/check", "ask/keep", "ask/say", "first", "say"]


def test_cancelling_what_waits_cancels_what_it_waits_for(family: World) -> None:
    parent = family.submit(family.load(PARENT), {"title": "asked"})
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    family.runner().run(claim)

    stops = Stops(family.pool, family.executions, family.clock, family.recorder)
    assert stops.cancel(parent) == "cancelled"

    assert [child.state for child in children(family, parent)] == ["cancelled"]
    assert family.runner().run_lane("default") == 0


def test_what_is_cancelled_just_before_it_waits_is_cancelled_and_does_not_fail_of_its_child(family: World) -> None:
    parent = family.submit(family.load(PARENT), {"title": "asked"})
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    with family.pool.connection() as connection:
        connection.execute(STOPS["request"], {"id": parent})  # and nobody hears of it: it begins to wait that moment
    family.runner().run(claim)
    stops = Stops(family.pool, family.executions, family.clock, family.recorder)
    stops.cancel(children(family, parent)[0].id)

    assert family.runner().run_lane("default") == 1
    assert family.executions.get(parent).state == "cancelled"
    assert [step.path for step in family.executions.steps(parent, limit=10)] == ["first"]
