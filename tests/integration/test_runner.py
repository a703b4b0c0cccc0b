"""A lane is run to its end, and whatever a command does, its execution ends in a state that says so."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fixtures.stacks import eventually
from fixtures.traps import refuse_rows
from psycopg import Connection

from dsl.testing import make_command
from telemetry.events import ExecutionCompleted, ExecutionFailed, StepFailed
from telemetry.testing import ManualClock
from workers.gate import Gate
from workers.testing import World

GREET = """
slug: greet
inputs: {name: {type: string, required: true}}
steps:
  - {id: quiet, type: respond, if: inputs.name == '', with: {value: nobody}}
  - {id: say, type: respond, with: {value: "Hello {{ inputs.name }}"}}
"""

KEEP_THEN_FAIL = """
slug: half
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: check, type: validate, with: {rules: [{value: "", required: true, message: secret reason}]}}
  - {id: never, type: respond, with: {value: 1}}
"""


@pytest.mark.req("C-01", "C-02", "C-04")
def test_a_command_that_succeeds(world: World) -> None:
    execution = world.run(GREET, {"name": "Ada"})

    assert (execution.state, execution.result, execution.error) == ("succeeded", "Hello Ada", None)
    assert world.recorder.types == [
        "command.execution.queued",
        "command.execution.started",
        "dsl.step.skipped",
        "dsl.step.executed",
        "command.execution.completed",
    ]
    completed = world.recorder.events[-1]
    assert isinstance(completed, ExecutionCompleted)
    assert (completed.steps_executed, completed.steps_successful, completed.steps_skipped) == (1, 1, 1)
    assert len({event.scope.correlation_id for event in world.recorder.events}) == 1


@pytest.mark.req("C-01", "C-04")
def test_a_command_that_fails_half_way_keeps_what_it_did_and_counts_right(world: World) -> None:
    execution = world.run(KEEP_THEN_FAIL)

    assert (execution.state, execution.result) == ("failed", None)
    assert execution.error is not None
    assert (execution.error["step"], execution.error["type"]) == ("check", "StepFailed")
    assert (execution.steps_executed, execution.steps_successful, execution.steps_failed) == (2, 1, 1)
    assert [step.outcome for step in world.executions.steps(execution.id, limit=10)] == ["succeeded", "failed"]
    failed = world.recorder.events[-1]
    assert isinstance(failed, ExecutionFailed)
    assert (failed.outcome, failed.steps_failed, failed.mutations_count) == ("failed", 1, 1)
    assert "secret reason" not in repr(world.recorder.events)


@pytest.mark.req("C-10")
def test_a_dry_run_changes_nothing_and_reports_what_it_would_have(world: World, connection: Connection[Any]) -> None:
    execution = world.run(KEEP_THEN_FAIL, dry_run=True)

    assert (execution.state, execution.dry_run, execution.mutations_count) == ("failed", True, 1)
    assert connection.execute("select count(*) from fragments").fetchone() == (0,)
    assert [(effect.entity, effect.rows) for effect in world.executions.effects(execution.id)] == [("fragment", 1)]
    assert "fragment.created" not in world.recorder.types


def test_a_lane_is_run_until_nothing_is_due(world: World, clock: ManualClock) -> None:
    runner = world.runner()
    for _ in range(5):
        world.submit()
        clock.advance(timedelta(milliseconds=1))

    assert runner.run_lane("default") == 5
    assert runner.run_lane("default") == 0


def _claimed_with(connection: Connection[Any], ended: UUID, claimed: UUID) -> bool:
    """Whether an execution was claimed by the transaction that ended another."""
    found = connection.execute(
        "select e.xmin = a.xmin from command_executions e, command_attempts a where e.id = %s and a.execution_id = %s",
        [ended, claimed],
    ).fetchone()
    return found == (True,)


def test_the_next_execution_is_claimed_with_the_end_of_the_one_before(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    first = world.submit(world.load(GREET), {"name": "you"})
    clock.advance(timedelta(milliseconds=1))
    second = world.submit(world.load(GREET), {"name": "you"})

    assert world.runner().run_lane("default") == 2

    assert _claimed_with(connection, ended=first, claimed=second)
    assert world.recorder.types.count("command.execution.started") == 2


def test_a_claim_that_postgres_refuses_leaves_the_end_it_goes_with_alone(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    first = world.submit(world.load(GREET), {"name": "you"})
    clock.advance(timedelta(milliseconds=1))
    second = world.submit(world.load(GREET), {"name": "you"})
    refuse_rows(connection, "command_attempts", "execution_id", second)

    assert world.runner().run_lane("default") == 1

    assert [world.executions.get(each).state for each in (first, second)] == ["succeeded", "queued"]


def test_nothing_more_is_claimed_while_an_execution_waits_to_be_alone(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    first = world.submit(world.load(GREET), {"name": "you"})
    clock.advance(timedelta(milliseconds=1))
    second = world.submit(world.load(GREET), {"name": "you"})
    runner = world.runner()
    gate = runner._gate
    waiting = threading.Thread(target=_be_alone, args=[gate])
    claim = world.executions.claim("default", world.worker_id)
    assert claim is not None

    with gate.entered():
        waiting.start()
        eventually(lambda: gate.is_wanted)
        assert runner._run_held(claim, "default") is None
    waiting.join(5)

    assert [world.executions.get(each).state for each in (first, second)] == ["succeeded", "queued"]


def _be_alone(gate: Gate) -> None:
    with gate.entered(), gate.alone():
        pass


def test_a_runner_that_is_stopping_claims_nothing_more(world: World) -> None:
    world.submit()
    runner = world.runner()
    runner.stop()

    assert runner.run_lane("default") == 0


def test_a_definition_that_no_longer_loads_fails_its_execution(world: World) -> None:
    execution_id = world.submit(make_command(source="slug: gone\nsteps: [{id: a, type: no.longer}]"))

    world.runner().run_lane("default")

    execution = world.executions.get(execution_id)
    assert (execution.state, execution.steps_executed) == ("failed", 0)
    assert execution.error is not None
    assert execution.error["code"] == "command.invalid"
    assert "no.longer" in str(execution.error["faults"])


def test_an_execution_taken_away_meanwhile_is_left_as_it_is(world: World, connection: Connection[Any]) -> None:
    claim = world.claim()
    connection.execute("update command_executions set fence = fence + 1 where id = %s", [claim.id])

    world.runner().run(claim)

    assert world.executions.get(claim.id).state == "running"
    assert world.recorder.types == ["command.execution.queued", "command.execution.started"]


NESTED = """
slug: nested
steps:
  - id: outer
    type: list.map
    with:
      items: "{{ '[1]' | from_json }}"
      do:
        - id: inner
          type: condition
          with:
            if: 'true'
            then:
              - {id: check, type: validate, with: {rules: [{value: "", required: true}]}}
"""


def test_one_error_has_one_fingerprint_at_every_level(world: World) -> None:
    execution = world.run(NESTED)

    failed = [event for event in world.recorder.events if isinstance(event, StepFailed | ExecutionFailed)]
    assert [step.path for step in world.executions.steps(execution.id, limit=10) if step.outcome == "failed"] == [
        "outer",
        "outer[0].inner",
        "outer[0].inner.check",
    ]
    assert len(failed) == 4
    assert len({event.error.error_fingerprint for event in failed if event.error}) == 1


ADDS = """
slug: adds
steps:
  - {id: one, type: fragment.create, with: {type: note, title: one}}
  - {id: two, type: fragment.create, with: {type: note, title: two}}
  - {id: say, type: transform, with: {template: "{{ steps.two.output.title }}"}}
  - {id: three, type: fragment.create, with: {type: note, title: three}}
"""

LOOKS = """
slug: looks
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: before}}
  - {id: find, type: fragment.query, with: {type: note}}
  - {id: more, type: fragment.create, with: {type: note, title: again}}
  - {id: change, type: fragment.update, with: {id: "{{ steps.more.output.fragment_id }}", title: after}}
  - {id: out, type: fragment.create, with: {type: note, title: elsewhere, space: other}}
  - {id: answer, type: respond, with: {value: "{{ steps.find.output.count }}"}}
"""


def test_what_is_only_added_commits_together_with_the_end(world: World, connection: Connection[Any]) -> None:
    execution = world.run(ADDS)

    assert (execution.state, execution.mutations_count) == ("succeeded", 3)
    written_by = connection.execute(
        "select distinct xmin::text from fragments union select xmin::text from mutations"
        " union select xmin::text from command_steps union select xmin::text from command_executions"
    ).fetchall()
    assert len(written_by) == 1


def test_whoever_looks_sees_what_was_added_before(world: World, connection: Connection[Any]) -> None:
    execution = world.run(LOOKS)

    assert (execution.state, execution.result) == ("succeeded", 1)
    titles = connection.execute("select title from fragments order by title").fetchall()
    assert titles == [("after",), ("before",), ("elsewhere",)]


def test_an_addition_that_postgres_refuses_is_done_again_and_fails_its_own_step(
    world: World, connection: Connection[Any]
) -> None:
    refuse_rows(connection, "fragments", "title", "two")

    execution = world.run(ADDS)

    assert (execution.state, execution.attempt, execution.deaths, execution.failures) == ("failed", 2, 0, 0)
    assert execution.error is not None
    assert (execution.error["step"], execution.error["type"]) == ("two", "DiskFull")
    assert connection.execute("select title from fragments").fetchall() == [("one",)]
    assert connection.execute("select reason from command_attempts order by attempt").fetchall() == [
        ("store_lost",),
        (None,),
    ]
    assert world.recorder.types.count("fragment.created") == 1
    assert [step.outcome for step in world.executions.steps(execution.id, limit=10)] == ["succeeded", "failed"]


def test_additions_do_not_wait_for_ever_in_a_long_list(world: World, connection: Connection[Any]) -> None:
    execution = world.run(
        """
slug: many
inputs: {items: {type: array, required: true}}
steps:
  - id: each
    type: list.map
    with:
      items: "{{ inputs.items }}"
      do:
        - {id: keep, type: fragment.create, with: {type: note, title: "{{ item }}"}}
""",
        {"items": [str(number) for number in range(250)]},
    )

    assert execution.state == "succeeded"
    sizes = connection.execute("select count(*) from fragments group by xmin order by 1").fetchall()
    assert sum(size for (size,) in sizes) == 250
    assert len(sizes) >= 3
