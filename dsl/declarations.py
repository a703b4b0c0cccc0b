"""Tables that commands may touch: what the configuration declares of them. No database is asked here.

Whatever a command says, the identifiers of a statement come from a declaration: a name that is not declared is a fault
of the command file when it is loaded, and of the step when it runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from migrations.own_tables import own_tables
from telemetry.settings import setting

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How a column can be compared with a value; `dsl.table_statements` says what each means.
Operator = Literal[
    "eq",
    "ne",
    "lt",
    "lte",
    "gt",
    "gte",
    "in",
    "not_in",
    "contains",
    "not_contains",
    "starts_with",
    "is_null",
]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

#: Rows that one step may read or change, whatever a table says.
MAX_ROWS = 10_000

#: A name that needs no thought about how it is written: letters, digits and `_`; at most Postgres' 63.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_DECLARED = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SYSTEM_SCHEMA = "information_schema"
_SYSTEM_PREFIX = "pg_"


@dataclass(frozen=True)
class TableSettings:
    """A table of your own in the same database, which `model.*` and `database.update` may touch."""

    section: ClassVar[str] = "tables"

    table: str | None = setting(
        None, "Its name in Postgres, with or without a schema (`app.tasks`); by default the name it is declared under."
    )
    key: str = setting("id", "Column that tells its rows apart: readable, and unique by a constraint or index.")
    readable: tuple[str, ...] = setting((), "Columns that steps may see, filter by and sort by.")
    writable: tuple[str, ...] = setting((), "Columns that steps may set.")
    operators: tuple[str, ...] = setting(OPERATORS, "Operators that may stand in `where`.", choices=OPERATORS)
    deletable: bool = setting(False, "Whether `model.delete` may remove rows.")
    max_rows: int = setting(100, "Rows that one step may read or change.", minimum=1, maximum=MAX_ROWS)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that commands may touch.

    Attributes:
        name: What commands call it.
        schema: Where it is; none only for Weir's own, which are found as all of its statements find them.
        relation: Its name in Postgres.
        key: Column that tells its rows apart.
        readable: Columns that may be seen, filtered by and sorted by; the key among them.
        writable: Columns that may be set.
        operators: That may stand in `where`.
        max_rows: Rows that one step may read or change.
        creatable: Whether `model.create` may add rows.
        deletable: Whether `model.delete` may remove rows.
        entity: What mutations call one of its rows.
        row_mutations: Whether each changed row is a mutation of its own, by its id, instead of one a statement.
        scope: Column that must hold the space of the execution.
        stamp: Column that is set to the time of a change.
        merged: Columns of JSON objects into which values are merged, a null taking its key away.
    """

    name: str
    schema: str | None
    relation: str
    key: str
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    operators: tuple[str, ...] = OPERATORS
    max_rows: int = 100
    creatable: bool = True
    deletable: bool = False
    entity: str = ""
    row_mutations: bool = False
    scope: str | None = None
    stamp: str | None = None
    merged: frozenset[str] = field(default=frozenset())

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is declared, each once."""
        return tuple(dict.fromkeys((*self.readable, *self.writable)))

    @property
    def title(self) -> str:
        """Its full name, for people."""
        return self.relation if self.schema is None else f"{self.schema}.{self.relation}"


#: Fragments as a table: Weir's own, the only one of them. What `fragment.update` checks one by one cannot be set here.
FRAGMENTS = Table(
    name="fragments",
    schema=None,
    relation="fragments",
    key="id",
    readable=("id", "type", "title", "content", "state", "tags", "metadata", "source", "created_at", "updated_at"),
    writable=("type", "state", "metadata"),
    max_rows=MAX_ROWS,
    creatable=False,
    deletable=True,
    entity="fragment",
    row_mutations=True,
    scope="space_id",
    stamp="updated_at",
    merged=frozenset({"state", "metadata"}),
)


def declare(given: Mapping[str, TableSettings], faults: list[str]) -> tuple[Table, ...]:
    """The tables a configuration declares, in the order of their names.

    Args:
        given: What `[tables.NAME]` says, by name.
        faults: Gets a sentence for everything that is wrong with any of them.
    """
    wrong = [fault for name, settings in given.items() for fault in _faults(name, settings)]
    faults += wrong
    return () if wrong else tuple(_table(name, given[name]) for name in sorted(given))


def _table(name: str, settings: TableSettings) -> Table:
    schema, relation = _parts(name if settings.table is None else settings.table)
    return Table(
        name=name,
        schema=schema,
        relation=relation,
        key=settings.key,
        readable=settings.readable,
        writable=settings.writable,
        operators=settings.operators,
        max_rows=settings.max_rows,
        creatable=bool(settings.writable),
        deletable=settings.deletable,
        entity=name,
    )


def _faults(name: str, settings: TableSettings) -> Iterator[str]:
    where = f"weir.toml [tables.{name}]"
    if not _DECLARED.fullmatch(name):
        yield f"{where}: a table is declared under a lower case letter, then letters, digits and _, at most 63"
    if name == FRAGMENTS.name:
        yield f"{where}: {name} is declared already; it is built in"
    full_name = name if settings.table is None else settings.table
    yield from (f"{where} table = {full_name!r}: {fault}" for fault in _relation_faults(full_name))
    for key, columns in (("key", (settings.key,)), ("readable", settings.readable), ("writable", settings.writable)):
        for column, times in Counter(columns).items():
            if not _NAME.fullmatch(column):
                yield f"{where} {key} = {column!r}: expected the name of a column, of letters, digits and _"
            if times > 1:
                yield f"{where} {key}: {column} is there {times} times"
    if settings.key not in settings.readable:
        yield f"{where} readable: the key, {settings.key}, must be among the readable columns"


def _relation_faults(full_name: str) -> Iterator[str]:
    schema, relation = _parts(full_name)
    if not (_NAME.fullmatch(schema) and _NAME.fullmatch(relation)):
        yield "expected the name of a table, with or without a schema, of letters, digits and _"
    elif schema == _SYSTEM_SCHEMA or schema.startswith(_SYSTEM_PREFIX) or relation.startswith(_SYSTEM_PREFIX):
        yield "the catalogs of Postgres cannot be declared"
    elif relation in own_tables() and schema == "public":
        yield "it is one of Weir's own tables, which cannot be declared"


def _parts(text: str) -> tuple[str, str]:
    schema, dot, relation = text.rpartition(".")
    return (schema if dot else "public"), relation
