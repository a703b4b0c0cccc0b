"""Lanes and commands that are paused, limited and resumed, and why an execution waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.command import Command
from telemetry.clock import SystemClock
from telemetry.testing import ManualClock
from workers.admission import Admission
from workers.errors import LaneNotFound, QueueFull
from workers.executions import Claim
from workers.queues import Limits, Queues
from workers.stops import Stops
from workers.testing import World

NONE = timedelta(0)
KEYED = "slug: keyed\nconcurrency: {max: 1}\nsteps: [{id: say, type: respond, with: {value: 1}}]"


@pytest.fixture
def queues(world: World) -> Queues:
    return Queues(world.pool, None, ["default"])


@pytest.fixture
def keyed(world: World) -> Command:
    return world.load(KEYED)


def claim(world: World) -> Claim | None:
    return world.executions.claim("default", world.worker_id)


def claimed(world: World) -> Claim:
    found = claim(world)
    assert found is not None
    return found


def waits_for(world: World, execution_id: UUID) -> dict[str, Any] | None:
    """Why, and the same in a list."""
    (listed,) = [row for row in world.executions.page(limit=100) if row.id == execution_id]
    shown = world.executions.get(execution_id).waiting_for
    assert listed.waiting_for == shown
    return shown


# pauses


def test_nothing_of_a_paused_lane_is_begun_until_it_is_resumed(world: World, queues: Queues) -> None:
    running = world.claim()
    waiting = world.submit()

    pause = queues.pause("default", "tester").pause

    assert pause is not None
    assert (pause.by, pause.until) == ("tester", None)
    assert claim(world) is None
    assert world.executions.unhinted_lanes(NONE) == []
    world.runner().run(running)
    assert world.executions.get(running.id).is_final
    assert queues.resume("default").pause is None
    assert world.executions.unhinted_lanes(NONE) == ["default"]
    assert claimed(world).id == waiting


def test_a_pause_ends_by_itself_when_its_time_has_come(
    world: World, queues: Queues, connection: Connection[Any], keyed: Command
) -> None:
    queues.pause("default", "tester", SystemClock().now() + timedelta(hours=1))
    queues.pause_command("keyed", "tester", SystemClock().now() + timedelta(hours=1))
    execution_id = world.submit(keyed)
    assert claim(world) is None

    connection.execute("update flow_controls set paused_until = now()")

    assert queues.get("default").pause is None
    assert queues.paused_commands() == {}
    assert claimed(world).id == execution_id


def test_a_paused_command_lets_others_pass_and_goes_on_when_it_is_resumed(
    world: World, queues: Queues, keyed: Command, connection: Connection[Any]
) -> None:
    held, other = world.submit(keyed), world.submit()

    queues.pause_command("keyed", "tester")

    assert claimed(world).id == other
    assert claim(world) is None
    assert queues.get("default").queued == 1
    assert queues.get("default").due == 0
    assert world.executions.unhinted_lanes(NONE) == []
    queues.resume_command("keyed")
    assert claimed(world).id == held
    assert connection.execute("select count(*) from flow_controls").fetchone() == (0,)


def test_the_sweeper_brings_back_what_was_parked_while_the_pause_ended(
    world: World, queues: Queues, keyed: Command, connection: Connection[Any]
) -> None:
    execution_id = world.submit(keyed)
    queues.pause_command("keyed", "tester")
    assert claim(world) is None
    connection.execute("delete from flow_controls")
    assert claim(world) is None

    assert world.executions.unpark() == (["default"], False)

    assert claimed(world).id == execution_id


def test_a_woken_execution_of_a_paused_command_still_passes_its_place_on(
    world: World, queues: Queues, keyed: Command
) -> None:
    world.submit(keyed)
    first = claimed(world)
    world.submit(keyed)
    world.submit(keyed)
    assert claim(world) is None

    queues.pause_command("keyed", "tester")
    world.runner().run(first)
    assert claim(world) is None
    queues.resume_command("keyed")

    assert world.runner().run_lane("default") == 2


def test_thousands_of_a_paused_command_are_looked_at_once(
    world: World, queues: Queues, keyed: Command, connection: Connection[Any]
) -> None:
    world.submit(keyed)
    connection.execute(
        """insert into command_executions (id, slug, definition_hash, state, request_source, user_name, space_id,
               correlation_id, inputs, queued_at, run_at)
           select gen_random_uuid(), slug, definition_hash, state, request_source, user_name, space_id, correlation_id,
               inputs, queued_at, run_at
           from command_executions, generate_series(1, 2000)"""
    )
    last = world.submit()
    queues.pause_command("keyed", "tester")

    assert claimed(world).id == last

    assert connection.execute("select count(*) from command_executions where parked = 'command'").fetchone() == (2001,)
    queues.resume_command("keyed")
    brought_back = [world.executions.unpark() for _ in range(5)]
    assert [may_be_more for _, may_be_more in brought_back] == [True, True, True, False, False]


def test_a_lane_that_nobody_knows_is_named_with_the_nearest(queues: Queues) -> None:
    with pytest.raises(LaneNotFound) as caught:
        queues.pause("defualt", "tester")

    assert caught.value.hint == "Did you mean default?"


# limits


def test_a_lane_with_a_limit_runs_no_more_at_once(world: World, queues: Queues) -> None:
    for _ in range(3):
        world.submit()

    queues.limit("default", Limits(running=2))

    first, _ = claimed(world), claimed(world)
    assert claim(world) is None
    assert world.executions.unhinted_lanes(NONE) == []
    world.runner().run(first)
    assert claim(world) is not None
    assert claim(world) is None
    queues.limit("default", Limits())
    world.submit()
    assert claim(world) is not None


def test_one_of_a_limited_lane_that_waits_for_a_place_does_not_keep_the_lane(
    world: World, queues: Queues, keyed: Command
) -> None:
    queues.limit("default", Limits(running=2))
    world.submit(keyed)
    world.submit(keyed)
    free = world.submit()

    claimed(world)

    assert claimed(world).id == free


def test_a_lane_takes_no_more_than_may_wait_there(
    world: World, queues: Queues, keyed: Command, clock: ManualClock
) -> None:
    queues.limit("default", Limits(queued=3))
    queues.pause_command("keyed", "tester")
    admission = Admission(world.pool, world.clock, max_queued=100, max_age=NONE)
    for _ in range(2):
        admission.admit("default")
        world.submit(keyed)
    assert claim(world) is None
    admission.admit("default")
    world.submit()

    for _ in range(2):
        with pytest.raises(QueueFull, match="3 executions wait there, and 3 may"):
            admission.admit("default")

    admission.admit("other")
    queues.resume_command("keyed")
    world.runner().run_lane("default")
    with pytest.raises(QueueFull):
        admission.admit("default")
    clock.advance(timedelta(seconds=1))
    admission.admit("default")


def test_a_lane_takes_no_more_while_the_oldest_has_waited_too_long(
    world: World, queues: Queues, connection: Connection[Any]
) -> None:
    world.submit()
    connection.execute("update command_executions set run_at = now() - interval '2 min'")
    admission = Admission(world.pool, world.clock, max_queued=100, max_age=timedelta(minutes=1))

    with pytest.raises(QueueFull, match="its oldest execution has waited for 120 s, longer than 60 s"):
        admission.admit("default")

    queues.limit("default", Limits(age=timedelta(minutes=5)))
    Admission(world.pool, world.clock, max_queued=100, max_age=timedelta(minutes=1)).admit("default")


def test_a_lane_is_looked_at_once_a_second_however_much_is_submitted(world: World, connection: Connection[Any]) -> None:
    admission = Admission(world.pool, world.clock, max_queued=2, max_age=NONE)
    admission.admit("default")
    for _ in range(3):
        world.submit()

    admission.admit("default")

    with pytest.raises(QueueFull):
        admission.admit("default")
    connection.execute("delete from command_executions")
    with pytest.raises(QueueFull):
        admission.admit("default")


# priority


def test_an_urgent_execution_goes_before_an_older_one(world: World) -> None:
    world.submit(priority=5)
    urgent = world.submit(priority=4)

    assert claimed(world).id == urgent


def test_a_level_of_priority_is_worth_a_quarter_of_an_hour_of_waiting(
    world: World, connection: Connection[Any]
) -> None:
    patient = world.submit(priority=9)
    connection.execute("update command_executions set run_at = run_at - interval '16 min'")
    world.submit(priority=8)

    assert claimed(world).id == patient


# why it waits


def test_it_waits_for_a_worker_then_for_its_lane_then_for_its_command(
    world: World, queues: Queues, keyed: Command
) -> None:
    execution_id = world.submit(keyed)
    assert waits_for(world, execution_id) == {"reason": "worker", "workers": 1}

    until = SystemClock().now() + timedelta(hours=1)
    queues.pause_command("keyed", "tester", until)
    by = {"by": "tester", "until": until.isoformat(timespec="microseconds")}
    assert waits_for(world, execution_id) == {"reason": "command_paused", **by}

    queues.pause("default", "tester")
    assert waits_for(world, execution_id) == {"reason": "lane_paused", "by": "tester"}

    queues.resume("default")
    queues.resume_command("keyed")
    claimed(world)
    assert waits_for(world, execution_id) is None


def test_it_waits_for_a_place_and_says_who_holds_it(world: World, queues: Queues, keyed: Command) -> None:
    held = world.submit(keyed)
    claimed(world)
    waiting = world.submit(keyed)
    expected = {"reason": "concurrency", "key": "", "max": 1, "executions": [str(held)]}

    assert waits_for(world, waiting) == expected
    assert claim(world) is None
    assert waits_for(world, waiting) == expected

    Stops(world.pool, world.executions, world.clock, world.recorder).cancel(held)
    assert world.executions.get(held).state == "running"
    queues.limit("default", Limits(running=1))
    free = world.submit()
    assert waits_for(world, free) == {"reason": "lane_limit", "max": 1}


def test_it_waits_for_its_time_or_for_its_next_attempt(world: World, connection: Connection[Any]) -> None:
    execution_id = world.submit()
    connection.execute("update command_executions set state = 'scheduled', run_at = now() + interval '1 h'")
    assert waits_for(world, execution_id) == {"reason": "run_at"}

    connection.execute("update command_executions set attempt = 1")
    assert waits_for(world, execution_id) == {"reason": "retry"}


def test_a_parent_keeps_its_place_while_it_waits_for_its_child(world: World, keyed: Command, tmp_path: Any) -> None:  # noqa: ANN401
    (tmp_path / "keyed.yaml").write_text(KEYED, encoding="utf-8")
    world.folders.append(tmp_path)
    parent = world.load(
        "slug: parent\nconcurrency: {max: 1}\n"
        "steps: [{id: ask, type: command.run, with: {command: keyed, await: true}}]"
    )
    first = world.submit(parent)
    world.runner().run(claimed(world))
    assert world.executions.get(first).state == "waiting"
    second = world.submit(parent)

    child = claimed(world)
    assert child.slug == "keyed"
    assert claim(world) is None
    assert waits_for(world, first) == {"reason": "children", "executions": [str(child.id)]}
    assert waits_for(world, second) == {"reason": "concurrency", "key": "", "max": 1, "executions": [str(first)]}

    world.runner().run(child)
    assert waits_for(world, second) is not None
    assert claimed(world).id == first
    assert claim(world) is None


def test_one_that_is_to_run_alone_waits_for_what_runs_in_its_process(world: World, connection: Connection[Any]) -> None:
    other = world.claim()
    alone = world.submit()
    connection.execute("update command_executions set alone = true where id = %s", [alone])
    claimed(world)

    assert waits_for(world, alone) == {"reason": "alone", "executions": [str(other.id)]}
    world.runner().run(other)
    assert waits_for(world, alone) is None
