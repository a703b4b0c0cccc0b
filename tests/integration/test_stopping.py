"""Executions are cancelled, and runs that take too long are ended, whatever their steps are doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from fixtures.stacks import eventually
from psycopg import Connection

from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.events import ExecutionCancelled, ExecutionFailed
from workers.errors import ExecutionConflict
from workers.fence import Release
from workers.stops import SQL as STOPS
from workers.stops import Stops, mark_killed
from workers.testing import World

#: How long a step would go on by itself; tests that wait for it have failed.
FOREVER_S = 30.0


class Busy(Step):
    """Computes, and never looks up."""

    type = "busy"
    effect = Effect.NONE
    Params = StepParams
    begun: ClassVar[threading.Event] = threading.Event()
    cleaned_up: ClassVar[list[str]] = []

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        end = time.monotonic() + FOREVER_S
        Busy.begun.set()
        try:
            while time.monotonic() < end:
                sum(range(100))
        finally:
            Busy.cleaned_up.append(context.path)
        return StepResult("never")


class Waits(Busy):
    """Waits in Postgres, in the transaction of its effect."""

    type = "waits"
    effect = Effect.DATABASE

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        connection = context.database()
        connection.execute("insert into spaces (id, name) values (gen_random_uuid(), 'never')")
        Busy.begun.set()
        connection.execute("select pg_sleep(%s)", [FOREVER_S])
        return StepResult("never")


class Stubborn(Busy):
    """Takes no notice of anything."""

    type = "stubborn"

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        end = time.monotonic() + FOREVER_S
        Busy.begun.set()
        while time.monotonic() < end and Busy.begun.is_set():
            try:
                while time.monotonic() < end and Busy.begun.is_set():
                    sum(range(100))
            except BaseException:  # noqa: BLE001, S110 - what it is for
                pass
        return StepResult("in the end")


class BusyAtFirst(Busy):
    """Computes without end the first time; then it is done at once."""

    type = "busy_at_first"

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        return StepResult("done") if Busy.begun.is_set() else super().run(params, context)


#: Steps with steps inside, of which the second goes on.
AROUND = {
    "map": """
  - id: around
    type: list.map
    MORE
    with:
      items: "{{ '[1, 2, 3]' | from_json }}"
      on_error: continue
      do:
        - {id: inside, type: fragment.create, with: {type: note, title: "no. {{ item }}"}}
        - {id: long, type: KIND, if: item == 2}
""",
    "branch": """
  - id: around
    type: condition
    MORE
    with:
      if: true
      then:
        - {id: inside, type: fragment.create, with: {type: note, title: "no. 1"}}
        - {id: long, type: KIND}
""",
}


def source(kind: str, more: str = "", command: str = "") -> str:
    return f"""
slug: long
{command}
steps:
  - {{id: keep, type: fragment.create, with: {{type: note, title: kept}}}}
  - {{id: long, type: {kind}{more}}}
  - {{id: after, type: fragment.create, with: {{type: note, title: after}}}}
"""


@pytest.fixture
def long(world: World) -> Iterator[World]:
    world.step_types |= {each.type: each() for each in (Busy, BusyAtFirst, Waits, Stubborn)}
    Busy.begun.clear()
    Busy.cleaned_up.clear()
    world.watch.start()
    yield world
    Busy.begun.clear()
    world.watch.stop()


@contextmanager
def running(world: World, execution_id: UUID) -> Iterator[UUID]:
    """While its second step is going on in another thread; waits for the run's end."""
    thread = threading.Thread(target=world.runner().run_lane, args=("default",))
    thread.start()
    assert Busy.begun.wait(10)
    yield execution_id
    thread.join(FOREVER_S / 2)
    assert not thread.is_alive()


def stops(world: World) -> Stops:
    return Stops(world.pool, world.executions, world.clock, world.recorder)


def titles(connection: Connection[Any]) -> list[str]:
    return [row[0] for row in connection.execute("select title from fragments").fetchall()]


@pytest.mark.req("D-01")
@pytest.mark.parametrize("kind", ["busy", "waits"])
def test_a_step_that_goes_on_is_interrupted(long: World, connection: Connection[Any], kind: str) -> None:
    with running(long, long.submit(long.load(source(kind)))) as execution_id:
        assert stops(long).cancel(execution_id) == "running"
        long.watch.cancel([execution_id])

    execution = long.executions.get(execution_id)
    assert (execution.state, execution.result, titles(connection)) == ("cancelled", None, ["kept"])
    assert connection.execute("select count(*) from spaces where name = 'never'").fetchone() == (0,)
    cancelled = long.recorder.events[-1]
    assert isinstance(cancelled, ExecutionCancelled)
    assert (cancelled.stopped, cancelled.steps_successful, cancelled.steps_failed) == ("interrupted", 1, 1)
    assert Busy.cleaned_up == (["long"] if kind == "busy" else [])


@pytest.mark.req("D-01")
@pytest.mark.parametrize("kind", ["busy", "waits"])
def test_a_step_has_no_more_time_than_its_timeout(long: World, connection: Connection[Any], kind: str) -> None:
    with running(long, long.submit(long.load(source(kind, ", timeout: 200ms")))) as execution_id:
        pass

    execution = long.executions.get(execution_id)
    assert (execution.state, titles(connection)) == ("failed", ["kept"])
    assert execution.error is not None
    assert (execution.error["code"], execution.error["step"]) == ("step.timed_out", "long")
    assert execution.error["category"] == "timeout"


def test_a_step_that_took_too_long_is_tried_again(long: World) -> None:
    retry = ", timeout: 100ms, retry: {max_attempts: 2, backoff: 1h}"
    with running(long, long.submit(long.load(source("busy", retry)))) as execution_id:
        pass

    assert long.executions.get(execution_id).state == "scheduled"


@pytest.mark.req("D-01")
@pytest.mark.parametrize("kind", ["busy", "waits"])
@pytest.mark.parametrize(("around", "at"), [("map", "around[1].long"), ("branch", "around.long")])
def test_steps_inside_have_no_more_time_than_the_step_around_them(
    long: World, connection: Connection[Any], around: str, at: str, kind: str
) -> None:
    text = "slug: around\nsteps:" + AROUND[around].replace("KIND", kind).replace("MORE", "timeout: 200ms")
    text += "  - {id: after, type: fragment.create, with: {type: note, title: after}}\n"
    with running(long, long.submit(long.load(text))) as execution_id:
        pass

    execution = long.executions.get(execution_id)
    kept = ["no. 1", "no. 2"] if around == "map" else ["no. 1"]
    assert (execution.state, titles(connection)) == ("failed", kept)
    assert execution.error is not None
    assert (execution.error["code"], execution.error["step"]) == ("step.timed_out", "around")
    assert execution.error["category"] == "timeout"
    assert execution.error["message"].endswith(f"0.2 s; it was at {at}")
    failed = [step.path for step in long.executions.steps(execution_id, limit=20) if step.outcome == "failed"]
    assert failed == ["around"]
    assert connection.execute("select count(*) from spaces where name = 'never'").fetchone() == (0,)


@pytest.mark.req("D-01")
def test_a_step_around_others_that_took_too_long_is_tried_again_from_where_it_was(
    long: World, connection: Connection[Any]
) -> None:
    more = "timeout: 1s\n    retry: {max_attempts: 2, backoff: 1h, on: [timeout]}"
    text = "slug: around\nsteps:" + AROUND["map"].replace("KIND", "busy_at_first").replace("MORE", more)
    with running(long, long.submit(long.load(text))) as execution_id:
        pass
    assert long.executions.get(execution_id).state == "scheduled"

    connection.execute("update command_executions set run_at = now() where id = %s", [execution_id])
    long.executions.promote()
    long.runner().run_lane("default")

    execution = long.executions.get(execution_id)
    assert (execution.state, execution.result["succeeded"], execution.result["failed"]) == ("succeeded", 3, 0)
    assert titles(connection) == ["no. 1", "no. 2", "no. 3"]


def test_a_step_inside_with_less_time_fails_by_itself(long: World) -> None:
    text = "slug: around\nsteps:" + AROUND["map"].replace("type: KIND", "type: busy, timeout: 100ms")
    with running(long, long.submit(long.load(text.replace("MORE", "timeout: 30s")))) as execution_id:
        pass

    execution = long.executions.get(execution_id)
    assert (execution.state, execution.result["succeeded"], execution.result["failed"]) == ("succeeded", 2, 1)
    failed = [step.path for step in long.executions.steps(execution_id, limit=20) if step.outcome == "failed"]
    assert failed == ["around[1].long"]


@pytest.mark.req("D-01")
def test_a_command_has_no_more_time_than_its_timeout(long: World, connection: Connection[Any]) -> None:
    text = source("busy", command="timeout: 200ms\nretry: {max_attempts: 5, backoff: 1ms}")
    with running(long, long.submit(long.load(text))) as execution_id:
        pass

    execution = long.executions.get(execution_id)
    assert (execution.state, titles(connection)) == ("failed", ["kept"])
    assert execution.error is not None
    assert execution.error["code"] == "execution.timed_out"
    failed = long.recorder.events[-1]
    assert isinstance(failed, ExecutionFailed)
    assert (failed.stopped, failed.outcome) == ("interrupted", "failed")


def test_on_failure_has_its_time_when_the_command_had_none_left(long: World, connection: Connection[Any]) -> None:
    text = (
        source("busy", command="timeout: 200ms")
        + "on_failure:\n  - {id: tell, type: notify, with: {channel: inbox, message: late}}\n"
    )
    with running(long, long.submit(long.load(text))) as execution_id:
        pass

    execution = long.executions.get(execution_id)
    assert execution.error is not None
    assert (execution.state, execution.error["code"]) == ("failed", "execution.timed_out")
    assert connection.execute("select message from notifications").fetchall() == [("late",)]
    failed = long.recorder.events[-1]
    assert isinstance(failed, ExecutionFailed)
    assert failed.stopped == "interrupted"


def test_what_takes_no_notice_is_stuck_and_ends_with_its_process(long: World) -> None:
    with running(long, long.submit(long.load(source("stubborn", command="timeout: 200ms")))) as execution_id:
        eventually(lambda: bool(long.stuck))
        mark_killed(long.stuck[0])
        long.lose_worker()
        long.reaper(lease=timedelta()).run_once()
        Busy.begun.clear()

    execution = long.executions.get(execution_id)
    assert execution.state == "failed"
    failed = long.recorder.events[-1]
    assert isinstance(failed, ExecutionFailed)
    assert failed.stopped == "killed"
    assert long.recorder.types.count("command.execution.failed") == 1


@pytest.mark.req("D-01")
def test_what_has_not_begun_is_cancelled_at_once(world: World) -> None:
    execution_id = world.submit()

    assert stops(world).cancel(execution_id) == "cancelled"
    assert stops(world).cancel(execution_id) == "cancelled"

    assert world.runner().run_lane("default") == 0
    assert world.recorder.types == ["command.execution.queued", "command.execution.cancelled"]


def test_what_is_cancelled_just_before_its_worker_hands_over_is_not_gone_on_with(world: World) -> None:
    claim = world.claim(command=world.load("slug: quick\nsteps: [{id: say, type: respond, with: {value: done}}]"))
    with world.pool.connection() as connection, connection.transaction():
        connection.execute(STOPS["request"], {"id": claim.id})  # and its worker does not hear of it any more
        world.fence(claim).release(connection, Release("worker_stopped"))

    assert world.runner().run_lane("default") == 1
    assert world.executions.get(claim.id).state == "cancelled"
    assert world.executions.steps(claim.id, limit=10) == []


def test_what_has_ended_is_not_cancelled(world: World) -> None:
    execution = world.run("slug: done\nsteps: [{id: say, type: respond, with: {value: 1}}]")

    with pytest.raises(ExecutionConflict, match="succeeded already"):
        stops(world).cancel(execution.id)


def test_what_is_not_begun_in_time_expires(world: World, connection: Connection[Any]) -> None:
    late, early = world.submit(), world.submit()
    connection.execute("update command_executions set expires_at = now() - interval '1 s' where id = %s", [late])
    connection.execute("update command_executions set expires_at = now() + interval '1 h' where id = %s", [early])

    assert stops(world).expire() == 1

    assert [world.executions.get(each).state for each in (late, early)] == ["expired", "queued"]
    failed = world.recorder.events[-1]
    assert isinstance(failed, ExecutionFailed)
    assert (failed.outcome, failed.stopped) == ("expired", "before_start")


@pytest.mark.parametrize("kind", ["busy", "waits"])
def test_what_outlasts_the_end_of_its_worker_is_handed_over_and_no_death(
    long: World, connection: Connection[Any], kind: str
) -> None:
    execution_id = long.submit(long.load(source(kind)))
    runner = long.runner()
    thread = threading.Thread(target=runner.run_lane, args=("default",), daemon=True)
    thread.start()
    assert Busy.begun.wait(10)

    runner.stop()
    long.watch.interrupt(timedelta(seconds=10))
    assert long.watch.left() == []
    thread.join(FOREVER_S / 2)

    execution = long.executions.get(execution_id)
    assert (execution.state, execution.steps_failed) == ("queued", 0)
    assert connection.execute("select reason from command_attempts").fetchall() == [("worker_stopped",)]
    assert connection.execute("select deaths from command_executions").fetchall() == [(0,)]
    assert "dsl.step.failed" not in long.recorder.types


def test_what_is_cancelled_while_it_cleans_up_is_cancelled(long: World, connection: Connection[Any]) -> None:
    failing = """
slug: failing
steps: [{id: check, type: validate, with: {rules: [{value: "", required: true}]}}]
on_failure: [{id: long, type: busy}]
"""
    with running(long, long.submit(long.load(failing))) as execution_id:
        assert stops(long).cancel(execution_id) == "running"
        long.watch.cancel([execution_id])

    assert long.executions.get(execution_id).state == "cancelled"
    [ended] = [event for event in long.recorder.events if isinstance(event, ExecutionCancelled | ExecutionFailed)]
    assert isinstance(ended, ExecutionCancelled)
