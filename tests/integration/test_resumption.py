"""What has ended is run once more, from its beginning or from where it failed, as another execution."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.library import PACKS, Library
from telemetry.events import ExecutionCompleted
from workers.errors import ExecutionConflict, ExecutionNotFound, IdempotencyConflict, StepNotFound
from workers.resumption import Resumption
from workers.testing import World

HALF = """
slug: half
inputs: {title: {type: string, required: true}}
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: "{{ inputs.title }}"}}
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2]' | from_json }}"
      do:
        - {id: note, type: fragment.create, with: {type: note, title: "no. {{ item }}"}}
  - {id: check, type: validate, with: {rules: [{value: "", required: true}]}}
  - {id: say, type: respond, with: {value: "{{ steps.keep.output.fragment_id }}"}}
"""
CORRECTED = HALF.replace('value: "", required: true', "value: 1, required: true")


@pytest.fixture
def resumption(world: World) -> Resumption:
    library = Library([PACKS], world.runner()._step_types.registry, world.settings, world.clock)
    return Resumption(world.pool, world.executions, library)


def count(connection: Connection[Any]) -> int:
    (found,) = connection.execute("select count(*) from fragments").fetchone() or (0,)
    return int(found)


@pytest.mark.req("D-01")
def test_a_corrected_command_goes_on_where_the_faulty_one_failed(
    world: World, resumption: Resumption, connection: Connection[Any]
) -> None:
    failed = world.run(HALF, {"title": "kept"})
    before = len(world.recorder.events)

    new = resumption.resume(failed.id, "cli", command=world.load(CORRECTED)).id
    world.runner().run_lane("default")

    execution = world.executions.get(new)
    assert (execution.state, execution.parent_id, execution.link) == ("succeeded", failed.id, "resumed_from")
    assert count(connection) == 3
    assert connection.execute("select id::text from fragments where title = 'kept'").fetchone() == (execution.result,)
    assert (execution.steps_executed, execution.mutations_count) == (2, 0)
    assert execution.correlation_id == failed.correlation_id
    own = world.recorder.events[before:]
    assert [type(event).__name__ for event in own] == [
        *("ExecutionQueued", "ExecutionStarted", "StepExecuted", "StepExecuted", "ExecutionCompleted")
    ]
    assert isinstance(own[-1], ExecutionCompleted)
    taken = connection.execute(
        "select path from command_steps where restored_from = %s and event_id is null order by ordinal", [failed.id]
    ).fetchall()
    assert [path for (path,) in taken] == ["keep", "each", "each[0].note", "each[1].note"]


def test_the_same_definition_fails_at_the_same_step_and_nothing_is_doubled(
    world: World, resumption: Resumption, connection: Connection[Any]
) -> None:
    failed = world.run(HALF, {"title": "kept"})

    new = resumption.resume(failed.id, "cli").id
    world.runner().run_lane("default")

    assert world.executions.get(new).state == "failed"
    assert count(connection) == 3
    assert world.executions.get(failed.id) == failed


@pytest.mark.parametrize(("since", "fragments"), [("keep", 6), ("each", 5), ("check", 3), ("say", 3)])
def test_everything_from_a_step_on_runs_anew(
    world: World, resumption: Resumption, connection: Connection[Any], since: str, fragments: int
) -> None:
    done = world.run(CORRECTED, {"title": "kept"})

    new = resumption.resume(done.id, "api", since=since).id
    world.runner().run_lane("default")

    assert (world.executions.get(new).state, count(connection)) == ("succeeded", fragments)


def test_steps_that_are_others_now_run_anew(world: World, resumption: Resumption, connection: Connection[Any]) -> None:
    failed = world.run(HALF, {"title": "kept"})
    changed = CORRECTED.replace("{id: keep, type: fragment.create", "{id: first, type: fragment.create").replace(
        "steps.keep.", "steps.first."
    )

    resumption.resume(failed.id, "api", command=world.load(changed))
    world.runner().run_lane("default")

    assert count(connection) == 4


@pytest.mark.req("D-01")
def test_a_retry_does_everything_again(world: World, resumption: Resumption, connection: Connection[Any]) -> None:
    failed = world.run(HALF, {"title": "kept"}, user="ada", space="garden")

    new = resumption.retry(failed.id, "api").id
    world.runner().run_lane("default")

    execution = world.executions.get(new)
    assert (execution.link, execution.user_name, execution.space) == ("retry_of", "ada", "garden")
    assert count(connection) == 6


def test_only_what_has_ended_is_run_once_more(world: World, resumption: Resumption) -> None:
    done = world.run(CORRECTED, {"title": "kept"})
    dry = world.run(HALF, {"title": "kept"}, dry_run=True)
    waiting = world.submit()

    with pytest.raises(ExecutionConflict, match="queued"):
        resumption.retry(waiting, "api")
    with pytest.raises(ExecutionConflict, match="succeeded"):
        resumption.resume(done.id, "api")
    with pytest.raises(ExecutionConflict, match="dry run"):
        resumption.resume(dry.id, "api")
    with pytest.raises(StepNotFound, match="chek") as raised:
        resumption.resume(done.id, "api", since="chek")
    assert "check" in (raised.value.hint or "")
    with pytest.raises(ExecutionNotFound):
        resumption.retry(UUID(int=1), "api")


LISTED = """
slug: listed
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2, 0]' | from_json }}"
      do:
        - {id: note, type: fragment.create, with: {type: note, title: "no. {{ item }}"}}
        - {id: check, type: validate, with: {rules: [{value: "{{ item }}", min: 1}]}}
on_failure:
  - id: tell
    type: list.map
    with:
      items: "{{ '[4]' | from_json }}"
      do: [{id: note, type: fragment.create, with: {type: alarm, title: "no. {{ item }}"}}]
"""


def titles(connection: Connection[Any], kind: str = "note") -> list[str]:
    return sorted(title for (title,) in connection.execute("select title from fragments where type = %s", [kind]))


@pytest.mark.req("D-01")
def test_a_map_whose_list_is_another_now_begins_anew(
    world: World, resumption: Resumption, connection: Connection[Any]
) -> None:
    failed = world.run(LISTED)
    corrected = LISTED.replace("[1, 2, 0]", "[7, 8, 9]")

    again = resumption.resume(failed.id, "cli", command=world.load(corrected))
    world.runner().run_lane("default")

    assert (failed.state, world.executions.get(again.id).state, again.runs_again) == ("failed", "succeeded", ("each",))
    assert titles(connection) == ["kept", *(f"no. {item}" for item in (0, 1, 2, 7, 8, 9))]


def test_a_map_whose_list_is_the_same_goes_on_with_it(
    world: World, resumption: Resumption, connection: Connection[Any]
) -> None:
    failed = world.run(LISTED)
    corrected = LISTED.replace("min: 1", "min: 0")

    again = resumption.resume(failed.id, "cli", command=world.load(corrected))
    world.runner().run_lane("default")

    assert (world.executions.get(again.id).state, again.runs_again) == ("succeeded", ())
    assert titles(connection) == ["kept", "no. 0", "no. 1", "no. 2"]


def test_a_map_that_tells_of_a_failure_has_its_list_each_time(
    world: World, resumption: Resumption, connection: Connection[Any]
) -> None:
    failed = world.run(LISTED)

    again = resumption.resume(failed.id, "cli", command=world.load(LISTED.replace("[4]", "[5]")))
    world.runner().run_lane("default")

    assert (world.executions.get(again.id).state, again.runs_again) == ("failed", ())
    assert titles(connection, "alarm") == ["no. 4", "no. 5"]


@pytest.mark.req("D-01")
@pytest.mark.parametrize("verb", ["retry", "resume"])
def test_of_many_at_once_under_one_key_one_runs(
    world: World, resumption: Resumption, connection: Connection[Any], verb: str
) -> None:
    failed = world.run(LISTED)
    act = resumption.retry if verb == "retry" else resumption.resume

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: act(failed.id, "api", key="once"), range(100)))

    assert len({answer.id for answer in answers}) == 1
    assert sum(not answer.is_replay for answer in answers) == 1
    assert connection.execute("select count(*) from command_executions").fetchone() == (2,)
    assert connection.execute("select count(*) from dead_letter_handlings").fetchone() == (1,)


def test_a_key_is_that_of_one_request(world: World, resumption: Resumption) -> None:
    failed, other = world.run(LISTED), world.run(LISTED)
    corrected = world.load(LISTED.replace("[1, 2, 0]", "[7]"))
    first = resumption.resume(failed.id, "api", command=corrected, key="key")

    again = resumption.resume(failed.id, "api", command=corrected, key="key")

    assert (again.id, again.is_replay, again.runs_again) == (first.id, True, ("each",))
    with pytest.raises(IdempotencyConflict):
        resumption.resume(failed.id, "api", key="key")
    with pytest.raises(IdempotencyConflict):
        resumption.resume(failed.id, "api", command=corrected, since="each", key="key")
    with pytest.raises(IdempotencyConflict):
        resumption.resume(other.id, "api", command=corrected, key="key")
    with pytest.raises(IdempotencyConflict):
        resumption.retry(failed.id, "api", command=corrected, key="key")
