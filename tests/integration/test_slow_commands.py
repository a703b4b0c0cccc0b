"""Slow executions are marked with their slowest step, wherever one looks; the others are recorded just as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from fixtures.apis import Api, Weir

from api.settings import Settings
from dsl.executor import Outcome
from dsl.instrumentation import SlowestStep, Totals
from telemetry.events import ExecutionCompleted, ExecutionFailed
from telemetry.testing import ManualClock
from workers.boot import make_lease, make_runner, make_watch
from workers.flusher import Flusher
from workers.ledger import WriteBehindLedger
from workers.testing import World

Connection = psycopg.Connection[Any]

#: 6.1 s, of which the second item of the map takes 3.
SLOW = """
slug: slow
steps:
  - {id: quick, type: transform, with: {template: 100}}
  - id: each
    type: list.map
    with:
      items: [1000, 3000, 2000]
      do:
        - {id: never, type: transform, if: item > 5000, with: {template: 9000}}
        - id: check
          type: condition
          with: {if: true, then: [{id: wait, type: transform, with: {template: "{{ item }}"}}]}
"""

FAILS = SLOW + "  - {id: rule, type: validate, with: {rules: [{value: '', required: true}]}}\n"


def final_event(world: World) -> ExecutionCompleted | ExecutionFailed:
    [event] = [event for event in world.recorder.events if isinstance(event, (ExecutionCompleted, ExecutionFailed))]
    return event


def mark(told: Any) -> tuple[bool, str | None, str | None, int | None]:  # noqa: ANN401 - a row or an event
    return told.slow, told.slowest_step, told.slowest_step_type, told.slowest_step_us


@pytest.mark.req("C-09")
@pytest.mark.usefixtures("slow_transforms")
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("source", [SLOW, FAILS], ids=["succeeds", "fails"])
def test_a_slow_execution_is_marked_with_the_step_that_took_longest(world: World, source: str, dry_run: bool) -> None:
    execution = world.run(source, dry_run=dry_run)

    assert mark(execution) == (True, "each[1].check.wait", "transform", 3_000_000)
    assert mark(final_event(world)) == mark(execution)
    steps = world.executions.steps(execution.id, limit=100)
    longest = max((step for step in steps if step.step_type == "transform"), key=lambda step: step.duration_us)
    assert (longest.path, longest.duration_us) == (execution.slowest_step, execution.slowest_step_us)
    assert max(step.duration_us for step in steps) > longest.duration_us  # the map, which took all of theirs


@pytest.mark.req("C-09")
@pytest.mark.usefixtures("slow_transforms")
@pytest.mark.parametrize(("threshold_ms", "slow"), [(6099, True), (6100, False), (0, True)])
def test_an_execution_is_slow_when_it_takes_longer_than_the_threshold(
    world: World, threshold_ms: int, slow: bool
) -> None:
    world.slow_command_threshold = timedelta(milliseconds=threshold_ms)

    execution = world.run(SLOW)

    assert (execution.running_us, execution.slow) == (6_100_000, slow)
    assert final_event(world).slow is slow
    assert (execution.slowest_step is None) is not slow


@pytest.mark.req("C-09")
def test_an_execution_that_is_not_slow_is_recorded_as_well(world: World) -> None:
    execution = world.run(SLOW)

    assert mark(execution) == mark(final_event(world)) == (False, None, None, None)
    assert world.recorder.types.count("dsl.step.executed") == 8


@pytest.mark.req("C-09")
def test_an_execution_that_was_slow_without_a_step_has_none(world: World, clock: ManualClock) -> None:
    claim = world.claim()
    fence = replace(world.fence(claim), slow_us=5_000_000)
    clock.advance(timedelta(seconds=6))

    WriteBehindLedger(fence).finish(Outcome(None, None, None, Totals()))

    assert mark(world.executions.get(claim.id)) == mark(final_event(world)) == (True, None, None, None)


@pytest.mark.req("C-09")
@pytest.mark.usefixtures("slow_transforms")
def test_the_slowest_step_is_known_from_the_ledger_too(world: World) -> None:
    claim = world.claim(command=None)
    source = world.run(SLOW)
    with world.pool.connection() as connection:
        connection.execute("update command_steps set execution_id = %s where execution_id = %s", [claim.id, source.id])

    totals = world.fence(claim).committed()

    assert totals.slowest == SlowestStep("each[1].check.wait", "transform", 3_000_000)


def test_the_database_lets_only_slow_executions_have_a_slowest_step(world: World, connection: Connection) -> None:
    execution_id = world.submit()
    with pytest.raises(psycopg.errors.CheckViolation, match="command_executions_only_slow_has_slowest"):
        connection.execute("update command_executions set slowest_step = 'a' where id = %s", [execution_id])


@pytest.fixture
def api_settings(api_settings: Settings) -> Settings:
    """For whom nothing is fast."""
    return replace(api_settings, workers=replace(api_settings.workers, slow_command_threshold=timedelta(0)))


def run_unhurried(api: Api) -> None:
    """Run what is due as a process does to which nothing is slow."""
    held = api.resources
    unhurried = replace(held, workers=replace(held.workers, slow_command_threshold=timedelta(days=1)))
    lease = make_lease(unhurried)
    assert lease.hold()
    try:
        flusher = Flusher(held.workers.flush_interval)
        assert make_runner(unhurried, flusher, lease, make_watch(unhurried, lease)).run_lane("default") == 1
    finally:
        lease.leave()


@pytest.mark.req("C-09")
def test_slow_executions_are_found_over_rest(api: Api) -> None:
    fast = api.submit("todo.add", {"body": "fast"}).json["id"]
    run_unhurried(api)
    slow = api.submit("todo.add", {"body": "slow"}).json["id"]
    api.run()

    def listed(**query: object) -> list[str]:
        return [item["id"] for item in api.get("/api/executions", **query).json["items"]]

    assert listed() == [slow, fast]
    assert listed(slow="true") == [slow]
    assert listed(slow="false") == [fast]
    assert listed(slow="true", command="note.add") == []
    assert api.get("/api/executions", slow="1").status_code == 422
    shown = api.get(f"/api/executions/{slow}").json
    assert shown["slow"] is True
    assert set(shown["slowest_step"]) == {"path", "step_type", "duration_ms"}
    assert 0 < shown["slowest_step"]["duration_ms"] < shown["total_duration_ms"]
    assert api.get(f"/api/executions/{fast}").json["slowest_step"] is None
    events = api.get("/api/telemetry/events", event_type="command.execution.completed").json["items"]
    marks = {event["execution_id"]: event["measures"].get("slow", False) for event in events}
    assert marks == {slow: True, fast: False}
    [slow_event] = [event for event in events if event["execution_id"] == slow]
    told = shown["slowest_step"]
    assert {key: slow_event["measures"][key] for key in ("slowest_step", "slowest_step_type", "slowest_step_ms")} == {
        "slowest_step": told["path"],
        "slowest_step_type": told["step_type"],
        "slowest_step_ms": told["duration_ms"],
    }


@pytest.mark.req("C-09")
def test_slow_executions_are_shown_on_the_command_line(weir: Weir) -> None:
    execution = weir("run", "todo.add", "-i", "body=x", "--format", "json").json
    step = execution["slowest_step"]

    shown = weir("executions", "show", execution["id"])
    assert f"  slow: {step['path']} ({step['step_type']}) took " in shown.out
    trace = weir("telemetry", "trace", execution["id"])
    assert "slow: todo.add took " in trace.out
    assert f"; {step['path']} ({step['step_type']}) took " in trace.out
    assert "succeeded (slow)" in weir("executions", "list", "--slow").out
    assert weir("executions", "list", "--slow", "--format", "json").json["items"][0]["id"] == execution["id"]
    assert weir("executions", "list", "--not-slow", "--format", "json").json["items"] == []
