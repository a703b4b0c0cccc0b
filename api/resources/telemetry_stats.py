"""`/api/telemetry/stats`: how often commands ran, which tools were used, what chats look like."""

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
from api.schemas.requests import EventFilterQuery
from api.schemas.stats import StatsShape
from telemetry.filters.printing import show
from telemetry.stats import groups, stats

#: How far back, unless it is said.
USUAL = timedelta(days=1)


@blueprint.route("/stats")
class Stats(MethodView):
    """Counts and averages."""

    @blueprint.arguments(EventFilterQuery, location="query")
    @blueprint.response(200, StatsShape)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Count events, of the last day unless it is said: by component, by command, by tool, by what chats do."""
        asked = read_filter(query)
        period = whole_period_of(query, USUAL)
        with reading() as connection:
            whole = filters_of(connection, query, asked, period).whole()
            text = show(whole)

            def make() -> bytes:
                found = groups(connection, whole)
                said = {"start": found.since or period[0], "end": period[1], "filter": text}
                return json_bytes({**said, **stats(found.groups)})

            body = answers().answer(connection, f"stats {text}", make)
        return Response(body, mimetype="application/json")
