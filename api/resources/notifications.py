"""`/api/notifications`: the inbox, which `notify` steps and alerts write into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import resources
from api.resources.event_filters import period_of
from api.resources.whose import space_of
from api.schemas.notifications import NotificationPage, NotificationQuery
from dsl import notifications
from dsl.notifications import Listed, Which
from workers.executions import reaching_store

blueprint = Blueprint(
    "notifications", __name__, url_prefix="/api/notifications", description="What people were told, in the inbox."
)


@blueprint.route("")
class Notifications(MethodView):
    """The inbox."""

    @blueprint.arguments(NotificationQuery, location="query")
    @blueprint.response(200, NotificationPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List messages of `notify` steps and of alerts to the channel `inbox`, newest first."""
        limit, before = page_limit(query["limit"]), id_from_cursor("notification", query["cursor"])
        since, until = period_of(query)
        with reaching_store(), resources().pool.connection() as connection:
            which = Which(space_of(connection, query), query["user"], query["level"], since, until, before)
            rows = notifications.newest(connection, which, limit=limit + 1)
        return json_answer(page(rows, limit, _notification_json, lambda row: make_cursor("notification", row.id)))


def _notification_json(row: Listed) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "user": row.user_name,
        "level": row.level,
        "message": row.message,
        "space": row.space,
        "execution_id": row.execution_id,
    }
