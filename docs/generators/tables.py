"""docs/reference/tables.md: every table, from the schema."""

from __future__ import annotations

from pathlib import Path

from docs.generators.markdown import code, document, table
from docs.generators.schema import Table, read_tables

INTRODUCTION = """
One Postgres database holds everything; `weir migrate` makes its schema, `weir migrate --status` says how it stands.
Times are UTC, durations named `_us` are microseconds, ids are UUIDs of version 7, so that they sort by time. Rules that
must never be broken are constraints of the database, each with a name. Tables named `telemetry_…` hold ids, names,
numbers and hashes only; the others are operational data and may hold what people wrote.
"""


SCHEMA = Path(__file__).parents[2] / "migrations" / "schema.sql"


def page() -> str:
    """The page."""
    tables = sorted(read_tables(SCHEMA.read_text("utf-8")).values(), key=lambda each: each.name)
    return document("Tables", "`migrations/schema.sql`", INTRODUCTION, map(_section, tables))


def _section(each: Table) -> str:
    partitioned = f" Partitioned: `{each.partitioned}`." if each.partitioned else ""
    parameters, why_stored = each.storage
    storage = f"{why_stored} `{parameters}`" if parameters else ""
    columns = [(code(column.name), column.type, column.rule, column.purpose) for column in each.columns]
    has_purposes = any(column.purpose for column in each.columns)
    width = 4 if has_purposes else 3
    return "\n\n".join(
        part
        for part in (
            f"## {each.name}\n\n{each.purpose}{partitioned}",
            storage,
            table(("column", "type", "rule", "meaning")[:width], (row[:width] for row in columns)),
            table(("constraint", "rule"), ((code(name), code(rule)) for name, rule in each.constraints.items())),
            table(("index", "definition", "for"), ((code(n), code(d), why) for n, (d, why) in each.indexes.items())),
        )
        if part
    )
