"""Keys of concurrency: never more than may run at once, whoever claims, ends or dies; and nobody is forgotten."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.command import Command
from workers.errors import ConcurrencyFull
from workers.executions import Claim
from workers.stops import Stops
from workers.testing import World

KEYED = """
slug: keyed
inputs: {customer: {type: string, default: a}}
concurrency: {key: "{{ inputs.customer }}", max: 1}
steps: [{id: say, type: respond, with: {value: "{{ inputs.customer }}"}}]
"""


A = {"customer": "a"}


@pytest.fixture
def keyed(world: World) -> Command:
    return world.load(KEYED)


def claim(world: World, lane: str = "default") -> Claim | None:
    return world.executions.claim(lane, world.worker_id)


def claimed(world: World) -> UUID:
    found = claim(world)
    assert found is not None
    return found.id


def run(world: World, found: Claim) -> None:
    world.runner().run(found)


def parked(connection: Connection[Any]) -> list[tuple[UUID, str]]:
    return connection.execute(
        "select id, parked from command_executions where state = 'queued' and parked is not null order by id"
    ).fetchall()


def test_one_of_a_key_runs_and_the_next_has_its_place_when_it_ends(world: World, keyed: Command) -> None:
    first, second = world.submit(keyed, A), world.submit(keyed, A)

    held = claim(world)
    assert held is not None
    assert held.id == first
    assert claim(world) is None

    run(world, held)
    assert claimed(world) == second


def test_other_keys_and_commands_without_one_do_not_wait_behind_it(world: World, keyed: Command) -> None:
    first = world.submit(keyed, A)
    for _ in range(3):
        world.submit(keyed, A)
    other_key, free = world.submit(keyed, {"customer": "b"}), world.submit()

    assert [claimed(world) for _ in range(3)] == [first, other_key, free]
    assert claim(world) is None


def test_without_a_key_all_executions_of_the_command_are_counted_together(world: World) -> None:
    command = world.load("slug: few\nconcurrency: {max: 2}\nsteps: [{id: a, type: respond, with: {value: 1}}]")
    for _ in range(3):
        world.submit(command)

    assert claim(world) is not None
    assert claim(world) is not None
    assert claim(world) is None


def test_an_urgent_one_takes_the_place_before_those_that_waited_longer(world: World, keyed: Command) -> None:
    world.submit(keyed, A)
    held = claim(world)
    world.submit(keyed, A)
    urgent = world.submit(keyed, A, priority=0)
    assert claim(world) is None

    assert held is not None
    run(world, held)
    assert claimed(world) == urgent


def test_the_place_of_a_worker_that_is_lost_is_given_to_another(world: World, keyed: Command) -> None:
    first = world.submit(keyed, A)
    assert claimed(world) == first
    second = world.submit(keyed, A)
    assert claim(world) is None
    reaper = world.reaper(lease=-world.settings.statement_timeout)

    world.lose_worker()
    reaper.run_once()

    held = claim(world)
    assert held is not None
    assert claim(world) is None
    run(world, held)
    assert {held.id, claimed(world)} == {first, second}


def test_one_that_is_cancelled_after_it_was_woken_passes_the_place_on(world: World, keyed: Command) -> None:
    world.submit(keyed, A)
    held = claim(world)
    woken, last = world.submit(keyed, A), world.submit(keyed, A)
    assert claim(world) is None
    assert held is not None
    run(world, held)

    Stops(world.pool, world.executions, world.clock, world.recorder).cancel(woken)

    assert claimed(world) == last


def test_what_waits_for_a_place_is_not_looked_at_again_and_again(
    world: World, keyed: Command, connection: Connection[Any]
) -> None:
    waiting = [world.submit(keyed, A) for _ in range(4)][1:]
    assert claim(world) is not None

    assert claim(world) is None

    assert parked(connection) == [(each, "concurrency") for each in sorted(waiting)]
    assert world.executions.unhinted_lanes(world.settings.statement_timeout * 0) == []


def test_an_execution_too_many_is_refused_where_the_command_says_so(world: World) -> None:
    command = world.load(KEYED.replace("max: 1", "max: 1, on_full: reject"))
    world.submit(command, A)
    world.submit(command, {"customer": "b"})

    with pytest.raises(ConcurrencyFull, match="1 of keyed with this key may run at once"):
        world.submit(command, A)

    world.runner().run_lane("default")
    world.submit(command, A)
