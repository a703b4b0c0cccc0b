"""`/api/telemetry`: events, to read. Looking at them leaves no events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page_limit
from api.resources.context import resources
from api.schemas.answers import EventPage
from api.schemas.requests import EventQuery
from dsl import fragments
from dsl.errors import Fault
from telemetry import query as store
from telemetry.settings import parse_duration
from workers.executions import reaching_store

blueprint = Blueprint("telemetry", __name__, url_prefix="/api/telemetry", description="Traces and events, to read.")

#: Instants that ids and Postgres both know; what is asked beyond them means everything on that side.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


@blueprint.route("/events")
class Events(MethodView):
    """All events."""

    @blueprint.arguments(EventQuery, location="query")
    @blueprint.response(200, EventPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List stored events, newest first."""
        limit = page_limit(query["limit"])
        cursor = id_from_cursor("event", query["cursor"])
        since, until = _period(query)
        with reaching_store(), resources().pool.connection() as connection:
            space_id = None
            if query["space"] is not None:
                found = connection.execute(fragments.SQL["find_space"], {"name": query["space"]}).fetchone()
                if found is None:
                    return json_answer({"items": [], "next_cursor": None})
                space_id = found[0]
            filters = store.EventFilters(
                event_type=query["event_type"],
                component=query["component"],
                level=query["level"],
                correlation_id=query["correlation_id"],
                execution_id=query["execution_id"],
                command=query["command"],
                step_type=query["step_type"],
                user_id=None if query["user"] is None else resources().pseudonyms.user(query["user"]),
                space_id=space_id,
                outcome=query["outcome"],
                since=since,
                until=until,
            )
            events = store.events(connection, filters, limit, cursor)
        items = [store.event_json(event) for event in events.items]
        return json_answer({"items": items, "next_cursor": _following(events.next_cursor)})


def _following(event_id: UUID | None) -> str | None:
    return None if event_id is None else make_cursor("event", event_id)


def _period(query: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """From when, until when; either may be open.

    Raises:
        RequestInvalid: `time_range` comes with `start`.
    """
    start, end, time_range = query["start"], query["end"], query["time_range"]
    if time_range is not None:
        if start is not None:
            message = "time_range and start exclude each other"
            raise RequestInvalid([Fault("request.exclusive", message, path="time_range")])
        try:
            start = resources().clock.now() - parse_duration(time_range)
        except OverflowError:
            start = EARLIEST
    return _bounded(start), _bounded(end)


def _bounded(instant: datetime | None) -> datetime | None:
    return None if instant is None else min(max(instant, EARLIEST), _LATEST)
