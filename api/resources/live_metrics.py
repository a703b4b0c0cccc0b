"""`/api/metrics/live`: requests in numbers, as they end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, request
from flask.views import MethodView

from api import streaming
from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.context import live, settings, streams
from api.schemas.live import LiveQuery
from api.streaming import OpenStream
from dsl.errors import Fault
from telemetry.live.feed import LiveFeed
from telemetry.live.view import View

blueprint = Blueprint("live", __name__, url_prefix="/api/metrics", description="Requests in numbers, as they end.")

#: Seconds between two looks whether the reader is still there.
_LOOK_S = 1.0

_LAST_EVENT_HEADER = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`id` of the last event that was received, to be told what has changed since. Of any other, and of"
    " one that is too long ago, everything is told.",
}


@blueprint.route("/live")
class LiveMetrics(MethodView):
    """How it goes just now."""

    @blueprint.takes(_LAST_EVENT_HEADER)
    @blueprint.arguments(LiveQuery, location="query")
    @blueprint.response(200, content_type=streaming.MEDIA_TYPE)
    @blueprint.refuses(503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """Stream figures of requests as server-sent events, within a tenth of a second of what they tell of.

        `snapshot` has all nine metrics of the window, and if they are told apart, of each series and of all others
        together; `delta` has what has changed, in the same shape: metrics take the place of those before, a series that
        is null is gone. `state` is `live`, or `stale` while the stream of events is away; `reasons` says what is not
        certain. With nothing to say, a comment comes every 15 seconds. It never ends by itself.
        """
        view = View(_minutes(query["window"]), query["component"], query["by"])
        if request.method == "HEAD":
            return Response(mimetype=streaming.MEDIA_TYPE, headers=streaming.HEADERS)
        stream = streams().open(request.environ)
        told = _stream(live(), view, request.headers.get("Last-Event-ID"), stream)
        response = Response(told, mimetype=streaming.MEDIA_TYPE, headers=streaming.HEADERS)
        # Also where nobody came to read the first event.
        response.call_on_close(stream.close)
        return response


def _minutes(window: str) -> int:
    """Of a window such as `5m`.

    Raises:
        RequestInvalid: So many are not kept.
    """
    minutes, most = int(window.removesuffix("m")), settings().live.minutes
    if minutes > most:
        message = f"window: no more than {most} minutes are kept (WEIR_LIVE_MINUTES)"
        raise RequestInvalid([Fault("request.limit", message, path="window")])
    return minutes


def _stream(feed: LiveFeed, view: View, last_id: str | None, stream: OpenStream) -> Iterator[bytes]:
    """What there is to tell, until the end of the reader or of this process."""
    yield streaming.retry()
    with feed.watching(view) as channel:
        number = channel.number_of(last_id)
        said_at = time.monotonic()
        while True:
            tellings, number = feed.wait(channel, number, _LOOK_S)
            for telling in tellings:
                yield streaming.event(telling.name, telling.data, telling.id)
                said_at = time.monotonic()
            if feed.is_closed:
                yield streaming.retry()
                return
            if tellings:
                continue
            if stream.is_deserted():
                return
            if time.monotonic() - said_at >= streaming.HEARTBEAT.total_seconds():
                yield streaming.heartbeat()
                said_at = time.monotonic()
