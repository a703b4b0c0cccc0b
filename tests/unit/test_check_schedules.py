"""`schedules:` of a command file: read, or refused with its place and what was meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema_rs
import pytest

from dsl.check import load
from dsl.errors import CommandInvalid, ExpressionError
from dsl.expressions import compiler
from dsl.schedule_inputs import evaluate, has_templates
from dsl.scheduling.spec import ScheduleSpec
from dsl.schema import command_schema
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

COMMAND = """slug: tell
inputs:
  n: {type: integer}
  day: {type: string}
steps: [{id: say, type: respond, with: {value: 1}}]
schedules:
"""
SCHEMA = jsonschema_rs.Draft202012Validator(command_schema(REGISTRY, DslSettings()))


def read(schedules: str) -> dict[str, ScheduleSpec]:
    return dict(load(COMMAND + schedules, REGISTRY, DslSettings(), origin="test").schedules)


def test_a_schedule_says_when_and_how() -> None:
    found = read("""  - id: nightly
    cron: "30 2 * * *"
    timezone: Europe/Berlin
    jitter: 5m
    misfire: all
    window: 2h
    overlap: queue
    pause_after: 3
    inputs: {n: 1, day: "{{ due_at | date: '%Y' }}"}
    user: ada
    space: work
    priority: 0
  - {id: often, every: 15m, anchor: "2026-03-29T02:30", timezone: Europe/Berlin}
  - {id: once, at: "2026-01-01T09:00+01:00"}
""")

    assert found["nightly"] == ScheduleSpec(
        cron="30 2 * * *",
        timezone="Europe/Berlin",
        jitter=timedelta(minutes=5),
        misfire="all",
        window=timedelta(hours=2),
        overlap="queue",
        pause_after=3,
        inputs={"n": 1, "day": "{{ due_at | date: '%Y' }}"},
        user="ada",
        space="work",
        priority=0,
    )
    assert found["often"].anchor == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert found["once"].at == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert found["once"].misfire == "latest"


@pytest.mark.parametrize(
    ("schedule", "code", "path", "line_column", "nearest"),
    [
        pytest.param("{id: a, crn: '@daily'}", "command.unknown_key", "crn", (7, 13), "cron", id="key"),
        pytest.param("{id: a, cron: '@dayly'}", "command.wrong_timing", "cron", (7, 19), "@daily", id="alias"),
        pytest.param(
            "{id: a, cron: '@daily', timezone: Europe/Berln}",
            "command.wrong_timing",
            "timezone",
            (7, 39),
            "Europe/Berlin",
            id="zone",
        ),
        pytest.param("{id: a}", "command.wrong_timing", "", (7, 5), None, id="no timing"),
        pytest.param("{id: a, every: 1h, at: '2026-01-01'}", "command.wrong_timing", "at", (7, 28), None, id="two"),
        pytest.param("{cron: '@daily'}", "command.missing_key", "id", (7, 5), None, id="no id"),
        pytest.param("{id: a, every: 1h, jitter: 2h}", "command.wrong_timing", "jitter", (7, 32), None, id="jitter"),
        pytest.param("{id: a, every: 1h, misfire: al}", "command.wrong_value", "misfire", (7, 33), "all", id="misfire"),
        pytest.param(
            "{id: a, every: 1h, inputs: {day: '{{ due }}'}}",
            "command.unknown_name",
            "inputs.day",
            (7, 38),
            "due_at",
            id="name",
        ),
        pytest.param(
            "{id: a, every: 1h, inputs: {day: '{{ due_at | dat }}'}}",
            "command.unknown_filter",
            "inputs.day",
            (7, 51),
            "date",
            id="filter",
        ),
        pytest.param(
            "{id: a, every: 1h, inputs: {day: '{{ due_at'}}", "command.template", "inputs.day", (7, 39), None, id="text"
        ),
        pytest.param(
            "{id: a, every: 1h, inputs: {m: 1}}", "command.wrong_inputs", "inputs", (7, 32), None, id="inputs"
        ),
        pytest.param("nightly", "command.wrong_type", "", (7, 5), None, id="no mapping"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    schedule: str, code: str, path: str, line_column: tuple[int, int], nearest: str | None
) -> None:
    with pytest.raises(CommandInvalid) as caught:
        read(f"  - {schedule}\n")

    (fault,) = caught.value.faults
    place = f"schedules[0].{path}" if path else "schedules[0]"
    assert (fault.code, fault.path, fault.nearest) == (code, place, nearest)
    assert (fault.line, fault.column) == line_column
    assert fault.expected or code in {"command.wrong_inputs"}


def test_two_schedules_have_two_ids() -> None:
    with pytest.raises(CommandInvalid) as caught:
        read("  - {id: a, every: 1h}\n  - {id: a, every: 2h}\n")

    assert [(fault.code, fault.line) for fault in caught.value.faults] == [("command.duplicate_id", 8)]


def test_every_fault_of_schedules_is_told_at_once() -> None:
    with pytest.raises(CommandInvalid) as caught:
        read("""  - {id: n, cron: "61 * * * *", timezone: Europe/Berln, misfire: last, window: 0s, jitter: 2h}
  - {id: m, every: 1h}
  - {id: m, every: 1ms, anchor: noon}
  - {id: o, evry: 1h}
  - {id: o, cron: 5, at: "2026-01-01"}
""")

    assert [(fault.path, fault.nearest) for fault in caught.value.faults] == [
        ("schedules[0].cron", None),
        ("schedules[0].timezone", "Europe/Berlin"),
        ("schedules[0].misfire", "latest"),
        ("schedules[0].window", None),
        ("schedules[0].jitter", None),
        ("schedules[2].id", None),
        ("schedules[2].every", None),
        ("schedules[2].anchor", None),
        ("schedules[3].evry", "every"),
        ("schedules[4].id", None),
        ("schedules[4].cron", None),
    ]


@pytest.mark.parametrize(
    ("schedule", "fits"),
    [
        ({"id": "a", "cron": "@daily", "inputs": {"n": 1}, "pause_after": 3}, True),
        ({"id": "a", "every": "15m", "misfire": "all", "window": "2h"}, True),
        ({"id": "a", "every": "15"}, False),
        ({"id": "a", "cron": "@daily", "misfire": "none"}, False),
        ({"id": "a", "crn": "@daily"}, False),
        ({"cron": "@daily"}, False),
        ({"id": "a", "cron": "@daily", "priority": 10}, False),
    ],
)
def test_the_published_schema_knows_the_keys(schedule: dict[str, Any], fits: bool) -> None:
    command = {"slug": "a", "steps": [{"id": "x", "type": "respond", "with": {"value": 1}}], "schedules": [schedule]}

    assert SCHEMA.is_valid(command) is fits


def test_inputs_are_evaluated_for_their_due_time_by_the_clock_of_the_zone() -> None:
    given = {"day": "{{ due_at | date: '%Y-%m-%d' }}", "all": ["{{ schedule }}", {"n": 1.5, "none": None}]}
    due_at = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)

    found = evaluate(given, compiler(DslSettings()), due_at=due_at, timezone="Europe/Berlin", schedule="s")

    assert found == {"day": "2026-03-30", "all": ["s", {"n": 1.5, "none": None}]}
    assert has_templates(given)
    assert not has_templates({"n": [1, "plain"]})
    with pytest.raises(ExpressionError):
        evaluate({"a": "{{ inputs.n }}"}, compiler(DslSettings()), due_at=due_at, timezone="UTC", schedule="s")
