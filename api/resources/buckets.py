"""`/api/telemetry/metrics`: what events add up to, bucket by bucket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Response
from flask.views import MethodView
from psycopg import Connection

from api.resources.answers import json_answer, make_cursor, page, page_limit, text_from_cursor
from api.resources.context import reading
from api.resources.event_filters import whole_period_of
from api.resources.telemetry import blueprint
from api.resources.whose import space_of, user_of
from api.schemas.metrics import BucketPage, BucketQuery
from telemetry.components import component_name
from telemetry.event_types import types_of
from telemetry.query import store_errors
from telemetry.rollups import records
from telemetry.rollups.records import Place, Record, Wanted, dimension_of

#: How far back, unless it is said.
USUAL = timedelta(days=1)


@blueprint.route("/metrics")
class Buckets(MethodView):
    """All buckets."""

    @blueprint.arguments(BucketQuery, location="query")
    @blueprint.response(200, BucketPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List what the events of each minute, hour or day add up to, the newest first, of the last day unless told.

        Buckets are whole: those that have anything of the time asked for. They equal the events at every moment, so the
        newest is still growing.
        """
        limit, after = page_limit(query["limit"]), text_from_cursor("bucket", query["cursor"], Place.of)
        since, until = whole_period_of(query, USUAL)
        by = dimension_of(
            query["by"],
            user=query["user"] is not None,
            space=query["space"] is not None,
            operation=query["operation"] is not None,
        )
        with reading() as connection, store_errors():
            wanted = Wanted(since, until, query["width"], by, _only(connection, query))
            found = records.page(connection, wanted, limit + 1, after, newest_first=True)
        return json_answer(page(found, limit, _record, lambda each: make_cursor("bucket", each[0].text())))


def _only(connection: Connection[Any], query: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values by the names of keys."""
    asked: dict[str, list[Any]] = {name: [query[name]] for name in ("operation", "measure") if query[name] is not None}
    if query["component"] is not None:
        asked["component"] = [component_name(query["component"])]
    if query["event_type"] is not None:
        asked["event_type"] = list(types_of(query["event_type"]))
    members = {"user_id": user_of(query), "space_id": space_of(connection, query)}
    asked.update({name: [member] for name, member in members.items() if member is not None})
    return asked


def _record(row: tuple[Place, Record]) -> Record:
    return row[1]
