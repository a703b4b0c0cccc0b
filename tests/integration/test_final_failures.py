"""`on_failure` runs once after the final failure, also of what ended its worker, and changes nothing of how it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.step import Effect, Step, StepContext, StepParams, StepResult
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


class Killed(BaseException):
    """The worker's process is gone."""


class Trap(Step):
    """Kills its worker as often as it is told to."""

    type = "trap"
    effect = Effect.EXTERNAL
    Params = StepParams
    deaths: ClassVar[int] = 0
    runs: ClassVar[int] = 0

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        Trap.runs += 1
        if Trap.deaths > 0:
            Trap.deaths -= 1
            raise Killed
        return StepResult("survived")

    def preview(self, params: StepParams, context: StepContext) -> StepResult:
        return self.run(params, context)


@pytest.fixture
def trapped(world: World) -> World:
    world.step_types[Trap.type] = Trap()
    Trap.deaths, Trap.runs = 100, 0
    return world


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
def test_what_took_too_long_and_had_to_be_killed_runs_on_failure(trapped: World, connection: Connection[Any]) -> None:
    execution_id = start(trapped)
    mark_killed(trapped, execution_id)
    reap(trapped)
    assert (trapped.executions.get(execution_id).state, told(connection)) == ("queued", 0)

    execution = go_on(trapped, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("failed", "execution.timed_out", 1)
    assert (execution.attempt, execution.steps_successful, Trap.runs) == (2, 2, 1)
    assert (ending(trapped).stopped, ending(trapped).outcome) == ("killed", "failed")
    # It is no death of its own: it does not run alone for it.
    assert connection.execute("select deaths, alone from command_executions").fetchall() == [(0, False)]


def test_on_failure_that_has_to_be_killed_too_is_not_run_again(trapped: World, connection: Connection[Any]) -> None:
    execution_id = start(trapped, DOOMED_TWICE)
    mark_killed(trapped, execution_id)
    reap(trapped)
    lose(trapped)
    mark_killed(trapped, execution_id, attempt=2)
    reap(trapped)

    execution = trapped.executions.get(execution_id)
    assert (execution.state, code(execution), told(connection)) == ("failed", "execution.timed_out", 1)
    assert (ending(trapped).stopped, Trap.runs) == ("killed", 2)
    assert trapped.runner().run_lane("default") == 0


def test_on_failure_goes_on_after_a_death_that_is_nobodys_fault(trapped: World, connection: Connection[Any]) -> None:
    execution_id = start(trapped, DOOMED_TWICE)
    mark_killed(trapped, execution_id)
    reap(trapped)
    lose(trapped)
    reap(trapped)
    Trap.deaths = 0

    execution = go_on(trapped, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("failed", "execution.timed_out", 1)
    assert ending(trapped).stopped == "killed"


@pytest.mark.req("D-01")
def test_what_is_dead_has_run_on_failure_alone(trapped: World, connection: Connection[Any]) -> None:
    execution_id = die(trapped)
    assert (trapped.executions.get(execution_id).state, told(connection)) == ("queued", 0)
    assert connection.execute("select alone from command_executions").fetchall() == [(True,)]

    execution = go_on(trapped, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("dead", "execution.worker_lost", 1)
    assert (execution.attempt, Trap.runs, ending(trapped).outcome) == (3, 2, "dead")
    retried = [event.reason for event in trapped.recorder.events if isinstance(event, ExecutionRetried)]
    assert retried == ["worker_lost", "worker_lost"]


def test_what_dies_of_the_first_death_alone_runs_on_failure_alone(trapped: World, connection: Connection[Any]) -> None:
    execution_id = start(trapped)
    reap(trapped, max_deaths=1)

    assert connection.execute("select deaths, alone from command_executions").fetchall() == [(1, True)]
    assert go_on(trapped, execution_id).state == "dead"
    assert told(connection) == 1


def test_on_failure_that_kills_its_worker_is_not_run_again(trapped: World, connection: Connection[Any]) -> None:
    execution_id = die(trapped, DOOMED_TWICE)
    lose(trapped)
    reap(trapped, max_deaths=2)

    execution = trapped.executions.get(execution_id)
    assert (execution.state, code(execution), told(connection), Trap.runs) == ("dead", "execution.worker_lost", 1, 3)
    assert ending(trapped).outcome == "dead"


def test_on_failure_that_was_lost_before_it_was_alone_runs_all_the_same(
    trapped: World, connection: Connection[Any]
) -> None:
    execution_id = die(trapped)
    trapped.submit(trapped.load("slug: other\nsteps: [{id: say, type: respond, with: {value: 1}}]"))
    assert {claim(trapped).id, claim(trapped).id} > {execution_id}
    trapped.lose_worker()
    reap(trapped, max_deaths=2)
    assert trapped.executions.get(execution_id).state == "queued"

    assert go_on(trapped, execution_id).state == "dead"
    assert told(connection) == 1


def test_what_has_failed_stays_failed_although_on_failure_kills_its_worker(
    trapped: World, connection: Connection[Any]
) -> None:
    execution_id = die(trapped, FAILS)

    execution = trapped.executions.get(execution_id)
    assert (execution.state, told(connection), Trap.runs) == ("failed", 1, 2)
    assert execution.error is not None
    assert (execution.error["step"], execution.error["category"]) == ("trap", "validation")
    assert ending(trapped).outcome == "failed"


def test_what_cannot_be_loaded_any_more_ends_as_it_has_failed(trapped: World, connection: Connection[Any]) -> None:
    execution_id = die(trapped)
    trapped.step_types.clear()

    execution = go_on(trapped, execution_id)

    assert (execution.state, code(execution), told(connection)) == ("dead", "execution.worker_lost", 0)


@pytest.mark.parametrize("is_late", [True, False])
def test_without_on_failure_it_ends_at_once(trapped: World, *, is_late: bool) -> None:
    execution_id = start(trapped, STEPS)
    if is_late:
        mark_killed(trapped, execution_id)
    reap(trapped, max_deaths=1)

    assert trapped.executions.get(execution_id).state == ("failed" if is_late else "dead")


def test_a_dry_run_that_ends_its_worker_ends_without(trapped: World, connection: Connection[Any]) -> None:
    execution_id = die(trapped, dry_run=True)

    assert (trapped.executions.get(execution_id).state, told(connection)) == ("dead", 0)


def test_a_cancellation_that_took_a_kill_runs_none(trapped: World, connection: Connection[Any]) -> None:
    execution_id = start(trapped)
    mark_killed(trapped, execution_id, "cancelled")
    reap(trapped)

    execution = trapped.executions.get(execution_id)
    assert (execution.state, told(connection)) == ("cancelled", 0)


def test_a_run_that_ended_by_itself_just_before_it_was_killed_was_not(
    trapped: World, connection: Connection[Any]
) -> None:
    execution_id = trapped.submit(trapped.load(DOOMED))
    held = claim(trapped)
    mark_killed(trapped, execution_id)
    with trapped.pool.connection() as own, own.transaction():
        trapped.fence(held).release(own, Release("step_failed"))
    lose(trapped)
    reap(trapped)

    execution = trapped.executions.get(execution_id)
    assert (execution.state, execution.attempt, told(connection)) == ("queued", 2, 0)
    assert connection.execute("select deaths, failing from command_executions").fetchall() == [(1, None)]
