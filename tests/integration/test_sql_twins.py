"""Every statement beside a module is one the current schema accepts."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from fixtures.statements import PREPARABLE, numbered
from psycopg import sql

from telemetry.sql import parse

ROOT = Path(__file__).parents[2]
TWINS = sorted(
    twin
    for package in ("api", "workers", "dsl", "telemetry")
    for twin in (ROOT / package).rglob("*.sql")
    if twin.with_suffix(".py").exists()
)
STATEMENTS = [
    pytest.param(twin, name, id=f"{twin.relative_to(ROOT)}:{name}")
    for twin in TWINS
    for name in parse(twin.read_text(encoding="utf-8"), twin.name)
]
#: Tables that a twin makes for its own other statements.
TEMPORARY = re.compile(r"create\s+temp(orary)?\s+table\b", re.IGNORECASE)


def test_every_sql_file_in_a_package_is_the_twin_of_a_module() -> None:
    loose = [
        str(path.relative_to(ROOT))
        for package in ("api", "workers", "dsl", "telemetry")
        for path in (ROOT / package).rglob("*.sql")
        if path not in TWINS
    ]

    assert loose == []


@pytest.mark.parametrize(("twin", "name"), STATEMENTS)
def test_the_statement_can_be_prepared(connection: psycopg.Connection, twin: Path, name: str) -> None:
    statements = parse(twin.read_text(encoding="utf-8"), twin.name)
    if not PREPARABLE.match(statements[name]):
        return
    with connection.transaction(force_rollback=True):
        for other in statements.values():
            if TEMPORARY.match(other):
                connection.execute(other)
        connection.execute(sql.SQL("prepare tried as ") + sql.SQL(numbered(statements[name])))


@pytest.mark.parametrize(("twin", "name"), STATEMENTS)
def test_the_statement_says_what_it_is_for(twin: Path, name: str) -> None:
    lines = twin.read_text(encoding="utf-8").splitlines()
    below = lines[lines.index(f"-- name: {name}") + 1]

    assert re.match(r"-- \w", below), f"{twin.name}: {name} needs a line of purpose below its name"
