"""A wall clock that somebody corrects: by a day forwards, by an hour back, in the middle of things."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from fixtures.samples import encoded, make_step
from psycopg_pool import ConnectionPool

from telemetry.connections import connect
from telemetry.intake import Delivery, Intake
from telemetry.testing import ManualClock
from workers.scheduler import Leadership, Periodic, Scheduler
from workers.testing import World

JUMPS = [timedelta(days=1), timedelta(hours=-1), timedelta(days=-3), timedelta(days=60)]

TOUCHES_TWICE = """\
slug: twice
steps:
  - {id: make, type: fragment.create, with: {type: note, title: One, content: before}}
  - {id: change, type: fragment.update, with: {id: "{{ steps.make.output.fragment_id }}", content: after}}
"""


class JumpingClock(ManualClock):
    """A clock that is corrected each time somebody asks what time it is, forwards and back in turn."""

    def __init__(self, jump: timedelta) -> None:
        super().__init__()
        self._jump = jump

    def unix_us(self) -> int:
        self.set(ManualClock.now(self) + self._jump)
        self._jump = -self._jump
        self.advance(timedelta(milliseconds=1))
        return super().unix_us()


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_an_execution_ends_as_ever_and_took_no_time_that_did_not_pass(
    jump: timedelta, autocommit_pool: ConnectionPool[Any], connection: psycopg.Connection
) -> None:
    execution = World(autocommit_pool, JumpingClock(jump)).run(TOUCHES_TWICE)

    assert execution.state == "succeeded", execution.error
    durations = connection.execute(
        "select duration_us from command_steps union all select running_us from command_executions"
    ).fetchall()
    assert all(0 <= duration < 1_000_000 for (duration,) in durations)
    assert connection.execute("select content, updated_at >= created_at from fragments").fetchall() == [("after", True)]


@pytest.fixture
def leadership(database_url: str) -> Iterator[Leadership]:
    leadership = Leadership(database_url)
    yield leadership
    leadership.release()


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_periodic_work_is_due_when_its_time_has_passed_and_not_before(
    jump: timedelta, leadership: Leadership, clock: ManualClock
) -> None:
    scheduler = Scheduler(leadership, [Periodic("work", timedelta(seconds=2), lambda: None)], clock)
    assert scheduler.run_once() == ("work",)

    clock.set(clock.now() + jump)
    assert scheduler.run_once() == ()
    clock.advance(timedelta(seconds=2))

    assert scheduler.run_once() == ("work",)


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_events_find_their_partition_on_either_side_of_a_jump(
    jump: timedelta, database_url: str, connection: psycopg.Connection
) -> None:
    clock = ManualClock()
    intake = Intake(partial(connect, database_url, name="test intake"), clock=clock, partitions_ahead=1)
    intake.prepare()
    before = make_step(at_us=clock.unix_us())
    clock.set(clock.now() + jump)

    tally = intake.store(Delivery(encoded(before, make_step(at_us=clock.unix_us()))))

    intake.close()
    assert (tally.stored, tally.outside) == (2, 0)
