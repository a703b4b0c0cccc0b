from __future__ import annotations

from pathlib import Path

import pytest

from telemetry.sql import Queries, parse, queries

TWIN = """
-- Statements of the inbox.

-- name: insert_note
-- A note. title: text; limit_ms: milliseconds.
--
-- Relies on the primary key.
insert into notes (title)
values (%(title)s)  -- as given
returning id;

-- name: count_notes
-- How many there are.
select count(*)
from notes
"""


def test_a_twin_is_its_statements_by_name_without_description_and_semicolon() -> None:
    assert parse(TWIN, "notes.sql") == {
        "insert_note": "insert into notes (title)\nvalues (%(title)s)  -- as given\nreturning id",
        "count_notes": "select count(*)\nfrom notes",
    }


def test_a_module_finds_the_twin_beside_it(tmp_path: Path) -> None:
    (tmp_path / "notes.sql").write_text(TWIN, encoding="utf-8")

    sql = queries(str(tmp_path / "notes.py"))

    assert list(sql) == ["insert_note", "count_notes"]
    assert sql["count_notes"].startswith("select count(*)")


def test_a_module_without_a_twin_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"notes\.sql"):
        queries(str(tmp_path / "notes.py"))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    sql = Queries(Path("notes.sql"), parse(TWIN, "notes.sql"))

    with pytest.raises(KeyError, match=r"notes\.sql has no statement 'count_note'; did you mean count_notes\?"):
        sql["count_note"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("-- name: one\nselect 1;\n-- name: one\nselect 2;", "twin.sql:3: 'one' is already the name .* of line 1"),
        ("-- name:\nselect 1;", "twin.sql:1: '' is not a name"),
        ("-- name: One\nselect 1;", "twin.sql:1: 'One' is not a name"),
        ("-- a comment\nselect 1;", "twin.sql:2: a statement needs a line"),
        ("-- name: one\n-- Nothing follows.\n\n-- name: two\nselect 2;", "twin.sql:1: 'one' has no statement"),
        ("-- name: one", "twin.sql:1: 'one' has no statement"),
    ],
)
def test_a_fault_of_a_twin_is_named_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse(text, "twin.sql")


def test_an_empty_twin_has_no_statements() -> None:
    assert parse("-- Nothing yet.\n", "twin.sql") == {}
