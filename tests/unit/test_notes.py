"""Reading a folder of Markdown notes: what becomes of a file, and what is left out and why."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures.folders import as_plain_user

from dsl.errors import Fault
from dsl.front_matter import MAX_BYTES
from dsl.notes import MAX_NOTE_BYTES, Note, count_notes, parse_note, read_notes


def parsed(text: str, source: str = "a.md") -> Note:
    note = parse_note(text.encode(), source)
    assert isinstance(note, Note), note
    return note


def refused(data: str | bytes) -> Fault:
    fault = parse_note(data.encode() if isinstance(data, str) else data, "folder/a.md")
    assert isinstance(fault, Fault), fault
    assert fault.path == "folder/a.md"
    return fault


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_md", ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


# One note


def test_everything_the_front_matter_says_is_kept() -> None:
    note = parsed(
        "---\n"
        "title: 'Plan: the weir'\n"
        "type: Meeting\n"
        "tags: [water, '#work']\n"
        "created: 2024-03-01 09:30:00 +0100\n"
        "updated: 2024-03-02\n"
        "people: [Ada, {name: Grace}]\n"
        "done: true\n"
        "opened: 12:30:00\n"
        "---\n"
        "\n"
        "The text.\n"
    )
    assert note == Note(
        source="a.md",
        title="Plan: the weir",
        content="The text.\n",
        type="meeting",
        tags=("water", "work"),
        metadata={"people": ["Ada", {"name": "Grace"}], "done": True, "opened": "12:30:00"},
        created=datetime(2024, 3, 1, 8, 30, tzinfo=UTC),
        updated=datetime(2024, 3, 2, tzinfo=UTC),
    )


def test_a_note_without_front_matter_is_all_text() -> None:
    note = parsed("Only text.\n\n---\n\nMore.\n")
    assert (note.type, note.content, note.metadata) == ("note", "Only text.\n\n---\n\nMore.\n", {})
    assert (note.created, note.updated) == (None, None)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: From above\n---\n# Heading\n", "From above"),
        ("---\ntitle: 2024\n---\n", "2024"),
        ("---\ntitle:\n---\n# Heading\n", "Heading"),
        ("text\n\n# Heading with `code` ##\n# Second\n", "Heading with `code`"),
        ("# C#\n", "C#"),
        ("```\n# not this\n```\n~~~~\n# nor\n~~~\n# this\n~~~~\n# But this\n", "But this"),
        ("#hashtag\n## Second level\n", "the file"),
        ("# \n", "the file"),
        ("", "the file"),
    ],
)
def test_the_title_is_that_of_the_front_matter_else_the_first_heading_else_the_file_name(text: str, title: str) -> None:
    assert parsed(text, "some/folder/the file.md").title == title


@pytest.mark.parametrize("tags", ["[a, b c]", "a, b c", "'#a, #b c'", "\n  - a\n  - b c", "\n- '#a'\n- b c\n- a"])
def test_tags_may_be_written_in_any_usual_way(tags: str) -> None:
    assert parsed(f"---\ntags: {tags}\n---\n").tags == ("a", "b c")


def test_hashtags_of_the_text_are_tags_unless_they_stand_in_code() -> None:
    note = parsed(
        "---\ntags: [first]\n---\n# Heading\n"
        "#one, then #two/three. and #first (not#this) #4 `#code` #fünf\n"
        "```sh\n#include\n```\n"
        "http://example.org/#place\n"
    )
    assert note.tags == ("first", "one", "two/three", "fünf")
    without = parse_note(b"#one", "a.md", hashtags=False)
    assert isinstance(without, Note)
    assert without.tags == ()


def test_more_hashtags_than_a_fragment_holds_are_not_a_fault() -> None:
    assert len(parsed(" ".join(f"#t{number}" for number in range(300))).tags) == 100


def test_what_is_not_a_date_stays_with_the_metadata() -> None:
    note = parsed("---\ncreated: last summer\ndate: 2024-01-01T10:00:00Z\nmodified: 20240101\n---\n")
    assert note.created == datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert note.updated is None
    assert note.metadata == {"created": "last summer", "modified": 20240101}


@pytest.mark.parametrize("date", ["0001-01-01", "9999-12-31T23:59:59-12:00", "2024-13-01"])
def test_a_date_outside_the_calendar_of_some_time_zone_is_not_one(date: str) -> None:
    assert parsed(f"---\ncreated: {date}\n---\n").created is None


def test_byte_order_marks_and_foreign_line_ends_do_not_show() -> None:
    note = parse_note(b"\xef\xbb\xbf---\r\ntitle: T\r\n---\r\none\r\ntwo\r", "a.md")
    assert isinstance(note, Note)
    assert (note.title, note.content) == ("T", "one\ntwo\n")


@pytest.mark.parametrize("front", ["", "\n", "# only a comment\n"])
def test_an_empty_front_matter_says_nothing(front: str) -> None:
    note = parsed(f"---\n{front}---\ntext")
    assert (note.metadata, note.content) == ({}, "text")


# What cannot be read


#: Front matter with each fault that a document can have.
BROKEN = [
    "---\na: &x [1]\n---\n",
    "---\na: *x\n---\n",
    "---\na: !!x y\n---\n",
    "---\n<<: {a: 1}\n---\n",
    "---\na: {{ x }}\n---\n",
    '---\na: "\\u0000"\n---\n',
    '---\na: "\\ud800"\n---\n',
    "---\n%TAG x\n---\n",
    "---\na: \x01\n---\n",
    "---\na: 1\n--- # again\n---\n",
    "---\n\ta: 1\n---\n",
    "---\n1: a\n---\n",
    "---\na: 99999999999999999999\n---\n",
    "---\na: .nan\n---\n",
    f"---\nk: {'x' * MAX_BYTES}\n---\n",
    f"---\nk: {'[' * 30}{']' * 30}\n---\n",
    f"---\nk: [{'1,' * 3000}]\n---\n",
]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("---\ntitle: a\n", 1),
        ("---\ntitle: a\ntags: [b\n---\n", None),
        ("---\ntitle: a\ntitle: b\n---\n", 3),
        ("---\na: &x [1]\nb: *x\n---\n", 2),
        ("---\n- a\n---\n", 1),
        ("---\ntitle: [a]\n---\n", 1),
        ("---\nk: !!python/object:os.system x\n---\n", 2),
        (f"---\nk: {'[' * 30}{']' * 30}\n---\n", 2),
        (f"---\nk: {'[' * 20_000}\n---\n", 2),
        (f"---\nk: {'x' * MAX_BYTES}\n---\n", None),
    ],
)
def test_a_front_matter_that_cannot_be_read_is_a_fault_with_its_line(text: str, line: int | None) -> None:
    fault = refused(text)
    assert fault.code == "note.front_matter_broken"
    if line is not None:
        assert fault.line == line


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"caf\xe9", "note.not_utf8"),
        (b"a\0b", "note.invalid"),
        (b'---\ntype: "not a type"\n---\n', "note.invalid"),
        (b"---\ntitle: " + b"x" * 2000 + b"\n---\n", "note.invalid"),
        (b"x" * (MAX_NOTE_BYTES + 1), "note.too_large"),
    ],
)
def test_a_note_that_cannot_be_stored_is_a_fault(data: bytes, code: str) -> None:
    assert refused(data).code == code


# A folder


def test_notes_are_found_in_all_folders_in_order_except_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path, b_md="", a_md="", sub__c_md="", sub__deeper__d_md="")
    write(tmp_path, **{".hidden_md": "", ".git__e_md": "", "picture.png": "", "F.MARKDOWN": ""})
    faults: list[Fault] = []
    notes = list(read_notes(tmp_path, faults))
    assert [note.source for note in notes] == ["F.MARKDOWN", "a.md", "b.md", "sub/c.md", "sub/deeper/d.md"]
    assert faults == []
    assert count_notes(tmp_path) == 5


def test_one_bad_note_costs_only_itself(tmp_path: Path) -> None:
    write(tmp_path, a_md="---\n[\n---\n", b_md="fine")
    (tmp_path / "c.md").write_bytes(b"\xff\xfe")
    faults: list[Fault] = []
    assert [note.source for note in read_notes(tmp_path, faults)] == ["b.md"]
    assert [(fault.path, fault.code) for fault in faults] == [
        ("a.md", "note.front_matter_broken"),
        ("c.md", "note.not_utf8"),
    ]


def test_folders_that_link_to_each_other_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, a__one_md="", b__two_md="")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "across").symlink_to(tmp_path / "a", target_is_directory=True)
    faults: list[Fault] = []
    assert [note.source for note in read_notes(tmp_path, faults)] == ["a/one.md", "b/two.md"]
    assert faults == []


def test_what_a_link_leads_to_keeps_its_own_name(tmp_path: Path) -> None:
    write(tmp_path, z__one_md="", **{".hidden__two_md": ""})
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "b").symlink_to(tmp_path / ".hidden")
    faults: list[Fault] = []
    assert [note.source for note in read_notes(tmp_path, faults)] == ["z/one.md", "b/two.md"]
    assert faults == []


def test_links_out_of_the_folder_are_not_followed_but_told(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, a_md="")
    write(tmp_path, elsewhere__secret_md="", one_md="", picture_png="")
    for name, target in {"out": "elsewhere", "out.md": "one.md", "b.md": "nowhere.md", "c.png": "picture.png"}.items():
        (folder / name).symlink_to(tmp_path / target)
    faults: list[Fault] = []
    assert [note.source for note in read_notes(folder, faults)] == ["a.md"]
    assert [(fault.path, fault.code) for fault in faults] == [
        ("b.md", "note.outside"),
        ("out", "note.outside"),
        ("out.md", "note.outside"),
    ]


def test_a_folder_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    write(tmp_path, folder__a_md="")
    (tmp_path / "link").symlink_to("folder")
    faults: list[Fault] = []
    assert [note.source for note in read_notes(tmp_path / "link", faults)] == ["a.md"]
    assert faults == []


def test_what_may_not_be_read_is_a_fault_and_the_rest_is_read(open_folder: Path) -> None:
    write(open_folder, closed__one_md="", listed__two_md="", open__three_md="", secret_md="")
    (open_folder / "closed").chmod(0)
    (open_folder / "listed").chmod(0o444)
    (open_folder / "secret.md").chmod(0)
    faults: list[Fault] = []
    with as_plain_user():
        notes = [note.source for note in read_notes(open_folder, faults)]
    for name in ("closed", "listed"):
        (open_folder / name).chmod(0o700)
    assert notes == ["open/three.md"]
    assert [(fault.path, fault.code) for fault in faults] == [
        ("closed", "note.unreadable"),
        ("listed/two.md", "note.unreadable"),
        ("secret.md", "note.unreadable"),
    ]
    assert {fault.message for fault in faults} == {"cannot be read: Permission denied"}


def test_notes_and_folders_that_vanish_meanwhile_are_faults_and_nobody_minds(tmp_path: Path) -> None:
    write(tmp_path, a_md="", b_md="", c__d_md="", e_md="")
    faults: list[Fault] = []
    notes = read_notes(tmp_path, faults)
    first = next(notes)
    (tmp_path / "b.md").unlink()
    (tmp_path / "c" / "d.md").unlink()
    (tmp_path / "c").rmdir()
    assert [first.source, *(note.source for note in notes)] == ["a.md", "e.md"]
    assert [(fault.path, fault.code) for fault in faults] == [("b.md", "note.unreadable")]


def test_no_fault_of_a_note_speaks_of_command_files() -> None:
    for text in BROKEN:
        assert "command" not in refused(text).message
        assert "the file" not in refused(text).message


def test_links_to_nowhere_and_pipes_are_faults_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")
    os.mkfifo(tmp_path / "pipe.md")
    faults: list[Fault] = []
    assert list(read_notes(tmp_path, faults)) == []
    assert [(fault.path, fault.code) for fault in faults] == [
        ("gone.md", "note.unreadable"),
        ("loop.md", "note.unreadable"),
        ("pipe.md", "note.not_a_file"),
    ]


def test_a_file_name_that_is_not_utf8_is_a_fault_that_can_be_shown(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_bytes(b"text")
    faults: list[Fault] = []
    assert list(read_notes(tmp_path, faults)) == []
    assert [fault.path for fault in faults] == ["caf?.md"]


def test_a_folder_that_is_not_there_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_notes(tmp_path / "nowhere", []))
    with pytest.raises(FileNotFoundError):
        count_notes(tmp_path / "nowhere")
