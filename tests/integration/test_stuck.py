"""Under random deaths, cancellations and retries, of commands that wait for commands, nothing is stuck in the end."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from fixtures.traps import Killed
from psycopg import Connection
from psycopg_pool import ConnectionPool

from dsl.errors import StepError
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.clock import SystemClock
from telemetry.connections import open_pool
from telemetry.ids import new_id
from workers.errors import ExecutionConflict
from workers.runner import Runner
from workers.stops import Stops
from workers.testing import World

EXECUTIONS = 30
THREADS = 5
#: Most that anything may take here.
PATIENCE_S = 60

COMMANDS = {
    "leaf": """
slug: leaf
retry: {max_attempts: 2, backoff: 1ms, max_backoff: 1ms}
steps:
  - {id: one, type: fragment.create, with: {type: note, title: leaf}}
  - {id: dice, type: dice, retry: {max_attempts: 2, backoff: 1ms, max_backoff: 1ms}}
  - {id: two, type: fragment.create, with: {type: note, title: leaf}}
  - {id: say, type: respond, with: {value: done}}
on_failure:
  - {id: tell, type: fragment.create, with: {type: note, title: failed}}
  - {id: last, type: dice}
""",
    "branch": """
slug: branch
steps:
  - {id: one, type: fragment.create, with: {type: note, title: branch}}
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2, 3]' | from_json }}"
      on_error: continue
      do:
        - {id: ask, type: command.run, with: {command: leaf, await: true}}
        - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: dice, type: dice}
""",
    "root": """
slug: root
steps:
  - id: ask
    type: command.run
    with: {command: branch, await: true}
    retry: {max_attempts: 2, backoff: 1ms, max_backoff: 1ms}
  - {id: more, type: command.run, with: {command: leaf}}
  - {id: say, type: respond, with: {value: done}}
on_failure:
  - {id: tell, type: command.run, with: {command: leaf, await: true}}
""",
}


class Unlucky(StepError):
    """So it fell."""

    code = "step.unlucky"
    category = "server"


class Dice(Step):
    """Goes well, fails, or kills its worker; inside the transaction of an effect."""

    type = "dice"
    effect = Effect.DATABASE
    Params = StepParams
    random: ClassVar[random.Random]
    is_over: ClassVar[bool]

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        context.database().execute("select 1")
        drawn = Dice.random.random()
        if drawn < 0.15 and not Dice.is_over:
            raise Killed
        if drawn < 0.35:
            raise Unlucky("unlucky")
        return StepResult("well")


@pytest.fixture
def pool(database_url: str) -> Iterator[ConnectionPool[Any]]:
    with open_pool(database_url, name="weir test", max_size=20, autocommit=True) as opened:
        yield opened


class Life:
    """Workers that die and come back, a scheduler, and people who cancel."""

    def __init__(self, world: World, connection: Connection[Any], seed: int) -> None:
        self.world = world
        self.connection = connection
        self.stops = Stops(world.pool, world.executions, world.clock, world.recorder)
        self.draw = random.Random(seed)
        self.reaper = world.reaper(lease=timedelta())
        self.over = threading.Event()
        self.faults: list[BaseException] = []
        self.deaths = self.cancelled = 0

    def loop(self, step: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            while not self.over.wait(0.005):
                try:
                    step()
                except BaseException as error:  # noqa: BLE001 - told at the end
                    self.faults.append(error)
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def worker(self) -> Callable[[], None]:
        state: dict[str, Any] = {}

        def begin() -> None:
            state["id"] = new_id(self.world.clock.unix_us())
            self.world.register(state["id"])
            state["runner"] = self._runner(lambda: state["id"])

        def step() -> None:
            try:
                state["runner"].run_lane("default")
            except Killed:
                self.deaths += 1
                with self.world.pool.connection() as connection:
                    connection.execute(
                        "update workers set lease_until = now() - interval '1 s' where id = %s", [state["id"]]
                    )
                begin()

        begin()
        return step

    def _runner(self, worker_id: Callable[[], UUID]) -> Runner:
        runner = self.world.runner()
        runner._worker_id = worker_id
        return runner

    def schedule(self) -> None:
        with self.world.pool.connection() as connection:
            connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
        self.world.executions.promote()
        self.stops.heed()
        self.reaper.run_once()

    def cancel(self) -> None:
        with self.world.pool.connection() as connection:
            live = connection.execute("select id from command_executions where finished_at is null").fetchall()
            running = connection.execute(
                "select e.id from command_executions e join command_stops s on s.execution_id = e.id"
                " where e.state = 'running'"
            ).fetchall()
        self.world.watch.cancel([execution_id for (execution_id,) in running])
        if live and self.draw.random() < 0.2:
            try:
                self.stops.cancel(self.draw.choice(live)[0])
                self.cancelled += 1
            except ExecutionConflict:
                pass  # it has ended since


@pytest.mark.parametrize("seed", [1])
def test_nothing_is_stuck_or_done_twice(
    pool: ConnectionPool[Any], connection: Connection[Any], tmp_path: Path, seed: int
) -> None:
    world = World(pool, SystemClock())
    for slug, text in COMMANDS.items():
        (tmp_path / f"{slug}.yaml").write_text(text, encoding="utf-8")
    world.folders = [tmp_path]
    world.step_types[Dice.type] = Dice()
    Dice.random, Dice.is_over = random.Random(seed), False
    for _ in range(EXECUTIONS):
        world.submit(world.load(COMMANDS["root"]))
    life = Life(world, connection, seed)
    world.watch.start()
    threads = [life.loop(life.worker()) for _ in range(THREADS)]
    threads += [life.loop(life.schedule), life.loop(life.cancel)]

    waited = threading.Event()
    for turn in range(PATIENCE_S * 20):
        left = connection.execute("select count(*) from command_executions where finished_at is null").fetchone()
        if left == (0,) or life.faults:
            break
        Dice.is_over = turn > PATIENCE_S * 10
        waited.wait(0.05)
    life.over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    world.watch.stop()

    assert life.faults == []
    stuck = connection.execute(
        "select id, slug, state, link, attempt, deaths from command_executions where finished_at is null"
    ).fetchall()
    assert stuck == []
    assert min(life.deaths, life.cancelled) > 0
    states = connection.execute(
        "select slug, state, count(*) from command_executions group by 1, 2 order by 1, 2"
    ).fetchall()
    ended = Counter(
        event.scope.execution_id
        for event, kind in zip(world.recorder.events, world.recorder.types, strict=True)
        if kind in ("command.execution.completed", "command.execution.failed", "command.execution.cancelled")
    )
    assert set(ended.values()) == {1}
    assert len(ended) == sum(count for _, _, count in states)
    assert (
        connection.execute("select count(*) from fragments").fetchone()
        == connection.execute("select sum(rows_count) from mutations").fetchone()
    )
    twice = connection.execute(
        "select execution_id, path from command_steps where outcome <> 'failed' group by 1, 2 having count(*) > 1"
    ).fetchall()
    assert twice == []
    outlived = connection.execute(
        "select c.id from command_executions c join command_executions p on p.id = c.parent_id"
        " where c.link = 'child' and c.finished_at > p.finished_at + interval '2 s'"
    ).fetchall()
    assert outlived == []
