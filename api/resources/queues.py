"""`/api/queues`: what waits in each lane, and what holds it up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.resources.due_times import duration_words, rough, time_fault
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
    """When a pause that somebody asks for ends by itself: at the first of the times that are given.

    Raises:
        RequestInvalid: One of them has come already, which would end the pause that there is, or is too far ahead.
    """
    now = resources().clock.now().astimezone(UTC)
    until: datetime | None = body.get("until")
    span: timedelta | None = body.get("for_")
    faults = []
    if until is not None and until <= now:
        message = f"until: that was {rough(now - until)} ago, by the server's clock"
        faults.append(time_fault("until", message, "an instant to come; `resume` ends a pause"))
    elif until is not None and until - now > MAX_DURATION:
        message = f"until: that is {rough(until - now)} ahead"
        faults.append(time_fault("until", message, f"at most {MAX_DURATION.days} days ahead; left out, it has no end"))
    if span is not None and not timedelta(0) < span <= MAX_DURATION:
        message = f"for: {duration_words(span)} is out of bounds"
        faults.append(time_fault("for", message, f"more than nothing, at most {MAX_DURATION.days} days"))
    if faults:
        raise RequestInvalid(faults)
    ends = ([] if until is None else [until]) + ([] if span is None else [now + span])
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
