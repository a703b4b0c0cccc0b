"""`on_failure` runs once after the final failure, also of what ended its worker, and changes nothing of how it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fixtures.traps import Killed, Trap
from psycopg import Connection

from telemetry.events import ExecutionFailed, ExecutionRetried
from workers.executions import Claim, Execution
from workers.fence import Release
from workers.stops import SQL as STOPS
from workers.testing import World

STEPS = """
slug: doomed
steps:
  - {id: keep, type: transform, with: {template: kept}}
  - {id: trap, type: trap}
"""
TELLS = """
on_failure:
  - {id: tell, type: notify, with: {channel: inbox, message: "{{ steps.keep.output }}"}}
"""
DOOMED = STEPS + TELLS
#: It ends its worker there, too.
DOOMED_TWICE = DOOMED + "  - {id: again, type: trap}\n"
FAILS = DOOMED_TWICE.replace("type: trap}", 'type: validate, with: {rules: [{value: "", required: true}]}}', 1)


@pytest.fixture
def deadly(trapped: World) -> World:
    """A world whose traps let nobody live."""
    Trap.deaths = 100
    return trapped


def start(world: World, source: str = DOOMED, *, dry_run: bool = False) -> UUID:
    """A run that ends its worker."""
    execution_id = world.submit(world.load(source), dry_run=dry_run)
    lose(world)
    return execution_id


def lose(world: World) -> None:
    with pytest.raises(Killed):
        world.runner().run_lane("default")
    world.lose_worker()


def mark_killed(world: World, execution_id: UUID, reason: str = "timed_out", attempt: int = 1) -> None:
    with world.pool.connection() as connection:
        connection.execute(STOPS["mark_killed"], {"id": execution_id, "attempt": attempt, "reason": reason})


def reap(world: World, max_deaths: int = 3) -> None:
    world.reaper(lease=timedelta(), max_deaths=max_deaths).run_once()
    with world.pool.connection() as connection:
        connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
    world.executions.promote()


def die(world: World, source: str = DOOMED, *, dry_run: bool = False) -> UUID:
    """One that is poison, and has been found so; its second death was alone."""
    execution_id = start(world, source, dry_run=dry_run)
    reap(world, max_deaths=2)
    lose(world)
    reap(world, max_deaths=2)
    return execution_id


def go_on(world: World, execution_id: UUID) -> Execution:
    world.runner().run_lane("default")
    return world.executions.get(execution_id)


def claim(world: World) -> Claim:
    found = world.executions.claim("default", world.worker_id)
    assert found is not None
    return found


def told(connection: Connection[Any]) -> int:
    (count,) = connection.execute("select count(*) from notifications where message = 'kept'").fetchone() or (0,)
    return int(count)


def ending(world: World) -> ExecutionFailed:
    """The one final event."""
    (failed,) = (event for event in world.recorder.events if isinstance(event, ExecutionFailed))
    assert world.recorder.events[-1] is failed
    return failed


def code(execution: Execution) -> object:
    assert execution.error is not None
    assert "ending" not in execution.error
    return execution.error["code"]


@pytest.mark.req("D-01")
def test_what_took_too_long_and_had_to_be_killed_runs_on_failure(deadly: World, connection: Connection[Any]) -> None:
    execution_id = start(deadly)
    mark_killed(deadly, execution_id)
    reap(deadly)
    assert (deadly.executions.get(execution_id).state, told(connection)) == ("queued", 0)

    execution = go_on(deadly, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("failed", "execution.timed_out", 1)
    assert (execution.attempt, execution.steps_successful, Trap.runs) == (2, 2, 1)
    assert (ending(deadly).stopped, ending(deadly).outcome) == ("killed", "failed")
    # It is no death of its own: it does not run alone for it.
    assert connection.execute("select deaths, alone from command_executions").fetchall() == [(0, False)]


def test_on_failure_that_has_to_be_killed_too_is_not_run_again(deadly: World, connection: Connection[Any]) -> None:
    execution_id = start(deadly, DOOMED_TWICE)
    mark_killed(deadly, execution_id)
    reap(deadly)
    lose(deadly)
    mark_killed(deadly, execution_id, attempt=2)
    reap(deadly)

    execution = deadly.executions.get(execution_id)
    assert (execution.state, code(execution), told(connection)) == ("failed", "execution.timed_out", 1)
    assert (ending(deadly).stopped, Trap.runs) == ("killed", 2)
    assert deadly.runner().run_lane("default") == 0


def test_on_failure_goes_on_after_a_death_that_is_nobodys_fault(deadly: World, connection: Connection[Any]) -> None:
    execution_id = start(deadly, DOOMED_TWICE)
    mark_killed(deadly, execution_id)
    reap(deadly)
    lose(deadly)
    reap(deadly)
    Trap.deaths = 0

    execution = go_on(deadly, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("failed", "execution.timed_out", 1)
    assert ending(deadly).stopped == "killed"


@pytest.mark.req("D-01")
def test_what_is_dead_has_run_on_failure_alone(deadly: World, connection: Connection[Any]) -> None:
    execution_id = die(deadly)
    assert (deadly.executions.get(execution_id).state, told(connection)) == ("queued", 0)
    assert connection.execute("select alone from command_executions").fetchall() == [(True,)]

    execution = go_on(deadly, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("dead", "execution.worker_lost", 1)
    assert (execution.attempt, Trap.runs, ending(deadly).outcome) == (3, 2, "dead")
    retried = [event.reason for event in deadly.recorder.events if isinstance(event, ExecutionRetried)]
    assert retried == ["worker_lost", "worker_lost"]


def test_what_dies_of_the_first_death_alone_runs_on_failure_alone(deadly: World, connection: Connection[Any]) -> None:
    execution_id = start(deadly)
    reap(deadly, max_deaths=1)

    assert connection.execute("select deaths, alone from command_executions").fetchall() == [(1, True)]
    assert go_on(deadly, execution_id).state == "dead"
    assert told(connection) == 1


def test_on_failure_that_kills_its_worker_is_not_run_again(deadly: World, connection: Connection[Any]) -> None:
    execution_id = die(deadly, DOOMED_TWICE)
    lose(deadly)
    reap(deadly, max_deaths=2)

    execution = deadly.executions.get(execution_id)
    assert (execution.state, code(execution), told(connection), Trap.runs) == ("dead", "execution.worker_lost", 1, 3)
    assert ending(deadly).outcome == "dead"


def test_on_failure_that_was_lost_before_it_was_alone_runs_all_the_same(
    deadly: World, connection: Connection[Any]
) -> None:
    execution_id = die(deadly)
    deadly.submit(deadly.load("slug: other\nsteps: [{id: say, type: respond, with: {value: 1}}]"))
    assert {claim(deadly).id, claim(deadly).id} > {execution_id}
    deadly.lose_worker()
    reap(deadly, max_deaths=2)
    assert deadly.executions.get(execution_id).state == "queued"

    assert go_on(deadly, execution_id).state == "dead"
    assert told(connection) == 1


def test_what_has_failed_stays_failed_although_on_failure_kills_its_worker(
    deadly: World, connection: Connection[Any]
) -> None:
    execution_id = die(deadly, FAILS)

    execution = deadly.executions.get(execution_id)
    assert (execution.state, told(connection), Trap.runs) == ("failed", 1, 2)
    assert execution.error is not None
    assert (execution.error["step"], execution.error["category"]) == ("trap", "validation")
    assert ending(deadly).outcome == "failed"


def test_what_cannot_be_loaded_any_more_ends_as_it_has_failed(deadly: World, connection: Connection[Any]) -> None:
    execution_id = die(deadly)
    deadly.step_types.clear()

    execution = go_on(deadly, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("dead", "execution.worker_lost", 0)


@pytest.mark.parametrize("is_late", [True, False])
def test_without_on_failure_it_ends_at_once(deadly: World, *, is_late: bool) -> None:
    execution_id = start(deadly, STEPS)
    if is_late:
        mark_killed(deadly, execution_id)
    reap(deadly, max_deaths=1)

    assert deadly.executions.get(execution_id).state == ("failed" if is_late else "dead")


def test_a_dry_run_that_ends_its_worker_ends_without(deadly: World, connection: Connection[Any]) -> None:
    execution_id = die(deadly, dry_run=True)

    assert (deadly.executions.get(execution_id).state, told(connection)) == ("dead", 0)


def test_a_cancellation_that_took_a_kill_runs_none(deadly: World, connection: Connection[Any]) -> None:
    execution_id = start(deadly)
    mark_killed(deadly, execution_id, "cancelled")
    reap(deadly)

    execution = deadly.executions.get(execution_id)
    assert (execution.state, told(connection)) == ("cancelled", 0)


def test_a_run_that_ended_by_itself_just_before_it_was_killed_was_not(
    deadly: World, connection: Connection[Any]
) -> None:
    execution_id = deadly.submit(deadly.load(DOOMED))
    held = claim(deadly)
    mark_killed(deadly, execution_id)
    with deadly.pool.connection() as own, own.transaction():
        deadly.fence(held).release(own, Release("step_failed"))
    lose(deadly)
    reap(deadly)

    execution = deadly.executions.get(execution_id)
    assert (execution.state, execution.attempt, told(connection)) == ("queued", 2, 0)
    assert connection.execute("select deaths, failing from command_executions").fetchall() == [(1, None)]
