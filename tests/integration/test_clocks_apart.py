"""Schedulers on machines whose clocks are apart agree on what is due: it is the database's clock that says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.stacks import eventually
from psycopg_pool import ConnectionPool

from dsl.library import Library
from dsl.scheduling.spec import ScheduleSpec
from dsl.steps import REGISTRY
from telemetry.clock import SystemClock, from_unix_us
from telemetry.testing import ManualClock
from workers.occurrences import Occurrences
from workers.server_clock import NEAR, ServerClock
from workers.services.ticker import Ticker
from workers.testing import World

HOUR = timedelta(hours=1)


class Off(SystemClock):
    """A machine whose wall clock is wrong."""

    def __init__(self, by: timedelta) -> None:
        self._by_us = by // timedelta(microseconds=1)

    def unix_us(self) -> int:
        return super().unix_us() + self._by_us


@pytest.mark.parametrize("off", [HOUR * 3, -HOUR * 3])
def test_a_due_time_comes_when_the_database_says_so(
    autocommit_pool: ConnectionPool[Any], tmp_path: Path, off: timedelta
) -> None:
    world = World(autocommit_pool, SystemClock())
    (tmp_path / "tell.yaml").write_text("slug: tell\nsteps: [{id: say, type: respond, with: {value: done}}]")
    library = Library([tmp_path], REGISTRY, world.settings, world.clock)
    clock = ServerClock(Off(off))
    occurrences = Occurrences(
        world.pool, clock, world.recorder, world.pseudonyms, library, None, world.settings, timedelta(seconds=10)
    )
    ticker = Ticker(occurrences, clock)
    now = world.clock.now()
    later = world.schedules().create("later", "tell", ScheduleSpec(at=now + HOUR))
    soon = world.schedules().create("soon", "tell", ScheduleSpec(every=timedelta(seconds=1), overlap="allow"))

    eventually(lambda: "fired" in ticker.run_once().counts)

    assert world.schedules().occurrences(later, limit=10) == []
    [row] = world.schedules().occurrences(soon, limit=10)
    assert row.state == "fired"
    assert abs(row.occurred_at - now) < HOUR / 2


def test_what_is_near_enough_is_left_alone(clock: ManualClock) -> None:
    server = ServerClock(clock)
    server.follow(clock.now() + NEAR)
    assert server.now() == clock.now()

    server.follow(clock.now() + HOUR)
    assert server.now() == clock.now() + HOUR
    clock.advance(HOUR)
    assert server.now() == clock.now() + HOUR
    server.follow(clock.now() + NEAR / 2)

    assert server.now() == clock.now() == from_unix_us(server.unix_us())
    assert server.monotonic_us() == clock.monotonic_us()
