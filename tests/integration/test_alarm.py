"""What is put off for a moment is queued when it is due: nobody sweeps here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from dsl.errors import StepError
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.clock import SystemClock
from telemetry.errors import StoreUnavailable
from telemetry.testing import ManualClock
from workers.alarm import MAX_PENDING, Alarm
from workers.testing import World

#: Longer than anything here takes.
PATIENCE_S = 30


class Once(Step):
    """Fails the first time, and asks for a wait."""

    type = "once"
    effect = Effect.NONE
    Params = StepParams
    runs = 0

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        Once.runs += 1
        if Once.runs == 1:
            error = StepError("not yet")
            error.retry_after = timedelta(milliseconds=60)  # type: ignore[attr-defined]
            raise error
        return StepResult("done")


class Rings:
    """Counts, and can be waited for."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0
        self.rung = threading.Semaphore(0)

    def __call__(self) -> None:
        self.count += 1
        self.rung.release()
        if self.errors:
            raise self.errors.pop(0)


def started(rings: Rings, horizon: timedelta = timedelta(hours=1)) -> Alarm:
    alarm = Alarm(rings, SystemClock(), horizon)
    alarm.start()
    return alarm


@pytest.fixture
def rings() -> Rings:
    return Rings()


@pytest.fixture
def alarm(rings: Rings) -> Iterator[Alarm]:
    alarm = started(rings)
    yield alarm
    alarm.stop()


def test_it_rings_once_for_each_due_time_and_goes_on_after_an_error() -> None:
    rings = Rings(StoreUnavailable("away"), ValueError("ours"))
    alarm = started(rings)
    for _ in range(3):
        alarm.after(timedelta(milliseconds=2))
        assert rings.rung.acquire(timeout=PATIENCE_S)
    alarm.stop()

    assert rings.count == 3


def test_a_sooner_one_does_not_wait_for_a_later_one(alarm: Alarm, rings: Rings) -> None:
    alarm.after(timedelta(minutes=50))
    alarm.after(timedelta(milliseconds=2))

    assert rings.rung.acquire(timeout=PATIENCE_S)
    assert rings.count == 1


def test_what_the_sweep_knows_of_in_time_is_left_to_it() -> None:
    rings = Rings()
    alarm = started(rings, timedelta(milliseconds=2))
    alarm.after(timedelta(milliseconds=2))
    alarm.after(timedelta(milliseconds=1))

    assert rings.rung.acquire(timeout=PATIENCE_S)
    alarm.stop()
    assert rings.count == 1


def test_it_keeps_no_more_than_it_can(clock: ManualClock) -> None:
    alarm = Alarm(Rings(), clock, timedelta(hours=1))
    for _ in range(MAX_PENDING + 10):
        alarm.after(timedelta(seconds=1))

    assert len(alarm._due_us) == MAX_PENDING


def test_stopping_does_not_wait_for_what_is_pending(rings: Rings) -> None:
    alarm = started(rings)
    alarm.after(timedelta(minutes=50))
    alarm.stop()
    alarm.stop()

    assert rings.count == 0


@pytest.mark.req("D-01")
def test_a_retry_after_a_moment_runs_without_a_sweep(world: World) -> None:
    Once.runs = 0
    world.step_types["once"] = Once()
    world.clock = SystemClock()
    finished = threading.Event()

    def ring() -> None:
        if world.executions.promote().lanes:
            world.runner().run_lane("default")
            finished.set()

    alarm = Alarm(ring, world.clock, timedelta(seconds=1))
    alarm.start()
    command = world.load("slug: soon\nsteps: [{id: a, type: once, retry: {max_attempts: 2, backoff: 1ms}}]")
    execution_id = world.submit(command)
    world.runner(alarm=alarm).run_lane("default")

    assert finished.wait(PATIENCE_S)
    alarm.stop()
    execution = world.executions.get(execution_id)
    assert (execution.state, execution.attempt) == ("succeeded", 2)
