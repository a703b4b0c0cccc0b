"""What an exported note is made of is read back, up to every limit of a fragment."""

from __future__ import annotations

from typing import Any

import pytest

from dsl.errors import Fault
from dsl.note_export import render
from dsl.notes import parse_note

#: Twelve bytes as JSON in ASCII.
WIDE = "\U0001f600"

FRAGMENT: dict[str, Any] = {
    "id": "01990000-0000-7000-8000-000000000001",
    "type": "todo",
    "title": "A title",
    "content": "text",
    "state": {},
    "tags": [],
    "metadata": {},
    "source": None,
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-01T00:00:00+00:00",
}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"metadata": {"not a word": WIDE * 262_000}, "state": {"x": WIDE * 262_000}}, id="wide"),
        pytest.param(
            {"metadata": {f"k{number}": number for number in range(1950)}, "tags": [f"t{n}" for n in range(100)]},
            id="many",
        ),
    ],
)
def test_the_largest_fragments_are_read_back_whole(fields: dict[str, Any]) -> None:
    note = parse_note(render(FRAGMENT | fields, "a.md"), "a.md")

    assert not isinstance(note, Fault), note.message
    assert {"metadata": note.metadata, "state": note.state, "tags": list(note.tags)} == {
        name: (FRAGMENT | fields)[name] for name in ("metadata", "state", "tags")
    }
