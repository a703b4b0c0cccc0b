"""What is exported beside events: metrics, what check-ups found, and performance window by window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from telemetry.export.request import ExportRequest
from telemetry.export.sources import Page, Source, events_source, metrics_source
from telemetry.sql import queries

SQL = queries(__file__)

_MICROSECONDS: Final = "_us"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of records, by its statements."""

    count: LiteralString
    page: LiteralString
    fields: tuple[str, ...]


_KINDS: Final[Mapping[str, _Kind]] = {
    "health": _Kind(
        SQL["count_health"],
        SQL["health"],
        ("id", "window_at", "checked_at", "name", "component", "status", "value", "unit"),
    ),
    "performance": _Kind(
        SQL["count_performance"],
        SQL["performance"],
        (
            "id", "window_at", "window_ms", "subject", "name", "host", "process_id", "memory_bytes", "cpu_share",
            "threads", "slots", "slots_taken", "events_waiting", "events_spooled", "events_dropped", "clock_skew_ms",
            "queued", "running", "oldest_ms", "runs", "failures", "p50_ms", "p95_ms", "p99_ms", "max_ms", "total_ms",
            "class",
        ),
    ),
}  # fmt: skip


def sources_of(request: ExportRequest) -> list[Source]:
    """Where the records of a request come from: events first.

    Raises:
        FilterInvalid: Its filter is not one.
    """
    metrics = [metrics_source(request)] if "metrics" in request.beside else []
    beside = [_source(name, _KINDS[name], request) for name in _KINDS if name in request.beside]
    return [events_source(request), *metrics, *beside]


def _source(name: str, kind: _Kind, request: ExportRequest) -> Source:
    period = {"since": request.since, "until": request.until}

    def page(connection: Connection[Any], stored_before: int, after: str | None, limit: int) -> Page:
        values = {**period, "stored_before": str(stored_before), "after": after, "rows": limit}
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(kind.page, values).fetchall()
        return [(str(row["id"]), dict(_shown(row.items()))) for row in rows]

    def count(connection: Connection[Any], stored_before: int) -> int:
        found = connection.execute(kind.count, {**period, "stored_before": str(stored_before)}).fetchone()
        return int(found[0]) if found else 0

    return Source(name, kind.fields, count, page)


def _shown(row: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """As REST shows it: durations in milliseconds, ids and instants as texts."""
    for name, value in row:
        if name.endswith(_MICROSECONDS):
            yield f"{name.removesuffix(_MICROSECONDS)}_ms", None if value is None else value / 1000
        elif isinstance(value, datetime):
            yield name, value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        else:
            yield name, str(value) if isinstance(value, UUID) else value
