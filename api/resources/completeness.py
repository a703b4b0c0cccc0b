"""`/api/telemetry/completeness`: what is missing of the events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Response
from flask.views import MethodView

from api.resources.answers import json_answer
from api.resources.context import reader, resources, settings
from api.resources.telemetry import blueprint
from api.schemas.completeness import CompletenessQuery, CompletenessShape
from telemetry.completeness import verify
from telemetry.filters.kinds import EARLIEST
from telemetry.settings import parse_duration
from workers.executions import reaching_store

#: How long one answer may take; for longer stretches of time there is `weir telemetry verify`.
PATIENCE = timedelta(seconds=20)
_UNLESS_GIVEN = "24h"


@blueprint.route("/completeness")
class Completeness(MethodView):
    """What is missing."""

    @blueprint.arguments(CompletenessQuery, location="query")
    @blueprint.response(200, CompletenessShape)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Say whether any event is missing, and if so which."""
        until = resources().clock.now()
        try:
            since = until - parse_duration(query["time_range"] or _UNLESS_GIVEN)
        except OverflowError:
            since = EARLIEST
        with reader(), reaching_store(), resources().pool.connection() as connection:
            found = verify(connection, since, until, silence=settings().telemetry.producer_silence, patience=PATIENCE)
        return json_answer(found.public())
