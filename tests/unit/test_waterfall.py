from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeAlias

import pytest

from api.cli.waterfall import render, summary
from telemetry.spans import build

Event: TypeAlias = dict[str, Any]

START = datetime.fromisoformat("2026-11-20T12:00:00Z")
_numbers = count(1)


def event(event_type: str, at_ms: float, duration_ms: float | None = None, **facts: object) -> Event:
    """An event as the telemetry API gives it; `at_ms` is when it ended."""
    common = {
        "event_id": f"{next(_numbers):032}",
        "occurred_at": (START + timedelta(milliseconds=at_ms)).isoformat().replace("+00:00", "Z"),
        "event_type": event_type,
        "component": event_type.partition(".")[0],
        "correlation_id": "c1",
        "execution_id": "e1",
        "parent_id": None,
        "command_slug": "todo.add",
        "dry_run": False,
        "attempt": 1,
        "try": 1,
        "duration_ms": duration_ms,
        "outcome": None,
        "step_path": None,
        "step_type": None,
        "mutations_count": None,
        "measures": None,
    }
    return common | facts


def step(path: str, at_ms: float, ran_ms: float | None = 1.0, outcome: str = "succeeded", **facts: object) -> Event:
    kind = "executed" if outcome == "succeeded" else outcome
    return event(
        f"dsl.step.{kind}", at_ms, ran_ms, step_path=path, outcome=outcome, **{"step_type": "transform", **facts}
    )


def request(at_ms: float, duration_ms: float) -> Event:
    facts = {"execution_id": None, "outcome": "succeeded", "operation": "/api/commands/<slug>/executions"}
    return event("http.request.completed", at_ms, duration_ms, measures={"method": "POST", "status": 202}, **facts)


def queued(at_ms: float) -> Event:
    return event("command.execution.queued", at_ms)


def started(at_ms: float, attempt: int = 1) -> Event:
    return event("command.execution.started", at_ms, attempt=attempt)


def completed(at_ms: float, outcome: str = "succeeded") -> Event:
    name = "completed" if outcome == "succeeded" else "failed"
    return event(f"command.execution.{name}", at_ms, at_ms, outcome=outcome)


TODO = [
    request(5, 5),
    queued(2),
    started(10),
    step("create", 14, 3, step_type="fragment.create"),
    event("fragment.created", 14, step_path="create", mutations_count=1),
    step("tell", 14, None, "skipped", step_type="notify"),
    completed(20),
]


def texts(events: list[Event], width: int = 100, **options: Any) -> list[str]:  # noqa: ANN401 - as render
    return [line.text for line in render(events, width, **options)]


def test_a_trace_is_drawn_as_a_tree_with_time_to_the_right() -> None:
    assert texts(TODO, 90) == [
        "NAME                                  TYPE             DURATION  0 ──────────────── 20 ms",
        "POST /api/commands/<slug>/executions  http 202         5.0 ms    ██████",
        "└─ todo.add                           command          18 ms       ░░░░░░░░░░█████████████",
        "   ├─ create                          fragment.create  3.0 ms                 ████",
        "   │  └─ fragment.created             fragment                                    ▏",
        "   └─ tell                            notify           ○ skipped",
    ]


def test_the_ascii_drawing_has_no_other_characters() -> None:
    assert all(line.isascii() for line in texts(TODO, unicode=False))


@pytest.mark.parametrize("width", [40, 59, 71, 72, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = step("a-step-with-a-name-that-is-longer-than-most-terminals-are-wide-" * 3, 16)
    assert all(len(line) <= width for line in texts([*TODO, long], width))


def test_a_very_narrow_terminal_gets_forty_columns() -> None:
    assert texts(TODO, 5) == texts(TODO, 40)


def test_the_order_of_events_does_not_matter() -> None:
    assert texts(TODO[::-1]) == texts(TODO)


def test_no_events_make_no_lines() -> None:
    assert render([], 80) == []


@pytest.mark.parametrize(("outcome", "symbol"), [("failed", "✗"), ("skipped", "○")])
def test_what_did_not_succeed_says_so_with_a_symbol_and_a_word(outcome: str, symbol: str) -> None:
    [line] = [
        line for line in render([queued(0), started(1), step("check", 3, 1, outcome)], 100) if "check" in line.text
    ]

    assert f"{symbol} {outcome}" in line.text
    assert line.tone == outcome


def test_what_has_not_ended_is_drawn_open_to_the_last_thing_known() -> None:
    lines = texts([queued(0), started(1), step("map[0].note", 9, 1)])

    assert "▸ running" in next(line for line in lines if "todo.add" in line)
    assert "▸ running" in next(line for line in lines if " map" in line)


def test_items_of_a_map_are_nested_below_it_and_one_step_items_take_one_line() -> None:
    events = [queued(0), started(1), step("map[0].a", 3), step("map[1].a", 5), step("map[1].b", 6), step("map", 7, 6)]

    names = [line.strip().split("  ")[0] for line in texts(events)]

    assert names[1:] == ["todo.add", "└─ map", "├─ [0].a", "└─ [1]", "├─ a", "└─ b"]


def test_branches_of_a_condition_are_nested_below_it() -> None:
    [root] = build(
        [queued(0), started(1), step("check.yes", 3), step("check.no", 3, None, "skipped"), step("check", 4, 2)]
    )

    [check] = root.children
    assert {child.name for child in check.children} == {"yes", "no"}


def test_a_long_map_shows_its_first_items_and_its_last_and_counts_the_others() -> None:
    items = [step(f"map[{index}].a", 2 + index, 1, "failed" if index == 50 else "succeeded") for index in range(100)]
    events = [queued(0), started(1), *items, step("map", 110, 109)]

    shown = [line for line in texts(events) if "[" in line or "more" in line]

    assert len(shown) == 7
    assert "[99].a" in shown[-1]
    assert shown[-2].endswith("… 94 more, 1 failed (--all shows them)")
    assert sum("[" in line for line in texts(events, show_all=True)) == 100


def test_a_long_list_of_changes_is_collapsed_like_a_map() -> None:
    changes = [event("fragment.created", 5, step_path="make", mutations_count=1) for _ in range(20)]

    assert sum("fragment.created" in line for line in texts([queued(0), started(1), step("make", 6, 5), *changes])) == 6


def test_attempts_get_a_level_of_their_own_when_there_is_more_than_one() -> None:
    events = [
        queued(0),
        started(1, 1),
        step("a", 3, attempt=1),
        started(10, 2),
        step("b", 12, attempt=2),
        completed(15),
    ]

    [root] = build(events)

    assert [(span.name, [child.name for child in span.children]) for span in root.children] == [
        ("attempt 1", ["a"]),
        ("attempt 2", ["b"]),
    ]


def test_a_child_execution_is_drawn_below_its_parent() -> None:
    child = [
        queued(5) | {"execution_id": "e2", "parent_id": "e1"},
        completed(9) | {"execution_id": "e2", "parent_id": "e1"},
    ]

    [root] = build([queued(0), started(1), *child, completed(10)])

    assert [span.name for span in root.children] == ["todo.add"]


def test_changes_of_an_import_are_drawn_below_the_request() -> None:
    change = event("fragment.created", 4, execution_id=None, command_slug=None, mutations_count=300)

    [root] = build([request(5, 5), change])

    assert [span.name for span in root.children] == ["fragment.created x300"]


def test_waiting_and_running_both_get_a_cell_however_short_they_were() -> None:
    events = [request(1000, 1000), queued(500), started(500.01), completed(500.02)]

    line = texts(events)[2]

    assert "░█" in line


def test_the_summary_counts_what_is_in_the_trace() -> None:
    assert summary(TODO) == "1 execution, 2 steps, 1 change, 20 ms"
