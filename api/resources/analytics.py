"""`/api/metrics/analytics` and `/spikes`: what is slow, fails and costs, since when, and what is more than usual."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import Response
from flask.views import MethodView
from psycopg import Connection

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import json_bytes
from api.resources.context import answers, reading, resources
from api.resources.event_filters import parse_duration_or_all, period_of
from api.resources.preconditions import ETAG_HEADER, IF_NONE_MATCH_HEADER, UNCHANGED, briefly_kept
from api.resources.whose import whose
from api.schemas.analytics import AnalyticsQuery, AnalyticsShape, SpikesQuery, SpikesShape, bucket_of
from dsl.errors import Fault
from telemetry.analytics import report, spikes
from telemetry.analytics.groups import Which
from telemetry.analytics.history import floor
from telemetry.filters.kinds import EARLIEST

blueprint = Blueprint("analytics", __name__, url_prefix="/api/metrics", description="Requests in numbers.")

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
#: The longest time that statistics are of: as long as roll-ups are kept.
_AT_MOST = timedelta(days=400)
#: Seconds that an answer may be kept by whoever asked.
_KEPT_S = 5


@blueprint.route("/analytics")
class Analytics(MethodView):
    """What is slow, what fails, what it costs, since when."""

    @blueprint.takes(IF_NONE_MATCH_HEADER)
    @blueprint.arguments(AnalyticsQuery, location="query")
    @blueprint.response(200, AnalyticsShape, headers=ETAG_HEADER)
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Statistics of each command, step type, tool, model, user, space or component, and their trends."""
        since, until = _period(query, _AT_MOST)
        with reading() as connection:
            which = _which(connection, query)
            wanted = report.Asked(which, since, until, query["metric"], query["order"], query["limit"])
            key = f"analytics {wanted}"
            body = answers().answer(connection, key, lambda: json_bytes(report.report(connection, wanted)))
        return briefly_kept(body, _KEPT_S)


@blueprint.route("/spikes")
class Spikes(MethodView):
    """Errors that are more than usual."""

    @blueprint.takes(IF_NONE_MATCH_HEADER)
    @blueprint.arguments(SpikesQuery, location="query")
    @blueprint.response(200, SpikesShape, headers=ETAG_HEADER)
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Errors that are more than usual at that time of day, or than in the hours before.

        Chance alone makes one on one day in a hundred, over all that is looked at.
        """
        since, until = _period(query, spikes.AT_MOST)
        zone, step = resources().servers.timezone, bucket_of(query["bucket"])
        wanted = spikes.Wanted(query["by"], since, until, step, query["name"], zone)
        with reading() as connection:
            key = f"spikes {wanted}"
            body = answers().answer(connection, key, lambda: json_bytes(spikes.report(connection, wanted)))
        return briefly_kept(body, _KEPT_S)


def _period(query: Mapping[str, Any], most: timedelta) -> tuple[datetime, datetime]:
    """Whole minutes, of which the last may not be over: who asks again soon asks the same.

    Of a time that is still to come it is the first minute, in which there is nothing: never another time.

    Raises:
        RequestInvalid: It is longer than what may be asked for, or ends before it begins.
    """
    now = resources().clock.now()
    start, end = period_of(query)
    if query["start"] is not None and start is not None:
        if end is not None and start >= end:
            raise RequestInvalid([Fault("request.time_range", "end is not after start", path="end")])
        if start > now:
            since = floor(start, _MINUTE)
            return since, since + _MINUTE
    until = floor(min(end or now, now) + _MINUTE - timedelta.resolution, _MINUTE)
    if query["start"] is None:
        span = _DAY if query["time_range"] is None else parse_duration_or_all(query["time_range"])
        since = EARLIEST if span > until - EARLIEST else floor(until - span, _MINUTE)
    else:
        since = floor(min(start or until, until), _MINUTE)
    since = min(since, until - _MINUTE)
    if until - since > most:
        path = "time_range" if query["start"] is None else "start"
        raise RequestInvalid([Fault("request.limit", f"at most {most.days} days", path=path)])
    return since, until


def _which(connection: Connection[Any], query: Mapping[str, Any]) -> Which:
    """Of what.

    Raises:
        RequestInvalid: Figures of both together are not kept.
    """
    by = query["by"]
    if query["name"] is not None and by in ("user", "space"):
        message = f"name is none of a {by}; ask with {by}="
        raise RequestInvalid([Fault("request.exclusive", message, path="name")])
    for name in ("user", "space"):
        if query[name] is not None and by not in (name, "component"):
            message = (
                f"figures of one {name} are not kept by {by}; ask by={name} or by=component, or count events: "
                "/api/telemetry/performance"
            )
            raise RequestInvalid([Fault("request.exclusive", message, path=name)])
    user_id, space_id = whose(connection, query)
    return Which(by, query["name"], user_id, space_id)
