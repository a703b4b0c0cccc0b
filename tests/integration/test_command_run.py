"""Commands that run commands: accepted with the step's result or not at all, linked, and not without end."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg_pool import ConnectionPool
from redis import Redis

from dsl.check import load
from dsl.errors import CommandInvalid
from dsl.library import PACKS
from dsl.steps import REGISTRY
from telemetry.clock import SystemClock
from telemetry.events import ExecutionQueued, StepFailed, event_type
from telemetry.testing import ManualClock
from workers.broker import BellBroker, queue_of
from workers.children import MAX_DEPTH
from workers.executions import Claim, Execution
from workers.hints import Hints
from workers.middleware import CausingIds
from workers.testing import World

ASK = """
slug: ask
inputs: {body: {type: string, required: true}}
steps:
  - {id: before, type: transform, with: {template: waits}}
  - {id: more, type: command.run, with: {command: note.add, inputs: {content: "{{ inputs.body }}"}, priority: 2}}
  - {id: answer, type: respond, with: {value: "{{ steps.more.output }}"}}
"""


@pytest.fixture
def world_with_commands(world: World, tmp_path: Path) -> World:
    """Executions whose steps find the packs, and commands that the test writes."""
    world.folders = [PACKS, tmp_path]
    return world


def write(world: World, text: str) -> None:
    slug = text.partition("slug: ")[2].partition("\n")[0]
    (world.folders[1] / f"{slug}.yaml").write_text(text, encoding="utf-8")


def claimed(world: World) -> Claim:
    """The command above, accepted and claimed."""
    command = load(ASK, REGISTRY, world.settings, origin="test")
    return world.claim(command=command, inputs={"body": "x"})


def children(connection: Connection[Any]) -> list[UUID]:
    found = connection.execute("select id from command_executions where parent_id is not null order by id").fetchall()
    return [child for (child,) in found]


def queued_event_id(connection: Connection[Any], execution_id: UUID) -> UUID | None:
    row = connection.execute("select queued_event_id from command_executions where id = %s", (execution_id,)).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return] # a column of that type


def failure(execution: Execution) -> dict[str, Any]:
    assert execution.state == "failed"
    assert execution.error is not None
    return execution.error


@pytest.mark.req("C-03", "C-05", "C-08")
def test_a_command_runs_another_as_a_linked_execution_of_the_same_trace(
    world: World, connection: Connection[Any]
) -> None:
    parent = world.run(ASK, {"body": "a note"}, user="ada", space="garden")
    assert parent.state == "succeeded"
    [child_id] = children(connection)
    child = world.executions.get(child_id)
    assert parent.result == {
        "execution_id": str(child_id),
        "command": "note.add",
        "inputs": {"content": "a note", "title": "", "tags": []},
        "submitted": True,
    }
    assert (child.slug, child.parent_id, child.link) == ("note.add", parent.id, "follows")
    assert child.request_source == "command"
    assert (child.correlation_id, child.user_name, child.space) == (parent.correlation_id, "ada", "garden")
    assert (child.priority, child.dry_run) == (2, False)
    # The lane went on: it ran as well.
    assert child.state == "succeeded"
    assert connection.execute("select title, space_id from fragments").fetchall() == [("a note", child.space_id)]

    all_queued = [event for event in world.recorder.events if isinstance(event, ExecutionQueued)]
    [queued] = [event for event in all_queued if event.scope.request_source == "command"]
    assert queued.event_id == (queued_event_id(connection, child_id) or parent.id).bytes
    assert queued.scope.execution_id == child_id.bytes
    assert queued.scope.parent_id == parent.id.bytes
    assert (queued.scope.command_slug, queued.scope.definition_hash) == ("note.add", child.definition_hash)
    assert len({event.scope.correlation_id for event in world.recorder.events}) == 1
    assert len({event.scope.user_id for event in world.recorder.events}) == 1
    of_the_child = [event for event in world.recorder.events if event.scope.execution_id == child_id.bytes]
    assert [event_type(event) for event in of_the_child][:2] == [
        "command.execution.queued",
        "command.execution.started",
    ]


def test_the_child_is_committed_with_the_step_and_told_of_afterwards(world: World, connection: Connection[Any]) -> None:
    world.runner().run(claimed(world))
    same = connection.execute(
        "select s.xmin = e.xmin, e.state from command_steps s join command_executions e on e.parent_id = s.execution_id"
        " where s.path = 'more'"
    )
    assert same.fetchall() == [(True, "queued")]
    told = world.recorder.events[2:]
    assert [event_type(event) for event in told] == [
        *["dsl.step.executed", "dsl.step.executed", "command.execution.queued"],
        *["dsl.step.executed", "command.execution.completed"],
    ]


def test_whoever_lost_the_claim_accepts_nothing(world: World, connection: Connection[Any]) -> None:
    claim = claimed(world)
    connection.execute("update command_executions set fence = fence + 1 where id = %s", [claim.id])
    world.runner().run(claim)
    assert children(connection) == []
    assert world.recorder.types == ["command.execution.queued", "command.execution.started"]


@pytest.mark.req("C-10")
def test_a_dry_run_says_what_it_would_have_run(world: World, connection: Connection[Any]) -> None:
    parent = world.run(ASK, {"body": "a note"}, dry_run=True)
    assert parent.result == {
        "execution_id": None,
        "command": "note.add",
        "inputs": {"content": "a note", "title": "", "tags": []},
        "submitted": False,
    }
    assert children(connection) == []
    assert world.recorder.types.count("command.execution.queued") == 1


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_cannot_be_run_fails_the_step_and_runs_nothing(
    world_with_commands: World, connection: Connection[Any], dry_run: bool
) -> None:
    world = world_with_commands
    ask = "slug: ask\nsteps: [{{id: more, type: command.run, with: {{command: {0}, inputs: {1}}}}}]"

    unknown = failure(world.run(ask.format("note.ad", "{}"), dry_run=dry_run))
    assert (unknown["step"], unknown["type"], unknown["hint"]) == ("more", "StepFailed", "Did you mean note.add?")

    refused = failure(world.run(ask.format("note.add", "{content: 1, secret: s3cret}"), dry_run=dry_run))
    assert sorted(fault["path"] for fault in refused["faults"]) == ["inputs.content", "inputs.secret"]
    assert refused["category"] == "validation"

    write(world, "slug: broken\nsteps: [{id: a, type: nothing}]")
    faulty = failure(world.run(ask.format("broken", "{}"), dry_run=dry_run))
    assert "weir commands validate broken" in faulty["hint"]

    assert children(connection) == []
    assert "s3cret" not in repr(world.recorder.events)
    assert sum(isinstance(event, StepFailed) for event in world.recorder.events) == 3


def test_a_wait_takes_no_timeout_of_its_step(world: World) -> None:
    with pytest.raises(CommandInvalid) as refused:
        world.load("slug: a\nsteps: [{id: b, type: command.run, timeout: 1s, with: {command: note.add, await: true}}]")

    [fault] = refused.value.faults
    assert (fault.code, fault.path, fault.line, fault.column) == ("command.timeout_of_wait", "steps[0].timeout", 2, 45)


def test_commands_that_run_each_other_come_to_an_end(world_with_commands: World, connection: Connection[Any]) -> None:
    world = world_with_commands
    ping = "slug: ping\nsteps: [{id: next, type: command.run, with: {command: pong}}]"
    write(world, ping)
    write(world, "slug: pong\nsteps: [{id: next, type: command.run, with: {command: ping}}]")
    world.run(ping)
    found = [world.executions.get(child) for child in children(connection)]
    assert Counter(child.state for child in found) == {"succeeded": MAX_DEPTH - 1, "failed": 1}
    [last] = [child for child in found if child.state == "failed"]
    assert f"{MAX_DEPTH} deep" in failure(last)["message"]
    assert len({child.correlation_id for child in found}) == 1


def test_only_what_steps_asked_for_counts_as_depth(world: World, connection: Connection[Any]) -> None:
    """Retries of retries are no depth."""
    claim = claimed(world)
    above = [world.submit() for _ in range(MAX_DEPTH + 2)]
    for child, parent in pairwise([claim.id, *above]):
        update = "update command_executions set parent_id = %s, link = 'retry_of' where id = %s"
        connection.execute(update, [parent, child])
    world.runner().run(claim)
    assert world.executions.get(claim.id).state == "succeeded"


def test_the_lane_is_woken_once_the_child_is_committed(world: World, redis_url: str, redis: Redis) -> None:
    broker = BellBroker(redis_url, [CausingIds()])
    try:
        world.runner(Hints(broker, SystemClock())).run(claimed(world))
        assert broker.depth(queue_of("default")) == 1
    finally:
        broker.close()


@pytest.mark.req("C-13")
def test_a_queue_that_is_away_keeps_nothing_from_being_accepted(world: World, connection: Connection[Any]) -> None:
    claim = claimed(world)
    broker = BellBroker("redis://127.0.0.1:1/0", [CausingIds()])
    try:
        world.runner(Hints(broker, SystemClock())).run(claim)
    finally:
        broker.close()
    assert world.executions.get(claim.id).state == "succeeded"
    assert len(children(connection)) == 1


def test_without_telemetry_the_child_has_no_event(
    autocommit_pool: ConnectionPool[Connection[Any]], connection: Connection[Any], clock: ManualClock
) -> None:
    world = World(autocommit_pool, clock, telemetry=False)
    parent = world.run(ASK, {"body": "x"})
    child = world.executions.get(UUID(parent.result["execution_id"]))
    assert (child.state, queued_event_id(connection, child.id)) == ("succeeded", None)
    assert world.recorder.events == []
