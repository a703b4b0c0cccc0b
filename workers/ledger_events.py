"""Events made again from the rows of the ledger that they tell of, field by field what was recorded.

A row is written first, with its event's id and every field of it; the event is recorded after the commit. So whatever
becomes of the process in between, the event is here (tests/integration/test_rows_make_events.py holds it to that for
every kind of row), and nothing that was never committed has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from dsl.fragment_events import fragment_event
from dsl.step import Mutation, MutationEvent
from telemetry.clock import to_unix_us
from telemetry.events import (
    ErrorFacts,
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionQueued,
    ExecutionRetried,
    ExecutionStarted,
    FieldFault,
    ScheduleMissed,
    ScheduleSkipped,
    ScheduleTriggered,
    Scope,
    StepExecuted,
    StepFailed,
    StepSkipped,
    Stoppage,
)
from telemetry.sql import queries

SQL = queries(__file__)

Row = Mapping[str, Any]
#: Makes of a name its pseudonym.
Hide = Callable[[str], bytes]

#: Beyond these a number was a float before it was kept.
_INTEGERS: Final = range(-(1 << 63), 1 << 63)


def make_events(connection: Connection[Any], ids: Mapping[str, Sequence[UUID]], hide: Hide) -> Iterator[Event]:
    """The events of committed rows; a row that is gone by now has none.

    Args:
        connection: To read the rows with.
        ids: Of the events that are wanted, by kind of row (`ledger_events.kind`).
        hide: Makes of a user's name what telemetry knows them by.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    for kind, wanted in ids.items():
        with connection.cursor(row_factory=dict_row) as cursor:
            for row in cursor.execute(SQL[kind], {"ids": list(wanted)}):
                yield _MAKERS[kind](row, _scope(row, hide))


def _scope(row: Row, hide: Hide) -> Scope:
    return Scope(
        correlation_id=row["correlation_id"].bytes,
        request_source=row["request_source"],
        user_id=hide(row["user_name"]),
        space_id=row["space_id"].bytes,
        execution_id=_id(row["execution_id"]),
        parent_id=_id(row["parent_id"]),
        command_slug=row["slug"],
        definition_hash=row["definition_hash"],
        dry_run=row["dry_run"],
        attempt=row["attempt"],
    )


def _queued(row: Row, scope: Scope) -> Event:
    return ExecutionQueued(*_stamp(row, "queued_at"), scope, row["priority"])


def _claim(row: Row, scope: Scope) -> Event:
    return ExecutionStarted(*_stamp(row, "claimed_at"), scope, row["queue_wait_us"])


def _retry(row: Row, scope: Scope) -> Event:
    stamp = _stamp(row, "released_at")
    return ExecutionRetried(*stamp, scope, row["reason"], row["delay_us"], row["step_path"], _facts(row))


def _final(row: Row, scope: Scope) -> Event:
    stamp = _stamp(row, "finished_at")
    measures = (
        row["running_us"],
        row["queue_wait_us"],
        max(0, to_unix_us(row["finished_at"]) - to_unix_us(row["queued_at"])),
        row["steps_executed"],
        row["steps_successful"],
        row["steps_failed"],
        row["steps_skipped"],
        row["mutations_count"],
    )
    mark = (row["slow"], row["slowest_step"], row["slowest_step_type"], row["slowest_step_us"])
    if row["state"] == "succeeded":
        return ExecutionCompleted(*stamp, scope, *measures, "succeeded", *mark)
    if row["state"] == "cancelled":
        how: Stoppage = row["stopped"] or "cooperatively"
        return ExecutionCancelled(*stamp, scope, *measures, how, "cancelled", *mark)
    return ExecutionFailed(*stamp, scope, *measures, row["state"], _facts(row), *mark, row["stopped"])


def _step(row: Row, scope: Scope) -> Event:
    stamp = _stamp(row, "occurred_at")
    if row["outcome"] == "skipped":
        return StepSkipped(*stamp, scope, row["path"], row["step_type"])
    ran = (*stamp, scope, row["path"], row["step_type"], row["duration_us"])
    rest = (row["step_try"], row["mutations_count"], _id(row["fragment_id"]), _measures(row["measures"]))
    facts = _facts(row)
    if facts is None:
        return StepExecuted(*ran, *rest)
    fields = tuple(FieldFault(each["field"], each["rule"]) for each in row["failed_fields"] or ())
    return StepFailed(*ran, facts, *rest, failed_fields=fields)


def _mutation(row: Row, scope: Scope) -> Event:
    event_id, occurred_at_us = _stamp(row, "occurred_at")
    mutation = Mutation("fragment", row["operation"], row["entity_id"])
    event = MutationEvent(event_id, row["event_rows"])
    return fragment_event(scope, mutation, event, occurred_at_us, row["step_path"])


def _occurrence(row: Row, scope: Scope) -> Event:
    stamp, schedule_id = _stamp(row, "occurred_at"), row["schedule_id"].bytes
    due_at_us = to_unix_us(row["due_at"])
    if row["reason"] is None:
        how = (row["state"], row["origin"])
        return ScheduleTriggered(*stamp, scope, schedule_id, due_at_us, row["lateness_us"], *how)
    kind: Any = ScheduleMissed if row["state"] == "missed" else ScheduleSkipped
    stretch = (due_at_us, to_unix_us(row["last_due_at"]), row["due_times"])
    event: Event = kind(*stamp, scope, schedule_id, *stretch, row["reason"])
    return event


_MAKERS: Final[Mapping[str, Callable[[Row, Scope], Event]]] = {
    "queued": _queued,
    "claim": _claim,
    "retry": _retry,
    "final": _final,
    "step": _step,
    "mutation": _mutation,
    "occurrence": _occurrence,
}


def _stamp(row: Row, at: str) -> tuple[Any, int]:
    return row["event_id"].bytes, to_unix_us(row[at])


def _id(value: UUID | None) -> bytes | None:
    return None if value is None else value.bytes


def _facts(row: Row) -> ErrorFacts | None:
    if row["error_type"] is None:
        return None
    return ErrorFacts(row["error_type"], row["error_category"], row["error_fingerprint"])


def _measures(kept: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As they were reported: Postgres keeps a large float as a whole number."""
    if kept is None:
        return None
    return {
        key: float(value) if isinstance(value, int) and value not in _INTEGERS else value for key, value in kept.items()
    }
