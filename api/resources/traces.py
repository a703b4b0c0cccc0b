"""`/api/telemetry/traces`: all of one trace, by whatever id. Looking at it leaves no events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response
from flask.views import MethodView

from api.resources.answers import json_answer
from api.resources.context import reading
from api.resources.telemetry import blueprint
from api.schemas.traces import TraceShape
from telemetry import query as store
from telemetry.clock import from_unix_us
from telemetry.correlation import parse_correlation_id
from telemetry.errors import TraceNotFound
from telemetry.spans import build
from telemetry.traces import Placed, Segment, Timing, TypeSums, timing
from workers.traces import Linked, find_trace, list_executions, states_of


@blueprint.route("/traces/<trace_id>")
class OneTrace(MethodView):
    """One trace."""

    @blueprint.response(200, TraceShape)
    @blueprint.refuses(404, 503)
    def get(self, trace_id: str) -> Response:
        """Show a whole trace by its correlation id, or by the id of an execution, an event or a fragment of it."""
        wanted = parse_correlation_id(trace_id)
        if wanted is None:
            raise TraceNotFound("no trace has this id", hint="An id is a UUID, or 32 hexadecimal digits.")
        with reading() as connection:
            found_by, correlation_id = find_trace(connection, wanted)
            trace = store.trace(connection, correlation_id)
            executions = list_executions(connection, correlation_id)
        return json_answer({"found_by": found_by, **trace_json(trace, executions)})


def trace_json(trace: store.Trace, executions: list[Linked]) -> dict[str, Any]:
    """A trace: its events, the tree they make, and where the time went."""
    items = [store.event_json(event) for event in trace.events]
    time = timing(build(items, states_of(executions)))
    return {
        "correlation_id": trace.correlation_id,
        "started_at": from_unix_us(time.start_us),
        "duration_ms": _ms(time.end_us - time.start_us),
        "items": items,
        "next_cursor": None,
        "executions": [_execution(each) for each in executions],
        "spans": [_span(index, placed, time) for index, placed in enumerate(time.spans)],
        "critical_path": [_segment(segment, time) for segment in time.critical_path],
        "statistics": [_sums(sums) for sums in time.sums],
    }


def _execution(linked: Linked) -> dict[str, Any]:
    return {
        "id": linked.id,
        "command": linked.slug,
        "state": linked.state,
        "link": linked.link,
        "parent_id": linked.parent_id,
        "schedule_id": linked.schedule_id,
        "correlation_id": linked.correlation_id,
        "attempt": linked.attempt,
        "dry_run": linked.dry_run,
        "why_open": linked.why_open,
    }


def _span(index: int, placed: Placed, time: Timing) -> dict[str, Any]:
    span = placed.span
    return {
        "index": index,
        "parent": placed.parent,
        "depth": placed.depth,
        "kind": span.kind,
        "name": span.name,
        "type": span.type,
        "offset_ms": _ms(span.start_us - time.start_us),
        "duration_ms": span.duration_ms,
        "wait_ms": _ms(span.wait_us),
        "outcome": span.outcome,
        "error_type": span.error_type,
        "is_open": span.is_open,
        "why_open": span.why_open,
        "execution_id": span.execution_id,
        "step_path": span.step_path,
        "event_id": span.event_id,
    }


def _segment(segment: Segment, time: Timing) -> dict[str, Any]:
    return {
        "span": segment.place,
        "offset_ms": _ms(segment.start_us - time.start_us),
        "duration_ms": _ms(segment.end_us - segment.start_us),
    }


def _sums(sums: TypeSums) -> dict[str, Any]:
    return {
        "kind": sums.kind,
        "type": sums.type,
        "count": sums.count,
        "failed": sums.failed,
        "total_ms": _ms(sums.total_us),
        "self_ms": _ms(sums.self_us),
        "max_ms": _ms(sums.max_us),
        "critical_ms": _ms(sums.critical_us),
    }


def _ms(duration_us: int) -> float:
    return timedelta(microseconds=duration_us) / timedelta(milliseconds=1)
