"""Which filters roll-ups can answer, and what these are asked then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from telemetry.events import CATALOGUE, event_type
from telemetry.filters.kinds import EARLIEST, LATEST
from telemetry.filters.parsing import parse
from telemetry.filters.printing import show
from telemetry.overview import STRETCHES, stretches_of
from telemetry.rollups.asked import slice_of

pytestmark = pytest.mark.req("A-06")

COMMANDS = ("command.execution.completed", "command.execution.failed")
AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("dry_run:false level:>=warning", "dry_run:false level:>=warning"),
        ("-component:dsl outcome:failed,dead", "-component:dsl outcome:failed,dead"),
        ("event_type:dsl.st* category:*", "event_type:dsl.st* category:*"),
        ("type:transform", "component:dsl operation:transform"),
        ("type:tool.*", 'component:dsl operation:"tool."*'),
        ("-operation:*", "-operation:*"),
    ],
)
def test_what_buckets_know_is_asked_of_them(text: str, told: str) -> None:
    part = slice_of(parse(text))

    assert part is not None
    assert show(part.where) == told


def test_the_operation_of_a_request_is_its_route_whatever_the_method() -> None:
    part = slice_of(parse("operation:/api/notes"))

    assert part is not None
    assert show(part.where).startswith('operation:/api/notes,"GET /api/notes","HEAD /api/notes",')


@pytest.mark.parametrize(
    "text",
    [
        *("user_id:" + "0" * 32, "space_id:" + "0" * 32, "duration:>2s", "source:api", "attempt:2", "step:create"),
        *(
            "error:TimeoutError",
            "-type:transform",
            "operation:/api/*",
            'operation:"GET /api/notes"',
            "command:todo.add",
        ),
        *("-occurred_at:>2026-03-01T09:00:00Z", "occurred_at:2026-03-01T09:00:00Z,2026-03-02T09:00:00Z"),
    ],
)
def test_what_buckets_do_not_know_is_asked_of_events(text: str) -> None:
    assert slice_of(parse(text)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("command:todo.add", "operation:todo.add"),
        ("-command:todo.*", '-operation:"todo."*'),
        ("command:unknown", None),
        ("command:u*", None),
        ("command:*", None),
    ],
)
def test_a_command_is_what_is_done_where_nothing_but_commands_counts(text: str, told: str | None) -> None:
    part = slice_of(parse(text), COMMANDS)

    assert (None if part is None else show(part.where)) == told
    assert slice_of(parse(text), (*COMMANDS, "dsl.step.executed")) is None


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("", EARLIEST, LATEST),
        ("occurred_at:>=2026-03-01T09:00:00Z", AT, LATEST),
        ("occurred_at:>2026-03-01T09:00:00Z", AT + MICROSECOND, LATEST),
        ("occurred_at:<=2026-03-01T09:00:00Z", EARLIEST, AT + MICROSECOND),
        ("occurred_at:2026-03-01T09:00:00Z", AT, AT + MICROSECOND),
        ("occurred_at:2026-03-01T08:00:00Z..2026-03-01T09:00:00Z", AT - timedelta(hours=1), AT + MICROSECOND),
        ("occurred_at:<2026-03-01T09:00:00Z occurred_at:>2026-03-01T09:00:00Z", AT + MICROSECOND, AT + MICROSECOND),
        ("occurred_at:*", EARLIEST, LATEST),
    ],
)
def test_bounds_of_time_become_one_half_open_stretch(text: str, since: datetime, until: datetime) -> None:
    part = slice_of(parse(text))

    assert part is not None
    assert (part.since, part.until) == (since, until)


def test_the_component_of_an_event_is_the_first_word_of_its_type() -> None:
    assert all(event_type(each).partition(".")[0] == each.component for each in CATALOGUE)


@pytest.mark.parametrize(
    ("length", "step"),
    [
        (timedelta(seconds=5), timedelta(minutes=1)),
        (timedelta(hours=1), timedelta(minutes=2)),
        (timedelta(hours=12), timedelta(minutes=30)),
        (timedelta(days=1), timedelta(hours=1)),
        (timedelta(days=30), timedelta(days=1)),
        (timedelta(days=36_500), timedelta(days=365)),
    ],
)
def test_stretches_are_of_a_natural_length_and_few(length: timedelta, step: timedelta) -> None:
    until = AT + timedelta(seconds=7)

    found = stretches_of(until - length, until)

    assert found.step == step
    assert (found.first - EARLIEST) % step == timedelta(0)
    assert found.first <= until - length
    assert found.first + found.count * step >= until
    assert found.count <= STRETCHES + 1 or length > STRETCHES * step


def test_stretches_are_no_shorter_than_what_is_kept() -> None:
    assert stretches_of(AT - timedelta(hours=1), AT, "hour").step == timedelta(hours=1)
    assert stretches_of(AT - timedelta(hours=1), AT, "day").step == timedelta(days=1)
