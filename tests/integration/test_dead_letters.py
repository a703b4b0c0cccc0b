"""What ended as dead or failed is listed until somebody deals with it, and dealt with once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.library import PACKS, Library
from telemetry.ids import new_id
from telemetry.testing import ManualClock
from workers.dead_letters import AT_ONCE, SAMPLES, DeadLetters, Letters
from workers.errors import DeadLetterHandled, ExecutionConflict, ExecutionNotFound
from workers.resumption import Resumption
from workers.testing import World

KEEPS = """
slug: keeps
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: check, type: validate, with: {rules: [{value: "", required: true}]}}
"""
OTHER = """
slug: other
steps:
  - {id: say, type: transform, with: {template: "{{ '[' | from_json }}"}}
"""
PARENT = """
slug: parent
steps:
  - {id: ask, type: command.run, with: {command: child, await: true}}
"""
CHILD = """
slug: child
steps:
  - {id: check, type: validate, with: {rules: [{value: "", required: true}]}}
"""
DEAD, ALL = Letters(states=["dead"]), Letters()


@pytest.fixture
def resumption(world: World) -> Resumption:
    library = Library([PACKS], world.runner()._step_types.registry, world.settings, world.clock)
    return Resumption(world.pool, world.executions, library)


@pytest.fixture
def letters(world: World, resumption: Resumption) -> DeadLetters:
    return DeadLetters(world.pool, resumption)


def die(world: World, source: str = KEEPS) -> UUID:
    """Lose the worker that runs it alone, after its first step, and for good."""
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(timedelta(seconds=1))
    execution_id = world.submit(world.load(source))
    with world.pool.connection() as connection:
        connection.execute("update command_executions set alone = true where id = %s", [execution_id])
        claim = world.executions.claim("default", world.worker_id)
        assert claim is not None
        connection.execute(
            "insert into command_steps (execution_id, path, attempt, step_try, ordinal, step_type, outcome,"
            " occurred_at, duration_us) values (%s, 'keep', 1, 1, 1, 'fragment.create', 'succeeded', now(), 1)",
            [execution_id],
        )
    world.lose_worker()
    assert world.reaper(lease=timedelta(), max_deaths=1).run_once().dead == ("on_failure" not in source)
    return execution_id


def fail(world: World, source: str = KEEPS) -> UUID:
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(timedelta(seconds=1))
    execution = world.run(source)
    assert execution.state == "failed"
    return execution.id


def ids(letters: DeadLetters, which: Letters = ALL) -> list[UUID]:
    return [letter.id for letter in letters.page(which, limit=100)]


@pytest.mark.req("D-01")
def test_what_died_is_listed_with_its_cause_and_what_to_do(world: World, letters: DeadLetters) -> None:
    execution_id = die(world)

    (letter,) = letters.page(DEAD, limit=10)

    assert (letter.id, letter.slug, letter.state, letter.last_step) == (execution_id, "keeps", "dead", "keep")
    assert (letter.attempt, letter.deaths, letter.deaths_alone) == (1, 1, 1)
    assert letter.error is not None
    assert letter.error["code"] == "execution.worker_lost"
    assert letter.fingerprint == letter.error["fingerprint"]
    assert "the step keep, or the one after it," in letter.next_action
    assert letters.get(execution_id) == letter


def test_what_died_did_not_die_of_what_came_after(world: World, letters: DeadLetters) -> None:
    execution_id = die(world, KEEPS + "on_failure:\n  - {id: sorry, type: respond, with: {value: sorry}}\n")
    assert world.executions.get(execution_id).state == "queued"
    world.runner().run_lane("default")

    (letter,) = letters.page(DEAD, limit=10)

    assert [step.path for step in world.executions.steps(execution_id, limit=10)] == ["keep", "on_failure:sorry"]
    assert (letter.last_step, letter.attempt) == ("keep", 2)
    assert letters.get(execution_id) == letter


def test_what_failed_is_listed_by_the_same_door(world: World, letters: DeadLetters) -> None:
    dead, failed = die(world), fail(world)
    world.run("slug: fine\nsteps: [{id: a, type: respond, with: {value: 1}}]")

    assert ids(letters, DEAD) == [dead]
    assert ids(letters, Letters(states=["failed"])) == [failed]
    assert ids(letters) == [failed, dead]
    assert [each.id for each in letters.page(ALL, limit=1)] == [failed]
    assert [each.id for each in letters.page(ALL, limit=1, before=failed)] == [dead]
    letter = letters.get(failed)
    assert (letter.last_step, letter.deaths) == ("check", 0)
    assert letter.next_action.startswith("What it was given will not do")


def test_dry_runs_and_what_a_step_waited_for_are_no_dead_letters(
    world: World, letters: DeadLetters, tmp_path: Path
) -> None:
    (tmp_path / "child.yaml").write_text(CHILD, encoding="utf-8")
    world.folders = [PACKS, tmp_path]
    parent = world.submit(world.load(PARENT))
    world.runner().run_lane("default")
    dry = world.run(KEEPS, dry_run=True).id

    assert ids(letters) == [parent]
    (child,) = [each.id for each in world.executions.page(limit=10, command="child")]
    assert letters.get(child).next_action == f"Requeue {parent}, whose step ran it."
    with pytest.raises(ExecutionConflict, match=str(parent)):
        letters.requeue(child, "cli", "me")
    with pytest.raises(ExecutionConflict, match="dry run"):
        letters.drop(dry, "me")


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (Letters(command="other"), 1),
        (Letters(command="nothing"), 0),
        (Letters(lane="default"), 3),
        (Letters(lane="slow"), 0),
        (Letters(fingerprint="0" * 16), 0),
    ],
)
def test_filters(world: World, letters: DeadLetters, which: Letters, found: int) -> None:
    fail(world)
    fail(world)
    fail(world, OTHER)

    assert len(ids(letters, which)) == letters.preview(which).count == found
    assert sum(cause.letters for cause in letters.causes(which, limit=10)) == found


def test_a_range_of_time_is_from_and_before(world: World, letters: DeadLetters) -> None:
    first = fail(world)
    second = fail(world)
    with world.pool.connection() as connection:
        connection.execute(
            "update command_executions set finished_at = finished_at - interval '1 h' where id = %s", [first]
        )
    between = letters.get(second).finished_at

    assert ids(letters) == [second, first]
    with world.pool.connection() as changed:
        changed.execute(
            "update command_executions set finished_at = finished_at + interval '3 h' where id = %s", [first]
        )
    # In the order of their ends, whenever they were submitted.
    assert ids(letters) == [first, second]
    assert [each.id for each in letters.page(ALL, limit=1, before=first)] == [second]
    with world.pool.connection() as changed:
        changed.execute(
            "update command_executions set finished_at = finished_at - interval '3 h' where id = %s", [first]
        )
    assert ids(letters, Letters(start=between)) == [second]
    assert ids(letters, Letters(end=between)) == [first]


@pytest.mark.req("D-01")
def test_many_deaths_of_one_cause_are_one_line(world: World, letters: DeadLetters) -> None:
    deaths = [die(world) for _ in range(3)]
    failures = [fail(world), fail(world), fail(world, OTHER)]

    causes = letters.causes(ALL, limit=10)

    assert [(cause.slug, cause.letters, cause.dead, cause.newest_id) for cause in causes] == [
        ("other", 1, 0, failures[2]),
        ("keeps", 2, 0, failures[1]),
        ("keeps", 3, 3, deaths[2]),
    ]
    assert ids(letters, Letters(command="keeps", fingerprint=causes[2].fingerprint)) == deaths[::-1]
    assert [cause.newest_id for cause in letters.causes(ALL, limit=10, before=failures[1])] == [deaths[2]]
    assert causes[2].error is not None
    assert causes[2].error["code"] == "execution.worker_lost"


@pytest.mark.req("D-01")
def test_a_requeued_one_goes_on_where_it_ended_and_leaves_the_list(
    world: World, letters: DeadLetters, connection: Connection[Any]
) -> None:
    failed = fail(world)

    new = letters.requeue(failed, "cli", "anna")

    assert ids(letters) == []
    execution = world.executions.get(new)
    assert (execution.link, execution.parent_id, execution.state) == ("resumed_from", failed, "queued")
    letter = letters.get(failed)
    assert (letter.action, letter.handled_by, letter.requeued_as) == ("requeued", "anna", new)
    assert letter.next_action == f"Nothing: it was requeued as {new}."
    world.runner().run_lane("default")
    # The step before was not run again; what failed again is a dead letter of its own.
    assert connection.execute("select count(*) from fragments").fetchone() == (1,)
    assert ids(letters) == [new]


def test_from_its_start_every_step_runs_again(world: World, letters: DeadLetters, connection: Connection[Any]) -> None:
    failed = fail(world)

    new = letters.requeue(failed, "cli", "anna", from_start=True)
    world.runner().run_lane("default")

    assert world.executions.get(new).link == "retry_of"
    assert connection.execute("select count(*) from fragments").fetchone() == (2,)


@pytest.mark.req("D-01")
def test_requeued_twice_it_is_refused_with_the_first(world: World, letters: DeadLetters) -> None:
    failed = fail(world)
    new = letters.requeue(failed, "cli", "anna")

    with pytest.raises(DeadLetterHandled, match=f"requeued already, as {new}"):
        letters.requeue(failed, "cli", "ben", from_start=True)
    with pytest.raises(DeadLetterHandled, match=str(new)):
        letters.drop(failed, "ben")
    assert letters.get(failed).handled_by == "anna"


@pytest.mark.req("D-01")
def test_of_many_who_requeue_at_once_one_does(world: World, letters: DeadLetters, connection: Connection[Any]) -> None:
    failed = fail(world)

    def requeue(number: int) -> str:
        try:
            return str(letters.requeue(failed, "cli", f"user {number}"))
        except DeadLetterHandled as refused:
            return refused.detail

    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(requeue, range(24)))

    (won,) = [each for each in told if not each.startswith("it was")]
    assert Counter(told) == {won: 1, f"it was requeued already, as {won}": 23}
    assert connection.execute("select count(*) from command_executions where parent_id = %s", [failed]).fetchone() == (
        1,
    )


def test_a_dropped_one_leaves_the_list_and_its_execution_stays(world: World, letters: DeadLetters) -> None:
    dead = die(world)

    letters.drop(dead, "anna")

    assert ids(letters) == []
    letter = letters.get(dead)
    assert (letter.action, letter.handled_by, letter.next_action) == ("dropped", "anna", "Nothing: it was dropped.")
    assert letter.handled_at is not None
    assert world.executions.get(dead).state == "dead"
    with pytest.raises(DeadLetterHandled, match="dropped already"):
        letters.drop(dead, "ben")
    with pytest.raises(DeadLetterHandled, match="dropped already"):
        letters.requeue(dead, "cli", "ben")


@pytest.mark.parametrize("again", ["retry", "resume"])
def test_what_is_run_again_by_its_execution_leaves_the_list_too(
    world: World, letters: DeadLetters, resumption: Resumption, again: str
) -> None:
    failed = fail(world)

    new = getattr(resumption, again)(failed, "cli").id
    more = getattr(resumption, again)(failed, "cli").id

    assert ids(letters) == []
    assert letters.get(failed).requeued_as == new != more


def test_what_is_no_dead_letter_is_refused(world: World, letters: DeadLetters) -> None:
    fine = world.run("slug: fine\nsteps: [{id: a, type: respond, with: {value: 1}}]").id

    with pytest.raises(ExecutionConflict, match="succeeded"):
        letters.requeue(fine, "cli", "me")
    with pytest.raises(ExecutionNotFound):
        letters.get(new_id(world.clock.unix_us()))


def copies(world: World, number: int) -> UUID:
    """Many failures, of one that was run; ids go up."""
    failed = fail(world)
    with world.pool.connection() as connection:
        connection.execute(
            "insert into command_executions (id, slug, definition_hash, state, request_source, user_name, space_id,"
            " correlation_id, inputs, error, queued_at, run_at, started_at, finished_at, attempt)"
            " select (left(id::text, 24) || lpad(to_hex(n), 12, 'f'))::uuid, slug, definition_hash, state,"
            " request_source, user_name, space_id, correlation_id, inputs, error, queued_at, run_at, started_at,"
            " finished_at, attempt from command_executions, generate_series(1, %s) as n where id = %s",
            [number - 1, failed],
        )
    return failed


@pytest.mark.req("D-01")
def test_many_are_requeued_in_bounded_parts_that_can_be_gone_on_with(world: World, letters: DeadLetters) -> None:
    copies(world, AT_ONCE + 30)
    preview = letters.preview(ALL)
    assert (preview.count, len(preview.samples)) == (AT_ONCE + 30, SAMPLES)
    which = Letters(up_to=preview.up_to)

    with pytest.raises(ExecutionConflict, match=f"would be {AT_ONCE + 30} dead letters by now, not 5"):
        letters.requeue_many(which, 5, "cli", "anna")
    assert letters.preview(ALL).count == AT_ONCE + 30

    first = letters.requeue_many(which, preview.count, "cli", "anna")
    assert (len(first.done), first.refused, first.remaining) == (AT_ONCE, {}, 30)
    # Cut off here, the same question finds what is left.
    assert letters.preview(which).count == 30
    rest = letters.requeue_many(Letters(up_to=preview.up_to, after=first.last), None, "cli", "anna")
    assert (len(rest.done), rest.remaining) == (30, 0)
    assert ids(letters) == []
    assert len({*first.done.values(), *rest.done.values()}) == AT_ONCE + 30


def test_what_was_submitted_after_the_preview_is_left_alone(world: World, letters: DeadLetters) -> None:
    first = fail(world)
    preview = letters.preview(ALL)
    later = fail(world)

    batch = letters.drop_many(Letters(up_to=preview.up_to), preview.count, "anna")

    assert list(batch.done) == [first]
    assert ids(letters) == [later]


def test_one_that_cannot_be_requeued_stays_and_does_not_keep_the_others_out(
    world: World, letters: DeadLetters, connection: Connection[Any]
) -> None:
    bad, good = fail(world, OTHER), fail(world)
    connection.execute(
        "update command_definitions set source = 'slug: other\nsteps: [{id: a, type: gone.away}]' where slug = 'other'"
    )

    batch = letters.requeue_many(ALL, 2, "cli", "anna")

    assert list(batch.done) == [good]
    assert {each: error.code for each, error in batch.refused.items()} == {bad: "command.invalid"}
    assert (batch.remaining, batch.last) == (0, good)
    assert ids(letters) == [bad]


def test_those_that_cannot_be_requeued_are_passed_by(
    world: World, letters: DeadLetters, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = fail(world, OTHER), fail(world)
    connection.execute("update command_definitions set source = 'slug: [' where slug = 'other'")
    monkeypatch.setattr("workers.dead_letters.AT_ONCE", 1)

    first = letters.requeue_many(ALL, 2, "cli", "anna")
    second = letters.requeue_many(Letters(after=first.last), None, "cli", "anna")

    assert (list(first.refused), first.remaining) == ([bad], 1)
    assert (list(second.done), second.remaining) == ([good], 0)


def test_named_ones_are_dropped_and_no_others(world: World, letters: DeadLetters) -> None:
    kept, first, second = fail(world), fail(world), fail(world)

    batch = letters.drop_many(Letters(ids=[first, second]), 2, "anna")

    assert list(batch.done) == [first, second]
    assert ids(letters) == [kept]
