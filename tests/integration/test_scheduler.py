"""The scheduler leads alone, does what is due, and heals lanes nobody was told about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest
from fixtures.stacks import eventually
from psycopg import Connection

from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.errors import StoreUnavailable
from telemetry.testing import ManualClock
from workers.broker import BellBroker, queue_of
from workers.executions import Promoted
from workers.hints import Hints
from workers.scheduler import Aside, Leadership, Periodic, Scheduler
from workers.services.sweeper import Sweeper, SweepResult
from workers.testing import World


@pytest.fixture
def leadership(database_url: str) -> Iterator[Leadership]:
    leadership = Leadership(database_url)
    yield leadership
    leadership.release()


@pytest.fixture
def broker(redis_url: str) -> Iterator[BellBroker]:
    broker = BellBroker(redis_url, [])
    yield broker
    broker.close()


def test_only_one_of_two_leads_until_it_goes(database_url: str, leadership: Leadership) -> None:
    other = Leadership(database_url)

    assert [leadership.is_held(), other.is_held(), leadership.is_held()] == [True, False, True]
    leadership.release()
    try:
        eventually(other.is_held)  # the server hears of it a moment after we let go
    finally:
        other.release()


def test_a_leader_that_is_suspended_leads_no_longer(database_url: str) -> None:
    suspended, other = Leadership(database_url, timedelta(milliseconds=50)), Leadership(database_url)
    try:
        assert suspended.is_held()  # and from now on it asks for nothing

        eventually(other.is_held)

        assert not suspended.is_held()
        assert not suspended.is_held()
        assert other.is_held()
    finally:
        suspended.release()
        other.release()


def test_nobody_leads_while_postgres_is_away() -> None:
    assert not Leadership("postgresql://nobody@127.0.0.1:1/none").is_held()


def test_work_is_done_when_due_and_again_after_its_interval(leadership: Leadership, clock: ManualClock) -> None:
    done: list[str] = []
    often = Periodic("often", timedelta(seconds=2), lambda: done.append("often"))
    seldom = Periodic("seldom", timedelta(seconds=5), lambda: done.append("seldom"))
    scheduler = Scheduler(leadership, [often, seldom], clock)

    for _ in range(7):
        scheduler.run_once()
        clock.advance(timedelta(seconds=1))

    assert (done.count("often"), done.count("seldom")) == (4, 2)


def test_work_may_ask_to_be_asked_again_sooner_and_never_later(leadership: Leadership, clock: ManualClock) -> None:
    done: list[str] = []
    wishes = {"sooner": timedelta(milliseconds=300), "later": timedelta(hours=1)}

    def work(name: str) -> timedelta:
        done.append(name)
        return wishes[name]

    scheduler = Scheduler(
        leadership, [Periodic(name, timedelta(seconds=1), partial(work, name)) for name in wishes], clock
    )
    for _ in range(30):
        scheduler.run_once()
        clock.advance(timedelta(milliseconds=100))

    assert (done.count("sooner"), done.count("later")) == (10, 3)


def test_work_aside_keeps_nothing_waiting_and_is_not_done_twice_at_once(
    leadership: Leadership, clock: ManualClock
) -> None:
    begun, go_on, done = Event(), Event(), []

    def take_long() -> None:
        done.append("long")
        begun.set()
        go_on.wait(10)
        raise ZeroDivisionError

    aside = Aside("long", take_long)
    work = [
        Periodic("long", timedelta(seconds=1), aside),
        Periodic("often", timedelta(seconds=1), partial(done.append, "often")),
    ]
    scheduler = Scheduler(leadership, work, clock)
    for _ in range(3):
        scheduler.run_once()
        clock.advance(timedelta(seconds=1))
    assert begun.wait(10)
    assert (done.count("long"), done.count("often")) == (1, 3)

    go_on.set()
    aside.close()
    scheduler.run_once()
    aside.close()
    assert (done.count("long"), done.count("often")) == (2, 4)


def test_work_that_fails_unforeseen_does_not_end_the_scheduler(leadership: Leadership, clock: ManualClock) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert Scheduler(leadership, [Periodic("bad", timedelta(seconds=1), fail)], clock).run_once() == ("bad",)


def test_work_that_fails_is_tried_again_and_keeps_nothing_else_from_its_turn(
    leadership: Leadership, clock: ManualClock
) -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("failed")
        raise StoreUnavailable("away")

    work = [
        Periodic("bad", timedelta(seconds=1), fail),
        Periodic("good", timedelta(seconds=1), lambda: done.append("x")),
    ]
    scheduler = Scheduler(leadership, work, clock)

    scheduler.run_once()
    clock.advance(timedelta(seconds=1))
    scheduler.run_once()

    assert done == ["failed", "x", "failed", "x"]


def test_a_scheduler_stops_when_told(leadership: Leadership, clock: ManualClock) -> None:
    stop = Event()
    begun = Event()
    scheduler = Scheduler(leadership, [Periodic("work", timedelta(hours=1), begun.set)], clock)
    thread = Thread(target=scheduler.run, args=(stop,))
    thread.start()
    assert begun.wait(5)

    stop.set()
    thread.join(5)

    assert not thread.is_alive()


def test_a_scheduler_that_does_not_lead_looks_again_after_its_interval_and_no_sooner(
    database_url: str, leadership: Leadership, clock: ManualClock
) -> None:
    assert leadership.is_held()
    looks: list[float] = []

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            looks.append(timeout or 0)
            if len(looks) == 3:
                self.set()
            return self.is_set()

    standby = Leadership(database_url)
    Scheduler(standby, [Periodic("work", timedelta(seconds=2), lambda: None)], clock).run(Stop())

    assert looks == [2, 2, 2]


@pytest.mark.req("D-01")
def test_a_lane_whose_hint_was_lost_is_hinted_once_more(
    world: World, broker: BellBroker, connection: Connection[Any]
) -> None:
    sweeper = Sweeper(world.executions, broker, Hints(broker, SystemClock()))
    execution_id = world.submit()

    assert sweeper.run_once() == SweepResult((), ())  # its own hint may still be on its way
    connection.execute("update command_executions set run_at = now() - interval '2 s' where id = %s", [execution_id])
    assert sweeper.run_once() == SweepResult(("default",), ("default",))
    assert broker.depth(queue_of("default")) == 1
    assert sweeper.run_once() == SweepResult((), ("default",))  # the queue is not empty: somebody will come


def put_off(connection: Connection[Any], execution_id: UUID, delay: str) -> None:
    connection.execute(
        "update command_executions set state = 'scheduled', run_at = now() + %s::interval where id = %s",
        [delay, execution_id],
    )


@pytest.mark.req("D-01")
def test_what_was_put_off_is_queued_and_hinted_when_it_is_due_and_nobody_asks_all_the_time(
    world: World, broker: BellBroker, connection: Connection[Any], leadership: Leadership
) -> None:
    sweeper = Sweeper(world.executions, broker, Hints(broker, SystemClock()))
    sweeps: list[SweepResult] = []

    def sweep() -> timedelta | None:
        sweeps.append(sweeper.run_once())
        return sweeps[-1].again_in

    first, second = world.submit(), world.submit()
    put_off(connection, first, "400 ms")
    put_off(connection, second, "1 h")
    stop = Event()
    work = [Periodic("sweep", timedelta(minutes=10), sweep)]
    thread = Thread(target=Scheduler(leadership, work, SystemClock()).run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: world.executions.get(first).state == "queued")
    finally:
        stop.set()
        thread.join(5)

    assert len(sweeps) == 2
    assert sweeps[0].again_in is not None
    assert sweeps[0].again_in <= timedelta(milliseconds=400)
    assert sweeps[1].hinted == ("default",)
    assert world.executions.get(second).state == "scheduled"


def test_what_is_due_and_held_by_somebody_is_left_to_the_next_sweep(
    world: World, connection: Connection[Any], database_url: str
) -> None:
    execution_id = world.submit()
    put_off(connection, execution_id, "-1 s")
    with connect(database_url, name="holder") as holder:
        holder.execute("select from command_executions where id = %s for update", [execution_id])
        assert world.executions.promote() == Promoted(lanes=[], again_in=None)

    assert world.executions.promote() == Promoted(lanes=["default"], again_in=None)


def test_more_than_one_sweep_may_queue_is_asked_for_at_once(world: World, connection: Connection[Any]) -> None:
    for _ in range(3):
        put_off(connection, world.submit(), "-1 s")

    waits = [world.executions.promote(limit=2).again_in for _ in range(2)]

    assert waits == [timedelta(0), None]


def test_a_sweep_without_a_queue_raises_nothing(world: World) -> None:
    broker = BellBroker("redis://127.0.0.1:1/0", [])
    world.submit()

    sweeper = Sweeper(world.executions, broker, Hints(broker, SystemClock()), patience=timedelta(0))

    assert sweeper.run_once() == SweepResult((), ("default",))
    broker.close()
