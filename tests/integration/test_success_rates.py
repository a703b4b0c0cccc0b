"""The statements of docs/how-to/read-success-rates.md, on telemetry_events alone, held against the ledger."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures.apis import Api
from psycopg import sql

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "read-success-rates.md"
STATEMENTS = dict(
    zip(
        ("commands", "step types", "submissions", "errors", "fields"),
        re.findall(r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE),
        strict=True,
    )
)

NUMBERS = """
  - id: each
    type: list.map
    with:
      items: "{{ inputs.items }}"
      on_error: continue
      do:
        - {id: check, type: validate, with: {rules: [{value: "{{ item }}", max: 5}]}}
        - {id: tell, type: notify, if: item == 3, with: {channel: inbox, message: three}}
  - {id: all, type: validate, with: {rules: [{value: "{{ steps.each.output.failed }}", max: 1}]}}
"""


@pytest.fixture
def traffic(api: Api) -> psycopg.Connection[Any]:
    """Some hundred submissions of several commands: run, dry, failing and refused; and a connection to look at them."""
    api.write("numbers", NUMBERS, "{items: {type: array, required: true}}")
    api.write("breaks", "  - {id: x, type: fragment.update, with: {id: 01a1fa64-2221-741f-a676-2681ae902a06}}\n")
    chance = random.Random(7)
    for _ in range(60):
        dry_run = chance.random() < 0.2
        api.submit("numbers", {"items": chance.choices(range(8), k=3)}, dry_run=dry_run)
        api.submit("todo.add", {"body": chance.choice(["milk", "  "])}, dry_run=dry_run)
        if chance.random() < 0.3:
            api.submit("breaks")
        if chance.random() < 0.3:
            api.submit("todo.add", {"bdoy": "x", "priority": "urgent"}, dry_run=dry_run)
    api.run()
    api.submit("todo.add", {"body": "not run yet"})
    return psycopg.connect(api.settings.servers.database_url or "", autocommit=True)


def answers(connection: psycopg.Connection[Any], name: str) -> list[tuple[Any, ...]]:
    """What a statement of the page says to a role that may read telemetry_events, and nothing else."""
    role = f"weir_test_{random.getrandbits(64):x}"
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("create role {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("grant select on telemetry_events to {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        return connection.execute(STATEMENTS[name].encode()).fetchall()


@pytest.mark.req("C-16")
def test_rates_from_telemetry_alone_are_those_of_the_ledger(traffic: psycopg.Connection[Any]) -> None:
    with traffic as connection:
        told = {row[0]: row[1:] for row in answers(connection, "commands")}
        counted: dict[str, Counter[bool]] = defaultdict(Counter)
        ended = "select slug, state = 'succeeded' from command_executions where finished_at is not null and not dry_run"
        for slug, succeeded in connection.execute(ended):
            counted[slug][succeeded] += 1
        assert {slug: row[:3] for slug, row in told.items()} == {
            slug: (count.total(), count[True], count[False]) for slug, count in counted.items()
        }
        assert set(told) == {"numbers", "todo.add", "breaks"}
        assert all(float(row[3]) == pytest.approx(100 * row[1] / row[0], abs=0.05) for row in told.values())
        assert told["breaks"][3] == 0
        assert 0 < told["todo.add"][3] < 100

        told = {row[0]: row[1:] for row in answers(connection, "step types")}
        counted = defaultdict(Counter)
        ran = (
            "select step_type, outcome = 'succeeded' from command_steps join command_executions e "
            "on e.id = execution_id where outcome <> 'skipped' and not e.dry_run"
        )
        for step_type, succeeded in connection.execute(ran):
            counted[step_type][succeeded] += 1
        assert {name: row[:3] for name, row in told.items()} == {
            name: (count.total(), count[True], count[False]) for name, count in counted.items()
        }
        assert told["validate"][2] > 0
        assert told["list.map"][3] == 100


@pytest.mark.req("C-16", "C-06")
def test_submissions_errors_and_fields_are_counted(traffic: psycopg.Connection[Any]) -> None:
    with traffic as connection:
        submissions = {row[0]: row[1:] for row in answers(connection, "submissions")}
        accepted = connection.execute("select slug, count(*) from command_executions where not dry_run group by slug")
        assert {slug: row[0] for slug, row in submissions.items()} == dict(accepted.fetchall())
        refused = "select count(*) from telemetry_events where event_type = 'command.validation.failed' and not dry_run"
        assert (submissions["todo.add"][1],) == connection.execute(refused).fetchone()
        assert submissions["todo.add"][1] > 0

        errors = answers(connection, "errors")
        failed = (
            "select count(*) from command_steps join command_executions e on e.id = execution_id "
            "where outcome = 'failed' and not e.dry_run"
        )
        assert (sum(row[5] for row in errors),) == connection.execute(failed).fetchone()
        [broken] = [row for row in errors if row[0] == "breaks"]
        assert broken[1:4] == ("fragment.update", "FragmentNotFound", "validation")

        fields = {row[:4]: row[4] for row in answers(connection, "fields")}
        assert fields[("todo.add", None, "inputs.<unknown>", "unknown")] == submissions["todo.add"][1]
        assert fields[("todo.add", None, "inputs.priority", "enum")] == submissions["todo.add"][1]
        assert any(
            key[0] == "numbers" and key[1] == "each[0].check" and key[2:] == ("rules[0]", "max") for key in fields
        )
        assert not any("bdoy" in str(key) for key in fields)


def test_the_bound_on_ids_rules_out_partitions(traffic: psycopg.Connection[Any]) -> None:
    with traffic as connection:
        connection.execute(
            "create table telemetry_events_pold partition of telemetry_events for values "
            "from ('00000000-0000-0000-0000-000000000000') to ('01000000-0000-0000-0000-000000000000')"
        )
        for statement in STATEMENTS.values():
            plan = connection.execute(b"explain " + statement.encode()).fetchall()
            text = "\n".join(line for (line,) in plan)
            assert "telemetry_events_p" in text
            assert "telemetry_events_pold" not in text
