"""`/api/telemetry`: traces and events, to read. Looking at them leaves no events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import CursorInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, number_from_cursor, page_limit
from api.resources.context import reading
from api.resources.event_filters import filters_of, period_of, read_filter
from api.schemas.answers import StoredPage, TraceShape
from api.schemas.requests import EventQuery
from telemetry import query as store
from telemetry.correlation import parse_correlation_id
from telemetry.errors import TraceNotFound

blueprint = Blueprint("telemetry", __name__, url_prefix="/api/telemetry", description="Traces and events, to read.")

#: Ids of transactions are below it.
_MAX_POSITION = 2**63


@blueprint.route("/traces/<trace_id>")
class OneTrace(MethodView):
    """One trace."""

    @blueprint.response(200, TraceShape)
    @blueprint.refuses(404, 503)
    def get(self, trace_id: str) -> Response:
        """Show all events of a correlation id, or of the one that an execution id belongs to, as they occurred."""
        wanted = parse_correlation_id(trace_id)
        if wanted is None:
            raise TraceNotFound("no trace has this id", hint="An id is a UUID, or 32 hexadecimal digits.")
        with reading() as connection:
            trace = store.trace(connection, wanted)
        return json_answer(trace_json(trace))


@blueprint.route("/events")
class Events(MethodView):
    """All events."""

    @blueprint.arguments(EventQuery, location="query")
    @blueprint.response(200, StoredPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List stored events, newest first."""
        limit = page_limit(query["limit"])
        cursor = id_from_cursor("event", query["cursor"])
        after = _position_from(query["after"])
        period, asked = period_of(query), read_filter(query)
        with reading() as connection:
            position = store.position(connection)
            filters = filters_of(connection, query, asked, period)
            events = store.events(connection, filters, limit, cursor, after)
            count = store.count(connection, filters) if query["count"] else None
        items = [store.event_json(event) for event in events.items]
        told = {"items": items, "next_cursor": _following(events.next_cursor)}
        return json_answer({**told, "position": make_cursor("position", position), "count": count})


def trace_json(trace: store.Trace) -> dict[str, Any]:
    """A trace with when it began (the first thing in it, not the first that ended) and how long it took."""
    began = min(event.occurred_at - timedelta(microseconds=event.duration_us or 0) for event in trace.events)
    ended = max(event.occurred_at for event in trace.events)
    return {
        "correlation_id": trace.correlation_id,
        "started_at": began,
        "duration_ms": (ended - began) / timedelta(milliseconds=1),
        "items": [store.event_json(event) for event in trace.events],
        "next_cursor": None,
    }


def _following(event_id: UUID | None) -> str | None:
    return None if event_id is None else make_cursor("event", event_id)


def _position_from(text: str | None) -> int | None:
    """The transaction that a position names.

    Raises:
        CursorInvalid: No answer has such a position.
    """
    found = number_from_cursor("position", text)
    if found is not None and not 0 <= found < _MAX_POSITION:
        raise CursorInvalid("no answer has this position", hint="Leave `after` out to begin anew.")
    return found
