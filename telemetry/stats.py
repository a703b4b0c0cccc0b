"""Statistics over events: how often commands ran, which tools were used, what chats look like.

From roll-ups where these can tell what is asked for, else from events: the same either way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.filters.conditions import conditions
from telemetry.filters.syntax import Filter
from telemetry.query import store_errors
from telemetry.rollups.asked import Slice, slice_of
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answers
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


#: Components whose events are told apart by what was done.
_NAMED: Final = frozenset({"tool", "llm"})


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


@dataclass(frozen=True, slots=True)
class Groups:
    """What was found.

    Attributes:
        groups: Each with what its events have in common.
        since: The first instant that they are of, if that is another one than was asked for: events of before are gone.
    """

    groups: Sequence[Group]
    since: datetime | None = None


def groups(connection: Connection[Any], asked: Filter) -> Groups:
    """What the events of a filter have in common; names of users and spaces resolved.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        asked: With bounds of time, or everything is read.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    part = slice_of(asked)
    if part is None:
        return Groups(_of_events(connection, asked))
    with store_errors():
        told = answers(connection, tuple(_questions(part)))
    whole, chats = told
    found = [_group(figure) for figure in chats.figures]
    found += [group for group in map(_group, whole.figures) if group.component != "chat"]
    return Groups(found, whole.since if whole.since != part.since else None)


def _questions(part: Slice) -> tuple[Question, Question]:
    """All of it as a whole, and chats by the hour."""
    whole = Question(
        part.since,
        part.until,
        by=("event_type", "operation", "outcome"),
        only={"measure": ["duration"]},
        spread=False,
        is_exact=True,
        where=part.where,
    )
    return whole, replace(whole, width="hour", only={**whole.only, "component": ["chat"]})


def _group(figure: Figure) -> Group:
    event_type = figure.key["event_type"]
    component = event_type.partition(".")[0]
    return Group(
        event_type,
        component,
        figure.key["operation"] if component in _NAMED else None,
        figure.key["operation"] if event_type in _ENDS else None,
        figure.key["outcome"],
        figure.starts_at.hour if figure.starts_at is not None else None,
        figure.events,
        figure.errors,
        figure.measured,
        Decimal(figure.total),
        figure.last_at,
    )


def _of_events(connection: Connection[Any], asked: Filter) -> list[Group]:
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
