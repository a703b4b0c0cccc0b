"""Whether a filter can be answered from roll-ups, and what is then asked of them: pure.

Buckets know of an event its component, type, level, outcome, category of error, whether it was a dry run, and what was
done (`operation`). Whatever else a filter asks for, events alone can tell: so is a user or a space, of whom buckets do
not know what was done.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final, get_args, get_type_hints

from telemetry.events import HttpRequestCompleted
from telemetry.filters.kinds import EARLIEST, LATEST
from telemetry.filters.syntax import Between, Clause, Compare, Exists, Filter, Is, Starts, Test

#: Fields that buckets have as events do.
_SAME: Final = frozenset({"component", "event_type", "level", "outcome", "category", "dry_run"})
#: Before the route, in what was done of requests of HTTP.
_METHODS: Final[tuple[str, ...]] = get_args(get_type_hints(HttpRequestCompleted)["method"])
#: What was done where an event of a command does not say which.
_UNKNOWN: Final = "unknown"
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Slice:
    """Events that buckets can tell of.

    Attributes:
        since: The first instant.
        until: The end, not included.
        where: What else has to hold, of fields that buckets have.
    """

    since: datetime
    until: datetime
    where: Filter


def slice_of(asked: Filter, types: Collection[str] | None = None) -> Slice | None:
    """The same events, as roll-ups are asked for them; none if these cannot tell.

    Args:
        asked: Names of users and spaces resolved.
        types: The types of events that matter at all; any, if none are named.
    """
    since, until = EARLIEST, LATEST
    clauses: list[Clause] = []
    for clause in asked.clauses:
        if clause.field == "occurred_at":
            bounds = _bounds(clause)
            if bounds is None:
                return None
            since, until = max(since, bounds[0]), min(until, bounds[1])
            continue
        told = _told(clause, types)
        if told is None:
            return None
        clauses.extend(told)
    return Slice(since, max(since, until), Filter(tuple(clauses)))


def _bounds(clause: Clause) -> tuple[datetime, datetime] | None:
    """From when until when a clause lets through; none if that is not one stretch."""
    if clause.negated or len(clause.tests) > 1:
        return None
    match clause.tests[0]:
        case Is(datetime() as at):
            return at, at + _MICROSECOND
        case Between(datetime() as low, datetime() as high):
            return low, high + _MICROSECOND
        case Compare(operator, datetime() as at):
            after = at + _MICROSECOND
            return {">=": (at, LATEST), ">": (after, LATEST), "<": (EARLIEST, at), "<=": (EARLIEST, after)}[operator]
        case Exists():
            return EARLIEST, LATEST
        case _:
            return None


def _told(clause: Clause, types: Collection[str] | None) -> tuple[Clause, ...] | None:
    """A clause as clauses about what buckets have; none if they have it not."""
    match clause.field:
        case name if name in _SAME:
            return (clause,)
        case "operation" if all(isinstance(test, Is | Exists) and " " not in _text(test) for test in clause.tests):
            return (replace(clause, tests=tuple(chain.from_iterable(map(_done, clause.tests)))),)
        case "type" if not clause.negated:
            # Steps alone have a type, and it is what they do.
            return Clause("component", (Is("dsl"),)), replace(clause, field="operation")
        case "command" if _are_of_commands(types) and not any(map(_may_be_unknown, clause.tests)):
            return (replace(clause, field="operation"),)
        case _:
            return None


def _done(test: Test) -> tuple[Test, ...]:
    """Of a request of HTTP the operation is the route, and what buckets have begins with the method."""
    return (test, *(Is(f"{method} {_text(test)}") for method in _METHODS)) if isinstance(test, Is) else (test,)


def _text(test: Test) -> str:
    return test.value if isinstance(test, Is) and isinstance(test.value, str) else ""


def _are_of_commands(types: Collection[str] | None) -> bool:
    """Whether what is done is a command, of whatever matters."""
    return types is not None and all(name.startswith("command.") for name in types)


def _may_be_unknown(test: Test) -> bool:
    """Whether a test may let through a command that is not known, or not: that has no slug, but is done."""
    match test:
        case Is():
            return test.value == _UNKNOWN
        case Starts():
            return _UNKNOWN.startswith(test.prefix)
        case _:
            return True
