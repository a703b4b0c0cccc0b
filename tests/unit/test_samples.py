"""Samples: whole, as many as asked for, when people work, and the same from the same seed. No I/O."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pytest

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.events import event_type
from telemetry.ids import unix_ms_of
from telemetry.rows import RowEncoder
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.samples.plan import DAY_US, Slice, slices, spans
from telemetry.samples.shapes import PREFIX

UNTIL = to_unix_us(datetime(2026, 3, 11, 15, 30, tzinfo=UTC))  # a Wednesday
USERS = [bytes([number]) * 16 for number in range(1, 13)]
ALL = frozenset(COMPONENTS)
ENDS = {"command.execution.completed", "command.execution.failed"}


def plan(count: int, days: int = 7, *, without: frozenset[int] = frozenset()) -> list[Slice]:
    first_us = UNTIL - days * DAY_US
    open_days = frozenset(range(first_us // DAY_US, UNTIL // DAY_US + 1)) - without
    return list(slices(spans(first_us, UNTIL, open_days), count))


def make(count: int, days: int = 7, seed: int = 1, components: frozenset[str] = ALL) -> list[Any]:
    samples = Samples(seed, components, USERS)
    return [event for part in plan(count, days) for event in samples.events(part)]


@pytest.fixture(scope="module")
def many() -> list[Any]:
    return make(20_000)


@pytest.mark.req("S-09")
@pytest.mark.parametrize("count", [1, 7, 50, 21_000])
def test_there_are_exactly_as_many_as_asked_for(count: int) -> None:
    assert len(make(count)) == count


@pytest.mark.req("S-09")
def test_the_same_seed_makes_the_same_events_and_another_one_others() -> None:
    assert make(500) == make(500)
    assert {event.event_id for event in make(500)}.isdisjoint(event.event_id for event in make(500, seed=2))


@pytest.mark.req("S-09")
def test_all_are_marked_and_storable_and_none_is_outside_its_time(many: list[Any]) -> None:
    encode = RowEncoder().encode
    for event in many:
        encode(event)
        slug = event.scope.command_slug
        assert event.scope.request_source == "sample"
        assert slug is None or slug.startswith(PREFIX)
        assert UNTIL - 7 * DAY_US <= event.occurred_at_us < UNTIL
        assert unix_ms_of(event.event_id) == event.occurred_at_us // 1000
    assert len({event.event_id for event in many}) == len(many)


def by_execution(events: list[Any]) -> dict[bytes, list[Any]]:
    found: dict[bytes, list[Any]] = {}
    for event in events:
        if event.scope.execution_id is not None:
            found.setdefault(event.scope.execution_id, []).append(event)
    return found


@pytest.mark.req("S-09", "C-04")
def test_an_execution_ends_once_and_its_end_counts_its_steps(many: list[Any]) -> None:
    executions = by_execution(many)
    cut_off = 0

    for events in executions.values():
        ends = [event for event in events if event_type(event) in ENDS]
        if not ends:
            cut_off += 1
            continue
        (end,) = ends
        ran = {event.step_path: event.outcome for event in events if event_type(event).startswith("dsl.step.")}
        counted = Counter(ran.values())
        own = [event for event in events if event.component != "http"]  # its answer may be noted a moment later
        assert end.occurred_at_us == max(event.occurred_at_us for event in own)
        assert (end.steps_successful, end.steps_failed) == (counted["succeeded"], counted["failed"])
        assert end.steps_executed == counted["succeeded"] + counted["failed"]
        assert end.total_duration_us <= end.elapsed_us
        assert sum(event_type(event) == "command.execution.queued" for event in events) == 1

    assert len(executions) > 1000
    assert cut_off == 0


@pytest.mark.req("S-09", "A-01")
def test_chat_requests_fill_every_metric(many: list[Any]) -> None:
    asked = [event for event in many if event.component == "chat"]
    ended = [event for event in asked if hasattr(event, "duration_us")]
    completed = [event for event in ended if event.outcome == "succeeded"]

    assert {event.request_id for event in ended} == {event.request_id for event in asked}
    assert len(asked) == 2 * len(ended) > 2 * len(completed) > 0
    assert {event.cache for event in completed} == {"hit", "miss", "none"}
    assert all((event.context_us or 0) + (event.model_us or 0) <= event.duration_us for event in ended)
    assert all(event.context_us and event.model_us and event.prompt_tokens for event in completed)


@pytest.mark.req("S-09")
def test_everything_there_is_occurs(many: list[Any]) -> None:
    types = Counter(map(event_type, many))
    step_types = {getattr(event, "step_type", "") for event in many}

    assert {"command.execution.retried", "command.execution.failed", "command.validation.failed"} <= set(types)
    assert {"schedule.triggered", "schedule.skipped", "fragment.deleted", "dsl.step.skipped"} <= set(types)
    assert {"tool.call", "ai.generate", "list.map"} <= step_types
    assert any(event.scope.parent_id for event in many)  # conversations


@pytest.mark.req("S-09")
def test_days_are_busier_than_nights_and_workdays_than_sundays(many: list[Any]) -> None:
    hours = Counter(from_unix_us(event.occurred_at_us).hour for event in many)
    weekdays = Counter(from_unix_us(event.occurred_at_us).weekday() for event in many)

    assert hours[10] > 8 * hours[3] > 0
    assert weekdays[1] > 2 * weekdays[6] > 0


@pytest.mark.req("S-09")
def test_durations_have_a_long_tail(many: list[Any]) -> None:
    took = sorted(event.duration_us for event in many if getattr(event, "step_type", "") == "ai.generate")

    assert took[len(took) * 99 // 100] > 4 * median(took)


@pytest.mark.req("S-09")
def test_failures_come_in_bursts() -> None:
    failed = Counter(
        event.occurred_at_us // 600_000_000 for event in make(30_000, days=4) if event_type(event) == "dsl.step.failed"
    )
    worst = sum(count for _, count in failed.most_common(len(failed) // 5 or 1))

    assert worst > 0.4 * failed.total()


@pytest.mark.req("S-09")
@pytest.mark.parametrize("component", COMPONENTS)
def test_one_component_gives_events_of_it_alone(component: str) -> None:
    events = make(300, components=frozenset({component}))

    assert len(events) == 300
    if component == "tool":
        assert {event.step_type for event in events} == {"tool.call"}
    elif component == "llm":
        assert {event.step_type for event in events} == {"ai.generate"}
    elif component == "chat":
        assert {event.scope.command_slug for event in events} == {"sample.chat.reply"}
    else:
        assert {event.component for event in events} == {component}


def test_days_that_are_left_out_stay_empty() -> None:
    left_out = UNTIL // DAY_US - 3
    samples = Samples(1, ALL, USERS)

    events = [event for part in plan(2000, without=frozenset({left_out})) for event in samples.events(part)]

    assert len(events) == 2000
    assert left_out not in {event.occurred_at_us // DAY_US for event in events}


def test_a_slice_too_short_for_what_is_wanted_ends_with_fewer() -> None:
    first_us = UNTIL - 1000
    (part,) = slices(spans(first_us, UNTIL, frozenset({UNTIL // DAY_US})), 5)

    assert list(Samples(1, frozenset({"tool"}), USERS).events(part)) == []
    assert len(list(Samples(1, frozenset({"http"}), USERS).events(part))) == 5


def test_slices_hold_all_events_once_and_none_is_large() -> None:
    parts = plan(2_000_003, days=14)

    assert sum(part.count for part in parts) == 2_000_003
    assert max(part.count for part in parts) < 40_000
    assert [part.number for part in parts] == list(range(len(parts)))
    assert timedelta(microseconds=parts[-1].spans[-1].end_us - parts[0].spans[0].first_us) == timedelta(days=14)
