"""Schedulers that are killed, or too many of them: every due time is run once all the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from psycopg import Connection
from psycopg_pool import ConnectionPool

from dsl.scheduling.spec import ScheduleSpec
from telemetry.clock import SystemClock
from workers.services.ticker import Ticker
from workers.testing import World

ROOT = Path(__file__).parents[2]

SCHEDULES, BEHIND, ROUNDS = 150, 12, 12

COMMAND = "slug: tell\nsteps: [{id: say, type: respond, with: {value: done}}]\n"

#: Forks a scheduler for every line it reads, and says its process id. They lead without asking: the worst there can be.
PROGRAM = """
import os, signal, sys
import structlog
from pathlib import Path
from telemetry.clock import SystemClock
from telemetry.connections import open_pool
from workers.services.ticker import Ticker
from workers.testing import World

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

def run():
    with open_pool(sys.argv[1], name="scheduler of a test", max_size=2, autocommit=True) as pool:
        clock = SystemClock()
        world = World(pool, clock)
        world.folders = [Path(sys.argv[2])]
        ticker = Ticker(world.occurrences(), clock)
        while True:
            ticker.run_once()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while sys.stdin.readline():
    child = os.fork()
    if child == 0:
        run()
    print(child, flush=True)
"""


class Schedulers:
    """Starts schedulers and kills them."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._parent = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", PROGRAM, database_url, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write("start\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        self._parent.communicate()


@pytest.fixture
def schedulers(database_url: str, tmp_path: Path) -> Iterator[Schedulers]:
    started = Schedulers(database_url, tmp_path)
    yield started
    started.close()


@pytest.mark.req("D-04", "S-13")
def test_schedulers_that_are_killed_at_any_moment_lose_nothing_and_fire_nothing_twice(
    schedulers: Schedulers, autocommit_pool: ConnectionPool[Any], connection: Connection[Any], tmp_path: Path
) -> None:
    chance = random.Random(11)
    (tmp_path / "tell.yaml").write_text(COMMAND, encoding="utf-8")
    world = World(autocommit_pool, SystemClock())
    world.folders = [tmp_path]
    schedules = world.schedules()
    spec = ScheduleSpec(every=timedelta(hours=1), misfire="all", window=timedelta(days=9), overlap="allow")
    made = [schedules.create(f"s{number}", "tell", spec) for number in range(SCHEDULES)]
    back = {"by": timedelta(hours=BEHIND)}
    connection.execute("update schedules set next_due_at = next_due_at - %(by)s, wake_at = wake_at - %(by)s", back)

    done = []
    for _ in range(ROUNDS):
        pair = [schedulers.start(), schedulers.start()]
        Event().wait(chance.uniform(0.03, 0.25))  # the moment of the kill is what is tried
        for process in pair:
            os.kill(process, signal.SIGKILL)
        done.append(connection.execute("select count(*) from schedule_occurrences").fetchone())

    ticker = Ticker(world.occurrences(), SystemClock())
    while ticker.run_once().again_in == timedelta(0):
        pass
    assert len({*done, (0,), (SCHEDULES * BEHIND,)}) > 3, f"no kill came in the middle of anything: {done}"
    rows = connection.execute("select schedule_id, due_at, state, execution_id from schedule_occurrences").fetchall()
    executions = connection.execute("select id, correlation_id, schedule_id from command_executions").fetchall()
    assert len(rows) == len(executions) == SCHEDULES * BEHIND
    assert {row[3] for row in rows} == {execution[0] for execution in executions}
    for schedule in made:
        first = schedule.next_due_at
        assert isinstance(first, datetime)
        due = sorted(row[1] for row in rows if row[0] == schedule.id)
        assert due == [first - timedelta(hours=number) for number in range(BEHIND, 0, -1)]
