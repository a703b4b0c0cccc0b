"""Executions: accepted once and for all, claimed once, shown page by page."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.connections import open_pool
from telemetry.errors import StoreUnavailable
from telemetry.events import ExecutionQueued, ExecutionStarted
from telemetry.ids import new_id
from telemetry.testing import ManualClock
from workers.errors import ExecutionNotFound
from workers.testing import World


@pytest.mark.req("C-01", "C-03")
def test_accepting_commits_the_row_and_says_so(world: World, clock: ManualClock) -> None:
    correlation_id = new_id(clock.unix_us())

    execution_id = world.submit(inputs={"a": 1}, correlation_id=correlation_id, priority=2, request_source="cli")

    execution = world.executions.get(execution_id)
    assert (execution.state, execution.inputs, execution.priority) == ("queued", {"a": 1}, 2)
    (event,) = world.recorder.events
    assert isinstance(event, ExecutionQueued)
    assert (event.scope.execution_id, event.scope.correlation_id) == (execution_id.bytes, correlation_id.bytes)
    assert (event.scope.command_slug, event.scope.request_source, event.priority) == ("test", "cli", 2)
    assert event.scope.user_id == world.pseudonyms.user("tester")


def test_the_same_definition_is_kept_once(world: World, connection: Connection[Any]) -> None:
    world.submit()
    world.submit()

    assert connection.execute("select count(*) from command_definitions").fetchone() == (1,)


@pytest.mark.req("C-01")
def test_claiming_takes_the_most_urgent_then_the_oldest(world: World, clock: ManualClock) -> None:
    submitted = []
    for priority in (5, 1, 5, 1):
        submitted.append(world.submit(priority=priority))
        clock.advance(timedelta(milliseconds=10))

    claimed = []
    while (claim := world.executions.claim("default", world.worker_id)) is not None:
        claimed.append(claim.id)

    assert claimed == [submitted[1], submitted[3], submitted[0], submitted[2]]


def test_a_claim_names_its_worker_and_measures_the_wait(world: World, connection: Connection[Any]) -> None:
    execution_id = world.submit()
    connection.execute("update command_executions set run_at = run_at - interval '30 ms'")

    claim = world.executions.claim("default", world.worker_id)

    assert claim is not None
    assert (claim.attempt, claim.fence) == (1, 1)
    assert claim.queue_wait_us >= 30_000
    execution = world.executions.get(execution_id)
    assert (execution.state, execution.worker_id) == ("running", world.worker_id)
    assert execution.queue_wait_us == claim.queue_wait_us
    started = world.recorder.events[-1]
    assert isinstance(started, ExecutionStarted)
    assert (started.scope.attempt, started.queue_wait_us) == (1, claim.queue_wait_us)


def test_another_lane_is_left_alone(world: World) -> None:
    world.submit(lane="slow")

    assert world.executions.claim("default", world.worker_id) is None
    assert world.executions.claim("slow", world.worker_id) is not None


def test_many_claimers_never_get_the_same_execution(world: World) -> None:
    submitted = {world.submit() for _ in range(60)}
    claimed: list[UUID] = []

    def claim_all() -> None:
        while (claim := world.executions.claim("default", world.worker_id)) is not None:
            claimed.append(claim.id)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(claimed) == len(submitted)
    assert set(claimed) == submitted


def test_a_page_goes_on_where_the_last_one_ended(world: World, clock: ManualClock) -> None:
    submitted = []
    for _ in range(5):
        submitted.append(world.submit())
        clock.advance(timedelta(milliseconds=1))

    first = [execution.id for execution in world.executions.page(limit=2)]
    rest = [execution.id for execution in world.executions.page(limit=10, before=first[-1])]

    assert first + rest == submitted[::-1]


@pytest.mark.parametrize("filters", [{"state": "running"}, {"command": "other"}])
def test_a_page_is_filtered(world: World, filters: dict[str, str]) -> None:
    world.submit()

    assert world.executions.page(limit=10, **filters) == []  # type: ignore[arg-type]


def test_an_execution_that_is_not_there_is_said_to_be_so(world: World, clock: ManualClock) -> None:
    with pytest.raises(ExecutionNotFound, match="there is no execution"):
        world.executions.get(new_id(clock.unix_us()))


def test_a_new_space_is_made_once(world: World, connection: Connection[Any]) -> None:
    world.submit(space="garden")
    world.submit(space="garden")

    assert connection.execute("select count(*) from spaces where name = 'garden'").fetchone() == (1,)


def test_nothing_is_accepted_while_postgres_is_away(clock: ManualClock) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    with open_pool(url, name="weir test", max_size=1, checkout_timeout=timedelta(seconds=0.2), wait=None) as pool:
        world = World(pool, clock)
        with pytest.raises(StoreUnavailable):
            world.submit()

    assert world.recorder.events == []


def test_lanes_are_found_where_something_has_been_due_for_a_while(world: World, connection: Connection[Any]) -> None:
    for lane in ("slow", "slow", "other", "default"):
        world.submit(lane=lane)
    connection.execute("update command_executions set run_at = now() - interval '2 s' where lane <> 'default'")

    assert world.executions.unhinted_lanes(timedelta(seconds=1)) == ["other", "slow"]


def test_a_pool_in_transactions_serves_as_well(pool: ConnectionPool[Any], clock: ManualClock) -> None:
    world = World(pool, clock)
    execution_id = world.submit()

    assert world.executions.claim("default", world.worker_id) is not None
    assert world.executions.get(execution_id).state == "running"
