"""Errors by their cause: how often, since when, in how many traces, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry.filters.conditions import conditions
from telemetry.filters.syntax import Filter
from telemetry.query import store_errors
from telemetry.sql import queries

SQL = queries(__file__)

#: Equal stretches of the time asked for, each with its count.
STRETCHES: Final = 24
#: Groups of one answer, those with the most errors; commands and step types named of each.
MAX_GROUPS, MAX_NAMED = 1000, 5

_GROUPED: Final = sql.SQL(
    "with failed as ({failed} union all {kept}), spread as ("
    "  select error_fingerprint, array_agg(errors order by stretch) as counts,"
    "    array_agg(stretch order by stretch) as stretches"
    "  from (select error_fingerprint, stretch, count(*) as errors from failed group by 1, 2) as each"
    "  group by error_fingerprint"
    ") select error_fingerprint as fingerprint, min(error_type) as error_type, min(error_category) as error_category,"
    " count(*) as errors, count(distinct correlation_id) as traces, min(occurred_at) as first_at,"
    " max(occurred_at) as last_at, (array_agg(correlation_id order by occurred_at desc))[1] as newest_trace,"
    " coalesce(array_agg(distinct command_slug) filter (where command_slug is not null), '{{}}') as commands,"
    " coalesce(array_agg(distinct step_type) filter (where step_type is not null), '{{}}') as step_types,"
    " min(spread.stretches) as stretches, min(spread.counts) as counts"
    " from failed join spread using (error_fingerprint)"
    " group by error_fingerprint order by {order} limit %(limit)s"
)
_MOST_FIRST: Final = sql.SQL("errors desc, last_at desc")
_NEWEST_FIRST: Final = sql.SQL("last_at desc, errors desc")


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors with one cause.

    Attributes:
        fingerprint: 8 bytes: class and frames of the exception.
        error_type: Its class.
        error_category: As in events.
        errors: How many events.
        traces: How many traces they are of.
        first_at: When the first occurred, of those that match.
        last_at: When the last did.
        newest_trace: Correlation id of that.
        commands: In which commands, in order of the alphabet.
        step_types: In which types of steps.
        stretches: Numbers of stretches of time, from 1, that have some.
        counts: How many these have.
    """

    fingerprint: bytes
    error_type: str | None
    error_category: str | None
    errors: int
    traces: int
    first_at: datetime
    last_at: datetime
    newest_trace: UUID
    commands: list[str]
    step_types: list[str]
    stretches: list[int]
    counts: list[int]

    @property
    def spread(self) -> list[int]:
        """How many errors each of the `STRETCHES` stretches has."""
        found = dict(zip(self.stretches, self.counts, strict=True))
        return [found.get(number, 0) for number in range(1, STRETCHES + 1)]


def error_groups(  # noqa: PLR0913 - which, of when, how many, in which order
    connection: Connection[Any],
    asked: Filter,
    since: datetime,
    until: datetime,
    limit: int,
    *,
    newest_first: bool = False,
) -> list[ErrorGroup]:
    """Errors that match a filter, by cause, the most frequent first.

    Args:
        connection: To a migrated database.
        asked: Names of users and spaces resolved; bounds of time are in it too.
        since: Where the first stretch begins; aware.
        until: Where the last one ends; aware, later.
        limit: Groups, at most.
        newest_first: Whether those come first that occurred last.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    wanted = conditions(asked)
    wanted.add(sql.SQL("error_fingerprint is not null"))
    statement = _GROUPED.format(
        failed=sql.SQL(SQL["select_failed"]) + wanted.where(),
        kept=sql.SQL(SQL["select_failed_kept"]) + wanted.where(),
        order=_NEWEST_FIRST if newest_first else _MOST_FIRST,
    )
    values = {**wanted.values, "since": since, "until": until, "stretches": STRETCHES, "limit": limit}
    with store_errors(), connection.cursor(row_factory=class_row(ErrorGroup)) as cursor:
        return cursor.execute(statement, values).fetchall()


def frames_of(connection: Connection[Any], groups: Sequence[ErrorGroup]) -> dict[bytes, list[str]]:
    """Where errors arose, by fingerprint: `module:function:line`, outermost first; of those of which it is noted.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with store_errors():
        return dict(connection.execute(SQL["select_frames"], {"fingerprints": [group.fingerprint for group in groups]}))


def frames_version(connection: Connection[Any]) -> UUID | None:
    """Another one whenever frames were noted since.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    with store_errors():
        found = connection.execute(SQL["newest_frames"]).fetchone()
    return None if found is None else found[0]


def groups_json(connection: Connection[Any], groups: Sequence[ErrorGroup]) -> list[dict[str, Any]]:
    """The JSON of groups, with where each error arose; null where that is not noted.

    Raises:
        StoreUnavailable: Postgres did not answer.
    """
    frames = frames_of(connection, groups)
    return [{**group_json(group), "frames": frames.get(group.fingerprint)} for group in groups]


def group_json(group: ErrorGroup) -> dict[str, Any]:
    """The JSON of a group."""
    return {
        "fingerprint": group.fingerprint.hex(),
        "error_type": group.error_type,
        "error_category": group.error_category,
        "count": group.errors,
        "traces": group.traces,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "newest_trace": group.newest_trace,
        "commands": group.commands[:MAX_NAMED],
        "step_types": group.step_types[:MAX_NAMED],
        "spread": group.spread,
    }
