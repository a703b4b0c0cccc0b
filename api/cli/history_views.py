"""What is kept beside events, as lists: metrics, check-ups, performance snapshots, chains of traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from api.cli.metric_options import OF_BUCKETS
from api.cli.output import Column, Item, View, local_time
from api.cli.terminal import Terminal, human_duration


class History(NamedTuple):
    """A kind of records that maintenance keeps.

    Attributes:
        path: Of the API.
        options: Those of `weir telemetry query` that say which of them.
    """

    path: str
    options: frozenset[str]


_PAGED = frozenset({"time_range", "limit", "cursor"})
HISTORIES = {
    "metrics": History(
        "/api/telemetry/metrics",
        _PAGED | {"start", "end", "component", "event_type", "user", "space", *OF_BUCKETS},
    ),
    "health": History("/api/telemetry/health-checks", _PAGED | {"component"}),
    "performance": History("/api/telemetry/performance/snapshots", _PAGED),
    "chains": History("/api/telemetry/chains", _PAGED | {"correlation_id"}),
}


#: From which no fraction of a number is told.
_THOUSAND = 1000


def history_view(kind: str, terminal: Terminal) -> View:
    """How a kind is shown."""
    return {"metrics": _buckets, "health": _checks, "performance": _snapshots, "chains": _chains}[kind](terminal)


def _buckets(terminal: Terminal) -> View:
    return View(
        (
            Column("STARTS", lambda item: local_time(item["starts_at"])),
            Column("EVENT TYPE", "event_type", shrinks=True, least=16),
            Column("OF", lambda item: item["operation"] or item["space_id"] or item["user_id"] or "", shrinks=True),
            Column("OUTCOME", lambda item: item["error_category"] or item["outcome"] or "", leaves=5),
            Column("MEASURE", "measure"),
            Column("EVENTS", lambda item: _number(item["events"]), right=True),
            Column("ERRORS", lambda item: _number(item["errors"] or None), right=True, leaves=3),
            _valued("AVERAGE", _average, 2, terminal),
            _valued("P95", _p95, 1, terminal),
            _valued("MAX", lambda item: item["max"], 4, terminal),
        ),
        (
            "starts_at", "width", "dimension", "component", "event_type", "level", "dry_run", "outcome",
            "error_category", "measure", "operation", "space_id", "user_id", "unit", "events", "errors", "measured",
            "sum", "min", "max", "last_at", "scale", "bins", "counts",
        ),
        "Nothing of it happened then. Look further back (--last 7d).",
    )  # fmt: skip


def _average(item: Item) -> float | None:
    return item["sum"] / item["measured"] if item["measured"] else None


def _p95(item: Item) -> float | None:
    from telemetry.rollups.histogram import Histogram

    counts = dict(zip(item["bins"], item["counts"], strict=True))
    return Histogram(item["scale"], counts, item["min"], item["max"]).quantile(0.95)


def _valued(title: str, told: Callable[[Item], float | None], leaves: int, terminal: Terminal) -> Column:
    """Values, each in the unit of its measure."""

    def cell(item: Item) -> str:
        value = told(item)
        if value is None:
            return ""
        return human_duration(value / 1000, unicode=terminal.unicode) if item["unit"] == "us" else f"{value:,.4g}"

    return Column(title, cell, right=True, leaves=leaves)


def _checks(_: Terminal) -> View:
    return View(
        (
            Column("CHECKED", lambda item: local_time(item["checked_at"])),
            Column("STATUS", "status", tone=lambda item: "failed" if item["status"] == "critical" else ""),
            Column("COMPONENT", "component"),
            Column("NAME", "name", shrinks=True),
            Column("VALUE", _measured, right=True),
        ),
        ("id", "window_at", "checked_at", "name", "component", "status", "value", "unit"),
        "No check-up is kept yet: one is made every five minutes.",
    )


def _snapshots(terminal: Terminal) -> View:
    return View(
        (
            Column("WINDOW", lambda item: local_time(item["window_at"])),
            Column("OF", "subject"),
            Column("NAME", "name", shrinks=True),
            Column("CLASS", lambda item: item["class"] or ""),
            Column("RUNS", lambda item: _number(item["runs"]), right=True),
            Column("FAILED", lambda item: _number(item["failures"]), right=True, leaves=3),
            *(_duration(name, terminal) for name in ("p50_ms", "p95_ms", "max_ms")),
            Column("MEMORY", lambda item: _mebibytes(item["memory_bytes"]), right=True, leaves=1),
        ),
        (
            "id", "window_at", "window_ms", "subject", "name", "host", "process_id", "memory_bytes", "cpu_share",
            "threads", "slots", "slots_taken", "events_waiting", "events_spooled", "events_dropped", "clock_skew_ms",
            "queued", "running", "oldest_ms", "runs", "failures", "p50_ms", "p95_ms", "p99_ms", "max_ms", "total_ms",
            "class",
        ),
        "No performance snapshot is kept yet: they are made every five minutes.",
    )  # fmt: skip


def _chains(terminal: Terminal) -> View:
    return View(
        (
            Column("STARTED", lambda item: local_time(item["started_at"])),
            Column("STATUS", "status", tone=lambda item: str(item["status"])),
            Column("COMMAND", lambda item: item["command_slug"] or "", shrinks=True),
            Column("DEPTH", lambda item: str(item["depth"]), right=True, leaves=4),
            Column("EVENTS", lambda item: str(item["events"]), right=True, leaves=3),
            Column("ERRORS", lambda item: str(item["errors"] or ""), right=True, leaves=1),
            _duration("duration_ms", terminal),
            Column("CORRELATION ID", "correlation_id"),
        ),
        (
            "correlation_id", "status", "command_slug", "root_execution_id", "request_source", "user_id", "space_id",
            "depth", "events", "executions", "steps", "errors", "components", "started_at", "ended_at", "duration_ms",
            "truncated", "cut",
        ),
        "No trace is chained yet: one is there within a minute of its first event.",
    )  # fmt: skip


def _duration(field: str, terminal: Terminal) -> Column:
    def cell(item: Item) -> str:
        return human_duration(item[field], unicode=terminal.unicode)

    return Column(field.removesuffix("_ms").upper(), cell, right=True, leaves=2)


def _mebibytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1_048_576:.0f} MiB"


def _measured(item: Item) -> str:
    value = item["value"]
    if value is None:
        return ""
    number = f"{value:.3g}" if abs(value) < _THOUSAND and value % 1 else f"{value:,.0f}"
    return f"{number} {item['unit'] or ''}".rstrip()


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
