"""Whatever a command puts into a parameter of `model.*` or `database.update`, it changes nothing it should not.

Every text of a corpus is put into every place of every step type, names, operators, values, sorting, limits and keys
alike, with what succeeds committed. What a place allows is done to the letter; everything else is as it was.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from pydantic import ValidationError

from dsl import table_statements
from dsl.check import load
from dsl.declarations import FRAGMENTS, OPERATORS
from dsl.errors import CommandInvalid, InputsInvalid, StepFailed
from dsl.inputs import check_inputs
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from dsl.testing import TASKS, PlainTools, run_step
from workers.testing import World

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


#: All that is written in the module that makes statements; they are made of parts of it.
WRITTEN = "\n".join(
    node.value
    for node in ast.walk(ast.parse(Path(table_statements.__file__).read_text(encoding="utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
)


@pytest.fixture(autouse=True)
def _statements_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing becomes part of a statement but texts that are written in the program, and names that are declared."""
    make_name, make_text = sql.Identifier.__init__, sql.SQL.__init__

    def watched_name(self: sql.Identifier, *names: str) -> None:
        assert set(names) <= NAMES, names
        make_name(self, *names)

    def watched_text(self: sql.SQL, text: LiteralString) -> None:
        assert text in WRITTEN, text
        make_text(self, text)

    def refused(self: sql.Literal, value: object) -> None:
        raise AssertionError(f"a value became part of a statement: {value!r}")

    monkeypatch.setattr(sql.Identifier, "__init__", watched_name)
    monkeypatch.setattr(sql.SQL, "__init__", watched_text)
    monkeypatch.setattr(sql.Literal, "__init__", refused)


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
            yield "model.query", {"where": [condition, {"column": "id", "op": "gt", "value": 0}]}
            yield "model.delete", {"where": [condition]}
            yield "database.update", {"set": {"title": "changed"}, "where": [condition]}
            yield "model.update", {"set": {"title": "changed"}, "where": [condition]}
    for inner in ({"k": payload}, {"k": [{"k": payload}]}, *([{payload: 1}] if isinstance(payload, str) else [])):
        condition = {"column": "details", "op": "contains", "value": inner}
        yield "model.query", {"where": [condition]}
        yield "database.update", {"set": {"title": "changed"}, "where": [condition]}
    for several in ([payload, payload], ["nothing", payload]):
        yield "model.delete", {"where": [{"column": "title", "op": "in", "value": several}]}
    for name, params in (
        ("model.delete", {}),
        ("model.update", {"set": {"title": "changed"}}),
        ("model.update", {"set": {"title": payload, "details": {"k": payload}}}),
    ):
        yield name, {**params, "key": payload}


def run(connection: Connection, name: str, params: dict[str, Any], tools: PlainTools) -> Any:  # noqa: ANN401 - an output
    """What it gave; none when it was refused. What succeeds is committed."""
    try:
        with connection.transaction():
            return run_step(REGISTRY[name], {"table": "tasks"} | params, connection=connection, tools=tools).output
    except (StepFailed, ValidationError):
        return None


def everything(connection: Connection) -> list[Any]:
    """Every row of every table there is, and everything that has a name."""
    named = "select oid::text, relname, relkind::text, relnatts from pg_class where relnamespace::regnamespace::text in"
    found: list[Any] = connection.execute(f"{named} ('public', 'app') order by 1").fetchall()
    tables = "select oid::regclass::text from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text"
    for (name,) in connection.execute(f"{tables} in ('public', 'app') order by 1").fetchall():
        rows = f"select t::text from {name} t order by 1"  # noqa: S608 - names of the catalogue
        found.append((name, connection.execute(rows.encode()).fetchall()))
    return found


def tables_of_users(connection: Connection) -> list[Any]:
    """As `everything`, of the schema of the user's tables alone: executions leave their record in ours."""
    return [entry for entry in everything(connection) if str(entry[0]).startswith("app.")]


@pytest.mark.parametrize("payload", [*CORPUS, *TYPES], ids=shown)
def test_nothing_but_a_declared_name_is_a_name(vault: Connection, payload: object) -> None:
    tools, before = PlainTools(tables=[TASKS]), everything(vault)
    for name, params in attempts(payload):
        if (name, params) in ALLOWED:
            continue
        assert run(vault, name, params, tools) is None, (name, params)
    assert everything(vault) == before


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
    tools, before = PlainTools(tables=[TASKS]), everything(vault)
    for name, params in reads_and_misses(payload):
        output = run(vault, name, params, tools)
        assert output is None or output["count"] == 0, (name, params, output)
    assert everything(vault) == before


@pytest.mark.parametrize("payload", [*CORPUS, *TYPES], ids=shown)
def test_a_value_is_stored_to_the_letter_or_refused(vault: Connection, payload: Any) -> None:  # noqa: ANN401 - any
    tools = PlainTools(tables=[TASKS])
    for column in COLUMNS:
        before = everything(vault)
        first = [{"column": "id", "value": 1}]
        updated = run(vault, "database.update", {"set": {column: payload}, "where": first}, tools)
        if updated is None:
            assert everything(vault) == before
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
        assert everything(vault) == before


#: Keys and elements, at any depth; the first is stored in a row of its own beside it.
NESTED = """
slug: nested
inputs: {p: {}}
steps:
  - id: make
    type: model.create
    with:
      table: tasks
      values: {title: "new", labels: ["{{ inputs.p }}", plain], details: {a: "{{ inputs.p }}", b: ["{{ inputs.p }}"]}}
  - id: write
    type: model.update
    with: {table: tasks, key: "{{ steps.make.output.key }}", set: {title: "{{ inputs.p }}"}}
  - id: find
    type: model.query
    with:
      table: tasks
      where:
        - {column: title, value: "{{ inputs.p }}"}
        - {column: title, op: in, value: ["{{ inputs.p }}", "nothing"]}
        - {column: labels, op: contains, value: "{{ inputs.p }}"}
        - {column: details, op: contains, value: {a: "{{ inputs.p }}", b: ["{{ inputs.p }}"]}}
      order: [{column: title, direction: desc}]
  - id: change
    type: database.update
    with:
      table: tasks
      set: {labels: ["{{ inputs.p }}"]}
      where: [{column: title, op: starts_with, value: "{{ inputs.p }}"}]
  - id: own
    type: database.update
    with:
      table: fragments
      set: {state: {seen: "{{ inputs.p }}"}, metadata: {seen: ["{{ inputs.p }}"]}}
      where: [{column: state, op: contains, value: {text: "{{ inputs.p }}"}}]
  - {id: drop, type: model.delete, with: {table: tasks, key: "{{ steps.make.output.key }}"}}
"""


@pytest.mark.parametrize("payload", CORPUS, ids=shown)
def test_an_input_goes_through_templates_to_the_letter_or_is_refused(
    world: World, vault: Connection, payload: str
) -> None:
    world.settings = DslSettings(tables=(TASKS,))
    command = load(NESTED, REGISTRY, world.settings, origin="test")
    before = tables_of_users(vault)
    try:
        inputs = check_inputs(command, {"p": payload})
    except InputsInvalid:
        assert any(character == "\0" or "\ud800" <= character <= "\udfff" for character in payload)
        return
    execution_id = world.submit(command, inputs)

    world.runner().run_lane("default")

    execution = world.executions.get(execution_id)
    steps = {step.path: step for step in world.executions.steps(execution_id, limit=100)}
    assert execution.state == "succeeded", execution.error
    [found] = steps["find"].output["items"]
    assert found["title"] == payload
    assert (found["labels"], found["details"]) == ([payload, "plain"], {"a": payload, "b": [payload]})
    assert steps["change"].output == {"count": 1, "keys": [found["id"]]}
    assert steps["own"].output == {"count": 0, "keys": []}
    assert tables_of_users(vault) == before


#: Where a name belongs: none of them comes from a template, whatever it would be.
NAMES_FROM_TEMPLATES = (
    "type: model.query, with: {table: ^}",
    "type: model.query, with: {table: tasks, fields: [^]}",
    "type: model.query, with: {table: tasks, fields: ^}",
    "type: model.query, with: {table: tasks, where: [{column: ^, value: 1}]}",
    "type: model.query, with: {table: tasks, where: [{column: id, op: ^, value: 1}]}",
    "type: model.query, with: {table: tasks, where: ^}",
    "type: model.query, with: {table: tasks, where: [^]}",
    "type: model.query, with: {table: tasks, order: [{column: ^}]}",
    "type: model.query, with: {table: tasks, order: ^}",
    "type: model.create, with: {table: tasks, values: {^: x}}",
    "type: model.create, with: {table: tasks, values: ^}",
    "type: model.update, with: {table: tasks, key: 1, set: {^: x}}",
    "type: model.update, with: {table: tasks, key: 1, set: ^}",
    "type: model.delete, with: {table: ^, key: 1}",
    "type: model.delete, with: {table: tasks, where: [{column: ^, value: 1}]}",
    "type: database.update, with: {table: ^, set: {title: x}, where: [{column: id, value: 1}]}",
    "type: database.update, with: {table: tasks, set: {^: x}, where: [{column: id, value: 1}]}",
    "type: database.update, with: {table: tasks, set: ^, where: [{column: id, value: 1}]}",
)


@pytest.mark.parametrize("step", NAMES_FROM_TEMPLATES)
@pytest.mark.parametrize("template", ["'{{ inputs.p }}'", "'x{{ inputs.p }}'", "'{% if inputs.p %}id{% endif %}'"])
def test_a_name_that_would_come_from_a_template_is_a_fault_of_the_file(step: str, template: str) -> None:
    text = f"slug: a\ninputs: {{p: {{}}}}\nsteps: [{{id: x, {step.replace('^', template)}}}]\n"
    with pytest.raises(CommandInvalid) as invalid:
        load(text, REGISTRY, DslSettings(tables=(TASKS,)), origin="test")
    assert [fault.line for fault in invalid.value.faults] == [3]


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
