"""`/api/telemetry/overview`: what went on, in one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from flask import Response
from flask.views import MethodView
from psycopg import Connection

from api.resources.answers import json_bytes
from api.resources.context import answers, reading, resources, settings
from api.resources.event_filters import filters_of, read_filter, whole_period_of
from api.resources.queues import queues
from api.resources.telemetry import blueprint
from api.schemas.overview import OverviewQuery, OverviewShape
from telemetry.completeness import look_at_completeness
from telemetry.error_groups import error_groups, frames_version, groups_json
from telemetry.filters.printing import show
from telemetry.filters.syntax import Filter
from telemetry.overview import counts_json, look
from telemetry.performance import Timing, lines_json, real, timing_json
from workers.checkup.finding import STATUSES
from workers.checkup.history import Checked, newest

#: How far back, and how many lines of each list, unless it is said.
USUAL, USUAL_TOP = timedelta(hours=1), 5
_LEAST = timedelta(milliseconds=1)
#: Fields of clauses that leave nobody out.
_OF_ALL = frozenset({"occurred_at", "dry_run"})


@blueprint.route("/overview")
class Overview(MethodView):
    """One screen."""

    @blueprint.arguments(OverviewQuery, location="query")
    @blueprint.response(200, OverviewShape)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Tell what went on: executions, rates, what is slow, what fails, and how telemetry itself is. Of the last hour
        unless it is said.
        """
        asked = read_filter(query)
        start, end = whole_period_of(query, USUAL)
        until, limit = max(end or resources().clock.now(), start + _LEAST), query["limit"] or USUAL_TOP
        with reading() as connection:
            whole = real(filters_of(connection, query, asked, (start, end)).whole())
            text = show(whole)

            def make() -> bytes:
                told = _what_went_on(connection, whole, start, until, limit)
                return json_bytes({"end": until, "filter": text, **told})

            kept = answers().answer(connection, f"overview {limit} {frames_version(connection)} {text}", make)
            standing = {
                "health": _health(newest(connection)),
                "completeness": look_at_completeness(connection, settings().telemetry.producer_silence),
            }
        # What changes without any event being stored is never kept.
        body = msgspec.json.decode(kept, type=dict[str, msgspec.Raw])
        return Response(json_bytes({**body, "now": _now(whole, end), **standing}), mimetype="application/json")


def _what_went_on(
    connection: Connection[Any], whole: Filter, start: datetime, until: datetime, limit: int
) -> dict[str, Any]:
    seen = look(connection, whole, start, until)
    counts, found = counts_json(seen, until), seen.performance
    groups = error_groups(connection, whole, start, until, limit, newest_first=True)
    took = found.whole.get("command")
    steps = [line for line in found.lines if line.kind == "step"]
    return {
        "start": seen.since,
        "percentile_error_percent": found.error_percent,
        **counts,
        "executions": {**counts["executions"], "took": None if took is None else timing_json(took)},
        "commands": lines_json([line for line in found.lines if line.kind == "command"], limit),
        "step_types": lines_json(steps, limit),
        "tools": lines_json(_called(steps, "tool."), limit),
        "models": lines_json(_called(steps, "ai."), limit),
        "newest_errors": groups_json(connection, groups),
    }


def _called(steps: Sequence[Timing], prefix: str) -> list[Timing]:
    return [line for line in steps if (line.name or "").startswith(prefix)]


def _now(whole: Filter, end: datetime | None) -> dict[str, Any] | None:
    """What runs and waits; of everybody, so nothing where only some are asked for, or another time."""
    if end is not None or any(clause.field not in _OF_ALL for clause in whole.clauses):
        return None
    lanes = queues().all()
    waits = [lane.oldest_age_ms for lane in lanes if lane.oldest_age_ms is not None]
    return {
        "running": sum(lane.running for lane in lanes),
        "queued": sum(lane.queued for lane in lanes),
        "scheduled": sum(lane.scheduled for lane in lanes),
        "oldest_wait_ms": max(waits, default=None),
    }


def _health(checks: Sequence[Checked]) -> dict[str, Any] | None:
    if not checks:
        return None
    lag = next((check.value for check in checks if check.name == "lag"), None)
    problems = [check for check in checks if check.status != "healthy"]
    status = max((check.status for check in checks), key=STATUSES.index)
    return {
        "status": "warning" if status == "unknown" else status,
        "checked_at": checks[0].checked_at,
        "checks": len(checks),
        "problems": [
            {name: getattr(check, name) for name in ("name", "component", "status", "value", "unit")}
            for check in problems
        ],
        "lag_s": lag,
    }
