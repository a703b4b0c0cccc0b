"""No statement of the workers reads a whole table: what an execution costs does not grow with those that are stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from fixtures.statements import PLACEHOLDER, PREPARABLE, numbered
from psycopg import ClientCursor, sql

from benchmarks.seeding import seed
from telemetry.clock import to_unix_us
from telemetry.completeness import SQL as COMPLETENESS
from telemetry.ids import least_id_at
from telemetry.partitions import make_partitions
from telemetry.sql import parse
from workers.executions import SQL as EXECUTIONS
from workers.services.reconciler import SQL as RECONCILER

ROOT = Path(__file__).parents[2]
#: Within what is seeded, and within what has partitions.
NOW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: TID251 - as Postgres's own clock
#: Tables that grow with every execution.
GROWING = frozenset(
    {
        *("command_executions", "command_attempts", "command_steps", "command_step_items", "mutations"),
        *("idempotency_keys", "schedule_occurrences"),
    }
)
#: Enough for Postgres to prefer an index wherever there is one.
STORED = 20_000
#: A statement whose plan depends on which filter is set, which is tried below; and such as ask for a thousand keys at
#: once of a table that is small here: reading all of it may be the cheapest. Of cleaning, once a day: what is counted
#: for a dry run, and due times, of which there are few.
EXCEPTED = {
    *("executions.sql: page", "bulk.sql: taken", "ledger_events.sql: occurrence"),
    *("cleaner.sql: count_executions", "cleaner.sql: count_occurrences", "cleaner.sql: delete_occurrences"),
}
NO_FILTER = dict.fromkeys(("before", "state", "slug", "correlation_id", "slow"))

STATEMENTS = {
    f"{twin.name}: {name}": statement
    for twin in (*sorted((ROOT / "workers").rglob("*.sql")), ROOT / "telemetry" / "completeness.sql")
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


def test_the_ledger_is_compared_day_by_day_in_the_order_of_its_ids(seeded: psycopg.Connection) -> None:
    seeded.execute(
        "update command_steps set event_id = overlay("
        "execution_id::text placing lpad(to_hex(ordinal), 3, '0') from 16 for 3)::uuid"
    )
    make_partitions(seeded, NOW, 7)
    seeded.execute("analyze command_steps")
    cursor = ClientCursor(seeded)
    minute = {"first_id": least_id_at(to_unix_us(NOW)), "end_id": least_id_at(to_unix_us(NOW + timedelta(minutes=1)))}
    statements = [
        (RECONCILER["missing"], {**minute, "limit": 1000}),
        (COMPLETENESS["compare"], {**minute, "examples": 5}),
        (COMPLETENESS["slice_end"], {**minute, "rows": 20_000}),
    ]
    for statement, given in statements:
        found = list(nodes(explained(seeded, sql.SQL(cursor.mogrify(statement, given)))))

        read = {node["Relation Name"] for node in found if "Relation Name" in node}
        assert GROWING & read == {
            *("command_executions", "command_attempts", "command_steps", "mutations", "schedule_occurrences")
        }
        assert {name for name in read if name.startswith("telemetry_events")} <= {f"telemetry_events_p{NOW:%Y%m%d}"}
        assert all(
            node.get("Index Name", "").endswith(("_events", "command_executions_pkey"))
            for node in found
            if node.get("Relation Name") in GROWING
        )


def test_vacuum_never_passes_over_the_index_of_what_is_due(seeded: psycopg.Connection) -> None:
    said: list[str] = []
    seeded.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    seeded.execute("update command_executions set priority = 8 where worker_id is not null")

    seeded.execute("vacuum (verbose) command_executions")

    assert 'index "command_executions_due"' in "".join(said)
    assert "bypassed" not in "".join(said)
