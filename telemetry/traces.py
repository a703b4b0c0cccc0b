"""What a trace says about time: its spans in order, the path that decided how long it took, sums by type. Pure.

The critical path is what would have to be shorter for the whole to be shorter: from the end back, always on in what
ended last by then (Yang and Miller, Critical Path Analysis for the Execution of Parallel and Distributed Programs,
1988; as Jaeger draws it). Its segments do not overlap, are in order, and leave out only time that nothing is known of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from telemetry.spans import Span


class Placed(NamedTuple):
    """A span in the order of a drawing: parents before their children.

    Attributes:
        span: Itself.
        parent: Index of its parent; none of a root.
        depth: 0 of a root.
    """

    span: Span
    parent: int | None
    depth: int


class Segment(NamedTuple):
    """A stretch of the critical path.

    Attributes:
        place: Of the span that is worked at then, among the placed ones.
        start_us: Microseconds since 1970.
        end_us: Likewise.
    """

    place: int
    start_us: int
    end_us: int


@dataclass(slots=True)
class TypeSums:
    """Spans of one kind and type together. Times are microseconds.

    Attributes:
        kind: As that of the spans.
        type: Likewise.
        count: How many.
        failed: Of those, how many failed.
        total_us: How long they took together; what runs at a time is counted as often.
        self_us: Without what their children took.
        max_us: The longest.
        critical_us: How much of the critical path is theirs.
    """

    kind: str
    type: str
    count: int = 0
    failed: int = 0
    total_us: int = 0
    self_us: int = 0
    max_us: int = 0
    critical_us: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """All that is said of a trace's time.

    Attributes:
        spans: In the order of a drawing.
        start_us: When the first began, in microseconds since 1970.
        end_us: When the last ended, as far as is known.
        critical_path: In order of time.
        sums: By kind and type, that with the most time of its own first.
    """

    spans: tuple[Placed, ...]
    start_us: int
    end_us: int
    critical_path: tuple[Segment, ...]
    sums: tuple[TypeSums, ...]


#: What has no time of its own: changes, and items, which are what is in them.
_UNTIMED = frozenset({"change", "item"})


def timing(roots: Sequence[Span]) -> Timing:
    """What the spans of a trace say about time.

    Args:
        roots: As `telemetry.spans.build` gives them; at least one.
    """
    spans: list[Placed] = []
    _place(roots, None, 0, spans)
    start_us = min(placed.span.start_us for placed in spans)
    end_us = max(placed.span.start_us if placed.span.end_us is None else placed.span.end_us for placed in spans)
    path = _critical_path(spans, end_us)
    return Timing(tuple(spans), start_us, end_us, path, _sums(spans, path, end_us))


def _place(roots: Sequence[Span], parent: int | None, depth: int, placed: list[Placed]) -> None:
    for span in roots:
        index = len(placed)
        placed.append(Placed(span, parent, depth))
        _place(span.children, index, depth + 1, placed)


@dataclass(slots=True)
class _Node:
    index: int
    start_us: int
    end_us: int
    children: list[_Node] = field(default_factory=list)


def _critical_path(spans: Sequence[Placed], end_us: int) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    tops = _nodes(spans, end_us)
    at = end_us
    # Roots know nothing of each other: of those that overlap, each has the time before the next began.
    for node in sorted(tops, key=lambda node: (node.end_us, -node.index), reverse=True):
        if node.start_us < at:
            _walk_back(node, min(at, node.end_us), segments)
            at = node.start_us
    return tuple(reversed(segments))


def _nodes(spans: Sequence[Placed], end_us: int) -> list[_Node]:
    """Those that take time, as a tree. What outlives its parent (an execution its request) is beside it instead."""
    tops: list[_Node] = []
    nodes: list[_Node] = []
    for index, (span, parent, _) in enumerate(spans):
        node = _Node(index, span.start_us, end_us if span.end_us is None else span.end_us)
        nodes.append(node)
        if span.kind == "change" or not (span.timed or span.is_open):
            continue
        outer = None if parent is None else nodes[parent]
        if outer is None or node.end_us > outer.end_us:
            tops.append(node)
        else:
            outer.children.append(node)
    return tops


def _walk_back(node: _Node, until_us: int, segments: list[Segment]) -> None:
    """From `until_us` back to where the node began; segments come latest first."""
    at = until_us
    for child in sorted(node.children, key=lambda child: (child.end_us, -child.index), reverse=True):
        # What ended while something later ran already was not waited for.
        if child.end_us > at or child.end_us <= max(child.start_us, node.start_us):
            continue
        if child.end_us < at:
            segments.append(Segment(node.index, child.end_us, at))
        _walk_back(child, child.end_us, segments)
        at = child.start_us
    if at > node.start_us:
        segments.append(Segment(node.index, node.start_us, at))


def _sums(spans: Sequence[Placed], path: Sequence[Segment], end_us: int) -> tuple[TypeSums, ...]:
    found: dict[tuple[str, str], TypeSums] = {}
    inner: list[list[tuple[int, int]]] = [[] for _ in spans]
    for span, parent, _ in spans:
        if parent is not None and span.kind != "change":
            inner[parent].append((span.start_us, end_us if span.end_us is None else span.end_us))
    for index, (span, _, _) in enumerate(spans):
        if span.kind in _UNTIMED:
            continue
        sums = found.setdefault((span.kind, span.type), TypeSums(span.kind, span.type))
        sums.count += 1
        sums.failed += span.outcome in {"failed", "dead", "expired"}
        if span.timed or span.is_open:
            end = end_us if span.end_us is None else span.end_us
            sums.total_us += end - span.start_us
            sums.self_us += end - span.start_us - _covered(inner[index], span.start_us, end)
            sums.max_us = max(sums.max_us, end - span.start_us)
    for segment in path:
        span = spans[segment.place].span
        sums_of = found.get((span.kind, span.type))
        if sums_of is not None:
            sums_of.critical_us += segment.end_us - segment.start_us
    return tuple(sorted(found.values(), key=lambda sums: (-sums.self_us, sums.kind, sums.type)))


def _covered(stretches: Sequence[tuple[int, int]], start_us: int, end_us: int) -> int:
    """How much of a time is in at least one of the stretches."""
    covered, at = 0, start_us
    for begin, end in sorted(stretches):
        begin, end = max(begin, at), min(end, end_us)  # noqa: PLW2901 - clipped
        if end > begin:
            covered += end - begin
            at = end
    return covered
