"""What `make bench-query` found: as a table, beside what it found before, and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import shown
from benchmarks.questions import Question

_MEGABYTE: Final = 1 << 20
#: Memory that one question may add, and that an hour of them may, in bytes (S-15).
MAX_QUESTION, MAX_HOUR = 5 * _MEGABYTE, 15 * _MEGABYTE


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took: half of the times, and nineteen times in twenty, in milliseconds."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Answered:
    """How a question was answered.

    Attributes:
        question: Which.
        in_sql: In this process; if it was asked there.
        cold: Over REST, another each time; if there is a route.
        warm: Over REST, the same again.
        peak: Bytes that the API had more while it answered, at the most.
    """

    question: Question
    in_sql: Times | None
    cold: Times | None
    warm: Times | None
    peak: int | None

    @property
    def counted(self) -> Times | None:
        """What limit and goal are about: what people wait, as far as there is a way to ask."""
        return self.cold or self.in_sql

    @property
    def holds_limits(self) -> bool:
        """Whether it was in time, and took no more memory than it may."""
        limit, found = self.question.limit_ms, self.counted
        is_in_time = limit is None or found is None or found.p95_ms <= limit
        return is_in_time and (self.peak or 0) <= MAX_QUESTION

    @property
    def verdict(self) -> str:
        """In words: whether limits and goal are held."""
        found = self.counted
        limit, goal = self.question.limit_ms, self.question.goal_ms
        said = []
        if found is not None and limit is not None and found.p95_ms > limit:
            said.append("OVER THE LIMIT")
        elif found is not None and found.p50_ms > goal:
            said.append("over the goal")
        if (self.peak or 0) > MAX_QUESTION:
            said.append("TOO MUCH MEMORY")
        return ", ".join(said) or "fine"


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour of questions did to the API.

    Attributes:
        questions: How many.
        seconds: How long they took.
        growth: Bytes it has more than before it had answered any.
        peak: Bytes it had more during them, at the most.
    """

    questions: int
    seconds: float
    growth: int
    peak: int


@dataclass(frozen=True, slots=True)
class Results:
    """All of one run.

    Attributes:
        events: That were stored.
        days: Over so many.
        answers: By question.
        hour: The API's memory.
    """

    events: int
    days: int
    answers: Sequence[Answered]
    hour: Hour

    @property
    def holds_limits(self) -> bool:
        """Whether every limit is held."""
        return self.hour.growth <= MAX_HOUR and all(each.holds_limits for each in self.answers)


def document(results: Results) -> dict[str, Any]:
    """As the file has it."""
    return {
        "events": results.events,
        "days": results.days,
        "questions": {each.question.name: _figures(each) for each in results.answers},
        "hour": {
            "questions": results.hour.questions,
            "seconds": round(results.hour.seconds, 1),
            "growth_mb": _megabytes(results.hour.growth),
            "peak_mb": _megabytes(results.hour.peak),
        },
    }


def write(results: Results, path: Path) -> None:
    """Write `document` to a file."""
    path.write_text(json.dumps(document(results), indent=2) + "\n", encoding="utf-8")


def read_before(path: Path, results: Results) -> Mapping[str, Any]:
    """The questions of the run before, by name; none if it was about another number of events, or there was none."""
    try:
        before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if (before.get("events"), before.get("days")) != (results.events, results.days):
        return {}
    questions: dict[str, Any] = before["questions"]
    return questions


def table(results: Results, before: Mapping[str, Any]) -> str:
    """What is printed: milliseconds, and megabytes.

    Args:
        results: Of this run.
        before: Of another one, as `read_before` has it.
    """
    head = ("question", "cold p50", "p95", "before", "warm p50", "SQL p50", "p95", "limit", "goal", "+MB", "")
    rows = [head, *(_row(each, before.get(each.question.name, {})) for each in results.answers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number in {0, len(head) - 1} else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    hour = results.hour
    verdict = "fine" if hour.growth <= MAX_HOUR else "TOO MUCH MEMORY"
    lines += [
        "",
        f"{hour.questions:,} questions of an hour in {hour.seconds:.0f} s: the API has {_megabytes(hour.growth)} MB"
        f" more than at first, of {MAX_HOUR // _MEGABYTE} allowed, and had at the most {_megabytes(hour.peak)} MB more"
        f" meanwhile: {verdict}",
    ]
    return "\n".join(lines)


def _row(answered: Answered, before: Mapping[str, Any]) -> tuple[str, ...]:
    question, cold, in_sql = answered.question, answered.cold, answered.in_sql
    earlier = before.get("cold_p50_ms")
    return (
        question.name,
        *_pair(cold),
        "" if earlier is None else shown(earlier),
        _pair(answered.warm)[0],
        *_pair(in_sql),
        "" if question.limit_ms is None else shown(question.limit_ms),
        shown(question.goal_ms),
        "" if answered.peak is None else f"{_megabytes(answered.peak):.1f}",
        answered.verdict,
    )


def _pair(times: Times | None) -> tuple[str, str]:
    return ("", "") if times is None else (shown(times.p50_ms), shown(times.p95_ms))


def _figures(answered: Answered) -> dict[str, Any]:
    found: dict[str, Any] = {"limit_ms": answered.question.limit_ms, "goal_ms": answered.question.goal_ms}
    for name, times in (("cold", answered.cold), ("warm", answered.warm), ("sql", answered.in_sql)):
        if times is not None:
            found[f"{name}_p50_ms"], found[f"{name}_p95_ms"] = round(times.p50_ms, 2), round(times.p95_ms, 2)
    if answered.peak is not None:
        found["peak_mb"] = _megabytes(answered.peak)
    return {**found, "verdict": answered.verdict}


def _megabytes(size: int) -> float:
    return round(size / _MEGABYTE, 1)
