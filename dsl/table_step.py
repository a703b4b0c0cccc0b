"""What step types on declared tables share: how they name tables, columns and rows, and what they say of changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field, JsonValue, model_validator

from dsl.declarations import FRAGMENTS, OPERATORS, Operator, Table
from dsl.errors import StepFailed
from dsl.faults import Wrong
from dsl.settings import DslSettings
from dsl.step import Mutation, Operation, Step, StepContext, StepParams, StepResult
from dsl.table_statements import Scene, Where
from dsl.tables import OpenTable

#: Conditions of one `where`, at most.
MAX_CONDITIONS = 50


class Condition(StepParams):
    """One condition of a `where`; all of them must hold."""

    column: str = Field(description="A readable column; never a template.")
    op: Operator = Field(
        default="eq",
        description="How it is compared; never a template. `eq`, `ne` (null differs from everything), `lt`, `lte`, "
        "`gt`, `gte`; `in`, `not_in` a list; `contains`, `not_contains` a part of a text, an element of a list, keys "
        "of a map; `starts_with` a text; `is_null` (`value: false` for the contrary).",
    )
    value: JsonValue = Field(
        default=None,
        description="What it is compared with. For a column of times also a duration before now, such as `30d`. Null "
        "is refused: that is what `is_null` is for.",
    )


class Sorting(StepParams):
    """One thing rows are sorted by."""

    column: str = Field(description="A readable column; never a template.")
    direction: Literal["asc", "desc"] = Field(default="asc", description="Nulls come last in both.")


class TableParams(StepParams):
    """What all of them have."""

    table: str = Field(description="A declared table, or `fragments`; never a template.")


class RowsParams(TableParams):
    """What chooses rows to change: one by its key, or those that fit."""

    key: str | int | None = Field(default=None, description="Key of the row; then there is no `where`.")
    where: list[Condition] = Field(
        default_factory=list,
        max_length=MAX_CONDITIONS,
        description="Which rows: `[{column, op, value}]`, all of which must hold.",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="When more rows fit, none is changed and the step fails; by default the `max_rows` of the table.",
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.key is None) == (not self.where):
            message = "either `key` or `where` says which rows"
            raise ValueError(message)
        return self

    def conditions(self, table: Table) -> list[Where]:
        """`where`, or the key as one."""
        return [Where(table.key, "eq", self.key)] if self.key is not None else conditions_of(self.where)


class TableStep(Step):
    """A step type on one declared table. What a file names is checked when it is loaded."""

    def wrong(self, given: Mapping[str, Any], settings: DslSettings) -> Iterator[Wrong]:
        name = given.get("table")
        declared = {table.name: table for table in (FRAGMENTS, *settings.tables)}
        if not isinstance(name, str):
            return
        if name not in declared:
            message = _never("table", name) or f"no table `{name}` is declared under [tables.NAME] in weir.toml"
            yield Wrong(("table",), message, name, tuple(declared))
            return
        table = declared[name]
        for key in ("values", "set"):
            yield from _wrong_columns(given.get(key), (key,), table.writable, f"writable column of {name}")
        for key, columns in (("where", table.readable), ("order", table.readable), ("fields", table.readable)):
            yield from _wrong_list(given.get(key), key, columns, f"readable column of {name}")
        yield from _wrong_operators(given.get("where"), table)

    def narrowed(self, settings: DslSettings) -> Mapping[str, Any]:
        tables = (FRAGMENTS, *settings.tables)
        return {
            "properties": {"table": {"enum": [table.name for table in tables]}},
            "allOf": [
                {
                    "if": {"properties": {"table": {"const": table.name}}, "required": ["table"]},
                    "then": {"properties": dict(self._columns(table))},
                }
                for table in tables
            ],
        }

    def _columns(self, table: Table) -> Iterator[tuple[str, Any]]:
        """What those parameters that name columns may hold, as JSON Schema."""
        readable = {"enum": list(table.readable)}
        writable = {"type": "object", "propertyNames": {"enum": list(table.writable)}}
        condition = {"type": "object", "properties": {"column": readable, "op": {"enum": list(table.operators)}}}
        sorting = {"type": "object", "properties": {"column": readable}}
        rules = {
            "values": writable,
            "set": writable,
            "where": {"type": "array", "items": condition},
            "order": {"type": "array", "items": sorting},
            "fields": {"type": "array", "items": readable},
        }
        yield from ((key, rule) for key, rule in rules.items() if key in self.Params.model_fields)

    @staticmethod
    @contextmanager
    def using(params: TableParams, context: StepContext) -> Iterator[tuple[OpenTable, Scene]]:
        """The table, and for whom a statement on it is made.

        Raises:
            StepFailed: As `dsl.tables.Tables.using`.
        """
        scene = Scene(context.execution.space_id, context.execution.now, context.tools.now())
        with context.tools.tables.using(context.database(), params.table) as opened:
            context.measures["model"] = opened.table.name
            yield opened, scene


def conditions_of(where: Sequence[Condition]) -> list[Where]:
    """What parameters say, as statements take it."""
    return [Where(each.column, each.op, each.value) for each in where]


def row_limit(table: Table, asked: int | None) -> int:
    """How many rows a step may read or change.

    Raises:
        StepFailed: It asks for more than the table allows.
    """
    if asked is not None and asked > table.max_rows:
        raise StepFailed(
            f"limit is {asked}; a step may touch {table.max_rows} rows of the table {table.name}",
            hint=f"Ask for fewer, or raise `max_rows` under [tables.{table.name}].",
        )
    return table.max_rows if asked is None else asked


def changed(table: Table, operation: Operation, keys: Sequence[Any], columns: Sequence[str] = ()) -> StepResult:
    """What a step that changed these rows made; `columns` are those it set."""
    output = {"count": len(keys), "keys": list(keys)}
    measures = measures_of(table, len(keys)) | ({"fields": len(columns)} if columns else {})
    return StepResult(output, mutations_of(table, operation, keys, columns), measures=measures)


def measures_of(table: Table, rows: int) -> dict[str, int | float | str]:
    """What the event of a step on a table says of it."""
    return {"rows": rows, "model": table.name}


def mutations_of(
    table: Table, operation: Operation, keys: Sequence[Any], changed_fields: Sequence[str] = ()
) -> tuple[Mutation, ...]:
    """What changed: one for the statement with a count; for fragments one each, by its id."""
    fields = tuple(changed_fields)
    if table.row_mutations:
        return tuple(Mutation(table.entity, operation, UUID(str(key)), fields) for key in keys)
    return (Mutation(table.entity, operation, changed_fields=fields, count=len(keys)),) if keys else ()


def _wrong_columns(given: object, place: tuple[str | int, ...], columns: Sequence[str], what: str) -> Iterator[Wrong]:
    """A map whose keys must be columns."""
    if isinstance(given, str) and _is_template(given):
        yield Wrong(place, f"the columns of `{place[0]}` are never a template", expected="a map that is written out")
    for name in given if isinstance(given, Mapping) else ():
        if name not in columns:
            yield Wrong((*place, name), f"`{name}` is not a {what}", name, columns, is_key=True)


def _wrong_list(given: object, key: str, columns: Sequence[str], what: str) -> Iterator[Wrong]:
    """A list of columns, or of maps that have a `column`."""
    if isinstance(given, str) and _is_template(given):
        yield Wrong((key,), f"the columns of `{key}` are never a template", expected="a list that is written out")
    for index, item in enumerate(given if isinstance(given, list) else ()):
        is_map = isinstance(item, Mapping)
        if isinstance(item, str) and key != "fields":
            if _is_template(item):
                message = f"the columns of `{key}[{index}]` are never a template"
                yield Wrong((key, index), message, expected="a map that is written out")
            continue
        name = item.get("column") if is_map else item
        if isinstance(name, str) and name not in columns:
            place = (key, index, "column") if is_map else (key, index)
            yield Wrong(place, _never("column", name) or f"`{name}` is not a {what}", name, columns)


def _wrong_operators(where: object, table: Table) -> Iterator[Wrong]:
    for index, item in enumerate(where if isinstance(where, list) else ()):
        op = item.get("op", "eq") if isinstance(item, Mapping) else None
        is_one = op in OPERATORS  # of another word the parameter's own model says what is wrong
        if isinstance(op, str) and op not in table.operators and (is_one or _is_template(op)):
            message = _never("operator", op) or f"the operator `{op}` is not allowed for {table.name}"
            yield Wrong(("where", index, "op") if "op" in item else ("where", index), message, op, table.operators)


def _never(what: str, text: str) -> str | None:
    return f"the {what} is never a template" if _is_template(text) else None


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text
