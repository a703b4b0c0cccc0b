"""Statistics over events: how often commands ran, which tools were used, what chats look like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.filters.conditions import conditions
from telemetry.filters.syntax import Filter
from telemetry.query import store_errors
from telemetry.sql import queries

SQL = queries(__file__)

#: Lines of one list, at most: those with the most events.
MAX_LINES: Final = 1000

_ENDS: Final = frozenset({"command.execution.completed", "command.execution.failed", "command.execution.cancelled"})


_GROUPED: Final = sql.SQL(
    "select event_type, component, operation, command, outcome, hour, count(*) as events,"
    " count(*) filter (where level = 'error') as errors, count(duration_us) as timed,"
    " coalesce(sum(duration_us), 0) as duration_us, max(occurred_at) as last_at"
    " from ({}) as countable group by event_type, component, operation, command, outcome, hour"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Events that have these in common.

    Attributes:
        event_type: Full name.
        component: Of the type.
        operation: Of tools and language models; else none.
        command: Slug, of ends of executions; else none.
        outcome: Or none.
        hour: Of the day in UTC, of chats; else none.
        events: How many.
        errors: How many of them are at level `error`.
        timed: How many have a duration.
        duration_us: Of all of those together.
        last_at: When the last occurred.
    """

    event_type: str
    component: str
    operation: str | None
    command: str | None
    outcome: str | None
    hour: int | None
    events: int
    errors: int
    timed: int
    duration_us: Decimal
    last_at: datetime


def groups(connection: Connection[Any], asked: Filter) -> list[Group]:
    """What the events of a filter have in common; names of users and spaces resolved.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    wanted = conditions(asked)
    statement = _GROUPED.format(sql.SQL(SQL["select_countable"]) + wanted.where())
    with store_errors(), connection.cursor(row_factory=class_row(Group)) as cursor:
        return cursor.execute(statement, wanted.values).fetchall()


def stats(found: Sequence[Group]) -> dict[str, Any]:
    """The JSON of the statistics. Durations are milliseconds. Lists have the most frequent first."""
    chat = [group for group in found if group.component == "chat"]
    return {
        "events": sum(group.events for group in found),
        "errors": sum(group.errors for group in found),
        "components": _lines(found, "component", lambda group: group.component, _counted),
        "commands": _lines(
            (group for group in found if group.event_type in _ENDS), "command", lambda group: group.command, _ran
        ),
        "tools": _lines(
            (group for group in found if group.component == "tool"), "tool", lambda group: group.operation, _ran
        ),
        "chat": {
            **_counted(chat),
            "types": _lines(chat, "event_type", lambda group: group.event_type, _counted),
            "hours": sorted(_lines(chat, "hour", lambda group: group.hour, _counted), key=lambda line: line["hour"]),
        },
    }


def _lines(
    found: Iterable[Group],
    name: str,
    key_of: Callable[[Group], object],
    told: Callable[[Sequence[Group]], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    gathered: dict[object, list[Group]] = defaultdict(list)
    for group in found:
        gathered[key_of(group)].append(group)
    by_count = sorted(gathered.items(), key=lambda item: (-sum(group.events for group in item[1]), str(item[0])))
    return [{name: key, **told(members)} for key, members in by_count[:MAX_LINES]]


def _counted(found: Sequence[Group]) -> dict[str, Any]:
    return {"events": sum(group.events for group in found), "errors": sum(group.errors for group in found)}


def _ran(found: Sequence[Group]) -> dict[str, Any]:
    """How often something was done, and how it went."""
    outcomes: dict[str, int] = defaultdict(int)
    for group in found:
        outcomes[group.outcome or "none"] += group.events
    timed = sum(group.timed for group in found)
    total_us = sum((group.duration_us for group in found), Decimal())
    return {
        "count": sum(group.events for group in found),
        "outcomes": dict(sorted(outcomes.items())),
        "average_ms": float(round(total_us / timed / 1000, 3)) if timed else None,
        "last_at": max(group.last_at for group in found),
    }
