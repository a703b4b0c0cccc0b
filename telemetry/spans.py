"""The events of a trace as a tree of spans: request → execution → attempt → steps → changes. Pure.

An event tells of something that ended at `occurred_at` and took `duration_ms`. What has not ended is told only by what
happened inside it: such spans are open, and `why_open` says why, as far as somebody knows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

#: One event as the telemetry API gives it.
EventJson: TypeAlias = Mapping[str, Any]

#: How executions end, by the last word of the event that tells.
_ENDS = ("completed", "failed", "cancelled")

_SEGMENT = re.compile(r"(?P<id>[^.\[\]]+)(?:\[(?P<index>\d+)\])?")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Span:
    """Something that took time.

    Attributes:
        name: What it is called beside its siblings: a route, a slug, a step's id, `[17]`.
        kind: `request`, `execution`, `attempt`, `step`, `item` or `change`.
        type: The step type, or a word for what else it is.
        start_us: Microseconds since 1970.
        end_us: Likewise; none while it is open.
        wait_us: How much of the beginning was waiting in the queue.
        timed: Whether it has a duration; a skipped step and a change have none.
        outcome: As in its event; none if it has none to tell. Of an attempt that was not the last, why it ended.
        children: What happened inside, in order.
        execution_id: Of the execution that it is, or is part of.
        step_path: Of a step, or of the step that made the change.
        event_id: Of the event that tells of it, if there is one.
        error_type: Class of what it failed with.
        why_open: Of what has not ended: a state of its execution (`queued`, `running`, `waiting`, `scheduled`), or
            `worker_lost`, `event_missing`.
    """

    name: str
    kind: Literal["request", "execution", "attempt", "step", "item", "change"]
    type: str
    start_us: int
    end_us: int | None
    wait_us: int = 0
    timed: bool = True
    outcome: str | None = None
    children: list[Span] = field(default_factory=list)
    execution_id: str | None = None
    step_path: str | None = None
    event_id: str | None = None
    error_type: str | None = None
    why_open: str | None = None

    @property
    def is_open(self) -> bool:
        return self.end_us is None

    @property
    def duration_ms(self) -> float | None:
        """How long it took; none for what has no duration or has not ended."""
        return (self.end_us - self.start_us) / 1000 if self.timed and self.end_us is not None else None


def build(events: Iterable[EventJson], states: Mapping[str, str] | None = None) -> list[Span]:
    """The roots of a trace's tree, in order of time: requests, and executions no request is known of.

    Args:
        events: All of the trace, in any order, as `telemetry.query.event_json` gives them.
        states: Of executions that have not ended, by id: why. Without it, what the events themselves tell.
    """
    ordered = sorted(events, key=lambda event: (_us(event), str(event["event_id"])))
    by_execution: dict[str, list[EventJson]] = defaultdict(list)
    roots: list[Span] = []
    loose: list[Span] = []
    for event in ordered:
        if event.get("execution_id"):
            by_execution[event["execution_id"]].append(event)
        elif event["component"] == "http":
            roots.append(_request(event))
        else:
            loose.append(_moment(event))
    known = states or {}
    executions = {key: _execution(group, known.get(key)) for key, group in by_execution.items()}
    for key, span in executions.items():
        parent = executions.get(str(by_execution[key][0].get("parent_id")))
        if parent is not None and parent is not span:
            parent.children.append(span)
            _sort(parent.children)
        else:
            loose.append(span)
    for span in loose:
        owner = next((root for root in roots if _within(span, root)), None)
        (owner.children if owner is not None else roots).append(span)
    for root in roots:
        if root.kind == "request":
            _sort(root.children)
    _sort(roots)
    return roots


def _request(event: EventJson) -> Span:
    measures = event.get("measures") or {}
    name = f"{measures.get('method', '')} {event['operation']}".strip()
    end = _us(event)
    return Span(
        name,
        "request",
        f"http {measures.get('status', '')}".strip(),
        end - _duration_us(event),
        end,
        outcome=event.get("outcome"),
        event_id=str(event["event_id"]),
    )


def _execution(events: Sequence[EventJson], state: str | None) -> Span:
    """One execution; its attempts get a level of their own when there is more than one."""
    moments = {event["event_type"].removeprefix("command.execution."): event for event in events}
    queued = moments.get("queued")
    final = next((moments[end] for end in _ENDS if end in moments), None)
    starts = [event for event in events if event["event_type"] == "command.execution.started"]
    inner: dict[int, list[EventJson]] = defaultdict(list)
    for event in events:
        if event["component"] != "command":
            inner[event.get("attempt") or 0].append(event)
    first_us = _us(queued) if queued else min(_us(event) - _duration_us(event, inside=True) for event in events)
    span = Span(
        events[0].get("command_slug") or "execution",
        "execution",
        "command (dry run)" if events[0].get("dry_run") else "command",
        first_us,
        _us(final) if final else None,
        wait_us=max(0, _us(starts[0]) - first_us) if queued and starts else 0,
        outcome=(final.get("outcome") if final else state or ("running" if starts else "queued")),
        execution_id=events[0].get("execution_id"),
        event_id=str(final["event_id"]) if final else None,
        error_type=final.get("error_type") if final else None,
    )
    if final is None:
        span.why_open = state or span.outcome
    if len(starts) <= 1:
        span.children = _steps([event for group in inner.values() for event in group], span.why_open)
        return span
    let_go = {event.get("attempt"): event for event in events if event["event_type"] == "command.execution.retried"}
    following = [_us(event) for event in starts[1:]]
    for start, next_us in zip_longest(starts, following):
        number = start.get("attempt") or 0
        span.children.append(_attempt(start, let_go.get(number), next_us or span.end_us, span))
        span.children[-1].children = _steps(inner[number], span.why_open)
    return span


def _attempt(start: EventJson, let_go: EventJson | None, end_us: int | None, execution: Span) -> Span:
    """One claim of an execution: it ends when it is let go of, else with the next one or the whole."""
    measures = (let_go or {}).get("measures") or {}
    return Span(
        f"attempt {start.get('attempt') or 0}",
        "attempt",
        "",
        _us(start),
        _us(let_go) if let_go else end_us,
        outcome=measures.get("reason"),
        execution_id=execution.execution_id,
        event_id=str(start["event_id"]),
        error_type=(let_go or {}).get("error_type"),
        why_open=execution.why_open if let_go is None and end_us is None else None,
    )


def _steps(events: Sequence[EventJson], why_open: str | None) -> list[Span]:
    """The step tree of one attempt, with each fragment change under the step that made it."""
    top: list[Span] = []
    nodes: dict[str, Span] = {}
    # Paths of parents are shorter than those of their children: parents first.
    steps = [event for event in events if event["component"] == "dsl"]
    for event in sorted(steps, key=lambda event: len(event["step_path"])):
        _place(event, top, nodes)
    for event in events:
        if event["component"] == "dsl":
            continue
        owner = nodes.get(event.get("step_path") or "")
        (owner.children if owner is not None else top).append(_moment(event))
    for span in top:
        _settle(span, why_open)
    _sort(top)
    return top


def _place(event: EventJson, top: list[Span], nodes: dict[str, Span]) -> None:
    """Put a step where its path says, making what is missing on the way (a parent that has not ended)."""
    siblings, path = top, ""
    segments = list(_SEGMENT.finditer(event["step_path"]))
    for segment in segments[:-1]:
        path = f"{path}.{segment['id']}" if path else segment["id"]
        siblings = _node(path, segment["id"], "step", siblings, nodes).children
        if segment["index"] is not None:
            path += f"[{segment['index']}]"
            siblings = _node(path, f"[{segment['index']}]", "item", siblings, nodes).children
    last = segments[-1]["id"]
    path = f"{path}.{last}" if path else last
    tries = event.get("try") or 1
    end = _us(event)
    span = Span(
        last if tries == 1 else f"{last} (try {tries})",
        "step",
        event.get("step_type") or "",
        end - _duration_us(event),
        end,
        timed=event.get("duration_ms") is not None,
        outcome=event.get("outcome"),
        execution_id=event.get("execution_id"),
        step_path=event["step_path"],
        event_id=str(event["event_id"]),
        error_type=event.get("error_type"),
    )
    siblings.append(span)
    nodes[path] = span


def _node(path: str, name: str, kind: Literal["step", "item"], siblings: list[Span], nodes: dict[str, Span]) -> Span:
    if path not in nodes:
        outcome = "running" if kind == "step" else None
        nodes[path] = Span(name, kind, "", 0, None, outcome=outcome)
        siblings.append(nodes[path])
    return nodes[path]


def _settle(span: Span, why_open: str | None) -> None:
    """Give what has no event of its own the hull of its children, and put children in order."""
    for child in span.children:
        _settle(child, why_open)
    _sort(span.children)
    if span.start_us == 0 and span.children:
        span.start_us = min(child.start_us for child in span.children)
        if span.kind == "item":
            ends = [child.end_us for child in span.children]
            span.end_us = None if None in ends else max(end for end in ends if end is not None)
            failed = any(child.outcome == "failed" for child in span.children)
            skipped = all(child.outcome == "skipped" for child in span.children)
            span.outcome = "failed" if failed else "skipped" if skipped else "succeeded"
            span.timed = any(child.timed for child in span.children)
    if span.is_open:
        # Its execution has ended without it: the event is lost, or on its way.
        span.why_open = why_open or "event_missing"
    # An item with one step is that step.
    if span.kind == "item" and len(span.children) == 1 and span.children[0].kind == "step":
        only = span.children[0]
        span.name, span.type, span.children = f"{span.name}.{only.name}", only.type, only.children
        span.execution_id, span.step_path = only.execution_id, only.step_path
        span.event_id, span.error_type = only.event_id, only.error_type


def _moment(event: EventJson) -> Span:
    """Something without a duration: a change, a refusal."""
    count = event.get("mutations_count") or 0
    name = event["event_type"] if count <= 1 else f"{event['event_type']} x{count}"
    at = _us(event)
    kind = event["component"]
    return Span(
        name,
        "change",
        kind,
        at,
        at,
        timed=False,
        outcome=event.get("outcome"),
        execution_id=event.get("execution_id"),
        step_path=event.get("step_path"),
        event_id=str(event["event_id"]),
        error_type=event.get("error_type"),
    )


def _sort(spans: list[Span]) -> None:
    spans.sort(key=lambda span: (_item_index(span), span.start_us, span.end_us or span.start_us))


def _item_index(span: Span) -> int:
    return int(span.name[1 : span.name.index("]")]) if span.kind == "item" else -1


def _within(span: Span, request: Span) -> bool:
    return request.start_us <= span.start_us <= (request.end_us or request.start_us)


def _us(event: EventJson) -> int:
    instant = datetime.fromisoformat(event["occurred_at"])
    return (instant - datetime.fromtimestamp(0, instant.tzinfo)) // _MICROSECOND


def _duration_us(event: EventJson, *, inside: bool = False) -> int:
    """How long it took; `inside` an execution only steps say when they began."""
    if inside and event["component"] != "dsl":
        return 0
    return round((event.get("duration_ms") or 0) * 1000)
