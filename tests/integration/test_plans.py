"""No statement of the workers reads a whole table: what an execution costs does not grow with those that are stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from fixtures.statements import PLACEHOLDER, PREPARABLE, numbered
from psycopg import ClientCursor, sql

from benchmarks.seeding import seed
from telemetry.sql import parse
from workers.executions import SQL as EXECUTIONS

ROOT = Path(__file__).parents[2]
#: Tables that grow with every execution.
GROWING = frozenset(
    {
        *("command_executions", "command_attempts", "command_steps", "command_step_items", "mutations"),
        *("idempotency_keys", "schedule_occurrences"),
    }
)
#: Enough for Postgres to prefer an index wherever there is one.
STORED = 20_000
#: A statement whose plan depends on which filter is set, which is tried below; and one that asks for a thousand keys at
#: once of the few that are kept for a day: reading all of those may be the cheapest.
EXCEPTED = {"executions.sql: page", "bulk.sql: taken"}
NO_FILTER = dict.fromkeys(("before", "state", "slug", "correlation_id", "slow"))

STATEMENTS = {
    f"{twin.name}: {name}": statement
    for twin in sorted((ROOT / "workers").rglob("*.sql"))
    for name, statement in parse(twin.read_text(encoding="utf-8"), twin.name).items()
    if PREPARABLE.match(statement)
}


@pytest.fixture
def seeded(connection: psycopg.Connection) -> psycopg.Connection:
    """A database as it is after a month of work."""
    seed(connection, STORED)
    return connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a plan, outermost first."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def read_in_whole(plan: dict[str, Any]) -> list[str]:
    """What a plan reads from one end to the other of a table that grows: the table, or its primary key."""
    return [
        f"{node['Node Type']} of {node['Relation Name']}"
        for node in nodes(plan)
        if node.get("Relation Name") in GROWING
        and (
            node["Node Type"] == "Seq Scan"
            or (node.get("Index Name", "").endswith("_pkey") and "Index Cond" not in node)
        )
    ]


def explained(connection: psycopg.Connection, statement: sql.Composable) -> dict[str, Any]:
    row = connection.execute(sql.SQL("explain (format json) ") + statement).fetchone()
    assert row is not None
    return cast("dict[str, Any]", row[0][0]["Plan"])


def test_no_statement_reads_a_whole_table(seeded: psycopg.Connection) -> None:
    # One plan for all parameters, as of a statement that was run often.
    seeded.execute("set plan_cache_mode = force_generic_plan")
    offending = {}
    for name, statement in STATEMENTS.items():
        if name in EXCEPTED:
            continue
        count = len({match["name"] for match in PLACEHOLDER.finditer(statement) if match["name"]})
        nulls = sql.SQL("({})").format(sql.SQL(", ").join([sql.SQL("null")] * count)) if count else sql.SQL("")
        seeded.execute(sql.SQL("prepare tried as ") + sql.SQL(numbered(statement)))
        found = read_in_whole(explained(seeded, sql.SQL("execute tried") + nulls))
        seeded.execute("deallocate tried")
        if found:
            offending[name] = found

    assert offending == {}


def test_a_page_is_read_in_the_order_of_an_index(seeded: psycopg.Connection) -> None:
    last_seen = "ffffffff-0000-7000-8000-000000000001"
    filters: list[dict[str, Any]] = [
        *({}, {"before": last_seen}, {"state": "queued"}, {"state": "failed"}, {"state": "succeeded"}),
        *({"slug": "seeded.3"}, {"slow": True}, {"slug": "seeded.3", "before": last_seen}),
    ]
    cursor = ClientCursor(seeded)
    for given in filters:
        statement = cursor.mogrify(EXECUTIONS["page"], {**NO_FILTER, "limit": 50, **given})
        kinds = [node["Node Type"] for node in nodes(explained(seeded, sql.SQL(statement)))]

        assert "Index Scan" in kinds, given
        assert "Sort" not in kinds, given


def test_vacuum_never_passes_over_the_index_of_what_is_due(seeded: psycopg.Connection) -> None:
    said: list[str] = []
    seeded.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    seeded.execute("update command_executions set priority = 8 where worker_id is not null")

    seeded.execute("vacuum (verbose) command_executions")

    assert 'index "command_executions_due"' in "".join(said)
    assert "bypassed" not in "".join(said)
