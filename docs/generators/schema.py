"""Tables out of `migrations/schema.sql`, which a test holds to be the sum of the migrations. No database is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

_CREATE_TABLE = re.compile(r"create table (?P<name>\w+) \((?P<body>.*?)\)(?P<partitioned> partition by .*)?", re.DOTALL)
_INDEX = re.compile(r"create (?:unique )?index (?P<index>\w+) on (?:only )?(?P<name>\w+) .*", re.DOTALL)
_STORAGE = re.compile(r"alter table (?P<name>\w+) set \((?P<parameters>.*)\)", re.DOTALL)
_CONSTRAINT = re.compile(r"constraint (?P<name>\w+) (?P<rule>.*)", re.DOTALL)
_COLUMN = re.compile(r"(?P<name>\w+) (?P<type>[a-z][a-z0-9]*(?:\[\])?)(?P<rule>.*)", re.DOTALL)

#: Statements about rows or other objects than tables: nothing for this page.
_OTHER = ("insert ", "create function ", "create view ")


class UnreadableSchema(Exception):
    """A statement this reader does not know; teach it, or the page would be wrong."""


@dataclass(slots=True)
class Column:
    """One column: its type, what the table demands of it, and the comment above it."""

    name: str
    type: str
    rule: str
    purpose: str


@dataclass(slots=True)
class Table:
    """One table.

    Attributes:
        purpose: The comment above its creation.
        partitioned: `partition by ...`, or empty.
        constraints: Rule by name.
        indexes: (definition, comment above it) by name.
        storage: (parameters, comment above them), or empty.
    """

    name: str
    purpose: str
    partitioned: str = ""
    columns: list[Column] = field(default_factory=list)
    constraints: dict[str, str] = field(default_factory=dict)
    indexes: dict[str, tuple[str, str]] = field(default_factory=dict)
    storage: tuple[str, str] = ("", "")

    def add(self, item: str) -> None:
        """One line of its body: a column or a named constraint, comments above it included."""
        purpose, text = _split_comment(item)
        constraint = _CONSTRAINT.fullmatch(text)
        column = _COLUMN.fullmatch(text)
        if constraint:
            self.constraints[constraint["name"]] = constraint["rule"]
        elif column:
            self.columns.append(Column(column["name"], column["type"], column["rule"].strip(), purpose))
        else:
            raise UnreadableSchema(text)


def read_tables(sql: str) -> dict[str, Table]:
    """Every table by name, in the order of creation.

    Raises:
        UnreadableSchema: A statement changes the schema in a way that is not understood here.
    """
    tables: dict[str, Table] = {}
    for statement in _statements(sql):
        purpose, text = _split_comment(statement)
        created, indexed, stored = _CREATE_TABLE.fullmatch(text), _INDEX.fullmatch(text), _STORAGE.fullmatch(text)
        if created:
            table = Table(created["name"], purpose, (created["partitioned"] or "").strip())
            for item in _items(created["body"]):
                table.add(item)
            tables[table.name] = table
        elif indexed:
            tables[indexed["name"]].indexes[indexed["index"]] = (" ".join(text.split()), purpose)
        elif stored:
            tables[stored["name"]].storage = (" ".join(stored["parameters"].split()), purpose)
        elif text and not text.startswith(_OTHER):
            raise UnreadableSchema(text)
    return tables


def _statements(sql: str) -> Iterator[str]:
    """Statements end with a semicolon at the end of a line, outside of $$ bodies."""
    parts = re.split(r";[ \t]*(?:\n|$)", sql)
    held = ""
    for part in parts:
        held += part
        if held.count("$$") % 2 == 0:
            yield held.strip()
            held = ""
        else:
            held += ";\n"


def _items(body: str) -> Iterator[str]:
    """The body of a table, split at the commas outside of parentheses and comments."""
    item, depth = "", 0
    for piece in re.findall(r"--[^\n]*\n|'[^']*'|.", body, re.DOTALL):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            yield item.strip()
            item = ""
        else:
            item += piece
    yield item.strip()


def _split_comment(text: str) -> tuple[str, str]:
    """The `--` lines directly above a statement or an item as prose, and the rest of it."""
    lines = [line.strip() for line in text.strip().splitlines()]
    above = list(takewhile(lambda line: not line or line.startswith("--"), lines))
    block = reversed(list(takewhile(bool, reversed(above))))
    return " ".join(line.removeprefix("--").strip() for line in block), "\n".join(lines[len(above) :])
