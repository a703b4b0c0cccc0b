"""`/api/telemetry/performance`: how long things took, and how often they failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Response
from flask.views import MethodView

from api.resources.answers import json_bytes
from api.resources.context import answers, reading
from api.resources.event_filters import filters_of, read_filter, whole_period_of
from api.resources.telemetry import blueprint
from api.schemas.performance import PerformanceQuery, PerformanceShape
from telemetry.filters.printing import show
from telemetry.performance import Order, lines_json, read, real

#: How far back and how many, unless it is said.
USUAL, USUAL_LIMIT = timedelta(days=1), 50


@blueprint.route("/performance")
class PerformanceOfAll(MethodView):
    """How fast things are."""

    @blueprint.arguments(PerformanceQuery, location="query")
    @blueprint.response(200, PerformanceShape)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Tell how often each ran, how often it failed and how long it took. Of the last day unless it is said."""
        asked = read_filter(query)
        period = whole_period_of(query, USUAL)
        limit = query["limit"] or USUAL_LIMIT
        order: Order = query["sort"] or "total"
        with reading() as connection:
            whole = real(filters_of(connection, query, asked, period).whole())
            text = show(whole)

            def make() -> bytes:
                found = read(connection, whole, query["type"], order)
                said = {"start": found.since or period[0], "end": period[1], "filter": text, "sort": order}
                off = {"percentile_error_percent": found.error_percent}
                return json_bytes({**said, **off, "items": lines_json(found.lines, limit)})

            body = answers().answer(connection, f"performance {query['type']} {order} {limit} {text}", make)
        return Response(body, mimetype="application/json")
