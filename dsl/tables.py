"""Declared tables as the database has them: found, compared with their declarations, and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import Connection
from psycopg.rows import class_row, scalar_row

from dsl.declarations import FRAGMENTS, Table
from dsl.errors import StepFailed
from dsl.faults import nearest
from migrations.own_tables import own_tables
from telemetry.sql import queries

SQL = queries(__file__)

#: How a column's values are given and compared: as JSON, as lists, as points in time, or as whatever Postgres reads.
Kind = Literal["json", "array", "instant", "plain"]

#: `relkind` of what may be declared: ordinary and partitioned tables.
_TABLES = ("r", "p")
_JSON = ("json", "jsonb")
_INSTANTS = ("timestamptz", "timestamp", "date")
_ARRAY = "A"

#: What the statement or its values are the reason of; not that the server went away, or had no time.
_REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.NotSupportedError)


@dataclass(frozen=True, slots=True)
class OpenTable:
    """A declared table that is there, and is as it was declared.

    Attributes:
        table: What was declared.
        kinds: Of its declared columns, by name.
    """

    table: Table
    kinds: Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class _Relation:
    oid: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    category: str
    settable: bool
    is_unique: bool

    @property
    def kind(self) -> Kind:
        if self.type in _JSON:
            return "json"
        if self.category == _ARRAY:
            return "array"
        return "instant" if self.type in _INSTANTS else "plain"


class Tables:
    """The tables that commands of this process may touch: those declared, and fragments.

    A table is compared with its declaration when it is first used, and again for as long as the two differ. Safe to
    share between threads.

    Args:
        declared: Of the configuration.
    """

    def __init__(self, declared: Iterable[Table] = ()) -> None:
        self._declared = {table.name: table for table in (FRAGMENTS, *declared)}
        self._open: dict[str, OpenTable] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What commands call them."""
        return tuple(self._declared)

    @contextmanager
    def using(self, connection: Connection[Any], name: str) -> Iterator[OpenTable]:
        """A table that is as it was declared; what Postgres refuses inside the block fails the step.

        Raises:
            StepFailed: None is declared under this name, the database has another, or it refused a statement.
        """
        try:
            yield self._opened(connection, name)
        except _REFUSALS as error:
            # Perhaps the table is another by now: look again when it is next used.
            self._open.pop(name, None)
            said = error.diag.message_primary or str(error)
            raise StepFailed(f"Postgres refused it for the table {name}: {said}", table=name) from error

    def faults(self, connection: Connection[Any]) -> list[str]:
        """Everything that is wrong with any table, one sentence each; those that are right are ready for use."""
        faults: list[str] = []
        for table in self._declared.values():
            found = _compare(connection, table)
            if isinstance(found, list):
                faults += found
            else:
                self._open[table.name] = found
        return faults

    def _opened(self, connection: Connection[Any], name: str) -> OpenTable:
        known = self._open.get(name)
        if known is not None:
            return known
        table = self._declared.get(name)
        if table is None:
            meant = nearest(name, self.names)
            hint = f"Did you mean {meant}?" if meant else "Tables are declared in weir.toml, under [tables.NAME]."
            raise StepFailed(f"no table {name!r} is declared", hint=hint)
        found = _compare(connection, table)
        if isinstance(found, list):
            hint = f"Correct [tables.{name}] in weir.toml, or the table."
            raise StepFailed("; ".join(found), hint=hint, table=name)
        self._open[name] = found
        return found


def _compare(connection: Connection[Any], table: Table) -> OpenTable | list[str]:
    """The table, or how it differs from its declaration."""
    names = {"schema": table.schema, "relation": table.relation}
    relation = connection.cursor(row_factory=class_row(_Relation)).execute(SQL["find_table"], names).fetchone()
    if relation is None:
        return [f"the table {table.name} is declared as {table.title}, which the database does not have"]
    if relation.kind not in _TABLES:
        return [f"the table {table.name} is declared as {table.title}, which is no table (a view, perhaps)"]
    if table != FRAGMENTS:
        parameters = {"oid": relation.oid, "own": sorted(own_tables())}
        cursor = connection.cursor(row_factory=scalar_row)
        own: list[str] = cursor.execute(SQL["find_own_relatives"], parameters).fetchall()
        if own:
            return [f"the table {table.name} is declared as {table.title}, which shares rows with Weir's own {own[0]}"]
    found = connection.cursor(row_factory=class_row(_Column)).execute(SQL["describe_columns"], {"oid": relation.oid})
    columns = {column.name: column for column in found}
    faults = list(_column_faults(table, columns))
    return faults or OpenTable(table, {name: columns[name].kind for name in table.columns})


def _column_faults(table: Table, columns: Mapping[str, _Column]) -> Iterator[str]:
    for name in table.columns:
        column = columns.get(name)
        if column is None:
            meant = nearest(name, columns)
            suggestion = f"; did you mean {meant}?" if meant else ""
            yield f"the table {table.name} ({table.title}) has no column {name}{suggestion}"
        elif name in table.writable and not column.settable:
            yield f"the column {name} of the table {table.name} ({table.title}) is generated, and cannot be writable"
    key = columns.get(table.key)
    if key is not None and not key.is_unique:
        yield f"the key {table.key} of the table {table.name} ({table.title}) has no unique index of its own"
