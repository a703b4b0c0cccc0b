"""Fragments in Postgres: stored, found, changed, imported."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from unittest import mock

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from dsl import fragments
from dsl.errors import FragmentNotFound, RecordInvalid
from dsl.fragment_selection import FIELDS, Filter, select
from dsl.fragments import Change, Draft, Fragment, Space
from dsl.notes import Note
from dsl.testing import DEFAULT_SPACE_ID
from telemetry.ids import new_id
from telemetry.testing import NOON

Connection = psycopg.Connection[Any]

SPACE = Space(DEFAULT_SPACE_ID, "default")


def store(connection: Connection, minutes: int = 0, space: Space = SPACE, **fields: Any) -> Fragment:  # noqa: ANN401
    """A fragment created some minutes after noon."""
    return fragments.insert(connection, Draft(**{"type": "note"} | fields), space, NOON + timedelta(minutes=minutes))


def titles(connection: Connection, **filters: Any) -> list[str]:  # noqa: ANN401 - fields of Filter
    return [fragment.title for fragment in fragments.page(connection, Filter(**filters), limit=100)]


# Spaces


def test_a_space_is_made_once_and_found_ever_after(connection: Connection) -> None:
    assert fragments.space_id(connection, "default") == DEFAULT_SPACE_ID
    made = fragments.space_id(connection, "garden")
    assert fragments.space_id(connection, "garden") == made


def test_a_space_that_many_make_at_once_is_one_space(pool: ConnectionPool[Connection]) -> None:
    together = Barrier(8)

    def make() -> object:
        with pool.connection() as connection:
            together.wait()
            return fragments.space_id(connection, "crowd")

    with ThreadPoolExecutor(8) as threads:
        made = {future.result() for future in [threads.submit(make) for _ in range(8)]}
    assert len(made) == 1


# Insert and get


def test_what_was_stored_is_what_is_found(connection: Connection) -> None:
    stored = store(
        connection,
        title="Título ✓",
        content="one\ntwo\\u0000 is fine when it is only written",
        state={"status": "open", "nested": {"list": [1, 2.5, None, True]}},
        tags=["a", " b ", "a"],
        metadata={"k": "v"},
        source="notes/a.md",
    )
    found = fragments.get(connection, stored.id)
    assert found == stored
    assert found.tags == ["a", "b"]
    assert json.loads(json.dumps(found.to_json()))["created_at"] == "2026-01-13T12:00:00Z"


def test_a_fragment_that_is_not_there_is_not_found(connection: Connection) -> None:
    with pytest.raises(FragmentNotFound):
        fragments.get(connection, new_id(0))


def test_what_postgres_cannot_keep_is_refused_before_it_is_asked(connection: Connection) -> None:
    refused: list[dict[str, Any]] = [
        {"title": "a\0b"},
        {"content": "\0"},
        {"tags": ["a\0"]},
        {"state": {"k": ["\0"]}},
        {"metadata": {"k": "\ud800"}},
        {"type": "Not a type"},
    ]
    for fields in refused:
        with pytest.raises(RecordInvalid):
            store(connection, **fields)
    assert fragments.page(connection, Filter(), limit=10) == []


# Filters, order and pages


def test_each_filter_keeps_what_fits(connection: Connection) -> None:
    garden = Space(fragments.space_id(connection, "garden"), "garden")
    store(connection, 0, title="one", tags=["a"], state={"status": "open", "by": {"name": "ada"}})
    store(connection, 1, title="two", tags=["a", "b"], content="100% of_it")
    store(connection, 2, title="Three", type="todo", state={"status": "done"})
    store(connection, 3, title="four", space=garden)
    assert titles(connection) == ["four", "Three", "two", "one"]
    assert titles(connection, space="default") == ["Three", "two", "one"]
    assert titles(connection, space="nowhere") == []
    assert titles(connection, type="todo") == ["Three"]
    assert titles(connection, tags=["a"]) == ["two", "one"]
    assert titles(connection, tags=["b", "a"]) == ["two"]
    assert titles(connection, without_tags=["b"], space="default") == ["Three", "one"]
    assert titles(connection, text="THREE") == ["Three"]
    assert titles(connection, text="0% o") == ["two"]
    assert titles(connection, text="_") == ["two"]
    assert titles(connection, text="\\") == []
    assert titles(connection, state={"status": "open"}) == ["one"]
    assert titles(connection, state={"by": {"name": "ada"}}) == ["one"]
    assert titles(connection, type="note", tags=["a"], text="two", space="default") == ["two"]


def test_times_are_half_open_and_exact(connection: Connection) -> None:
    for minutes in range(4):
        store(connection, minutes, title=str(minutes))
    at = [NOON + timedelta(minutes=minutes) for minutes in range(4)]
    just_after = at[1] + timedelta(microseconds=1)
    assert titles(connection, since=at[1], until=at[3]) == ["2", "1"]
    assert titles(connection, since=just_after) == ["3", "2"]
    assert titles(connection, until=just_after) == ["1", "0"]


def test_pages_follow_each_other_without_gap_or_repetition(connection: Connection) -> None:
    for minutes in range(7):
        store(connection, minutes, title=str(minutes))
    seen: list[str] = []
    before = None
    while page := fragments.page(connection, Filter(before=before), limit=3):
        seen += [fragment.title for fragment in page]
        before = page[-1].id
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_a_query_returns_the_fields_asked_for_as_json(connection: Connection) -> None:
    first = store(connection, 0, title="one", content="x" * 600)
    second = store(connection, 1, title="two")
    fragments.update(connection, first.id, Change(title="ONE"), NOON + timedelta(hours=1))

    def query(**options: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - options of query
        return fragments.query(connection, Filter(), **options)

    assert [item["title"] for item in query(order="newest")] == ["two", "ONE"]
    assert [item["title"] for item in query(order="oldest")] == ["ONE", "two"]
    assert [item["title"] for item in query(order="updated")] == ["ONE", "two"]
    assert query(order="oldest", limit=1, fields=["excerpt"]) == [{"id": str(first.id), "excerpt": "x" * 500}]
    assert query(limit=1) == [second.to_json()]


def test_a_time_filter_reads_a_range_of_an_index_in_the_order_asked_for(connection: Connection) -> None:
    for minutes in range(200):
        store(connection, minutes)
    connection.execute("analyze fragments")
    connection.execute("set enable_seqscan = off")
    which = Filter(space="default", type="note", since=NOON + timedelta(minutes=150))
    statement, parameters = select(FIELDS, which, "newest", 10)
    plan = "\n".join(row[0] for row in connection.execute(psycopg.sql.SQL("explain ") + statement, parameters))
    assert re.search(r"Index Cond: .*id >= ", plan)
    assert "Sort" not in plan


# Update


def test_an_update_writes_what_differs_and_names_it(connection: Connection) -> None:
    stored = store(connection, title="t", content="c", state={"a": 1, "b": {"c": 2, "d": 3}}, tags=["x"])
    later = NOON + timedelta(minutes=5)
    change = Change(title="t", content="new", state={"a": None, "b": {"c": 9}}, add_tags=["y", "x"], remove_tags=[" x"])
    changed = fragments.update(connection, stored.id, change, later)
    assert changed.fields == ("content", "state", "tags")
    assert changed.before == stored
    assert changed.after == fragments.get(connection, stored.id)
    assert changed.after == replace(stored, content="new", state={"b": {"c": 9, "d": 3}}, tags=["y"], updated_at=later)


def test_an_update_that_changes_nothing_writes_nothing(connection: Connection) -> None:
    stored = store(connection, title="t", state={"n": 1}, tags=["x"])
    for change in (
        Change(),
        Change(type="note", title="t", content="", state={"n": 1}, tags=["x"], metadata={}),
        Change(state={"unknown": None}, add_tags=["x"], remove_tags=["z"]),
    ):
        assert fragments.update(connection, stored.id, change, NOON + timedelta(days=1)).fields == ()
    assert fragments.get(connection, stored.id) == stored


def test_true_in_the_place_of_one_is_a_change(connection: Connection) -> None:
    stored = store(connection, state={"n": 1})
    assert fragments.update(connection, stored.id, Change(state={"n": True}), NOON).fields == ("state",)


def test_updates_of_one_fragment_wait_for_each_other(pool: ConnectionPool[Connection]) -> None:
    with pool.connection() as connection:
        stored = store(connection)
    together = Barrier(6)

    def add(number: int) -> None:
        with pool.connection() as connection:
            together.wait()
            change = Change(add_tags=[f"t{number}"], state={f"k{number}": number})
            fragments.update(connection, stored.id, change, NOON)

    with ThreadPoolExecutor(6) as threads:
        for future in [threads.submit(add, number) for number in range(6)]:
            future.result()
    with pool.connection() as connection:
        found = fragments.get(connection, stored.id)
    assert sorted(found.tags) == [f"t{number}" for number in range(6)]
    assert found.state == {f"k{number}": number for number in range(6)}


def test_nothing_is_updated_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(FragmentNotFound):
        fragments.update(connection, new_id(0), Change(title="x"), NOON)


# Import


def test_an_import_twice_is_an_import_once(connection: Connection) -> None:
    created = datetime(2024, 5, 1, tzinfo=UTC)
    notes = [
        Note("a.md", "A", "text", tags=("x",), metadata={"k": [1]}, created=created, updated=NOON),
        Note("sub/b.md", "B", "", type="journal"),
    ]
    first = fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, NOON)
    assert (first.created, first.updated, first.unchanged) == (2, 0, 0)
    again = fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, NOON + timedelta(days=1))
    assert (again.created, again.updated, again.unchanged) == (0, 0, 2)
    stored = fragments.get(connection, next(id_ for id_ in first.created_ids if id_.int >> 80 == 1714521600000))
    assert stored == Fragment(
        id=stored.id,
        type="note",
        title="A",
        content="text",
        state={},
        tags=["x"],
        metadata={"k": [1]},
        space="default",
        source="a.md",
        created_at=created,
        updated_at=NOON,
    )


def test_a_changed_note_updates_its_fragment_and_keeps_what_commands_added(connection: Connection) -> None:
    note = Note("a.md", "A", "old", tags=("x",), metadata={"k": [1, 2], "file": True})
    [fragment_id] = fragments.import_notes(connection, [note], DEFAULT_SPACE_ID, NOON).created_ids
    ours = Change(state={"status": "triaged"}, add_tags=["triaged"], metadata={"own": 1})
    fragments.update(connection, fragment_id, ours, NOON)
    later = NOON + timedelta(days=1)
    assert fragments.import_notes(connection, [note], DEFAULT_SPACE_ID, later).unchanged == 1

    edited = replace(note, content="new", tags=("y", "x"), metadata={"k": [1], "file": True})
    result = fragments.import_notes(connection, [edited], DEFAULT_SPACE_ID, later)
    assert (result.updated_ids, result.created, result.unchanged) == ((fragment_id,), 0, 0)
    found = fragments.get(connection, fragment_id)
    assert (found.content, found.tags) == ("new", ["x", "triaged", "y"])
    assert found.state == {"status": "triaged"}
    assert found.metadata == {"k": [1], "file": True, "own": 1}
    assert (found.created_at, found.updated_at) == (NOON, later)


def test_the_same_note_in_another_space_is_another_fragment(connection: Connection) -> None:
    note = Note("a.md", "A", "")
    garden = fragments.space_id(connection, "garden")
    assert fragments.import_notes(connection, [note], DEFAULT_SPACE_ID, NOON).created == 1
    assert fragments.import_notes(connection, [note], garden, NOON).created == 1


def test_a_source_that_comes_twice_is_stored_once(connection: Connection) -> None:
    notes = [Note("a.md", "first", ""), Note("a.md", "second", "")]
    assert fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, NOON).created == 1
    assert titles(connection) == ["second"]


def test_notes_without_a_date_keep_their_order(connection: Connection) -> None:
    notes = [Note(f"{number}.md", str(number), "") for number in range(300)]
    fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, NOON)
    found = fragments.query(connection, Filter(), order="oldest", limit=300, fields=["title"])
    assert [item["title"] for item in found] == [str(number) for number in range(300)]


def test_a_note_that_cannot_be_stored_is_named(connection: Connection) -> None:
    with pytest.raises(RecordInvalid, match=r"bad\.md"):
        fragments.import_notes(connection, [Note("bad.md", "a\0", "")], DEFAULT_SPACE_ID, NOON)


def test_notes_of_any_age_can_be_imported(connection: Connection) -> None:
    dates = [datetime(2, 1, 1, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)]
    notes = [Note(f"{date.year}.md", str(date.year), "", created=date) for date in dates]
    assert fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, NOON).created == 3
    assert titles(connection)[0] == "9998"
    assert sorted(titles(connection, until=datetime(1970, 1, 1, tzinfo=UTC))) == ["1969", "2"]


def test_a_thousand_notes_take_a_few_statements(connection: Connection) -> None:
    notes = [Note(f"{number}.md", f"Note {number}", "word " * 400, tags=("a", "b")) for number in range(1200)]
    with mock.patch.object(psycopg.Cursor, "execute", autospec=True, side_effect=psycopg.Cursor.execute) as execute:
        assert fragments.import_notes(connection, iter(notes), DEFAULT_SPACE_ID, NOON).created == 1200
    assert execute.call_count <= 10
    assert connection.execute("select count(*) from fragments").fetchone() == (1200,)
