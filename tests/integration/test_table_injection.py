"""Whatever a command puts into a parameter of `model.*` or `database.update`, it changes nothing it should not.

Every text of a corpus is put into every place of every step type, names, operators, values, sorting, limits and keys
alike, with what succeeds committed. What a place allows is done to the letter; everything else is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from pydantic import ValidationError

from dsl.declarations import FRAGMENTS, OPERATORS
from dsl.errors import StepFailed
from dsl.steps import REGISTRY
from dsl.testing import TASKS, PlainTools, run_step

Connection = psycopg.Connection[Any]

CORPUS = [
    # ends of strings, identifiers and statements
    *("'", '"', "''", '""', "\\'", "\\", "'; drop table app.vault; --", '"; drop table app.vault; --', "x' or '1'='1"),
    *("1; delete from app.vault", "1); delete from app.vault; --", "'); truncate app.tasks; --", ";", "--", "/*", "*/"),
    *("/**/", "x'/**/or/**/1=1--", "$$", "$x$;drop table app.vault;$x$", "E'\\''", "U&'\\0027'", "N'x'", "x'' or true"),
    # more than a value
    *("(select secret from app.vault)", "title || (select secret from app.vault)", "pg_sleep(10)", "null", "default"),
    *("current_user", "ctid", "xmin", "tableoid", "*", "t.*", "t.hidden", 'hidden" = "hidden', "true", "id, hidden"),
    *("title union select secret from app.vault", "title = title", "title from app.vault", "asc; drop table app.vault"),
    *("title desc nulls first, (select 1/0)", "id::text", "row(t)", "lower(title)", "1 offset 0", "any(array[1])"),
    # placeholders of drivers, formats and templates
    *("%s", "%(id)s", "%%", "{}", "{title}", "{0}", "$1", ":id", "?", "{{ title }}", "{% raw %}", "%1$s", "%n"),
    # what looks alike: Cyrillic, full width, combining, invisible, quotes of other alphabets
    *("t\u0456tle", "\uff54\uff49\uff54\uff4c\uff45", "titl\u0065\u0301", "title\u200b", "title\u00a0", "\ufefftitle"),
    *("\uff07 or 1=1 --", "\u02bc or 1=1 --", "\u2019; drop table app.vault; --", "title\u202e", "t\u0131tle"),
    *("\ufb01elds", "\u037e drop table app.vault"),
    # what is written otherwise
    *("TITLE", "Title", " title", "title ", "title\n", "title\t", "'title'", '"title"', "`title`", "[title]"),
    *("app.tasks", '"app"."tasks"', "app.vault", "public.fragments", "command_executions", "pg_catalog.pg_class"),
    *("..", "tasks;"),
    # what cannot be text, or is no fun as one
    *(
        "\0",
        "title\0",
        "tit\0le",
        "title\0; drop table app.vault",
        "\ud800",
        "title\udfff",
        "\uffff",
        "\x1b[2J",
        "\x7f",
    ),
    # too much of it
    *("x" * 100_000, "(" * 5000, "'" * 5000, "title," * 5000, "9" * 5000, "-" * 5000, "\u0301" * 5000),
]
#: Where a text is no parameter's value, other types are no better.
TYPES: list[Any] = [[], {}, ["title"], {"nothing": 1}, True, 3.5, [[["x"]]], {"a": {"b": [None]}}, -1, 0, 10**30]

#: Values of each kind of column: what was given must be what is stored.
COLUMNS = ("title", "labels", "details", "effort", "due_on", "done")

#: Operators to compare each with, among which nothing of the corpus is found.
COMPARED = {
    "title": ("eq", "in", "contains", "starts_with"),
    "labels": ("eq", "contains"),
    "details": ("eq", "contains"),
    "id": ("eq", "in", "lt"),
    "due_on": ("eq", "contains"),
    "done": ("eq",),
}

NAMES = frozenset({*TASKS.columns, *FRAGMENTS.columns, "app", "tasks", "fragments", "t", "space_id"})


def shown(payload: object) -> str:
    """A short name of a payload, in ASCII."""
    return ascii(payload)[:40]


@pytest.fixture
def vault(tasks: Connection) -> Connection:
    """A database that has a table nobody declared, too."""
    tasks.execute("create table app.vault (id int primary key, secret text)")
    tasks.execute("insert into app.vault values (1, 'nobody may see this')")
    return tasks


@pytest.fixture(autouse=True)
def _identifiers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing becomes an identifier of a statement but names that are declared."""
    make = sql.Identifier.__init__

    def watched(self: sql.Identifier, *names: str) -> None:
        assert set(names) <= NAMES, names
        make(self, *names)

    monkeypatch.setattr(sql.Identifier, "__init__", watched)


def attempts(payload: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step type with the payload where a name, an operator, a direction, a limit or a structure belongs."""
    where = [{"column": "id", "op": "gt", "value": 0}]
    change: dict[str, dict[str, Any]] = {
        "model.query": {},
        "model.create": {"values": {"title": "new"}},
        "model.update": {"set": {"title": "new"}, "where": where},
        "model.delete": {"where": where},
        "database.update": {"set": {"title": "new"}, "where": where},
    }
    for name, params in change.items():
        yield name, {**params, "table": payload}
        if name != "model.create":
            yield name, {**params, "limit": payload}
            yield name, {**params, "where": payload}
            yield name, {**params, "where": [payload]}
            yield name, {**params, "where": [{"column": payload, "op": "is_null"}]}
            yield name, {**params, "where": [{"column": "title", "op": payload, "value": "sleep"}]}
        if isinstance(payload, str):
            for key in ("set", "values"):
                if key in params:
                    yield name, {**params, key: {payload: "new"}}
                    yield name, {**params, key: {"title": "new", payload: "new"}}
        for key in ("set", "values"):
            if key in params:
                yield name, {**params, key: payload}
        yield name, {**params, "extra": payload}
    yield "model.query", {"fields": [payload]}
    yield "model.query", {"fields": ["id", payload]}
    yield "model.query", {"order": [{"column": payload}]}
    yield "model.query", {"order": [{"column": "id", "direction": payload}]}
    yield "model.query", {"order": payload}


def reads_and_misses(payload: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The payload as a value that no row has: found is nothing, changed is nothing."""
    for column, ops in COMPARED.items():
        for op in ops:
            if (column, payload) == ("done", "true"):
                continue  # that is what a row has
            condition = {"column": column, "op": op, "value": [payload] if op == "in" else payload}
            yield "model.query", {"where": [condition]}
            yield "model.delete", {"where": [condition]}
            yield "database.update", {"set": {"title": "changed"}, "where": [condition]}
            yield "model.update", {"set": {"title": "changed"}, "where": [condition]}
    for name, params in (("model.delete", {}), ("model.update", {"set": {"title": "changed"}})):
        yield name, {**params, "key": payload}


def run(connection: Connection, name: str, params: dict[str, Any], tools: PlainTools) -> Any:  # noqa: ANN401 - an output
    """What it gave; none when it was refused. What succeeds is committed."""
    try:
        with connection.transaction():
            return run_step(REGISTRY[name], {"table": "tasks"} | params, connection=connection, tools=tools).output
    except (StepFailed, ValidationError):
        return None


def world(connection: Connection) -> list[Any]:
    """Every row of every table there is, and everything that has a name."""
    named = "select oid::text, relname, relkind::text, relnatts from pg_class where relnamespace::regnamespace::text in"
    found: list[Any] = connection.execute(f"{named} ('public', 'app') order by 1").fetchall()
    tables = "select oid::regclass::text from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text"
    for (name,) in connection.execute(f"{tables} in ('public', 'app') order by 1").fetchall():
        rows = sql.SQL("select t::text from {} t order by 1").format(sql.SQL(name))
        found.append((name, connection.execute(rows).fetchall()))
    return found


@pytest.mark.parametrize("payload", [*CORPUS, *TYPES], ids=shown)
def test_nothing_but_a_declared_name_is_a_name(vault: Connection, payload: object) -> None:
    tools, before = PlainTools(tables=[TASKS]), world(vault)
    for name, params in attempts(payload):
        if (name, params) in ALLOWED:
            continue
        assert run(vault, name, params, tools) is None, (name, params)
    assert world(vault) == before


#: Payloads that are what the place asks for.
ALLOWED: list[tuple[str, dict[str, Any]]] = [
    ("model.query", {"where": []}),
    ("model.query", {"order": []}),
]


#: The first row as it was.
RESTORED = """
    update app.tasks set title = 'buy milk', done = false, due_on = '2026-01-10', effort = 0.5,
        labels = '{home,shop}', details = '{"where": "corner", "n": 1}'
    where id = 1
"""


@pytest.mark.parametrize("payload", CORPUS, ids=shown)
def test_a_value_is_compared_and_never_read(vault: Connection, payload: str) -> None:
    tools, before = PlainTools(tables=[TASKS]), world(vault)
    for name, params in reads_and_misses(payload):
        output = run(vault, name, params, tools)
        assert output is None or output["count"] == 0, (name, params, output)
    assert world(vault) == before


@pytest.mark.parametrize("payload", [*CORPUS, *TYPES], ids=shown)
def test_a_value_is_stored_to_the_letter_or_refused(vault: Connection, payload: Any) -> None:  # noqa: ANN401 - any
    tools = PlainTools(tables=[TASKS])
    for column in COLUMNS:
        before = world(vault)
        first = [{"column": "id", "value": 1}]
        updated = run(vault, "database.update", {"set": {column: payload}, "where": first}, tools)
        if updated is None:
            assert world(vault) == before
        else:
            assert updated == {"count": 1, "keys": [1]}
            [row] = vault.execute("select * from app.tasks where id = 1").fetchall()
            assert row[-1] == "nobody sees this"
            if column == "title":
                assert row[1] == (payload if isinstance(payload, str) else row[1])
            if column == "details":
                assert row[6] == payload
        created = run(vault, "model.create", {"values": {"title": "new", column: payload}}, tools)
        if created is not None:
            assert created["key"] > 3
            if column == "title" and isinstance(payload, str):
                assert created["row"]["title"] == payload
            vault.execute("delete from app.tasks where id > 3")
        vault.execute(RESTORED)
        assert world(vault) == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(payload=st.text(max_size=60))
def test_any_text_is_a_value_or_refused(vault: Connection, payload: str) -> None:
    tools = PlainTools(tables=[TASKS])
    output = run(vault, "model.create", {"values": {"title": payload}}, tools)
    if output is None:
        assert payload == "" or "\0" in payload or any("\ud800" <= character <= "\udfff" for character in payload)
        return
    assert output["row"]["title"] == payload
    for op in ("eq", "contains", "starts_with"):
        where = [{"column": "title", "op": op, "value": payload}, {"column": "id", "value": output["key"]}]
        assert run(vault, "model.query", {"where": where}, tools)["count"] == 1, op
    assert run(vault, "model.delete", {"key": output["key"]}, tools) == {"count": 1, "keys": [output["key"]]}
    assert vault.execute("select count(*) from app.vault").fetchone() == (1,)


@given(name=st.text(max_size=30) | st.sampled_from(["hidden", "xmin", "app.vault", "ID", "id "]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_any_text_is_a_declared_name_or_refused(vault: Connection, name: str) -> None:
    tools = PlainTools(tables=[TASKS])
    if name not in TASKS.readable:
        assert run(vault, "model.query", {"fields": [name]}, tools) is None
        assert run(vault, "model.query", {"where": [{"column": name, "op": "is_null"}]}, tools) is None
        assert run(vault, "model.query", {"order": [{"column": name}]}, tools) is None
    if name not in OPERATORS:
        assert run(vault, "model.query", {"where": [{"column": "id", "op": name, "value": 1}]}, tools) is None
    if name not in tools.tables.names:
        assert run(vault, "model.query", {"table": name}, tools) is None
