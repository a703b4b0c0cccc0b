"""What check-ups and snapshots are stored, to be read: pages, newest first.

Planned for the filters that are given, each time: one plan for all of them would read everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from telemetry.sql import queries
from workers.checkup.finding import Status

SQL = queries(__file__)


@dataclass(frozen=True, slots=True)
class Checked:
    """A row of `telemetry_health_checks`: columns as in the schema."""

    id: UUID
    window_at: datetime
    checked_at: datetime
    name: str
    component: str
    status: Status
    value: float | None
    unit: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A row of `telemetry_performance_snapshots`: columns as in the schema, durations in microseconds."""

    id: UUID
    window_at: datetime
    window_us: int
    subject: str
    name: str
    host: str | None
    process_id: int | None
    memory_bytes: int | None
    cpu_share: float | None
    threads: int | None
    slots: int | None
    slots_taken: int | None
    events_waiting: int | None
    events_spooled: int | None
    events_dropped: int | None
    clock_skew_us: int | None
    queued: int | None
    running: int | None
    oldest_us: int | None
    runs: int | None
    failures: int | None
    p50_us: int | None
    p95_us: int | None
    p99_us: int | None
    max_us: int | None
    total_us: int | None
    # `class` is no name in Python.
    rated: str | None


def checks(  # noqa: PLR0913 - one keyword per filter
    connection: Connection[Any],
    *,
    limit: int,
    component: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    before: UUID | None = None,
) -> list[Checked]:
    """What was found, newest first; what is None does not matter.

    Args:
        connection: To a migrated database.
        limit: At most.
        component: Only of this one.
        status: Only what was so.
        since: Only of this instant or later; aware.
        before: `id` of the last one of the page before.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    values = {"component": component, "status": status, "since": since, "before": before, "rows": limit}
    with connection.cursor(row_factory=class_row(Checked)) as cursor:
        return cursor.execute(SQL["checks"], values, prepare=False).fetchall()


def newest(connection: Connection[Any]) -> list[Checked]:
    """What the newest round found; nothing before the first.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    with connection.cursor(row_factory=class_row(Checked)) as cursor:
        return cursor.execute(SQL["newest"]).fetchall()


def snapshots(  # noqa: PLR0913 - one keyword per filter
    connection: Connection[Any],
    *,
    limit: int,
    subject: str | None = None,
    name: str | None = None,
    since: datetime | None = None,
    before: UUID | None = None,
) -> list[Snapshot]:
    """Performance of windows, newest first; what is None does not matter.

    Args:
        connection: To a migrated database.
        limit: At most.
        subject: `process`, `lane`, `command` or `step_type`.
        name: Of one.
        since: Only windows that began at this instant or later; aware.
        before: `id` of the last one of the page before.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    values = {"subject": subject, "name": name, "since": since, "before": before, "rows": limit}
    with connection.cursor(row_factory=class_row(Snapshot)) as cursor:
        return cursor.execute(SQL["snapshots"], values, prepare=False).fetchall()
