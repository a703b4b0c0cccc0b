"""Shapes of lanes and pauses, in requests and in answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.answers import PauseShape, page_of
from api.schemas.durations import DurationText
from api.schemas.requests import Instant, WholeNumber, user_field
from api.schemas.shape import Shape

#: The longest pause that ends by itself, and the longest that something may be said to wait.
MAX_DURATION = timedelta(days=3650)

#: More than any lane can hold.
_MANY = 1_000_000_000


def _is_sensible(duration: timedelta) -> None:
    if not timedelta(0) < duration <= MAX_DURATION:
        raise ma.ValidationError("Expected more than nothing, and at most 3650d.")


class PauseBody(Shape):
    """Body of a pause; every field may be left out."""

    for_ = DurationText(
        data_key="for",
        validate=_is_sensible,
        metadata={"type": "string", "description": "It ends by itself after this: `30m`."},
    )
    until = Instant(format="iso", metadata={"description": "Or at this instant; not together with `for`."})
    user = user_field()

    @ma.validates_schema
    def _ends_once(self, data: Any, **_: object) -> None:  # noqa: ANN401 - marshmallow's
        if "for_" in data and "until" in data:
            raise ma.ValidationError("`for` and `until` exclude each other.", "until")


def _limit(text: str) -> WholeNumber:
    return WholeNumber(
        allow_none=True, load_default=None, validate=validate.Range(1, _MANY), metadata={"description": text}
    )


class LimitsBody(Shape):
    """All limits of a lane: those that are left out or null it has no more."""

    running = _limit("Executions that run at once.")
    queued = _limit("Executions that may wait when another is submitted; WEIR_API_MAX_QUEUED unless given.")
    age = DurationText(
        allow_none=True,
        load_default=None,
        validate=_is_sensible,
        metadata={
            "type": ["string", "null"],
            "description": "How long one may have waited when another is submitted; "
            "WEIR_API_MAX_QUEUE_AGE unless given.",
        },
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
