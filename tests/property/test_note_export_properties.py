"""Whatever a fragment holds, its exported note is read back as the same fragment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dsl.errors import Fault
from dsl.note_export import is_exported, render
from dsl.notes import Note, parse_note
from dsl.records import is_same
from dsl.values import MAX_INT

#: Everything that Postgres keeps: no NUL, no half of a surrogate pair.
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
NASTY = st.text(alphabet="ab :-#'\"\\\n\r\t,[]{}&*!|>%@`~?=<.0é\u2028\ufeff\u0085\x07\U0001f600", max_size=30)
WORDS = st.sampled_from(
    [
        "true",
        "null",
        "~",
        "yes",
        "0x1f",
        "1e3",
        "010",
        ".inf",
        "2024-01-01",
        "---",
        "...",
        "<<",
        "- a",
        "a: b",
        "#tag",
        "{{ x }}",
    ]
)
TEXT = st.text(CHARACTERS, max_size=30) | NASTY | WORDS
CONTENT = TEXT | st.lists(
    TEXT | st.sampled_from(["# Heading", "---", "```", "#hashtag", "\r", ""]), max_size=6
).flatmap(lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(lines)))
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = TEXT | st.sampled_from(
    [
        "mood",
        "author",
        "title",
        "type",
        "tags",
        "created",
        "date",
        "updated_at",
        "modified",
        "weir",
        "state",
        "source",
        "id",
    ]
)
TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat().replace("+00:00", "Z"))
TAGS = st.lists(TEXT.map(lambda tag: tag.strip()[:100]).filter(bool), unique=True, max_size=5)

FRAGMENTS = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str),
        "type": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
        "title": TEXT,
        "content": CONTENT,
        "state": st.dictionaries(TEXT, JSON, max_size=3),
        "tags": TAGS,
        "metadata": st.dictionaries(KEYS, JSON, max_size=4),
        "source": st.none() | TEXT.filter(bool),
        "created_at": TIMES,
        "updated_at": TIMES,
    }
)
PLAIN: dict[str, Any] = {
    "id": "019bb73a-2600-77c4-a4b0-f4fee8a33940",
    "type": "note",
    "title": "",
    "content": "",
    "state": {},
    "tags": [],
    "metadata": {},
    "source": None,
    "created_at": "2026-01-13T12:00:00Z",
    "updated_at": "2026-01-13T12:00:00Z",
}


@given(FRAGMENTS)
@example(PLAIN)
@example(PLAIN | {"title": "two  spaces", "content": "---\nnot: front\n---\n", "tags": ["a,b", "#c", " x".strip()]})
@example(PLAIN | {"content": "\n\n# Heading\r\n#tag\r", "metadata": {"date": "2020-01-01", "title": "x"}})
@example(PLAIN | {"metadata": {"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]], "k" * 2000: 1, "n": MAX_INT + 1}})
@example(PLAIN | {"created_at": "0001-01-01T00:00:00Z", "updated_at": "9999-12-31T23:59:59.999999Z"})
@example(PLAIN | {"metadata": {"x": "y" * 300_000}, "state": {"z": "\u2028" * 40_000}, "content": "€" * 1_000_000})
def test_a_fragment_becomes_a_note_and_the_note_the_same_fragment(fragment: dict[str, Any]) -> None:
    data = render(fragment, "folder/file.md")
    note = parse_note(data, "folder/file.md")
    if isinstance(note, Fault):
        # Only what no fragment can be: a metadata or state that is too large.
        assert "is the most" in note.message, note
        return
    assert isinstance(note, Note)
    assert is_exported(data)
    assert (note.title, note.content, note.type) == (fragment["title"], fragment["content"], fragment["type"])
    assert list(note.tags) == fragment["tags"]
    assert is_same(dict(note.metadata), fragment["metadata"])
    assert is_same(dict(note.state), fragment["state"])
    assert str(note.id) == fragment["id"]
    assert note.source == (fragment["source"] or "folder/file.md")
    assert note.created == datetime.fromisoformat(fragment["created_at"])
    assert note.updated == datetime.fromisoformat(fragment["updated_at"])


@given(FRAGMENTS)
def test_an_export_of_what_was_read_back_is_the_same_file(fragment: dict[str, Any]) -> None:
    first = render(fragment, "file.md")
    note = parse_note(first, "file.md")
    assert isinstance(note, Note)
    again = fragment | {"source": note.source, "metadata": dict(note.metadata), "tags": list(note.tags)}
    assert render(again, "file.md") == first


@given(st.binary(max_size=300) | NASTY.map(lambda text: f"---\nweir: {text}\n---\nbody".encode()))
def test_whatever_calls_itself_exported_is_a_note_or_a_fault(data: bytes) -> None:
    assert isinstance(parse_note(data, "a.md"), Note | Fault)


@given(st.dictionaries(st.sampled_from(["v", "id", "title", "tags", "state", "metadata", "created", "source"]), JSON))
def test_whatever_an_exported_note_keeps_is_read_or_a_fault(kept: dict[str, Any]) -> None:
    marked = json.dumps({"v": 1, **kept}).replace("'", "''")
    assert isinstance(parse_note(f"---\nweir: '{marked}'\n---\nbody".encode(), "a.md"), Note | Fault)
