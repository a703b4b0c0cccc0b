"""`/api/queues`: what waits in each lane, and what holds it up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.schemas.queues import LimitsBody, PauseBody, QueuePage, QueueShape
from api.schemas.requests import EmptyShape
from telemetry.settings import format_duration
from workers.queues import Limits, Pause, Queue, Queues

#: The longest pause that ends by itself, and the longest wait that is told from another.
MAX_DURATION = timedelta(days=3650)

blueprint = Blueprint("queues", __name__, url_prefix="/api/queues", description="What waits, and what holds it up.")


@blueprint.route("")
class AllQueues(MethodView):
    """All lanes."""

    @blueprint.response(200, QueuePage)
    @blueprint.refuses(503)
    def get(self) -> Response:
        """List every lane, by name: declared ones, and those that something waits, runs or works in."""
        return json_answer({"items": [queue_json(queue) for queue in queues().all()], "next_cursor": None})


@blueprint.route("/<lane>")
class OneQueue(MethodView):
    """One lane."""

    @blueprint.response(200, QueueShape)
    @blueprint.refuses(404, 503)
    def get(self, lane: str) -> Response:
        """Show one lane."""
        return json_answer(queue_json(queues().get(lane)))


@blueprint.route("/<lane>/pause")
class LanePause(MethodView):
    """Holding a lane up."""

    @blueprint.arguments(PauseBody, required=False)
    @blueprint.response(200, QueueShape)
    @blueprint.refuses(404, 503)
    def post(self, body: Mapping[str, Any], lane: str) -> Response:
        """Begin nothing there until it is resumed; what runs goes on, and submissions are accepted."""
        return json_answer(queue_json(queues().pause(lane, body["user"], pause_end(body))))


@blueprint.route("/<lane>/resume")
class LaneResume(MethodView):
    """Going on with a lane."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, QueueShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], lane: str) -> Response:
        """Begin again what waits there."""
        return json_answer(queue_json(queues().resume(lane)))


@blueprint.route("/<lane>/limits")
class LaneLimits(MethodView):
    """What a lane may not exceed."""

    @blueprint.arguments(LimitsBody)
    @blueprint.response(200, QueueShape)
    @blueprint.refuses(404, 503)
    def put(self, body: Mapping[str, Any], lane: str) -> Response:
        """Set all limits of a lane, in place of those it had. More than may run now go on to their end."""
        # An age of nothing is no limit, and one that is too long to be kept is as good as the longest.
        age: timedelta | None = min(body["age"], MAX_DURATION) if body["age"] else None
        return json_answer(queue_json(queues().limit(lane, Limits(body["running"], body["queued"], age))))


def queues() -> Queues:
    """Lanes, as this process reaches them."""
    held = resources()
    return Queues(held.pool, held.hints, settings().dsl.lanes)


def pause_end(body: Mapping[str, Any]) -> datetime | None:
    """When a pause that somebody asks for ends by itself: at the first of the times that are given."""
    ends: list[datetime] = [body["until"]] if "until" in body else []
    if "for_" in body:
        ends.append(resources().clock.now().astimezone(UTC) + min(body["for_"], MAX_DURATION))
    return min(ends, default=None)


def queue_json(queue: Queue) -> dict[str, Any]:
    """A lane."""
    age = queue.limits.age
    return {
        "lane": queue.lane,
        "queued": queue.queued,
        "due": queue.due,
        "scheduled": queue.scheduled,
        "running": queue.running,
        "workers": queue.workers,
        "oldest_age_ms": queue.oldest_age_ms,
        "paused": pause_json(queue.pause),
        "limits": {
            "running": queue.limits.running,
            "queued": queue.limits.queued,
            "age": None if age is None else format_duration(age),
        },
    }


def pause_json(pause: Pause | None) -> dict[str, Any] | None:
    """A pause, if there is one."""
    return None if pause is None else {"at": pause.at, "by": pause.by, "until": pause.until}
