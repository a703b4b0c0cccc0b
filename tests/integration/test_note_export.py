"""Fragments out to a folder and back in: nothing lost, nothing doubled, nothing of others overwritten."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures.apis import Api, Weir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from dsl import fragments
from dsl.errors import Fault
from dsl.fragment_selection import Filter
from dsl.fragments import Draft, Fragment, Space
from dsl.note_export import NoteFolder
from dsl.notes import Note, read_notes
from dsl.testing import DEFAULT_SPACE_ID
from telemetry.clock import to_unix_us
from telemetry.ids import new_id
from telemetry.testing import NOON

Connection = psycopg.Connection[Any]
Pool = ConnectionPool[Connection]

SPACE = Space(DEFAULT_SPACE_ID, "default")

TITLES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "a/b",
        "../../etc/passwd",
        ".hidden",
        "CON",
        "same",
        "same",
        "Same",
        "ﬀ",
        "a\nb",
        "",
        " ",
        "x" * 300,
        "ä",
        "a\u0308",
    ]
)
SOURCES = st.none() | st.sampled_from(
    [
        "a.md",
        "A.md",
        "a.md/b.md",
        "b/c.MD",
        "../up.md",
        "/abs.md",
        "dir//x.md",
        ".git/x.md",
        "x.txt",
        "ä.md",
        "a\u0308.md",
    ]
)
DRAFTS = st.lists(
    st.tuples(
        st.builds(
            Draft,
            type=st.sampled_from(["note", "todo"]),
            title=TITLES,
            content=st.sampled_from(["", "text", "\r\na\r\n", "\n\nb", "---\nx: 1\n---\n", "#tag", "\ufeffbom"]),
            state=st.sampled_from([{}, {"status": "open"}]),
            tags=st.sampled_from([[], ["a"], ["a b", "c,d", "#e"]]),
            metadata=st.sampled_from([{}, {"mood": "good"}, {"title": "x", "date": "2020-01-01"}]),
        ),
        SOURCES,
    ),
    max_size=8,
    unique_by=lambda each: each[1] or object(),
)


def store(connection: Connection, drafts: list[tuple[Draft, str | None]]) -> list[Fragment]:
    stored = []
    for minute, (draft, source) in enumerate(drafts):
        given_source = Draft(draft.type, draft.title, draft.content, draft.state, draft.tags, draft.metadata, source)
        stored.append(
            fragments.insert(connection, given_source, SPACE, NOON + timedelta(minutes=minute, microseconds=7))
        )
    return stored


def everything(connection: Connection) -> list[dict[str, Any]]:
    return [fragment.to_json() for fragment in fragments.page(connection, Filter(space="default"), limit=1000)]


def export(connection: Connection, folder: Path, **options: Any) -> tuple[list[str | None], list[Fault]]:  # noqa: ANN401
    notes = NoteFolder(folder, **options)
    return [notes.write(fragment) for fragment in everything(connection)], notes.faults


def bring_in(connection: Connection, folder: Path) -> tuple[int, int, int]:
    faults: list[Fault] = []
    with connection.transaction():
        done = fragments.import_notes(connection, list(read_notes(folder, faults)), DEFAULT_SPACE_ID, NOON)
    assert faults == []
    return done.created, done.updated, done.unchanged


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(drafts=DRAFTS)
def test_out_and_in_and_out_again_loses_nothing(
    connection: Connection, tmp_path_factory: pytest.TempPathFactory, drafts: list[tuple[Draft, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("notes")
    connection.execute("delete from fragments")
    store(connection, drafts)
    before = everything(connection)
    count = len(before)

    # Out, everything gone, in: all is as it was, and what came from no file has one now.
    assert export(connection, folder) == (["written"] * count, [])
    connection.execute("delete from fragments")
    assert bring_in(connection, folder) == (count, 0, 0)
    after = everything(connection)
    sources = {one["id"]: one["source"] for one in before}
    assert [one | {"source": sources[one["id"]]} for one in after] == before
    assert all(one["source"] == sources[one["id"]] for one in after if sources[one["id"]] is not None)

    # Again, either way: nothing to do.
    assert export(connection, folder) == (["unchanged"] * count, [])
    assert bring_in(connection, folder) == (0, 0, count)
    assert everything(connection) == after


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(drafts=DRAFTS)
def test_in_where_it_came_from_doubles_nothing(
    connection: Connection, tmp_path_factory: pytest.TempPathFactory, drafts: list[tuple[Draft, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("notes")
    connection.execute("delete from fragments")
    store(connection, drafts)
    before = everything(connection)
    export(connection, folder)
    assert bring_in(connection, folder) == (0, 0, len(before))
    assert [one | {"source": None} for one in everything(connection)] == [one | {"source": None} for one in before]


def test_files_are_where_the_notes_came_from_and_nowhere_else(connection: Connection, tmp_path: Path) -> None:
    drafts: list[tuple[Draft, str | None]] = [
        (Draft("note", "In place", "x"), "sub/In place.md"),
        (Draft("note", "Other case", "x"), "SUB/in PLACE.md"),
        (Draft("note", "Up", "x"), "../up.md"),
        (Draft("note", "Below a file", "x"), "sub/In place.md/c.md"),
        (Draft("todo", "Größe: 1/2 & more", "x"), None),
        (Draft("todo", "", "x"), None),
    ]
    stored = store(connection, drafts)
    folder = tmp_path / "out" / "notes"
    export(connection, folder)
    tails = [fragment.id.hex[-8:] for fragment in stored]
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    # The newest comes first: where it has a folder, no other can have a file.
    assert found == sorted(
        [
            *(f"in-place-{tails[0]}.md", f"other-case-{tails[1]}.md", f"up-{tails[2]}.md", "sub/In place.md/c.md"),
            *(f"groe-1-2-more-{tails[4]}.md", f"todo-{tails[5]}.md"),
        ]
    )
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out"]


def test_an_exported_note_is_pleasant_to_read(connection: Connection, tmp_path: Path) -> None:
    draft = Draft(
        "todo", "Buy milk", "And bread.\n", {"status": "open"}, ["home", "shop list"], {"mood": "hungry", "n": 3}
    )
    [fragment] = store(connection, [(draft, "shopping.md")])
    export(connection, tmp_path)
    assert (tmp_path / "shopping.md").read_text() == (
        "---\n"
        "title: Buy milk\n"
        "type: todo\n"
        "tags: [home, shop list]\n"
        "created: 2026-01-13T12:00:00.000007Z\n"
        "updated: 2026-01-13T12:00:00.000007Z\n"
        "n: 3\n"
        "mood: hungry\n"
        f'weir: \'{{"v": 1, "id": "{fragment.id}", "state": {{"status": "open"}}}}\'\n'
        "---\n"
        "And bread.\n"
    )


def test_what_people_change_in_an_exported_note_comes_back(connection: Connection, tmp_path: Path) -> None:
    [fragment] = store(connection, [(Draft("todo", "Buy milk", "one", {"status": "open"}, ["a"]), None)])
    export(connection, tmp_path)
    [path] = tmp_path.iterdir()
    text = path.read_text().replace("title: Buy milk", "title: Buy bread").replace("tags: [a]", "tags: [a, b]")
    path.write_text(f"{text} and two", encoding="utf-8")
    assert bring_in(connection, tmp_path) == (0, 1, 0)
    changed = fragments.get(connection, fragment.id)
    assert (changed.title, changed.content, changed.tags) == ("Buy bread", "one and two", ["a", "b"])
    assert (changed.type, changed.state) == ("todo", {"status": "open"})
    # Its title is another by now: the file stays the same.
    assert export(connection, tmp_path)[1] == []
    assert [path] == list(tmp_path.iterdir())


def test_a_copied_file_is_another_fragment(connection: Connection, tmp_path: Path) -> None:
    store(connection, [(Draft("note", "One", "text"), None)])
    export(connection, tmp_path)
    [path] = tmp_path.iterdir()
    (tmp_path / "copy.md").write_bytes(path.read_bytes())
    assert sum(bring_in(connection, tmp_path)) == 2
    assert len({fragment["id"] for fragment in everything(connection)}) == 2


@pytest.mark.parametrize("wrong", ["another time", "version 4"])
def test_an_id_that_does_not_say_when_is_not_taken_over(connection: Connection, tmp_path: Path, wrong: str) -> None:
    """Filters by time are ranges of ids."""
    forged = new_id(0) if wrong == "another time" else "0f8fad5b-d9cb-469f-a165-70867728950e"
    mark = f'weir: \'{{"v": 1, "id": "{forged}"}}\''
    (tmp_path / "a.md").write_text(f"---\ncreated: 2026-01-13T12:00:00Z\n{mark}\n---\n", encoding="utf-8")
    assert bring_in(connection, tmp_path) == (1, 0, 0)
    [fragment] = everything(connection)
    assert fragment["id"] != str(forged)
    assert fragments.page(connection, Filter(since=NOON), limit=10)


def test_a_fragment_of_another_space_keeps_its_id(connection: Connection, tmp_path: Path) -> None:
    [fragment] = store(connection, [(Draft("note", "One", "text"), None)])
    export(connection, tmp_path)
    garden = fragments.space_id(connection, "garden")
    with connection.transaction():
        done = fragments.import_notes(connection, read_notes(tmp_path, []), garden, NOON)
    assert done.created == 1
    assert fragments.get(connection, fragment.id).space == "default"


def test_of_two_exported_notes_with_one_source_the_last_counts(connection: Connection) -> None:
    one, two = store(connection, [(Draft("note", "One", "text"), None), (Draft("note", "Two", "text"), None)])
    notes = [
        Note("a.md", each.title, each.content, id=each.id, created=each.created_at, updated=each.updated_at)
        for each in (one, two)
    ]

    with connection.transaction():
        done = fragments.import_notes(connection, notes, DEFAULT_SPACE_ID, NOON)

    assert (done.created, done.updated, done.unchanged) == (0, 0, 1)
    assert [fragments.get(connection, each.id).source for each in (one, two)] == [None, "a.md"]


def test_one_export_that_is_imported_to_two_spaces_at_once_goes_to_both(connection: Connection, pool: Pool) -> None:
    note = Note("a.md", "One", "text", id=new_id(to_unix_us(NOON)), created=NOON)
    lab, garden = (fragments.space_id(connection, name) for name in ("lab", "garden"))

    def bring_to_garden() -> int:
        with pool.connection() as other:
            return fragments.import_notes(other, [note], garden, NOON).created

    with ThreadPoolExecutor(1) as threads, pool.connection() as watching:
        with connection.transaction():
            assert fragments.import_notes(connection, [note], lab, NOON).created == 1
            second = threads.submit(bring_to_garden)
            while watching.execute("select count(*) from pg_locks where not granted").fetchall() == [(0,)]:
                assert not second.done()
        assert second.result() == 1

    [in_garden] = fragments.page(connection, Filter(space="garden"), limit=10)
    assert fragments.get(connection, note.id or in_garden.id).space == "lab"


def test_files_that_no_export_wrote_are_left_alone(connection: Connection, tmp_path: Path) -> None:
    store(connection, [(Draft("note", "One", "new"), "one.md"), (Draft("note", "Two", "new"), "two.md")])
    (tmp_path / "one.md").write_text("mine", encoding="utf-8")
    (tmp_path / "two.md").mkdir()
    done, faults = export(connection, tmp_path)
    assert done == [None, None]
    assert sorted((fault.path, fault.code) for fault in faults) == [
        ("one.md", "note.exists"),
        ("two.md", "note.unwritable"),
    ]
    assert (tmp_path / "one.md").read_text() == "mine"
    assert export(connection, tmp_path, replace=True)[0].count("written") == 1
    assert (tmp_path / "one.md").read_text().endswith("new")


def test_a_link_that_leads_out_of_the_folder_is_not_followed(connection: Connection, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "notes"
    outside.mkdir()
    folder.mkdir()
    (folder / "sub").symlink_to(outside, target_is_directory=True)
    store(connection, [(Draft("note", "One", "x"), "sub/one.md")])
    assert export(connection, folder) == (["written"], [])
    assert list(outside.iterdir()) == []


def test_nothing_is_written_through_a_link_where_the_file_is_made(connection: Connection, tmp_path: Path) -> None:
    [fragment] = store(connection, [(Draft("note", "One", "text"), "one.md")])
    outside, folder = tmp_path / "outside", tmp_path / "notes"
    folder.mkdir()
    outside.write_text("theirs", encoding="utf-8")
    (folder / f".weir-{fragment.id}.tmp").symlink_to(outside)

    assert export(connection, folder) == (["written"], [])

    assert outside.read_text(encoding="utf-8") == "theirs"
    assert [path.name for path in folder.iterdir()] == ["one.md"]


def test_a_file_is_there_whole_or_as_it_was(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [fragment] = store(connection, [(Draft("note", "One", "first"), "one.md")])
    export(connection, tmp_path)
    before = (tmp_path / "one.md").read_bytes()
    fragments.update(connection, fragment.id, fragments.Change(content="second"), NOON)

    def full(_self: Path, _target: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    done, [fault] = export(connection, tmp_path)
    assert (done, fault.code) == ([None], "note.unwritable")
    assert (tmp_path / "one.md").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one.md"]


# The command line and the API


def test_weir_exports_and_imports(weir: Weir, busy_api: Api, tmp_path: Path) -> None:
    notes = [
        {
            "source": f"{number}.md",
            "title": f"Note {number}",
            "content": f"text\r\n{number}",
            "tags": ["a"] * (number % 2),
        }
        for number in range(45)
    ]
    busy_api.post("/api/fragments/import", {"notes": notes})
    folder = tmp_path / "out"

    first = weir("fragments", "export", str(folder), "--format", "json")
    assert (first.code, first.json) == (0, {"written": 45, "unchanged": 0, "faults": []})
    again = weir("fragments", "export", str(folder))
    assert "45 fragments in" in again.out
    assert "0 written, 45 unchanged" in again.out

    assert weir("fragments", "export", str(tmp_path / "tagged"), "--tag", "a", "--format", "json").json["written"] == 22
    assert (
        weir("fragments", "export", str(tmp_path / "none"), "--type", "todo", "--format", "json").json["written"] == 0
    )
    assert weir("fragments", "export", str(tmp_path / "else"), "--space", "garden").code == 0

    back = weir("fragments", "import", str(folder), "--format", "json")
    assert back.json == {"created": 0, "updated": 0, "unchanged": 45, "faults": []}
    moved = weir("fragments", "import", str(folder), "--space", "garden", "--format", "json")
    assert moved.json["created"] == 45

    (folder / "7.md").write_text("mine", encoding="utf-8")
    refused = weir("fragments", "export", str(folder))
    assert refused.code == 1
    assert "7.md: a file that no export wrote" in refused.err
    assert weir("fragments", "export", str(folder), "--force").code == 0
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert weir("fragments", "export", str(tmp_path / "file")).code == 2
    assert weir("fragments", "export", str(tmp_path / "file" / "sub")).code == 2


def test_a_list_of_whole_fragments_has_their_contents_and_is_short(api: Api) -> None:
    api.post("/api/fragments/import", {"notes": [{"source": f"{n}.md", "content": "x" * 600} for n in range(30)]})
    page = api.get("/api/fragments", contents="whole").json
    assert [len(item["content"]) for item in page["items"]] == [600] * 20
    assert "excerpt" not in page["items"][0]
    rest = api.get("/api/fragments", contents="whole", limit=100, cursor=page["next_cursor"]).json
    assert (len(rest["items"]), rest["next_cursor"]) == (10, None)
    assert "content" not in api.get("/api/fragments", contents="excerpt").json["items"][0]
    for query in ({"contents": "whole", "limit": 101}, {"contents": "half"}):
        assert api.get("/api/fragments", **query).status_code == 422
