"""A worker keeps its lease whatever it hears, hears what is to be stopped, and begins again when it was given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from fixtures.stacks import eventually
from psycopg import Connection

from telemetry.clock import SystemClock
from telemetry.connections import connect
from workers.leases import Heartbeat, Lease
from workers.stops import Stops
from workers.testing import World

LENGTH = timedelta(seconds=10)


@pytest.fixture
def lease(database_url: str) -> Iterator[Lease]:
    held = Lease(
        partial(connect, database_url, name="weir test lease", autocommit=True),
        SystemClock(),
        lane="default",
        length=LENGTH,
    )
    yield held
    held.leave()


def workers(connection: Connection[Any]) -> list[UUID]:
    return [row[0] for row in connection.execute("select id from workers where lease_until > now()").fetchall()]


@pytest.mark.req("D-01")
def test_a_lease_is_held_renewed_and_given_back(lease: Lease, connection: Connection[Any]) -> None:
    assert lease.hold()
    connection.execute("update workers set lease_until = now() + interval '1 s'")
    assert lease.hold()

    left = connection.execute("select lease_until - now() from workers").fetchone()
    assert left is not None
    assert left[0] > LENGTH / 2
    lease.leave()
    assert workers(connection) == []


def test_who_was_given_up_begins_again_under_another_id(lease: Lease, connection: Connection[Any]) -> None:
    lease.hold()
    before = lease.worker_id
    connection.execute("delete from workers")

    assert lease.hold()

    assert workers(connection) == [lease.worker_id]
    assert lease.worker_id != before


def test_a_registration_whose_answer_was_lost_is_said_again(lease: Lease, connection: Connection[Any]) -> None:
    lease.hold()
    lease._is_registered = False

    assert lease.hold()

    assert workers(connection) == [lease.worker_id]


def test_a_connection_that_breaks_is_replaced(lease: Lease, connection: Connection[Any]) -> None:
    lease.hold()
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'weir test lease'"
    )

    eventually(lambda: lease.stops() == [] and lease.fileno() is None)
    assert lease.hold()

    assert workers(connection) == [lease.worker_id]


def test_however_much_there_is_to_hear_the_lease_is_renewed(lease: Lease, connection: Connection[Any]) -> None:
    heartbeat = Heartbeat(lease, timedelta(milliseconds=100))
    heartbeat.start()
    try:
        connection.execute("update workers set lease_until = now() + interval '1 s'")

        def renewed() -> bool:
            connection.execute("select pg_notify('weir_stops', '')")
            row = connection.execute("select lease_until > now() + interval '5 s' from workers").fetchone()
            return row == (True,)

        eventually(renewed)
    finally:
        heartbeat.stop()
    assert workers(connection) == []


@pytest.mark.req("D-01")
def test_a_worker_hears_what_is_to_be_stopped(world: World, lease: Lease) -> None:
    told: list[UUID] = []
    heartbeat = Heartbeat(lease, timedelta(minutes=1), told.extend)
    heartbeat.start()
    try:
        execution_id = world.submit()
        assert world.executions.claim("default", lease.worker_id) is not None
        assert Stops(world.pool, world.executions, world.clock, world.recorder).cancel(execution_id) == "running"

        eventually(lambda: execution_id in told)
    finally:
        heartbeat.stop()
