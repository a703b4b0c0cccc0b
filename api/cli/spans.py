"""The events of a trace as a tree of spans: request → execution → attempt → steps → changes. Pure.

An event tells of something that ended at `occurred_at` and took `duration_ms`. What has not ended yet is told only by
what happened inside it: such spans are open.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

#: One event as the telemetry API gives it.
EventJson: TypeAlias = Mapping[str, Any]

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
        outcome: As in its event; none if it has none to tell.
        children: What happened inside, in order.
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

    @property
    def is_open(self) -> bool:
        return self.end_us is None

    @property
    def duration_ms(self) -> float | None:
        """How long it took; none for what has no duration or has not ended."""
        return (self.end_us - self.start_us) / 1000 if self.timed and self.end_us is not None else None


def build(events: Iterable[EventJson]) -> list[Span]:
    """The roots of a trace's tree, in order of time: requests, and executions no request is known of."""
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
    executions = {key: _execution(group) for key, group in by_execution.items()}
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
    )


def _execution(events: Sequence[EventJson]) -> Span:
    """One execution; its attempts get a level of their own when there is more than one."""
    moments = {event["event_type"].removeprefix("command.execution."): event for event in events}
    queued = moments.get("queued")
    final = moments.get("completed") or moments.get("failed")
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
        outcome=(final.get("outcome") if final else "running" if starts else "queued"),
    )
    if len(starts) <= 1:
        span.children = _steps([event for group in inner.values() for event in group])
        return span
    ends = [_us(event) for event in starts[1:]] + [span.end_us]
    for start, end in zip(starts, ends, strict=True):
        number = start.get("attempt") or 0
        attempt = Span(f"attempt {number}", "attempt", "", _us(start), end, children=_steps(inner[number]))
        span.children.append(attempt)
    return span


def _steps(events: Sequence[EventJson]) -> list[Span]:
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
        _settle(span)
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
    )
    siblings.append(span)
    nodes[path] = span


def _node(path: str, name: str, kind: Literal["step", "item"], siblings: list[Span], nodes: dict[str, Span]) -> Span:
    if path not in nodes:
        outcome = "running" if kind == "step" else None
        nodes[path] = Span(name, kind, "", 0, None, outcome=outcome)
        siblings.append(nodes[path])
    return nodes[path]


def _settle(span: Span) -> None:
    """Give what has no event of its own the hull of its children, and put children in order."""
    for child in span.children:
        _settle(child)
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
    # An item with one step is that step.
    if span.kind == "item" and len(span.children) == 1 and span.children[0].kind == "step":
        only = span.children[0]
        span.name, span.type, span.children = f"{span.name}.{only.name}", only.type, only.children


def _moment(event: EventJson) -> Span:
    """Something without a duration: a change, a refusal."""
    count = event.get("mutations_count") or 0
    name = event["event_type"] if count <= 1 else f"{event['event_type']} x{count}"
    at = _us(event)
    kind = event["component"]
    return Span(name, "change", kind, at, at, timed=False, outcome=event.get("outcome"))


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
