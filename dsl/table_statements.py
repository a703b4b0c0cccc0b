"""Statements on declared tables: identifiers from declarations only, values as parameters only, operators from a list.

A value is handed over as the text that Postgres reads for the column's type, whatever that is: `5`, `2026-03-01`,
`true`, a UUID. Lists and maps are for columns of arrays and JSON.

How many rows a change may touch is decided inside its one statement: when more rows fit, none is changed.

What Postgres refuses comes as its driver's error; `Tables.using` makes a step's failure of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import scalar_row, tuple_row
from pydantic import JsonValue

from dsl.declarations import Operator, Table
from dsl.errors import StepFailed
from dsl.fragment_filter import instant
from dsl.records import MAX_CONTENT, checked_text, json_text
from dsl.tables import OpenTable
from telemetry.settings import parse_duration

#: Values of one `in` or `not_in`, at most.
MAX_VALUES = 1000

_COMPARISONS: Mapping[str, LiteralString] = {
    "eq": "{column} = %s",
    "ne": "{column} is distinct from %s",
    "lt": "{column} < %s",
    "lte": "{column} <= %s",
    "gt": "{column} > %s",
    "gte": "{column} >= %s",
}
_TEXT_MATCHES: Mapping[str, LiteralString] = {
    "contains": "{column}::text ilike %s",
    "not_contains": "not coalesce({column}::text ilike %s, false)",
    "starts_with": "starts_with({column}::text, %s)",
}
_CONTAINMENTS: Mapping[str, LiteralString] = {
    "contains": "{column} @> %s",
    "not_contains": "not coalesce({column} @> %s, false)",
}

#: A condition and its parameters.
_Part = tuple[sql.Composable, list[Any]]


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on a row.

    Attributes:
        column: A readable one.
        op: One that the table allows.
        value: What it is compared with.
    """

    column: str
    op: Operator
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Order:
    """One thing rows are sorted by."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """For whom a statement is made.

    Attributes:
        space_id: Of the execution; the only space whose rows a table with a `scope` has.
        now: Of the execution: what a duration counts back from.
        at: The time of a change.
    """

    space_id: UUID
    now: datetime
    at: datetime


def select_rows(  # noqa: PLR0913 - the parts of a query
    connection: Connection[Any],
    opened: OpenTable,
    scene: Scene,
    *,
    columns: Sequence[str],
    where: Sequence[Where],
    order: Sequence[Order],
    limit: int,
) -> list[dict[str, Any]]:
    """Rows as JSON objects, sorted as asked and then by key.

    Raises:
        StepFailed: A name is not declared, or a value cannot be one of its column.
    """
    table = opened.table
    condition, parameters = _where(opened, where, scene)
    sorting = [*order, *([] if any(each.column == table.key for each in order) else [Order(table.key)])]
    statement = sql.SQL("select to_jsonb(r) from (select {} from {} as t where {} order by {} limit %s) as r").format(
        sql.SQL(", ").join(_column(_readable(table, name)) for name in columns or table.readable),
        _relation(table),
        condition,
        sql.SQL(", ").join(_sorted_by(table, each) for each in sorting),
    )
    cursor = connection.cursor(row_factory=scalar_row)
    return cursor.execute(statement, [*parameters, limit]).fetchall()


def insert_row(connection: Connection[Any], opened: OpenTable, values: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Add a row; its readable columns, as a JSON object.

    Raises:
        StepFailed: As `select_rows`, or nothing may be added to the table.
    """
    table = opened.table
    if not table.creatable:
        raise StepFailed(f"nothing may be added to the table {table.name} here")
    names = [_writable(table, name) for name in values]
    statement = sql.SQL("insert into {} as t ({}) values ({}) returning (select to_jsonb(r) from (select {}) as r)")
    composed = statement.format(
        _relation(table),
        sql.SQL(", ").join(sql.Identifier(name) for name in names),
        sql.SQL(", ").join(sql.SQL("%s") for _ in names),
        sql.SQL(", ").join(_column(name) for name in table.readable),
    )
    given = [_value(opened, name, value) for name, value in values.items()]
    row: dict[str, Any] = connection.cursor(row_factory=scalar_row).execute(composed, given).fetchone() or {}
    return row


def update_rows(  # noqa: PLR0913 - the parts of a change
    connection: Connection[Any],
    opened: OpenTable,
    scene: Scene,
    *,
    values: Mapping[str, JsonValue],
    where: Sequence[Where],
    limit: int,
) -> list[Any]:
    """Set columns of every row that fits; their keys as JSON values.

    Raises:
        StepFailed: As `select_rows`, or more than `limit` rows fit; nothing was changed then.
    """
    assignments: list[sql.Composable] = []
    parameters: list[Any] = []
    for name, value in values.items():
        assignment, given = _assignment(opened, _writable(opened.table, name), value)
        assignments.append(assignment)
        parameters += given
    if opened.table.stamp is not None:
        stamp = opened.table.stamp
        assignments.append(sql.SQL("{} = greatest({}, %s)").format(sql.Identifier(stamp), _column(stamp)))
        parameters.append(scene.at)
    change = sql.SQL("update {} as t set {} from chosen").format(
        _relation(opened.table), sql.SQL(", ").join(assignments)
    )
    return _change(connection, opened, scene, (change, parameters), where, limit)


def delete_rows(
    connection: Connection[Any], opened: OpenTable, scene: Scene, *, where: Sequence[Where], limit: int
) -> list[Any]:
    """Remove every row that fits; their keys as JSON values.

    Raises:
        StepFailed: As `update_rows`, or nothing may be removed from the table.
    """
    if not opened.table.deletable:
        hint = None if opened.table.schema is None else f"Say `deletable = true` under [tables.{opened.table.name}]."
        raise StepFailed(f"rows of the table {opened.table.name} may not be removed", hint=hint)
    change = sql.SQL("delete from {} as t using chosen").format(_relation(opened.table))
    return _change(connection, opened, scene, (change, []), where, limit)


def _change(  # noqa: PLR0913 - the parts of a change
    connection: Connection[Any],
    opened: OpenTable,
    scene: Scene,
    change: _Part,
    where: Sequence[Where],
    limit: int,
) -> list[Any]:
    """Lock the rows that fit, one more than allowed at most, in the order of their keys; change them if few enough."""
    table = opened.table
    if not where:
        raise StepFailed(f"a change of the table {table.name} says which rows, with `where`")
    condition, parameters = _where(opened, where, scene)
    statement = sql.SQL(
        "with chosen as materialized ("
        "select {key} as key from {relation} as t where {condition} order by {key} limit %s for no key update), "
        "counted as (select count(*) as rows from chosen), "
        "changed as ({change} where {key} = chosen.key and (select rows from counted) <= %s returning {key} as key) "
        "select (select rows from counted), (select coalesce(jsonb_agg(key order by key), '[]') from changed)"
    ).format(key=_column(table.key), relation=_relation(table), condition=condition, change=change[0])
    cursor = connection.cursor(row_factory=tuple_row)
    found, keys = cursor.execute(statement, [*parameters, limit + 1, *change[1], limit]).fetchone() or (0, [])
    if found > limit:
        hint = "Narrow `where`, or raise `limit` (at most `max_rows` of the table)."
        raise StepFailed(f"more than {limit} row(s) of the table {table.name} fit; nothing was changed", hint=hint)
    return list(keys)


def _where(opened: OpenTable, where: Sequence[Where], scene: Scene) -> _Part:
    conditions: list[sql.Composable] = []
    parameters: list[Any] = []
    if opened.table.scope is not None:
        conditions.append(sql.SQL("{} = %s").format(_column(opened.table.scope)))
        parameters.append(scene.space_id)
    for each in where:
        condition, values = _condition(opened, each, scene)
        conditions.append(condition)
        parameters += values
    return sql.SQL(" and ").join(conditions) if conditions else sql.SQL("true"), parameters


def _condition(opened: OpenTable, where: Where, scene: Scene) -> _Part:
    table, name = opened.table, _readable(opened.table, where.column)
    if where.op not in table.operators and not (where.op == "eq" and name == table.key):
        raise StepFailed(f"the operator {where.op} is not allowed for the table {table.name}")
    kind = opened.kinds[name]
    column = sql.SQL("{}::jsonb").format(_column(name)) if kind == "json" else _column(name)
    if where.op == "is_null":
        is_null = where.value is not False
        return sql.SQL("{} is null" if is_null else "{} is not null").format(_column(name)), []
    if where.value is None:
        raise StepFailed(f"the value for {name} is null, which nothing equals", hint="Ask with the operator is_null.")
    if where.op in {"in", "not_in"}:
        return _membership(opened, where, column, scene)
    if where.op in _COMPARISONS:
        return sql.SQL(_COMPARISONS[where.op]).format(column=column), [_compared(opened, name, where.value, scene)]
    if kind in {"json", "array"} and where.op in _CONTAINMENTS:
        several: JsonValue = where.value
        if kind == "array" and not isinstance(several, list):
            several = [several]
        return sql.SQL(_CONTAINMENTS[where.op]).format(column=column), [_value(opened, name, several)]
    if kind in {"json", "array"}:
        raise StepFailed(f"{name} holds no text that the operator {where.op} could look at")
    text = _text(name, where.value)
    pattern = text if where.op == "starts_with" else f"%{_escaped(text)}%"
    return sql.SQL(_TEXT_MATCHES[where.op]).format(column=_column(name)), [pattern]


def _membership(opened: OpenTable, where: Where, column: sql.Composable, scene: Scene) -> _Part:
    if not isinstance(where.value, list) or len(where.value) > MAX_VALUES or None in where.value:
        raise StepFailed(f"the value for {where.column} must be a list of at most {MAX_VALUES}, without null")
    if not where.value:
        if where.op == "not_in":
            raise StepFailed(f"the list for {where.column} is empty: every row would fit")
        return sql.SQL("false"), []
    values = [_compared(opened, where.column, value, scene) for value in where.value]
    marks = sql.SQL(", ").join(sql.SQL("%s") for _ in values)
    form: LiteralString = "{} in ({})" if where.op == "in" else "coalesce({} not in ({}), true)"
    return sql.SQL(form).format(column, marks), values


def _assignment(opened: OpenTable, name: str, value: JsonValue) -> _Part:
    if name not in opened.table.merged:
        return sql.SQL("{} = %s").format(sql.Identifier(name)), [_value(opened, name, value)]
    if not isinstance(value, dict):
        raise StepFailed(f"the value for {name} must be a map; its keys are merged in")
    kept = {key: inner for key, inner in value.items() if inner is not None}
    removed = [_text(name, key) for key, inner in value.items() if inner is None]
    merged = sql.SQL("{} = ({} || %s::jsonb) - %s::text[]").format(sql.Identifier(name), _column(name))
    return merged, [json_text(name, kept), removed]


def _compared(opened: OpenTable, name: str, value: JsonValue, scene: Scene) -> object:
    """A value to compare with; for a column of times also a duration before now, such as `30d`."""
    if opened.kinds[name] == "instant" and isinstance(value, str) and _is_duration(value):
        return instant(value, scene.now)
    return _value(opened, name, value)


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except (ValueError, OverflowError):
        return False
    return True


def _value(opened: OpenTable, name: str, value: JsonValue) -> str | None:
    """A value as the text that Postgres reads for the type of the column."""
    kind = opened.kinds[name]
    if value is None:
        return None
    if kind == "json":
        return json_text(f"value for {name}", value)
    if kind == "array":
        if not isinstance(value, list):
            raise StepFailed(f"the value for {name} must be a list")
        return _array(name, value)
    return _text(name, value)


def _text(name: str, value: JsonValue) -> str:
    if isinstance(value, dict | list):
        raise StepFailed(f"the value for {name} is a {'map' if isinstance(value, dict) else 'list'}")
    text = value if isinstance(value, str) else json.dumps(value)
    return checked_text(f"value for {name}", text, MAX_CONTENT)


def _array(name: str, values: list[JsonValue]) -> str:
    """The literal of an array: each element quoted, so that nothing in it can end it."""
    parts = []
    for value in values:
        if isinstance(value, list):
            parts.append(_array(name, value))
        elif value is None:
            parts.append("null")
        else:
            parts.append('"' + _text(name, value).replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(parts) + "}"


def _escaped(text: str) -> str:
    r"""A text inside an `ilike` pattern; `\` is its escape character."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _relation(table: Table) -> sql.Identifier:
    return sql.Identifier(table.relation) if table.schema is None else sql.Identifier(table.schema, table.relation)


def _column(name: str) -> sql.Identifier:
    return sql.Identifier("t", name)


def _sorted_by(table: Table, order: Order) -> sql.Composable:
    direction: LiteralString = "{} desc nulls last" if order.descending else "{} nulls last"
    return sql.SQL(direction).format(_column(_readable(table, order.column)))


def _readable(table: Table, name: str) -> str:
    return _declared(table, name, table.readable, "readable")


def _writable(table: Table, name: str) -> str:
    return _declared(table, name, table.writable, "writable")


def _declared(table: Table, name: str, declared: Sequence[str], what: str) -> str:
    """The declaration's own text of a name; nothing else becomes an identifier."""
    for known in declared:
        if known == name:
            return known
    raise StepFailed(f"{name!r} is not a {what} column of the table {table.name}", table=table.name)
