"""What the filter language says, and what it says of what it does not understand."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from telemetry.errors import FilterInvalid
from telemetry.filters.conditions import conditions, resolved
from telemetry.filters.parsing import MAX_CLAUSES, MAX_TESTS, MAX_TEXT, parse
from telemetry.filters.printing import show
from telemetry.filters.syntax import Between, Clause, Compare, Exists, Filter, Is, Starts

ID = UUID("0198a000-0000-7000-8000-0000000000aa")


def test_a_filter_is_clauses_that_all_must_hold() -> None:
    assert parse(" command:x outcome:failed\n duration:>2s -type:transform ") == Filter(
        (
            Clause("command", (Is("x"),)),
            Clause("outcome", (Is("failed"),)),
            Clause("duration", (Compare(">", 2_000_000),)),
            Clause("type", (Is("transform"),), negated=True),
        )
    )
    assert parse(" \n") == Filter()


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("outcome:failed,dead", (Is("failed"), Is("dead"))),
        ("duration:1.5ms", (Is(1500),)),
        ("duration:100ms..2s,>=1m", (Between(100_000, 2_000_000), Compare(">=", 60_000_000))),
        ("attempt:<=3", (Compare("<=", 3),)),
        ("level:>=warning", (Compare(">=", "warning"),)),
        ("level:info..error", (Between("info", "error"),)),
        ("duration:<3153599999999999us", (Compare("<", 36_500 * 86_400 * 10**6 - 1),)),
        ("error:*", (Exists(),)),
        ("command:todo.*", (Starts("todo."),)),
        ('command:"a \\"b\\" \\\\"*', (Starts('a "b" \\'),)),
        ('command:"*"', (Is("*"),)),
        ('command:"a,b"', (Is("a,b"),)),
        ("dry_run:TRUE", (Is(True),)),
        ("component:tool_telemetry", (Is("tool"),)),
        ("event_type:tool_telemetry", (Is("tool"),)),
        ("event_type:dsl.st*", (Starts("dsl.st"),)),
        (f"trace:{ID.hex.upper()}", (Is(ID),)),
        ("fingerprint:0102030405060708", (Is(b"\x01\x02\x03\x04\x05\x06\x07\x08"),)),
        ("step:triage[17].note", (Is("triage[17].note"),)),
        ("operation:/api/commands/<slug>/executions", (Is("/api/commands/<slug>/executions"),)),
        ("time:>=2026-03-01T09:00:00+01:00", (Compare(">=", datetime(2026, 3, 1, 8, tzinfo=UTC)),)),
    ],
)
def test_values_are_those_of_their_field(text: str, tests: object) -> None:
    (clause,) = parse(text).clauses
    assert clause.tests == tests


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("component:Tool_telemetry", "component:tool"),
        ("command_slug:x  step_type:y", "command:x type:y"),
        ("duration:2000ms", "duration:2s"),
        ("Outcome:FAILED", "outcome:failed"),
        ('command:"plain"', "command:plain"),
        ("command:ключ", 'command:"ключ"'),
    ],
)
def test_there_is_one_way_to_write_a_filter(text: str, canonical: str) -> None:
    assert show(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "line", "column", "said", "nearest"),
    [
        ("comand:x", 1, 1, "there is no field 'comand'", "command"),
        ("command:x outcom:failed", 1, 11, "there is no field 'outcom'", "outcome"),
        ("command:x\n  outcome:faild", 2, 11, "'faild' is not a value of outcome", "failed"),
        ("component:fragmnt_telemetry", 1, 11, "'fragmnt_telemetry' is not a value of component", "fragment"),
        ("failed", 1, 1, "'failed' is not a clause", "outcome:failed"),
        ("duration", 1, 1, "'duration' is not a clause", "duration"),
        ("-", 1, 2, "a clause is missing", None),
        ("duration:>2", 1, 11, "'2' is not a value of duration", None),
        ("duration:", 1, 10, "a value of duration is missing", None),
        ("duration:1s..", 1, 14, "a value of duration is missing", None),
        ("duration:1*", 1, 10, "duration is not found by how it begins", None),
        ("command:>x", 1, 9, "> does not apply to command", None),
        ("command:x,", 1, 11, "a value of command is missing", None),
        ("command:a*b", 1, 11, "'b' does not follow a value", None),
        ('command:"x', 1, 9, "the quotes do not end, or hold an odd backslash", None),
        ('command:"x"y', 1, 12, "'y' does not follow a value", None),
        ("user:a*", 1, 6, "user is not found by how it begins", None),
        ('command:""', 1, 9, "'' is not a value of command", None),
        ("trace:abc", 1, 7, "'abc' is not a value of correlation_id", None),
        ("dry_run:yes", 1, 9, "'yes' is not a value of dry_run", None),
        ("time:>=2026-03-01", 1, 8, "'2026-03-01' is not a value of occurred_at", None),
        ("time:>=9999-12-31T23:59:59-12:00", 1, 8, "'9999-12-31T23:59:59-12:00' is not a value of occurred_at", None),
        ("command:a\0", 1, 10, "the filter holds a character that no text has", None),
        ("command:" + "x" * MAX_TEXT, 1, MAX_TEXT + 1, "the filter is too long", None),
        ("try:1 " * (MAX_CLAUSES + 1), 1, 6 * MAX_CLAUSES + 1, "the filter has too many clauses", None),
        ("try:" + "1," * (MAX_TESTS + 1), 1, 5 + 2 * MAX_TESTS, "the filter has too many values", None),
    ],
)
def test_what_is_not_understood_is_said_where_it_is(
    text: str, line: int, column: int, said: str, nearest: str | None
) -> None:
    with pytest.raises(FilterInvalid) as refused:
        parse(text)

    found = refused.value
    assert (found.line, found.column, found.detail, found.nearest) == (line, column, said, nearest)
    assert found.expected
    assert found.code == "filter.invalid"


def test_names_of_users_and_spaces_are_replaced_by_what_events_have() -> None:
    asked = parse("-user:ada,bob space:home,gone user:*")

    found = resolved(asked, lambda name: name.encode(), {"home": ID}.get)

    assert found == Filter(
        (
            Clause("user_id", (Is(b"ada"), Is(b"bob")), negated=True),
            Clause("space_id", (Is(ID), Is(UUID(int=0)))),
            Clause("user_id", (Exists(),)),
        )
    )


def test_no_value_becomes_text_of_a_statement() -> None:
    evil = "'; drop table telemetry_events; --%s%(x)s"
    made = conditions(Filter((Clause("command", (Is(evil), Starts(evil))), Clause("event_type", (Is(evil),)))))

    assert "drop" not in made.where().as_string()
    assert evil in made.values.values()
