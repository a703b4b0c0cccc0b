"""Whatever becomes of a command that another waits for, or of the one that waits: neither is left behind."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fixtures.stacks import eventually
from psycopg import Connection

from dsl.executor import Outcome
from dsl.instrumentation import Totals
from dsl.step import Child
from telemetry.connections import connect
from telemetry.ids import new_id
from workers.fence import Release
from workers.leases import SQL as LEASES
from workers.ledger import WriteBehindLedger
from workers.stops import Stops
from workers.testing import World

CHILD = "slug: child\nsteps: [{id: say, type: respond, with: {value: here}}]"
PARENT = """
slug: parent
steps:
  - {id: ask, type: command.run, with: {command: child, await: true}}
  - {id: say, type: respond, with: {value: "{{ steps.ask.output.result }}"}}
"""


@pytest.fixture
def family(world: World, tmp_path: Path) -> World:
    (tmp_path / "child.yaml").write_text(CHILD, encoding="utf-8")
    world.folders.append(tmp_path)
    return world


@pytest.fixture
def stops(family: World) -> Stops:
    return Stops(family.pool, family.executions, family.clock, family.recorder)


def waiting(family: World) -> tuple[UUID, UUID]:
    """A parent that waits, and the child it waits for, which is queued."""
    parent = family.submit(family.load(PARENT))
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    family.runner().run(claim)
    assert family.executions.get(parent).state == "waiting"
    return parent, child_of(family, parent)


def child_of(family: World, parent: UUID) -> UUID:
    with family.pool.connection() as connection:
        row = connection.execute("select id from command_executions where parent_id = %s", [parent]).fetchone()
    assert row is not None
    child: UUID = row[0]
    return child


def states(family: World, *executions: UUID) -> list[str]:
    return [family.executions.get(each).state for each in executions]


def test_the_end_of_a_cancelled_child_wakes_who_waits_for_it(family: World, stops: Stops) -> None:
    parent, child = waiting(family)

    assert stops.cancel(child) == "cancelled"

    assert states(family, parent) == ["queued"]
    family.runner().run_lane("default")
    assert states(family, parent) == ["failed"]


def test_the_end_of_an_expired_child_wakes_who_waits_for_it(
    family: World, stops: Stops, connection: Connection[Any]
) -> None:
    parent, child = waiting(family)
    connection.execute("update command_executions set expires_at = now() where id = %s", [child])

    assert stops.expire() == 1

    assert states(family, parent, child) == ["queued", "expired"]


def test_the_end_of_a_child_that_is_dead_wakes_who_waits_for_it(family: World, connection: Connection[Any]) -> None:
    parent, child = waiting(family)
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    assert claim.id == child
    family.lose_worker()

    family.reaper(lease=timedelta(), max_deaths=1).run_once()

    assert states(family, parent, child) == ["queued", "dead"]


def test_what_asks_for_a_child_while_it_is_cancelled_is_cancelled_with_it(
    family: World, stops: Stops, connection: Connection[Any]
) -> None:
    parent = family.submit(family.load(PARENT))
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    assert stops.cancel(parent) == "running"  # there is no child yet, and the run has not heard of it
    family.runner().run(claim)
    child = child_of(family, parent)
    assert states(family, parent, child) == ["waiting", "queued"]

    assert stops.heed() == 1

    assert states(family, parent, child) == ["cancelled", "cancelled"]
    assert stops.heed() == 0
    assert connection.execute("select count(*) from command_stops").fetchone() == (0,)
    assert family.recorder.types.count("command.execution.cancelled") == 2


def test_what_is_put_off_while_it_is_cancelled_is_cancelled(
    family: World, stops: Stops, connection: Connection[Any]
) -> None:
    execution_id = family.submit(family.load(CHILD))
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    assert stops.cancel(execution_id) == "running"
    fence = family.fence(claim)
    WriteBehindLedger(fence).release(Release("step_failed", timedelta(hours=1)))
    assert states(family, execution_id) == ["scheduled"]

    stops.heed()

    assert states(family, execution_id) == ["cancelled"]


@pytest.mark.parametrize("stop", ["cancelled", "timed_out"])
def test_a_child_does_not_outlive_who_was_killed_before_it_could_wait(
    family: World, stops: Stops, connection: Connection[Any], stop: str
) -> None:
    parent, child = waiting(family)
    # As if it had been lost between the child's row and its own: it runs, and nobody runs it.
    connection.execute("update command_executions set state = 'running' where id = %s", [parent])
    stopped = "insert into command_stops (execution_id, reason, killed_attempt) values (%s, %s, 1)"
    connection.execute(stopped, [parent, stop])
    family.lose_worker()
    family.reaper(lease=timedelta()).run_once()
    assert states(family, parent) == ["cancelled" if stop == "cancelled" else "failed"]

    stops.heed()

    assert states(family, child) == ["cancelled"]


def test_a_child_that_runs_hears_that_nobody_waits_for_it(
    family: World, connection: Connection[Any], database_url: str
) -> None:
    parent, child = waiting(family)
    assert family.executions.claim("default", family.worker_id) is not None
    connection.execute("update command_executions set state = 'running' where id = %s", [parent])
    connection.execute(
        "insert into command_stops (execution_id, reason, killed_attempt) values (%s, 'timed_out', 1)", [parent]
    )
    connection.execute("update command_executions set worker_id = null where id = %s", [parent])
    with connect(database_url, name="weir test ear", autocommit=True) as ear:
        ear.execute(LEASES["listen"])
        family.reaper(lease=timedelta()).run_once()
        assert [each.channel for each in ear.notifies(timeout=10, stop_after=1)] == ["weir_stops"]
        assert ear.execute(LEASES["stops"], {"id": family.worker_id}).fetchall() == [(child,)]


def test_an_item_that_failed_for_good_is_not_tried_again_when_a_later_one_waits(
    family: World, tmp_path: Path, connection: Connection[Any]
) -> None:
    picky = """
slug: picky
inputs: {item: {type: integer, required: true}}
steps: [{id: check, type: validate, with: {rules: [{value: "{{ inputs.item }}", min: 3}]}}]
"""
    (tmp_path / "picky.yaml").write_text(picky, encoding="utf-8")
    mapped = """
slug: mapped
steps:
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2, 3, 4]' | from_json }}"
      on_error: continue
      do:
        - {id: ask, type: command.run, with: {command: picky, await: true, inputs: {item: "{{ item }}"}}}
"""
    parent = family.run(mapped)

    assert parent.state == "succeeded"
    assert {key: parent.result[key] for key in ("items", "succeeded", "failed")} == {
        "items": 4,
        "succeeded": 2,
        "failed": 2,
    }
    asked = connection.execute(
        "select parent_path, count(*) from command_executions where parent_id = %s group by 1 order by 1", [parent.id]
    ).fetchall()
    assert asked == [(f"each[{index}].ask", 1) for index in range(4)]
    tries = [
        (step.path, step.step_try) for step in family.executions.steps(parent.id, limit=20) if step.outcome == "failed"
    ]
    assert tries == [("each[0].ask", 1), ("each[1].ask", 1)]


def test_a_child_that_ends_while_its_parent_begins_to_wait_wakes_it(family: World, database_url: str) -> None:
    parent = family.submit(family.load(PARENT))
    claim = family.executions.claim("default", family.worker_id)
    assert claim is not None
    ledger = WriteBehindLedger(family.fence(claim))
    asked = family.load(CHILD)
    with ledger.effect() as effect:
        effect.accept(Child(new_id(family.clock.unix_us()), asked, {}, "child", 5, path="ask", step_try=1))
    its_claim = family.executions.claim("default", family.worker_id)
    assert its_claim is not None
    release = threading.Thread(target=ledger.release, args=(Release("waiting", path="ask"),), daemon=True)

    with family.pool.connection() as connection, connection.transaction():
        # Its end holds the parent's row, finds that it does not wait yet, and is not committed.
        family.fence(its_claim).finish(connection, Outcome("here", None, None, Totals()))
        release.start()
        with connect(database_url, name="weir test watcher", autocommit=True) as watcher:
            blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            blocked += " and datname = current_database()"
            eventually(lambda: watcher.execute(blocked).fetchone() == (1,))
    release.join(10)

    assert states(family, parent, its_claim.id) == ["queued", "succeeded"]
