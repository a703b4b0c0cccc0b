"""Step types on declared tables, each on a real one: what they find, change, count and refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from dsl import fragments
from dsl.declarations import Table
from dsl.errors import StepFailed
from dsl.fragments import Draft, Space
from dsl.step import StepResult
from dsl.steps import REGISTRY
from dsl.testing import DEFAULT_SPACE_ID, TASKS, PlainTools, make_execution, run_step
from telemetry.events import event_type
from telemetry.testing import NOON
from workers.testing import World

Connection = psycopg.Connection[Any]


def step(
    connection: Connection,
    name: str,
    declared: Table = TASKS,
    **params: Any,  # noqa: ANN401 - the step's own parameters
) -> StepResult:
    """Run one, all or nothing."""
    tools = PlainTools(tables=[declared])
    with connection.transaction():
        return run_step(REGISTRY[name], {"table": "tasks"} | params, connection=connection, tools=tools)


def titles(connection: Connection, **params: Any) -> list[str]:  # noqa: ANN401 - the step's own parameters
    result = step(connection, "model.query", **{"fields": ["title"]} | params)
    assert result.output["count"] == len(result.output["items"])
    return [item["title"] for item in result.output["items"]]


def rows(connection: Connection) -> list[Any]:
    return connection.execute("select * from app.tasks order by id").fetchall()


# model.query


@pytest.mark.req("C-08")
def test_a_query_returns_the_readable_columns_as_json(tasks: Connection) -> None:
    result = step(tasks, "model.query", where=[{"column": "title", "value": "buy milk"}])
    [row] = result.output["items"]
    assert row.pop("created_at").endswith("+00:00")
    assert row == {
        "id": 1,
        "title": "buy milk",
        "done": False,
        "due_on": "2026-01-10",
        "effort": 0.5,
        "labels": ["home", "shop"],
        "details": {"where": "corner", "n": 1},
    }
    assert result.measures == {"rows": 1, "model": "tasks"}
    assert result.mutations == ()


@pytest.mark.parametrize(
    ("column", "op", "value", "found"),
    [
        ("title", "eq", "sleep", "3"),
        ("title", "ne", "sleep", "12"),
        ("due_on", "ne", "2026-01-10", "23"),
        ("effort", "gt", 0.5, "2"),
        ("effort", "gte", "0.5", "12"),
        ("effort", "lt", 12.25, "1"),
        ("effort", "lte", 12.25, "12"),
        ("id", "in", [1, "3", 99], "13"),
        ("id", "in", [], ""),
        ("id", "not_in", [1], "23"),
        ("due_on", "not_in", ["2026-01-10"], "23"),
        ("title", "contains", "MILK", "1"),
        ("title", "contains", "%", ""),
        ("title", "contains", "_", ""),
        ("title", "not_contains", "e", "1"),
        ("title", "not_contains", "w", "13"),
        ("title", "starts_with", "m", "2"),
        ("title", "starts_with", "M", ""),
        ("labels", "contains", "home", "13"),
        ("labels", "contains", ["home", "shop"], "1"),
        ("labels", "not_contains", "home", "2"),
        ("labels", "eq", ["home"], "3"),
        ("labels", "contains", 'a"b\\,{}', ""),
        ("details", "contains", {"n": 1}, "1"),
        ("details", "eq", {"n": 2}, "3"),
        ("details", "not_contains", {"n": 1}, "23"),
        ("due_on", "is_null", None, "3"),
        ("due_on", "is_null", True, "3"),
        ("due_on", "is_null", False, "12"),
        ("done", "eq", True, "3"),
        ("done", "eq", "false", "12"),
        ("due_on", "lt", "1d", "1"),
        ("due_on", "gt", "1d", "2"),
        ("created_at", "gt", "0s", "123"),
    ],
)
def test_each_operator_means_what_it_says(tasks: Connection, column: str, op: str, value: object, found: str) -> None:
    # The execution's now is a noon in January 2026, the rows are newer.
    result = step(tasks, "model.query", fields=["id"], where=[{"column": column, "op": op, "value": value}])
    assert "".join(str(item["id"]) for item in result.output["items"]) == found


def test_conditions_hold_all_at_once_and_rows_are_sorted_as_asked(tasks: Connection) -> None:
    assert titles(tasks) == ["buy milk", "mend the weir", "sleep"]
    assert titles(tasks, order=[{"column": "due_on", "direction": "desc"}]) == ["mend the weir", "buy milk", "sleep"]
    assert titles(tasks, order=[{"column": "done"}, {"column": "id", "direction": "desc"}], limit=2) == [
        "mend the weir",
        "buy milk",
    ]
    where = [{"column": "done", "value": False}, {"column": "labels", "op": "contains", "value": "shop"}]
    assert titles(tasks, where=where) == ["buy milk"]


def test_a_query_may_not_ask_for_more_rows_than_the_table_allows(tasks: Connection) -> None:
    with pytest.raises(StepFailed, match="may touch 100 rows"):
        titles(tasks, limit=101)
    assert len(titles(tasks, table="tasks", limit=100)) == 3


# model.create


@pytest.mark.req("C-08")
def test_a_created_row_is_one_mutation_with_the_columns_that_were_given(tasks: Connection) -> None:
    values = {"title": "new", "labels": ["a,b", 'q"', None], "details": {"deep": [1, {"x": None}]}, "effort": "1.5"}
    result = step(tasks, "model.create", values=values)
    assert result.output["key"] == 4
    row = result.output["row"]
    assert "hidden" not in row
    assert (row["labels"], row["details"], row["effort"]) == (["a,b", 'q"', None], {"deep": [1, {"x": None}]}, 1.5)
    [mutation] = result.mutations
    assert (mutation.entity, mutation.operation, mutation.count, mutation.entity_id) == ("tasks", "created", 1, None)
    assert mutation.changed_fields == ("title", "labels", "details", "effort")
    assert result.measures == {"rows": 1, "model": "tasks"}


@pytest.mark.parametrize(
    "values",
    [
        {"title": ""},
        {"title": None},
        {"title": "x", "effort": "a lot"},
        {"title": "x", "effort": 123456789},
        {"title": "x", "due_on": "tomorrowish"},
        {"title": "x", "labels": "no array"},
        {"title": "x", "labels": {"a": 1}},
        {"title": ["x"]},
        {"title": "a\0b"},
        {"title": "\ud800"},
        {"title": "x", "details": {"k": "\0"}},
        {"title": "x", "details": {"k": "\ud800"}},
    ],
)
def test_what_the_table_cannot_hold_fails_the_step(tasks: Connection, values: dict[str, Any]) -> None:
    before = rows(tasks)
    with pytest.raises(StepFailed):
        step(tasks, "model.create", values=values)
    assert rows(tasks) == before


# model.update, database.update, model.delete


@pytest.mark.req("C-08")
def test_a_row_is_changed_by_its_key(tasks: Connection) -> None:
    result = step(tasks, "model.update", key=1, set={"done": True, "effort": 2})
    assert result.output == {"count": 1, "keys": [1]}
    assert result.measures == {"rows": 1, "fields": 2, "model": "tasks"}
    [mutation] = result.mutations
    assert (mutation.operation, mutation.count, mutation.changed_fields) == ("updated", 1, ("done", "effort"))
    assert titles(tasks, where=[{"column": "done", "value": True}]) == ["buy milk", "sleep"]
    for missing in (99, "99"):
        with pytest.raises(StepFailed, match="no row"):
            step(tasks, "model.update", key=missing, set={"done": True})
        with pytest.raises(StepFailed, match="no row"):
            step(tasks, "model.delete", key=missing)
    with pytest.raises(StepFailed, match="invalid input syntax"):
        step(tasks, "model.delete", key="one")


@pytest.mark.req("C-08")
def test_the_affected_rows_of_an_update_are_its_mutations(tasks: Connection) -> None:
    open_ones = [{"column": "done", "value": False}]
    for name in ("database.update", "model.update"):
        result = step(tasks, name, set={"labels": ["late"], "details": {"by": name}}, where=open_ones)
        assert result.output == {"count": 2, "keys": [1, 2]}
        [mutation] = result.mutations
        assert (mutation.entity, mutation.operation, mutation.count) == ("tasks", "updated", 2)
        assert mutation.changed_fields == ("labels", "details")
        assert result.measures == {"rows": 2, "fields": 2, "model": "tasks"}
    none = step(tasks, "database.update", set={"done": True}, where=[{"column": "id", "value": 99}])
    assert (none.output, none.mutations) == ({"count": 0, "keys": []}, ())


@pytest.mark.req("C-08")
def test_a_deletion_names_the_table_and_counts_the_rows(tasks: Connection) -> None:
    result = step(tasks, "model.delete", where=[{"column": "labels", "op": "contains", "value": "home"}])
    assert result.output == {"count": 2, "keys": [1, 3]}
    assert result.measures == {"rows": 2, "model": "tasks"}
    assert [(m.entity, m.operation, m.count) for m in result.mutations] == [("tasks", "deleted", 2)]
    assert titles(tasks) == ["mend the weir"]


@pytest.mark.parametrize("name", ["database.update", "model.update", "model.delete"])
def test_more_rows_than_the_limit_change_none(tasks: Connection, name: str) -> None:
    before = rows(tasks)
    change: dict[str, Any] = {} if name == "model.delete" else {"set": {"done": True}}
    everything = [{"column": "id", "op": "gt", "value": 0}]
    with pytest.raises(StepFailed, match=r"more than 2 row\(s\)"):
        step(tasks, name, where=everything, limit=2, **change)
    with pytest.raises(StepFailed, match=r"more than 1 row\(s\)"):
        step(tasks, name, replace(TASKS, max_rows=1), where=everything, **change)
    with pytest.raises(StepFailed, match="may touch 100 rows"):
        step(tasks, name, where=everything, limit=101, **change)
    assert rows(tasks) == before
    assert step(tasks, name, where=everything, limit=3, **change).output["count"] == 3


@pytest.mark.parametrize("name", ["database.update", "model.update", "model.delete"])
def test_there_is_no_change_of_everything_by_accident(tasks: Connection, name: str) -> None:
    before = rows(tasks)
    change: dict[str, Any] = {} if name == "model.delete" else {"set": {"done": True}}
    nowhere: list[Any] = [[], None]
    for where in nowhere:
        with pytest.raises(ValidationError):
            step(tasks, name, where=where, **change)
    with pytest.raises(ValidationError):
        step(tasks, name, **change)
    for condition in (
        {"column": "id", "op": "not_in", "value": []},
        {"column": "due_on", "value": None},
        {"column": "due_on", "op": "in", "value": [None]},
        {"column": "due_on", "op": "contains"},
    ):
        with pytest.raises(StepFailed):
            step(tasks, name, where=[condition], **change)
    assert rows(tasks) == before


def test_a_table_allows_only_what_it_declares(tasks: Connection) -> None:
    before = rows(tasks)
    with pytest.raises(StepFailed, match="may not be removed"):
        step(tasks, "model.delete", replace(TASKS, deletable=False), key=1)
    with pytest.raises(StepFailed, match="nothing may be added"):
        step(tasks, "model.create", replace(TASKS, creatable=False), values={"title": "x"})
    with pytest.raises(StepFailed, match="lt is not allowed"):
        step(tasks, "model.query", replace(TASKS, operators=("eq",)), where=[{"column": "id", "op": "lt", "value": 2}])
    for params in (
        {"fields": ["hidden"]},
        {"where": [{"column": "hidden", "value": 1}]},
        {"order": [{"column": "xmin"}]},
    ):
        with pytest.raises(StepFailed, match="not a readable column"):
            step(tasks, "model.query", **params)
    for column in ("hidden", "id", "created_at", "nothing"):
        with pytest.raises(StepFailed, match="not a writable column"):
            step(tasks, "database.update", set={column: 1}, where=[{"column": "id", "value": 1}])
        with pytest.raises(StepFailed, match="not a writable column"):
            step(tasks, "model.create", values={"title": "x", column: 1})
    with pytest.raises(StepFailed, match="no table 'task' is declared") as caught:
        step(tasks, "model.query", table="task")
    assert caught.value.hint == "Did you mean tasks?"
    assert rows(tasks) == before
    # By its key a row can always be found.
    assert (
        step(tasks, "model.update", replace(TASKS, operators=("lt",)), key=1, set={"done": True}).output["count"] == 1
    )


def test_changes_at_the_same_time_wait_for_each_other(tasks: Connection, database_url: str) -> None:
    """A row that no longer fits when its lock is had is not changed."""
    with psycopg.connect(database_url) as other:
        other.execute("update app.tasks set done = true where id = 1")
        tools = PlainTools(tables=[TASKS])
        tasks.execute("set lock_timeout = '50ms'")
        params = {"table": "tasks", "set": {"effort": 1}, "where": [{"column": "done", "value": False}]}
        with pytest.raises(psycopg.errors.LockNotAvailable), tasks.transaction():
            run_step(REGISTRY["database.update"], params, connection=tasks, tools=tools)
        other.commit()
    with tasks.transaction():
        assert run_step(REGISTRY["database.update"], params, connection=tasks, tools=tools).output["keys"] == [2]


# fragments as a table


def test_fragments_are_a_table_of_the_space_of_the_execution(connection: Connection) -> None:
    home = Space(DEFAULT_SPACE_ID, "default")
    garden = Space(fragments.space_id(connection, "garden"), "garden")
    kept = {"status": "done", "priority": "high", "by": "ada"}
    mine = fragments.insert(connection, Draft(type="todo", title="mine", state=kept), home, NOON)
    theirs = fragments.insert(connection, Draft(type="todo", title="theirs", state=kept), garden, NOON)
    where = [{"column": "type", "value": "todo"}, {"column": "state", "op": "contains", "value": {"status": "done"}}]
    result = step(
        connection, "database.update", table="fragments", set={"state": {"status": "archived", "by": None}}, where=where
    )
    assert result.output == {"count": 1, "keys": [str(mine.id)]}
    [mutation] = result.mutations
    assert (mutation.entity, mutation.entity_id, mutation.changed_fields) == ("fragment", mine.id, ("state",))
    stored = fragments.get(connection, mine.id)
    assert stored.state == {"status": "archived", "priority": "high"}
    assert stored.updated_at >= stored.created_at
    assert fragments.get(connection, theirs.id) == theirs
    assert titles(connection, table="fragments") == ["mine"]
    with pytest.raises(StepFailed, match="no row"):
        step(connection, "model.delete", table="fragments", key=str(theirs.id))
    gone = step(connection, "model.delete", table="fragments", key=str(mine.id))
    assert [(m.entity, m.operation, m.entity_id) for m in gone.mutations] == [("fragment", "deleted", mine.id)]
    assert titles(connection, table="fragments") == []


def test_what_a_fragment_cannot_be_it_cannot_become_through_the_table(connection: Connection) -> None:
    fragment = fragments.insert(connection, Draft(type="todo"), Space(DEFAULT_SPACE_ID, "default"), NOON)
    where = [{"column": "id", "value": str(fragment.id)}]
    for wrong in ({"type": "Not A Type"}, {"state": 1}, {"state": ["a"]}, {"metadata": None}, {"state": {"k": "\0"}}):
        with pytest.raises(StepFailed):
            step(connection, "database.update", table="fragments", set=wrong, where=where)
    for column in ("id", "title", "content", "tags", "space_id", "source", "created_at", "updated_at", "search"):
        with pytest.raises(StepFailed, match="not a writable column"):
            step(connection, "database.update", table="fragments", set={column: "x"}, where=where)
    with pytest.raises(StepFailed, match="nothing may be added"):
        step(connection, "model.create", table="fragments", values={"type": "todo"})
    assert fragments.get(connection, fragment.id) == fragment


@pytest.mark.req("C-10")
def test_a_dry_run_of_a_change_counts_what_the_real_one_changes(tasks: Connection) -> None:
    before = rows(tasks)
    tools, dry = PlainTools(tables=[TASKS]), make_execution(dry_run=True)
    params: dict[str, Any] = {
        "table": "tasks",
        "set": {"done": True},
        "where": [{"column": "done", "value": False}],
    }
    with tasks.transaction(force_rollback=True):
        dry_result = run_step(REGISTRY["database.update"], params, connection=tasks, tools=tools, execution=dry)
    assert rows(tasks) == before
    assert step(tasks, "database.update", **params) == dry_result


# Privacy

SECRET = "zq-s3cret-canary"

KEEPS_SECRETS = """
slug: keeps
inputs: {text: {type: string}}
steps:
  - {id: new, type: model.create, with: {table: tasks, values: {title: "{{ inputs.text }}", labels: [SECRET]}}}
  - id: change
    type: database.update
    with:
      table: tasks
      set: {details: {SECRET: SECRET}}
      where: [{column: title, op: contains, value: SECRET}]
  - {id: find, type: model.query, with: {table: tasks, where: [{column: labels, op: contains, value: SECRET}]}}
  - {id: look, type: search.query, with: {text: SECRET or nothing}}
  - {id: more, type: command.run, with: {command: note.add, inputs: {content: SECRET, tags: [SECRET]}}}
  - {id: drop, type: fragment.delete, with: {text: SECRET, limit: 5}}
  - {id: gone, type: model.delete, with: {table: tasks, where: [{column: title, value: SECRET}]}}
  - {id: wrong, type: model.create, with: {table: tasks, values: {title: x, effort: SECRET}}}
""".replace("SECRET", SECRET)


@pytest.mark.req("C-14")
def test_nothing_of_a_row_gets_into_an_event(world: World, tasks: Connection) -> None:
    world.settings = replace(world.settings, tables=(TASKS,))
    execution = world.run(KEEPS_SECRETS, {"text": SECRET}, user=SECRET)
    # Its owner is told; telemetry is not.
    assert execution.error is not None
    assert SECRET in execution.error["message"]
    assert execution.steps_successful == 7
    assert SECRET not in repr(world.recorder.events)
    assert {event_type(event) for event in world.recorder.events} >= {"dsl.step.failed", "fragment.created"}
