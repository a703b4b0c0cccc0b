"""An execution whose worker is lost goes on after its last committed step, and nothing is done twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fixtures.stacks import eventually
from fixtures.traps import Killed, Trap
from psycopg import Connection

from dsl.step import StepContext, StepParams, StepResult
from telemetry.connections import connect
from telemetry.events import ExecutionCompleted, ExecutionRetried
from workers.executions import Execution
from workers.services.reaper import Reaper
from workers.testing import World

SIX = """
slug: six
steps:
  - {id: one, type: fragment.create, with: {type: note, title: one}}
  - {id: two, type: transform, with: {template: "{{ steps.one.output.fragment_id }}"}}
  - {id: three, type: fragment.create, with: {type: note, title: "{{ steps.two.output }}"}}
  - {id: trap, type: trap}
  - {id: four, type: fragment.create, with: {type: note, title: four}}
  - {id: five, type: respond, with: {value: "{{ steps.one.output.fragment_id }}"}}
"""

NESTED = """
slug: nested
steps:
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2, 3]' | from_json }}"
      do:
        - {id: keep, type: fragment.create, with: {type: note, title: "no. {{ item }}"}}
        - {id: trap, type: trap, if: "item == 2"}
  - id: which
    type: condition
    with:
      if: steps.each.output.items == 3
      then:
        - {id: answer, type: respond, with: {value: answered}}
        - {id: trap, type: trap}
      else:
        - {id: never, type: respond, with: {value: never}}
  - {id: last, type: transform, with: {template: last}}
"""


def patient(world: World) -> Reaper:
    """A reaper that has waited long enough."""
    return world.reaper(lease=timedelta())


def submit(world: World, source: str) -> UUID:
    return world.submit(world.load(source))


def run_with_deaths(world: World, execution_id: UUID, deaths: int) -> Execution:
    Trap.deaths = deaths
    reaper = patient(world)
    for _ in range(deaths):
        with pytest.raises(Killed):
            world.runner().run_lane("default")
        world.lose_worker()
        reaper.run_once()
        with world.pool.connection() as connection:
            connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
        world.executions.promote()
    world.runner().run_lane("default")
    return world.executions.get(execution_id)


@pytest.mark.req("D-01")
def test_what_is_committed_is_not_done_again(trapped: World, connection: Connection[Any]) -> None:
    execution = run_with_deaths(trapped, submit(trapped, SIX), deaths=2)

    assert (execution.state, execution.attempt) == ("succeeded", 3)
    titles = [row[0] for row in connection.execute("select title from fragments order by title desc").fetchall()]
    assert titles == ["one", "four", execution.result]
    succeeded = connection.execute("select path, count(*) from command_steps group by path").fetchall()
    assert dict(succeeded) == dict.fromkeys(("one", "two", "three", "trap", "four", "five"), 1)
    assert (execution.steps_executed, execution.steps_successful, execution.mutations_count) == (6, 6, 3)
    assert connection.execute("select count(*) from mutations").fetchone() == (3,)


def test_every_row_has_one_event_over_all_attempts(trapped: World, connection: Connection[Any]) -> None:
    execution = run_with_deaths(trapped, submit(trapped, SIX), deaths=2)

    seen = Counter(event.event_id for event in trapped.recorder.events)
    assert set(seen.values()) == {1}
    kept = connection.execute("select event_id from command_steps").fetchall()
    assert {row[0].bytes for row in kept} <= set(seen)
    assert trapped.recorder.types.count("command.execution.started") == execution.attempt
    assert trapped.recorder.types.count("command.execution.completed") == 1
    completed = trapped.recorder.events[-1]
    assert isinstance(completed, ExecutionCompleted)
    assert completed.scope.attempt == 3


def test_maps_and_conditions_go_on_inside(trapped: World, connection: Connection[Any]) -> None:
    execution = run_with_deaths(trapped, submit(trapped, NESTED), deaths=2)

    assert (execution.state, execution.result) == ("succeeded", "answered")
    titles = [row[0] for row in connection.execute("select title from fragments order by title").fetchall()]
    assert titles == ["no. 1", "no. 2", "no. 3"]
    paths = [step.path for step in trapped.executions.steps(execution.id, limit=100)]
    assert len(paths) == len(set(paths))
    assert execution.steps_skipped == 3  # two traps of the map, and the branch that was not taken


def test_the_first_death_costs_no_wait_and_the_second_some(trapped: World, connection: Connection[Any]) -> None:
    execution_id = submit(trapped, SIX)
    run_with_deaths(trapped, execution_id, deaths=2)

    retried = [event for event in trapped.recorder.events if isinstance(event, ExecutionRetried)]
    assert [event.reason for event in retried] == ["worker_lost", "worker_lost"]
    assert retried[0].delay_us == 0
    facts = connection.execute("select deaths, deaths_alone, alone, failures from command_executions").fetchone()
    assert facts == (2, 2, True, 0)


def test_what_kills_its_worker_alone_is_dead_in_the_end(trapped: World) -> None:
    execution_id = submit(trapped, SIX)
    Trap.deaths = 100
    reaper = patient(trapped)
    for _ in range(3):
        with pytest.raises(Killed):
            trapped.runner().run_lane("default")
        trapped.lose_worker()
        reaper.run_once()
        with trapped.pool.connection() as connection:
            connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
        trapped.executions.promote()

    dead = trapped.executions.get(execution_id)
    assert (dead.state, dead.attempt, dead.steps_successful) == ("dead", 3, 3)
    assert dead.error is not None
    assert dead.error["code"] == "execution.worker_lost"
    assert trapped.recorder.types[-1] == "command.execution.failed"
    assert trapped.runner().run_lane("default") == 0


def test_deaths_beside_others_are_charged_to_nobody(world: World, connection: Connection[Any]) -> None:
    for _ in range(3):
        world.claim()
    world.lose_worker()

    result = patient(world).run_once()

    assert (result.released, result.dead) == (3, 0)
    facts = connection.execute("select distinct state, deaths, deaths_alone, alone from command_executions").fetchall()
    assert facts == [("queued", 1, 0, False)]


def test_who_was_given_up_writes_nothing_more(trapped: World, connection: Connection[Any]) -> None:
    claim = trapped.claim(command=trapped.load(SIX))
    zombie = trapped.runner()
    trapped.lose_worker()
    patient(trapped).run_once()
    trapped.runner().run_lane("default")
    before = connection.execute("select count(*) from fragments").fetchone()

    zombie.run(claim)

    assert connection.execute("select count(*) from fragments").fetchone() == before == (3,)
    assert trapped.executions.get(claim.id).attempt == 2
    assert trapped.recorder.types.count("command.execution.completed") == 1


def test_after_a_gap_one_lease_is_waited(world: World, connection: Connection[Any]) -> None:
    world.claim()
    reaper = world.reaper(lease=timedelta(hours=1))
    world.lose_worker()

    reaper.run_once()
    reaper.run_once()

    assert connection.execute("select state from command_executions").fetchone() == ("running",)


@pytest.mark.parametrize("late", [timedelta(minutes=40), timedelta(minutes=80)])
def test_looks_that_are_always_late_take_back_all_the_same(world: World, late: timedelta) -> None:
    lease = timedelta(hours=1)
    world.claim()
    reaper = world.reaper(lease=lease)
    world.lose_worker()

    found = []
    for _ in range(5):
        found.append(reaper.run_once().released)
        # As if so much time had passed until the next look.
        reaper._looked_at = reaper._looked_at and reaper._looked_at - late
        reaper._patient_until = reaper._patient_until and reaper._patient_until - late

    assert found[0] == 0
    assert sum(found) == 1


def test_nobody_without_a_lease_gets_anything(world: World) -> None:
    world.submit()
    world.lose_worker()
    nobody = UUID(int=1)

    assert world.executions.claim("default", nobody) is None
    assert world.executions.claim("default", world.worker_id) is not None


def test_a_worker_that_stops_hands_over_between_two_steps(trapped: World, connection: Connection[Any]) -> None:
    runner = trapped.runner()

    class Stop(Trap):
        type = "trap"

        def run(self, params: StepParams, context: StepContext) -> StepResult:
            runner.stop()
            return StepResult("stopped")

    runner._step_types.registry["trap"] = Stop()  # type: ignore[index]
    execution_id = submit(trapped, SIX)
    runner.run_lane("default")

    handed_over = trapped.executions.get(execution_id)
    assert (handed_over.state, handed_over.attempt) == ("queued", 1)
    trapped.runner().run_lane("default")

    execution = trapped.executions.get(execution_id)
    assert (execution.state, execution.attempt) == ("succeeded", 2)
    retried = [event for event in trapped.recorder.events if isinstance(event, ExecutionRetried)]
    assert [(event.reason, event.delay_us) for event in retried] == [("worker_stopped", 0)]
    assert connection.execute("select deaths from command_executions").fetchone() == (0,)


def test_waiting_to_be_alone_is_not_dying_alone(world: World, connection: Connection[Any]) -> None:
    claims = [world.claim() for _ in range(2)]
    connection.execute("update command_executions set alone = true, deaths = 2")
    world.lose_worker()

    patient(world).run_once()

    facts = connection.execute("select deaths, deaths_alone from command_executions").fetchall()
    assert facts == [(3, 0)] * len(claims)


def test_whoever_is_taken_back_after_the_others_did_not_die_alone(
    world: World, connection: Connection[Any], database_url: str
) -> None:
    first, second = world.claim(), world.claim()
    world.lose_worker()
    reaper = patient(world)
    with connect(database_url, name="weir test zombie") as zombie:
        # Whoever still believes in his claim is in the middle of an effect.
        zombie.execute("select from command_executions where id = %s for no key update", [second.id])
        assert reaper.run_once().released == 1
    assert reaper.run_once().released == 1

    facts = connection.execute("select id, deaths, deaths_alone from command_executions order by id").fetchall()
    assert facts == sorted([(first.id, 1, 0), (second.id, 1, 0)])


def test_a_database_clock_that_is_set_back_keeps_nothing_from_going_on(
    world: World, connection: Connection[Any]
) -> None:
    lost, queued = world.claim().id, world.submit()
    reaper = world.reaper(lease=timedelta(seconds=1))
    reaper.run_once()
    # As all of it looks once the clock is an hour behind.
    connection.execute("update workers set lease_until = lease_until + interval '1 h'")
    connection.execute("update command_executions set run_at = run_at + interval '1 h'")
    reaper._looked_at = connection.execute("select now() + interval '1 h'").fetchone()[0]  # type: ignore[index]

    reaper.run_once()
    eventually(lambda: reaper.run_once().released == 1)

    facts = connection.execute("select id, state, run_at <= now() from command_executions order by id").fetchall()
    assert facts == sorted([(lost, "queued", True), (queued, "queued", True)])
