"""What went on: executions, events and errors of some time, counted and spread over it. From events alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.filters.conditions import conditions
from telemetry.filters.syntax import Filter
from telemetry.performance import percent
from telemetry.query import store_errors
from telemetry.sql import queries

SQL = queries(__file__)

#: Equal stretches of the time asked for, each with its counts.
STRETCHES: Final = 30

_MINUTE: Final = timedelta(minutes=1)
#: What became of executions, by the type of event and its outcome.
_ENDS: Final = ("command.execution.completed", "command.execution.failed", "command.execution.cancelled")
_GROUPED: Final = sql.SQL(
    "select event_type, component, outcome, is_error, stretch, count(*) as events from ({}) as counted"
    " group by event_type, component, outcome, is_error, stretch"
)


@dataclass(frozen=True, slots=True)
class Counted:
    """Events that have these in common.

    Attributes:
        event_type: Full name.
        component: Of the type.
        outcome: Or none.
        is_error: Whether they are at level `error`.
        stretch: Of the time asked for, from 1.
        events: How many.
    """

    event_type: str
    component: str
    outcome: str | None
    is_error: bool
    stretch: int
    events: int


def count_events(connection: Connection[Any], asked: Filter, since: datetime, until: datetime) -> list[Counted]:
    """Count the events of a filter.

    Args:
        connection: To a migrated database.
        asked: Names of users and spaces resolved; bounds of time are in it too.
        since: Where the first stretch begins; aware.
        until: Where the last one ends; aware, later.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    wanted = conditions(asked)
    values = {**wanted.values, "since": since, "until": until, "stretches": STRETCHES}
    statement = _GROUPED.format(sql.SQL(SQL["select_counted"]) + wanted.where())
    with store_errors(), connection.cursor(row_factory=class_row(Counted)) as cursor:
        return cursor.execute(statement, values).fetchall()


def counts_json(found: Sequence[Counted], length: timedelta) -> dict[str, Any]:
    """The JSON of it: executions, components with the most events first, and how all that is spread.

    Args:
        found: As counted.
        length: Of the time asked for, for rates per minute.
    """
    minutes = max(length / _MINUTE, 1e-6)
    ended = [each for each in found if each.event_type in _ENDS]
    return {
        "minutes": round(minutes, 3),
        "events": _sum(found),
        "errors": _sum(each for each in found if each.is_error),
        "executions": _executions(found, minutes),
        "components": _components(found, minutes),
        "spread": {
            "executions": _spread(ended),
            "failures": _spread(each for each in ended if each.event_type == "command.execution.failed"),
            "events": _spread(found),
            "errors": _spread(each for each in found if each.is_error),
        },
    }


def _executions(found: Sequence[Counted], minutes: float) -> dict[str, Any]:
    types: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for each in found:
        types[each.event_type] += each.events
        if each.event_type in _ENDS:
            outcomes[each.outcome or "none"] += each.events
    succeeded = types["command.execution.completed"]
    failed = types["command.execution.failed"]
    ended = sum(types[name] for name in _ENDS)
    return {
        "queued": types["command.execution.queued"],
        "started": types["command.execution.started"],
        "retried": types["command.execution.retried"],
        "refused": types["command.validation.failed"],
        "ended": ended,
        "succeeded": succeeded,
        "failed": failed,
        "cancelled": types["command.execution.cancelled"],
        "outcomes": dict(sorted(outcomes.items())),
        "success_percent": percent(succeeded, succeeded + failed),
        "per_minute": round(ended / minutes, 3),
    }


def _components(found: Iterable[Counted], minutes: float) -> list[dict[str, Any]]:
    events: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for each in found:
        events[each.component] += each.events
        errors[each.component] += each.events * each.is_error
    return [
        {
            "component": name,
            "events": count,
            "errors": errors[name],
            "error_percent": percent(errors[name], count),
            "per_minute": round(count / minutes, 3),
        }
        for name, count in sorted(events.items(), key=lambda item: (-item[1], item[0]))
    ]


def _sum(found: Iterable[Counted]) -> int:
    return sum(each.events for each in found)


def _spread(found: Iterable[Counted]) -> list[int]:
    """How many each of the `STRETCHES` stretches has; what lies at the very end is of the last one."""
    counts = [0] * STRETCHES
    for each in found:
        counts[min(max(each.stretch, 1), STRETCHES) - 1] += each.events
    return counts
