"""`fragment.delete` on a real database: one by its id, or the oldest of those that fit, each a mutation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from dsl import fragments
from dsl.errors import FragmentNotFound, StepFailed
from dsl.fragment_selection import Filter
from dsl.fragments import Draft, Fragment, Space
from dsl.step import StepResult
from dsl.steps.fragment_delete import FragmentDelete
from dsl.testing import DEFAULT_SPACE_ID, PlainTools, make_execution, run_step
from telemetry.events import FragmentDeleted
from telemetry.ids import new_id
from telemetry.testing import NOON
from workers.testing import World

Connection = psycopg.Connection[Any]

SPACE = Space(DEFAULT_SPACE_ID, "default")


def store(connection: Connection, minutes: int = 0, space: Space = SPACE, **fields: Any) -> Fragment:  # noqa: ANN401
    return fragments.insert(connection, Draft(**{"type": "note"} | fields), space, NOON + timedelta(minutes=minutes))


def delete(connection: Connection, **params: Any) -> StepResult:  # noqa: ANN401 - the step's own parameters
    with connection.transaction():
        return run_step(FragmentDelete(), params, connection=connection)


def left(connection: Connection) -> list[str]:
    return [fragment.title for fragment in fragments.page(connection, Filter(), limit=1000)]


@pytest.mark.req("C-08")
def test_a_fragment_is_deleted_by_its_id(connection: Connection) -> None:
    keep, gone = store(connection, title="keep"), store(connection, title="gone", tags=["a"])
    result = delete(connection, id=str(gone.id))
    assert result.output == {"deleted": 1, "ids": [str(gone.id)]}
    assert (result.fragment_id, result.measures) == (gone.id, {"rows": 1})
    [mutation] = result.mutations
    assert (mutation.entity, mutation.operation, mutation.entity_id) == ("fragment", "deleted", gone.id)
    assert (mutation.before, mutation.after) == (PlainTools().hash_content(gone.body()), None)
    assert left(connection) == [keep.title]
    with pytest.raises(FragmentNotFound):
        delete(connection, id=str(gone.id))
    with pytest.raises(FragmentNotFound):
        delete(connection, id=str(new_id(0)))


@pytest.mark.req("C-08")
def test_the_oldest_that_fit_are_deleted_each_a_mutation(connection: Connection) -> None:
    garden = Space(fragments.space_id(connection, "garden"), "garden")
    for minute in range(5):
        store(connection, minute, title=f"old {minute}", tags=["old"])
    store(connection, 9, title="new")
    store(connection, 0, garden, title="elsewhere", tags=["old"])
    result = delete(connection, tags=["old"], limit=3)
    assert result.output["deleted"] == 3
    assert [mutation.count for mutation in result.mutations] == [1, 1, 1]
    assert (result.fragment_id, result.measures) == (None, {"rows": 3})
    assert left(connection) == ["new", "old 4", "old 3", "elsewhere"]
    assert delete(connection, tags=["old"], limit=1000).output["deleted"] == 2
    assert delete(connection, tags=["old"], limit=1000).output == {"deleted": 0, "ids": []}
    assert delete(connection, text="ELSE", space="garden", limit=1).output["deleted"] == 1


def test_nothing_is_deleted_by_accident(connection: Connection) -> None:
    fragment_id = str(store(connection, title="kept").id)
    wrong: list[dict[str, Any]] = [
        {},
        {"limit": 10},
        {"space": "default", "limit": 10},
        {"type": "note"},
        {"id": None, "limit": 10},
        {"type": None, "tags": [], "state": {}, "text": "", "limit": 10},
        {"id": fragment_id, "limit": 1},
        {"id": fragment_id, "type": "note"},
        {"id": "not an id"},
        {"type": "note", "limit": 0},
        {"type": "note", "limit": 1, "order": "newest"},
    ]
    for params in wrong:
        with pytest.raises(ValidationError):
            delete(connection, **params)
    with pytest.raises(StepFailed, match="at most 1000"):
        delete(connection, type="note", limit=1001)
    assert left(connection) == ["kept"]


@pytest.mark.req("C-10")
def test_a_dry_run_counts_what_it_would_delete_and_deletes_nothing(connection: Connection) -> None:
    for minute in range(120):
        store(connection, minute)
    execution = make_execution(dry_run=True)
    with connection.transaction(force_rollback=True):
        dry = run_step(FragmentDelete(), {"type": "note", "limit": 110}, connection=connection, execution=execution)
    assert len(left(connection)) == 120
    assert delete(connection, type="note", limit=110) == dry
    assert len(left(connection)) == 10


def test_a_row_that_somebody_else_deletes_meanwhile_is_not_counted(connection: Connection, database_url: str) -> None:
    first, second = store(connection, 0), store(connection, 1)
    with psycopg.connect(database_url) as other:
        other.execute("delete from fragments where id = %s", [first.id])
        connection.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            delete(connection, type="note", limit=10)
    assert delete(connection, type="note", limit=10).output["ids"] == [str(second.id)]


@pytest.mark.req("C-02")
def test_each_deleted_fragment_has_its_event(world: World, connection: Connection) -> None:
    stored = {store(connection, minute).id.bytes for minute in range(3)}
    world.run("slug: tidy\nsteps: [{id: go, type: fragment.delete, with: {type: note, limit: 100}}]")
    events = [event for event in world.recorder.events if isinstance(event, FragmentDeleted)]
    assert {event.fragment_id for event in events} == stored
    assert {event.step_path for event in events} == {"go"}
