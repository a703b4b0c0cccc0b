"""What weir.toml may declare of tables, and what it is told when it may not: everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import load_settings
from dsl.declarations import FRAGMENTS, MAX_ROWS, OPERATORS, Table
from migrations.own_tables import own_tables
from telemetry.errors import SettingsInvalid


def declared(folder: Path, text: str) -> tuple[Table, ...]:
    (folder / "weir.toml").write_text(text, encoding="utf-8")
    return load_settings({}, folder).dsl.tables


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        declared(folder, text)
    return caught.value.faults


def test_a_table_needs_its_readable_columns_and_no_more(tmp_path: Path) -> None:
    [table] = declared(tmp_path, '[tables.tasks]\nreadable = ["id", "title"]')
    assert (table.name, table.title, table.key) == ("tasks", "public.tasks", "id")
    assert (table.readable, table.writable, table.columns) == (("id", "title"), (), ("id", "title"))
    assert (table.operators, table.max_rows) == (OPERATORS, 100)
    assert (table.creatable, table.deletable, table.entity, table.row_mutations) == (False, False, "tasks", False)


def test_a_table_may_say_everything(tmp_path: Path) -> None:
    text = """
        [tables.b]
        table = "App.To_Do"
        key = "Nr"
        readable = ["Nr", "text"]
        writable = ["text", "note"]
        operators = ["eq", "in"]
        deletable = true
        max_rows = 7
        [tables.a]
        readable = "id"
    """
    first, second = declared(tmp_path, text)
    assert first.name == "a"
    assert (second.schema, second.relation, second.key) == ("App", "To_Do", "Nr")
    assert second.columns == ("Nr", "text", "note")
    assert (second.operators, second.max_rows, second.creatable, second.deletable) == (("eq", "in"), 7, True, True)


def test_everything_that_is_wrong_with_tables_is_told_at_once(tmp_path: Path) -> None:
    text = """
        [tables.tasks]
        readable = ["id", "title", "id", "a b"]
        writable = 5
        operators = ["eq", "like"]
        max_rows = 0
        readble = ["id"]
        [tables.keyless]
        readable = ["title"]
        [tables.Tasks]
        readable = ["id"]
        [api]
        port = "x"
    """
    found = faults(tmp_path, text)
    assert [fault.partition(":")[0] for fault in found] == [
        "weir.toml [tables.tasks] writable = 5",
        "weir.toml [tables.tasks] operators = ['eq', 'like']",
        "weir.toml [tables.tasks] max_rows = 0",
        "weir.toml [tables.tasks] readable",
        "weir.toml [tables.tasks] readable = 'a b'",
        "weir.toml [tables.keyless] readable",
        "weir.toml [tables.Tasks]",
        "weir.toml [api] port = 'x'",
        "weir.toml [tables.tasks] readble",
    ]
    assert found[-1].endswith("did you mean readable?")


@pytest.mark.parametrize("text", ["tables = 3", "[tables]\ntasks = 1", 'tables = ["tasks"]'])
def test_tables_that_are_no_tables_are_told(tmp_path: Path, text: str) -> None:
    [fault] = faults(tmp_path, text)
    assert "holds tables only" in fault


def test_a_misspelled_section_is_told_which_was_meant(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, "[table.tasks]\nreadable = ['id']")
    assert fault.endswith("did you mean tables?")


@pytest.mark.parametrize("relation", sorted(own_tables()))
def test_none_of_weirs_own_tables_can_be_declared(tmp_path: Path, relation: str) -> None:
    for name in (relation, f"public.{relation}"):
        [fault] = faults(tmp_path, f'[tables.mine]\ntable = "{name}"\nreadable = ["id"]')
        assert "one of Weir's own tables" in fault
    # The same name in a schema of one's own is another table; the database says whether it really is.
    assert declared(tmp_path, f'[tables.mine]\ntable = "app.{relation}"\nreadable = ["id"]')


@pytest.mark.parametrize(
    "relation",
    ["pg_class", "pg_catalog.pg_class", "information_schema.tables", "pg_toast.x", "pg_temp.tasks", "app.pg_tasks"],
)
def test_no_catalog_can_be_declared(tmp_path: Path, relation: str) -> None:
    [fault] = faults(tmp_path, f'[tables.mine]\ntable = "{relation}"\nreadable = ["id"]')
    assert "catalogs" in fault


@pytest.mark.parametrize(
    "name",
    [
        *("a.b.c", ".tasks", "tasks.", "", " ", "tas ks", 'ta"sks', "ta'sks", "tasks;", "tasks--", "tasks/*", "tàsks"),
        *("tasks\\u0000", "tasks\\n", "1tasks", "$tasks", "t" * 64, "public.tasks; drop table fragments", "%s", "{}"),
    ],
)
def test_a_name_that_would_have_to_be_quoted_cannot_be_declared(tmp_path: Path, name: str) -> None:
    escaped = name.replace('"', '\\"') if "\\" not in name else name
    for key in ("table", "key"):
        found = faults(tmp_path, f'[tables.mine]\n{key} = "{escaped}"\nreadable = ["id"]')
        assert any("expected the name of a" in fault or "expected a value" in fault for fault in found)


def test_the_built_in_table_is_declared_once(tmp_path: Path) -> None:
    found = faults(tmp_path, '[tables.fragments]\ntable = "app.fragments"\nreadable = ["id"]')
    assert found == ["weir.toml [tables.fragments]: fragments is declared already; it is built in"]
    assert FRAGMENTS.key in FRAGMENTS.readable
    assert set(FRAGMENTS.merged) <= set(FRAGMENTS.writable)
    assert FRAGMENTS.max_rows <= MAX_ROWS


def test_the_environment_has_no_say_in_tables(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="WEIR_TABLES_TASKS_KEY"):
        load_settings({"WEIR_TABLES_TASKS_KEY": "id"}, tmp_path)
