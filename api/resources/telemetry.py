"""`/api/telemetry`: events, to read. Looking at them leaves no events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import CursorInvalid
from api.resources.answers import id_from_cursor, make_cursor, number_from_cursor, page_limit
from api.resources.context import reading
from api.resources.event_filters import filters_of, period_of, read_filter
from api.resources.many_items import ManyItems
from api.schemas.answers import StoredPage
from api.schemas.requests import EventQuery
from telemetry import query as store

blueprint = Blueprint("telemetry", __name__, url_prefix="/api/telemetry", description="Traces and events, to read.")

#: Ids of transactions are below it.
_MAX_POSITION = 2**63


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
            items, following = ManyItems(), None
            for event in store.each_event(connection, filters, limit + 1, cursor, after):
                if items.count < limit:
                    items.add(store.event_json(event))
                    last = event.event_id
                else:
                    following = last
            count = store.count(connection, filters) if query["count"] else None
        told = {"next_cursor": _following(following), "position": make_cursor("position", position), "count": count}
        return items.answer(told)


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
