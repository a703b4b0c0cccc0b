"""Nothing exists that the reference does not mention."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest

from api import problems
from api.cli.main import weir
from api.settings import SECTIONS
from docs.generators import errors
from dsl.library import PACKS
from dsl.steps import REGISTRY
from telemetry.events import CATALOGUE, event_type
from telemetry.filters.fields import FIELDS
from telemetry.settings import settings_of, variable_of

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def headings(page: str) -> set[str]:
    """The texts of a page's headings, without their marks."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return {heading.strip().strip("`") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.req("S-17")
def test_every_setting_is_documented() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    variables = {variable_of(section.section, spec.name) for section in SECTIONS for spec in settings_of(section)}
    assert {variable for variable in variables if f"`{variable}`" not in page} == set()


def test_every_event_is_documented_with_an_example() -> None:
    page = (REFERENCE / "events.md").read_text(encoding="utf-8")
    names = {event_type(cls) for cls in CATALOGUE}
    assert names - headings("events.md") == set()
    assert {name for name in names if f'"event_type": "{name}"' not in page} == set()


def test_every_field_of_filters_is_documented() -> None:
    page = (REFERENCE / "filters.md").read_text(encoding="utf-8")
    assert {field.name for field in FIELDS if f"\n| `{field.name}` |" not in page} == set()


def test_every_step_type_is_documented() -> None:
    assert set(REGISTRY) - headings("steps.md") == set()


def test_every_table_of_the_database_is_documented(connection: psycopg.Connection) -> None:
    rows = connection.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind in ('r', 'p') and not relispartition"
    )
    assert {str(row[0]) for row in rows} - headings("tables.md") == set()


def test_every_column_of_the_database_is_documented(connection: psycopg.Connection) -> None:
    page = (REFERENCE / "tables.md").read_text(encoding="utf-8")
    documented = {
        (section.splitlines()[0], column)
        for section in page.split("\n## ")[1:]
        for column in re.findall(r"^\| `(\w+)` \| [a-z0-9\[\]]+ \|", section, re.MULTILINE)
    }
    rows = connection.execute(
        "select relname, attname from pg_attribute join pg_class on pg_class.oid = attrelid"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition"
        " and attnum > 0 and not attisdropped"
    )
    assert {(str(table), str(column)) for table, column in rows} - documented == set()


def test_every_problem_code_is_documented() -> None:
    assert {kind.code for kind in problems.KINDS} - headings("problems.md") == set()


def test_every_command_of_the_command_line_is_documented() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert {path for path in _commands(weir, "weir") if path not in page} == set()


def _commands(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None and not inner.hidden:
                    yield from _commands(inner, f"{path} {name}")
    else:
        yield path


def test_every_code_in_the_source_is_documented() -> None:
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    # What looks like a code and is a type of step, a pack, or a file.
    others = set(REGISTRY) | {path.stem for path in PACKS.glob("*.yaml")} | {"note.md"}

    codes = errors.written_codes() | {each.code for each in errors.errors_of(set())}

    assert len(codes) > 100
    assert {name for name in codes - others if f"`{name}`" not in page and f"### {name}\n" not in page} == set()


def test_nothing_is_documented_that_no_source_has() -> None:
    given = errors.read()
    source = "\n".join(path.read_text(encoding="utf-8") for path in errors.sources())
    names = [*given["errors"], *(name for group in given["faults"].values() for name in group if name != "about")]

    # Put together of two words.
    made = {"inputs.number", "file.unreadable", "folder.unreadable"}
    assert [name for name in names if f'"{name}"' not in source and name not in made] == []
