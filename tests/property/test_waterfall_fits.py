from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.cli.waterfall import render, summary

PATHS = st.from_regex(r"[a-z][a-z0-9_-]{0,20}(\[[0-9]{1,3}\])?(\.[a-z]{1,30}(\[[0-9]\])?){0,4}", fullmatch=True)
TYPES = st.sampled_from(
    [
        "http.request.completed",
        "command.validation.failed",
        "command.execution.queued",
        "command.execution.started",
        "command.execution.completed",
        "command.execution.failed",
        "dsl.step.executed",
        "dsl.step.failed",
        "dsl.step.skipped",
        "fragment.created",
    ]
)
IDS = st.sampled_from(["e1", "e2", "e3"])


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    event_type = draw(TYPES)
    component = event_type.partition(".")[0]
    execution = None if component == "http" else draw(IDS)
    has_path = component == "dsl" or (component == "fragment" and draw(st.booleans()))
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw(st.integers(0, 10**12)))
    return {
        "event_id": str(draw(st.uuids())),
        "occurred_at": at.isoformat(),
        "event_type": event_type,
        "component": component,
        "execution_id": execution,
        "parent_id": None,
        "command_slug": draw(st.sampled_from(["todo.add", "inbox.triage", None])),
        "dry_run": draw(st.booleans()),
        "attempt": draw(st.integers(0, 3)),
        "try": draw(st.sampled_from([None, 1, 2])),
        "duration_ms": draw(st.none() | st.floats(0, 10**9)),
        "outcome": draw(st.sampled_from([None, "succeeded", "failed", "skipped", "dead"])),
        "step_path": draw(PATHS) if has_path else None,
        "step_type": "transform" if component == "dsl" else None,
        "mutations_count": draw(st.none() | st.integers(0, 500)),
        "operation": draw(st.sampled_from(["/x/<y>", "todo.add"])),
        "measures": draw(st.just({}) | st.just({"method": "GET", "status": 200})),
    }


@given(st.lists(events(), max_size=40), st.integers(0, 300), st.booleans(), st.booleans())
def test_any_events_are_drawn_within_the_width(
    found: list[dict[str, Any]], width: int, show_all: bool, unicode: bool
) -> None:
    lines = render(found, width, unicode=unicode, show_all=show_all)

    assert bool(lines) == bool(found)
    assert all(len(line.text) <= min(max(width, 40), 200) for line in lines)
    assert all(line.text == line.text.rstrip() for line in lines)
    assert unicode or all(line.text.isascii() for line in lines)
    assert summary(found, unicode=unicode)
