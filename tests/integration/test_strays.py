"""An execution that its worker does not know of runs again, although that worker is alive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from fixtures.stacks import eventually
from psycopg import Connection
from psycopg_pool import ConnectionPool

from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.errors import StoreUnavailable
from workers.leases import Heartbeat, Lease
from workers.runner import Runner
from workers.strays import Strays
from workers.testing import World

SOURCE = "slug: short\nsteps: [{id: one, type: fragment.create, with: {type: note, title: one}}]"


@pytest.fixture
def lease(database_url: str) -> Iterator[Lease]:
    open_connection = partial(connect, database_url, name="weir test lease", autocommit=True)
    held = Lease(open_connection, SystemClock(), lane="default", length=timedelta(seconds=10))
    yield held
    held.leave()


def strays_of(world: World, runner: Runner) -> Strays:
    return Strays(world.pool, world.executions, world.clock, world.recorder, runner.held)


def lose_answers(pool: ConnectionPool[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every statement is done by Postgres, and the connection breaks before its answer is read."""

    def execute(cursor: psycopg.Cursor[Any], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as psycopg's
        usual(cursor, *args, **kwargs)
        cursor.connection.close()
        message = "the connection is lost"
        raise psycopg.OperationalError(message)

    usual = psycopg.Cursor.execute
    monkeypatch.setattr(psycopg.Cursor, "execute", execute)


def test_a_claim_whose_answer_is_lost_is_another_attempt_although_its_worker_is_well(
    world: World, lease: Lease, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution_id = world.submit(world.load(SOURCE))
    runner = world.runner()
    heartbeat = Heartbeat(lease, timedelta(milliseconds=100), held=strays_of(world, runner).look)
    heartbeat.start()
    try:
        world.worker_id = lease.worker_id
        with monkeypatch.context() as patch:
            lose_answers(world.pool, patch)
            with pytest.raises(StoreUnavailable):
                world.executions.claim("default", lease.worker_id)
        row = connection.execute("select state, worker_id, attempt from command_executions").fetchone()
        assert row == ("running", lease.worker_id, 1)

        eventually(lambda: world.executions.get(execution_id).state == "queued")
        runner.run_lane("default")
    finally:
        heartbeat.stop()

    execution = world.executions.get(execution_id)
    assert (execution.state, execution.attempt) == ("succeeded", 2)
    assert connection.execute(
        "select reason, retried_event_id is not null from command_attempts order by attempt"
    ).fetchall() == [
        ("store_lost", True),
        (None, False),
    ]
    assert connection.execute("select deaths, alone from command_executions").fetchall() == [(0, False)]


def test_what_is_unknown_for_the_first_time_may_be_a_claim_on_its_way(world: World) -> None:
    runner = world.runner()
    strays = strays_of(world, runner)
    claim = world.claim(command=world.load(SOURCE))

    assert strays.look(world.worker_id) == 0
    with runner._holding(claim):
        assert strays.look(world.worker_id) == 0
    assert strays.look(world.worker_id) == 0
    assert strays.look(world.worker_id) == 1
    runner.run(claim)

    assert world.executions.get(claim.id).state == "queued"


def test_a_worker_that_stops_leaves_nothing_behind(world: World, connection: Connection[Any]) -> None:
    claim = world.claim(command=world.load(SOURCE))
    runner = world.runner()

    with runner._holding(claim):
        assert strays_of(world, runner).clear(world.worker_id) == 1

    facts = connection.execute("select state, worker_id, deaths from command_executions").fetchall()
    assert facts == [("queued", None, 0)]
    assert world.executions.claim("default", world.worker_id) is not None
