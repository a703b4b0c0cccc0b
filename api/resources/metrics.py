"""`/api/metrics`: requests in numbers, now and over time, from roll-ups and equal to what the events say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from api.schemas.metrics import CurrentQuery, CurrentShape, HistoricalQuery, HistoryShape
from dsl.errors import Fault
from telemetry.filters.kinds import EARLIEST
from telemetry.rollups import metrics
from telemetry.rollups.metrics import METRICS, REQUESTS, Asked

blueprint = Blueprint("metrics", __name__, url_prefix="/api/metrics", description="Requests in numbers.")

#: Items of one answer, at most.
MAX_ITEMS = 10_000
#: The shortest that each aggregation's time is.
_LEAST = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
}
_DAY = timedelta(days=1)


@blueprint.route("/current")
class Current(MethodView):
    """How it goes."""

    @blueprint.takes(IF_NONE_MATCH_HEADER)
    @blueprint.arguments(CurrentQuery, location="query")
    @blueprint.response(200, CurrentShape, headers=ETAG_HEADER)
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Rates, latencies, tokens, errors and cache of the requests that ended lately."""
        now = resources().clock.now().replace(second=0, microsecond=0)
        since = _back(now, parse_duration_or_all(query["window"]))
        with reading() as connection:
            asked = _asked(connection, query, since, now)
            body = answers().answer(connection, f"current {asked}", lambda: json_bytes(_current(connection, asked)))
        return briefly_kept(body, 5)


@blueprint.route("/historical")
class Historical(MethodView):
    """A metric over time."""

    @blueprint.takes(IF_NONE_MATCH_HEADER)
    @blueprint.arguments(HistoricalQuery, location="query")
    @blueprint.response(200, HistoryShape, headers=ETAG_HEADER)
    @blueprint.alt_response(304, description=UNCHANGED)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """One metric in steps of a minute, an hour, a day, a week or a month.

        The first and the last item are of as much of their time as was asked for, and is over.
        """
        now = resources().clock.now()
        start, end = period_of(query)
        if start is not None and end is not None and start >= end:
            raise RequestInvalid([Fault("request.time_range", "end is not after start", path="end")])
        until = min(end or now, now)
        since = min(start or _back(until, _DAY), until)
        aggregation = query["aggregation"]
        if (until - since) / _LEAST[aggregation] > MAX_ITEMS:
            message = f"that would be more than {MAX_ITEMS:,} items; ask for less time, or a longer aggregation"
            raise RequestInvalid([Fault("request.limit", message, path="aggregation")])
        metric = METRICS[query["type"]]
        with reading() as connection:
            asked = _asked(connection, query, since, until)

            def make() -> bytes:
                # What is still to come has no figures yet.
                zone = resources().servers.timezone
                found = metrics.buckets(connection, asked, aggregation, zone) if since < until else []
                items = [
                    {"timestamp": point.timestamp, "value": point.value, "metadata": point.metadata}
                    for point in metrics.points(metric, found)
                ]
                told = {"type": metric.name, "unit": metric.unit, "aggregation": aggregation, "items": items}
                return json_bytes(told)

            about = f"{metric.name} {aggregation} {_in_whole_minutes(asked) if since < until else None}"
            body = answers().answer(connection, f"historical {about}", make)
        return briefly_kept(body, 5)


def _current(connection: Connection[Any], asked: Asked) -> dict[str, Any]:
    window = metrics.total(connection, asked)
    counts = {
        name: metrics.count(connection, _of(asked, asked.until - span, asked.until))
        for name, span in (("last_minute", _LEAST["minute"]), ("last_hour", _LEAST["hour"]), ("last_day", _DAY))
    }
    ended = window.of("duration").events
    return {
        "start": asked.since,
        "end": asked.until,
        "requests": {
            **counts,
            "per_minute": round(ended / window.minutes, 6) if window.minutes else 0.0,
            "in_window": ended,
        },
        "latency": {
            "total": metrics.latency_of(window.of("duration")),
            "context": metrics.latency_of(window.of("context")),
            "llm": metrics.latency_of(window.of("model")),
        },
        "tokens": {
            **metrics.tokens_of(window.measures),
            "by_user": metrics.tokens_by(connection, asked, "user"),
            "by_space": metrics.tokens_by(connection, asked, "space"),
        },
        "errors": metrics.errors_of(window.of("duration")),
        "cache": metrics.cache_of(window.of("cache_hit")),
    }


def _asked(connection: Connection[Any], query: Mapping[str, Any], since: datetime, until: datetime) -> Asked:
    """Whose requests.

    Raises:
        RequestInvalid: A user and a space: figures of both together are not kept.
    """
    user_id, space_id = whose(connection, query)
    components = tuple(REQUESTS) if query["component"] is None else (query["component"],)
    return Asked(since, until, components, user_id, space_id)


def _in_whole_minutes(asked: Asked) -> Asked:
    """What has the same answer: it is of whole minutes, and `now` is never the same twice."""
    end = asked.until.replace(second=0, microsecond=0)
    return replace(
        asked,
        since=asked.since.replace(second=0, microsecond=0),
        until=end if end == asked.until else end + _LEAST["minute"],
    )


def _of(asked: Asked, since: datetime, until: datetime) -> Asked:
    return Asked(since, until, asked.components, asked.user_id, asked.space_id)


def _back(now: datetime, span: timedelta) -> datetime:
    return EARLIEST if span > now - EARLIEST else now - span
