"""Whatever becomes of a command that another waits for, or of the one that waits: neither is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

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
