"""A lane has workers of its own: however long its commands take, those of other lanes do not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import dramatiq
import pytest
from fixtures.stacks import eventually
from psycopg_pool import ConnectionPool

from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.clock import SystemClock
from workers.actors import declare_lane
from workers.broker import BellBroker
from workers.hints import Hints
from workers.testing import World

#: Threads of each lane's worker, long executions, short ones.
THREADS, LONG, SHORT = 2, 6, 20
#: How long a held step would go on by itself; a test that waits for it has failed.
FOREVER_S = 60.0

HELD = "slug: long\nsteps:\n  - {id: hold, type: held}\n"
QUICK = "slug: short\nsteps:\n  - {id: say, type: transform, with: {template: done}}\n"


class Held(Step):
    """Goes on until it is let go."""

    type = "held"
    effect = Effect.NONE
    Params = StepParams
    begun: ClassVar[threading.Semaphore]
    let_go: ClassVar[threading.Event]

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        Held.begun.release()
        return StepResult(Held.let_go.wait(FOREVER_S))


@pytest.fixture
def start_worker(redis_url: str, autocommit_pool: ConnectionPool[Any]) -> Iterator[Callable[[str], World]]:
    """Starts a worker of a lane, with threads and a lease of its own; returns where to submit to it."""
    Held.begun, Held.let_go = threading.Semaphore(0), threading.Event()
    with ExitStack() as stack:

        def start(lane: str) -> World:
            world = World(autocommit_pool, SystemClock())
            world.step_types = {"held": Held()}
            world.attend()
            broker = BellBroker(redis_url, [])
            stack.callback(broker.close)
            declare_lane(broker, lane, world.runner(Hints(broker, world.clock)))
            worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=THREADS)
            worker.queue_prefetch = THREADS
            worker.start()
            stack.callback(worker.stop)
            return world

        yield start
        Held.let_go.set()


@pytest.mark.req("C-11")
def test_short_commands_run_while_every_thread_of_another_lane_is_held(
    start_worker: Callable[[str], World], redis_url: str
) -> None:
    long, short = start_worker("long"), start_worker("default")
    hints = Hints(BellBroker(redis_url, []), SystemClock())

    def submit(world: World, text: str, lane: str, count: int) -> None:
        command = world.load(text)
        for _ in range(count):
            world.submit(command, lane=lane)
            hints.wake(lane)

    def counts(lane: str) -> dict[str, int]:
        with short.pool.connection() as connection:
            found = "select state, count(*) from command_executions where lane = %s group by state"
            return dict(connection.execute(found, [lane]).fetchall())

    submit(long, HELD, "long", LONG)
    for _ in range(THREADS):
        assert Held.begun.acquire(timeout=FOREVER_S)
    submit(short, QUICK, "default", SHORT)

    eventually(lambda: counts("default") == {"succeeded": SHORT})

    assert counts("long") == {"running": THREADS, "queued": LONG - THREADS}
    Held.let_go.set()
    eventually(lambda: counts("long") == {"succeeded": LONG})
    with short.pool.connection() as connection:
        ran = connection.execute("select distinct lane, worker_id from command_executions").fetchall()
    assert sorted(ran) == sorted([("default", short.worker_id), ("long", long.worker_id)])
