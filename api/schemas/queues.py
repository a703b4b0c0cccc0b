"""Shapes of lanes and pauses, in requests and in answers."""

from __future__ import annotations

from marshmallow import fields, validate

from api.schemas.answers import PauseShape, page_of
from api.schemas.durations import duration_field
from api.schemas.requests import Instant, WholeNumber, user_field
from api.schemas.shape import Shape

#: More than any lane can hold.
_MANY = 1_000_000_000


class PauseBody(Shape):
    """Body of a pause; every field may be left out."""

    for_ = duration_field("It ends by itself after this: `30m`, at most 3650 days.", data_key="for")
    until = Instant(format="iso", metadata={"description": "Or at this instant to come, if that is first."})
    user = user_field()


def _limit(text: str) -> WholeNumber:
    return WholeNumber(
        allow_none=True, load_default=None, validate=validate.Range(1, _MANY), metadata={"description": text}
    )


class LimitsBody(Shape):
    """All limits of a lane: those that are left out or null it has no more."""

    running = _limit("Executions that run at once.")
    queued = _limit("Executions that may wait when another is submitted; WEIR_API_MAX_QUEUED unless given.")
    age = duration_field(
        "How long one may have waited when another is submitted; WEIR_API_MAX_QUEUE_AGE unless given, as with `0s`.",
        allow_none=True,
        load_default=None,
    )


class LimitsShape(Shape):
    """What a lane may not exceed; null is nothing of its own."""

    running = fields.Integer(required=True, allow_none=True)
    queued = fields.Integer(required=True, allow_none=True)
    age = fields.String(required=True, allow_none=True)


class QueueShape(Shape):
    """A lane."""

    lane = fields.String(required=True)
    queued = fields.Integer(required=True, metadata={"description": "Executions that wait for their turn."})
    due = fields.Integer(
        required=True,
        metadata={"description": "Of them those that workers look at: neither for a place nor for a paused command."},
    )
    scheduled = fields.Integer(required=True, metadata={"description": "Executions that become due later."})
    running = fields.Integer(required=True)
    workers = fields.Integer(required=True, metadata={"description": "Worker processes that take from it."})
    oldest_age_ms = fields.Float(
        required=True, allow_none=True, metadata={"description": "Wait of the one that waits longest."}
    )
    paused = fields.Nested(PauseShape, required=True, allow_none=True)
    limits = fields.Nested(LimitsShape, required=True)


class PausedCommandShape(Shape):
    """Whether a command is paused."""

    command = fields.String(required=True, metadata={"description": "Slug."})
    paused = fields.Nested(PauseShape, required=True, allow_none=True)


QueuePage = page_of(QueueShape, "QueuePage")
