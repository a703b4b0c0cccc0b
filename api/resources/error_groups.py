"""`/api/telemetry/errors`: errors by their cause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Response
from flask.views import MethodView

from api.resources.answers import json_bytes
from api.resources.context import answers, reading, resources
from api.resources.event_filters import filters_of, read_filter, whole_period_of
from api.resources.telemetry import blueprint
from api.schemas.error_groups import ErrorGroupsShape, ErrorQuery
from telemetry.error_groups import error_groups, frames_version, groups_json
from telemetry.filters.printing import show

#: How far back, and how many, unless it is said.
USUAL, USUAL_LIMIT = timedelta(days=1), 20
_LEAST = timedelta(milliseconds=1)


@blueprint.route("/errors")
class Errors(MethodView):
    """What goes wrong."""

    @blueprint.arguments(ErrorQuery, location="query")
    @blueprint.response(200, ErrorGroupsShape)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Group errors by their cause: the class of what was raised, and where. Of the last day unless it is said."""
        asked = read_filter(query)
        start, end = whole_period_of(query, USUAL)
        until = max(end or resources().clock.now(), start + _LEAST)
        limit = query["limit"] or USUAL_LIMIT
        with reading() as connection:
            whole = filters_of(connection, query, asked, (start, end)).whole()
            text = show(whole)

            def make() -> bytes:
                groups = error_groups(connection, whole, start, until, limit)
                items = groups_json(connection, groups)
                return json_bytes({"start": start, "end": until, "filter": text, "items": items})

            body = answers().answer(connection, f"errors {limit} {frames_version(connection)} {text}", make)
        return Response(body, mimetype="application/json")
