"""A trace as a waterfall in text: a tree on the left, time to the right. Pure: events in, lines out.

    NAME                                   TYPE              DURATION  0 ──────────────── 23 ms
    POST /api/commands/<slug>/executions   http 202          5.2 ms    ████
    └─ todo.add                            command           16 ms       ░░░██████████████
       ├─ create                           fragment.create   3 ms           ████
       │  └─ fragment.created              fragment                            ▏
       └─ tell                             notify            ○ skipped

A bar may be compound: `░` waited in the queue, `█` ran. What failed or was skipped says so in a word beside its symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from api.cli.terminal import ASCII, UNICODE, Marks, clip, human_duration, pad, plural
from telemetry.spans import EventJson, Span, build

#: Columns the drawing is made for, at least and at most.
MIN_WIDTH, MAX_WIDTH = 40, 200

#: Map items (or changes of one step) shown of a long list: from its beginning, from its end.
SHOWN_FIRST, SHOWN_LAST = 5, 1

#: From this width on: a column of types, durations beside the word `failed`, and a wider tree.
_WIDE_FROM = 72
_MIN_NAME, _MIN_BAR = 10, 8


class Line(NamedTuple):
    """A line of the drawing.

    Attributes:
        text: At most as wide as asked for; no space at its end.
        tone: `bold` (the heading), `failed`, `skipped`, `running`, `dim` (left out lines) or nothing.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class _Glyphs:
    marks: Marks
    branch: str
    last: str
    pipe: str
    wait: str
    run: str
    moment: str
    rule: str


_UNICODE = _Glyphs(UNICODE, "├─ ", "└─ ", "│  ", "░", "█", "▏", "─")
_ASCII = _Glyphs(ASCII, "|- ", "`- ", "|  ", ".", "#", "|", "-")
_NARROW = {
    True: replace(_UNICODE, branch="├ ", last="└ ", pipe="│ "),
    False: replace(_ASCII, branch="| ", last="` ", pipe="| "),
}


class _Row(NamedTuple):
    prefix: str
    span: Span | None
    left_out: str = ""


class _Columns(NamedTuple):
    name: int
    type: int
    told: int  # duration, or the word for what has none
    bar: int


class _Axis(NamedTuple):
    start_us: int
    end_us: int


def render(
    events: Iterable[EventJson],
    width: int,
    *,
    unicode: bool = True,
    show_all: bool = False,
    states: Mapping[str, str] | None = None,
) -> list[Line]:
    """The lines of a trace's waterfall.

    Args:
        events: All events of one trace, in any order, as the telemetry API gives them.
        width: Columns of the terminal; taken as 40 when less, 200 when more.
        unicode: Whether more than ASCII may be used.
        show_all: Show every item of long lists; otherwise the first 5, the last, and how many are left out.
        states: Why executions have not ended, by id.
    """
    roots = build(events, states)
    if not roots:
        return []
    width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    narrow = width < _WIDE_FROM
    glyphs = _NARROW[unicode] if narrow else _UNICODE if unicode else _ASCII
    axis = _axis(roots)
    rows = [row for root in roots for row in _rows(root, "", "", glyphs, show_all)]
    columns = _fit(rows, width, glyphs)
    return [_heading(columns, axis, glyphs), *(_line(row, columns, axis, glyphs, width) for row in rows)]


def _axis(roots: Sequence[Span]) -> _Axis:
    """From the first beginning to the last end of anything in the tree."""
    spans = [span for root in roots for span in _walk(root)]
    start = min(span.start_us for span in spans)
    end = max(span.start_us if span.end_us is None else span.end_us for span in spans)
    return _Axis(start, max(end, start + 1))


def _walk(span: Span) -> Iterator[Span]:
    yield span
    for child in span.children:
        yield from _walk(child)


def _rows(span: Span, lead: str, follow: str, glyphs: _Glyphs, show_all: bool) -> Iterator[_Row]:
    yield _Row(lead, span)
    blank = " " * len(glyphs.pipe)
    children = list(span.children) if show_all else _collapse(span.children, glyphs)
    for index, child in enumerate(children):
        is_last = index == len(children) - 1
        lead = follow + (glyphs.last if is_last else glyphs.branch)
        if isinstance(child, str):
            yield _Row(lead, None, child)
        else:
            yield from _rows(child, lead, follow + (blank if is_last else glyphs.pipe), glyphs, show_all)


def _collapse(children: Sequence[Span], glyphs: _Glyphs) -> list[Span | str]:
    """Siblings with the middle of a long run of items or changes left out, but counted."""
    shown: list[Span | str] = []
    index = 0
    while index < len(children):
        run = 1
        while index + run < len(children) and children[index + run].kind == children[index].kind:
            run += 1
        group = children[index : index + run]
        if group[0].kind in {"item", "change"} and run > SHOWN_FIRST + SHOWN_LAST + 1:
            hidden = group[SHOWN_FIRST:-SHOWN_LAST]
            failed = sum(span.outcome == "failed" for span in hidden)
            note = f", {failed} failed" if failed else ""
            shown += [*group[:SHOWN_FIRST], f"{glyphs.marks.ellipsis} {len(hidden)} more{note}", *group[-SHOWN_LAST:]]
        else:
            shown += group
        index += run
    return shown


def _fit(rows: Sequence[_Row], width: int, glyphs: _Glyphs) -> _Columns:
    """Column widths that add up to `width`: names get what they need, the bars at least a quarter."""
    spans = [(row, row.span) for row in rows if row.span is not None]
    told = max(8, *(len(_told(span, glyphs)) for _, span in spans))
    type_ = min(max(4, *(len(span.type) for _, span in spans)), 24) if width >= _WIDE_FROM else 0
    fixed = told + 2 + (type_ + 2 if type_ else 0) + 1
    bar = max(_MIN_BAR, width // 4)
    name = max(4, *(len(row.prefix) + len(span.name) for row, span in spans))
    name = max(min(name, width - fixed - bar), _MIN_NAME)
    bar = width - fixed - name
    return _Columns(name, type_, told, bar)


def _told(span: Span, glyphs: _Glyphs) -> str:
    """What the duration column says: how long, or in a word why not; failures both."""
    duration = human_duration(span.duration_ms, unicode=glyphs.marks is UNICODE)
    if span.outcome in {None, "succeeded"}:
        return duration
    word = f"{glyphs.marks.of(span.outcome)} {span.outcome}"
    return word if glyphs in _NARROW.values() else f"{duration} {word}".strip()


def _heading(columns: _Columns, axis: _Axis, glyphs: _Glyphs) -> Line:
    total = human_duration((axis.end_us - axis.start_us) / 1000, unicode=glyphs.marks is UNICODE)
    rule = glyphs.rule * max(0, columns.bar - len(total) - 4)
    scale = f"0 {rule} {total}" if rule else pad(clip(total, columns.bar, ""), columns.bar, right=True)
    return Line(_join(columns, "NAME", "TYPE", "DURATION", scale), "bold")


def _line(row: _Row, columns: _Columns, axis: _Axis, glyphs: _Glyphs, width: int) -> Line:
    if row.span is None:
        return Line(clip(f"{row.prefix}{row.left_out} (--all shows them)", width, glyphs.marks.ellipsis), "dim")
    span = row.span
    tone = span.outcome if span.outcome in {"skipped", "running"} else ""
    if span.outcome in {"failed", "expired", "dead"}:
        tone = "failed"
    name = clip(row.prefix + span.name, columns.name, glyphs.marks.ellipsis)
    type_ = clip(span.type, columns.type, glyphs.marks.ellipsis)
    return Line(_join(columns, name, type_, _told(span, glyphs), _bar(span, columns.bar, axis, glyphs)), tone or "")


def _join(columns: _Columns, name: str, type_: str, told: str, bar: str) -> str:
    middle = f"{pad(type_, columns.type)}  " if columns.type else ""
    return f"{pad(name, columns.name)}  {middle}{pad(told, columns.told)} {bar}".rstrip()


def _bar(span: Span, width: int, axis: _Axis, glyphs: _Glyphs) -> str:
    """The span on the axis; every part that took time gets a cell, if there are enough."""

    def cell(instant_us: int) -> int:
        return (instant_us - axis.start_us) * width // (axis.end_us - axis.start_us)

    if span.outcome == "skipped":
        return ""
    start = min(cell(span.start_us), width - 1)
    if not span.timed:
        return " " * start + glyphs.moment
    end = max(min(cell(axis.end_us if span.end_us is None else span.end_us), width), start + 1)
    if not span.wait_us:
        return " " * start + glyphs.run * (end - start)
    if end - start == 1 and end < width:
        end += 1
    ran_from = max(min(cell(span.start_us + span.wait_us), end - 1), start + 1 if end - start > 1 else start)
    return " " * start + glyphs.wait * (ran_from - start) + glyphs.run * (end - ran_from)


def summary(events: Sequence[EventJson], *, unicode: bool = True) -> str:
    """One line: how many executions, steps and changes, and how long it took from end to end."""
    executions = len({event["execution_id"] for event in events if event.get("execution_id")})
    steps = sum(event["component"] == "dsl" for event in events)
    changes = sum(event.get("mutations_count") or 1 for event in events if event["component"] == "fragment")
    roots = build(events)
    parts = [plural(executions, "execution"), plural(steps, "step")]
    if changes:
        parts.append(plural(changes, "change"))
    if roots:
        axis = _axis(roots)
        parts.append(human_duration((axis.end_us - axis.start_us) / 1000, unicode=unicode))
    return ", ".join(parts)
