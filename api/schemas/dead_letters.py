"""What requests and answers about dead letters hold."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import (
    Instant,
    QueryShape,
    StrictBoolean,
    WholePattern,
    cursor_field,
    limit_field,
    user_field,
)
from api.schemas.selections import FoundShape, PartShape, count_field, ids_field, part_cursor_field, up_to_field
from api.schemas.shape import Shape, said
from workers.dead_letters import STATES

#: Ids that one request may name.
MAX_IDS = 1000


def _state(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    described = said("`dead` unless given: what killed its workers; `failed`: what ended with an error; or both.")
    return fields.String(validate=validate.OneOf((*STATES, "all")), metadata=described, **facts)


def _fingerprint(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    error = "Expected 16 hexadecimal digits."
    described = said("Only those with this cause: 16 hexadecimal digits.")
    return fields.String(validate=WholePattern("^[0-9a-f]{16}$", error=error), metadata=described, **facts)


_COMMAND = said("Only those of this command: a slug.")
_LANE = said("Only those of this lane.")
_START = said("Only those that ended then or later: ISO 8601 with a zone.")
_END = said("Only those that ended before.")


class DeadLetterQuery(QueryShape):
    """Which dead letters."""

    state = _state()
    command = fields.String(metadata=_COMMAND)
    fingerprint = _fingerprint()
    lane = fields.String(metadata=_LANE)
    start = Instant(format="iso", metadata=_START)
    end = Instant(format="iso", metadata=_END)
    limit = limit_field()
    cursor = cursor_field()


class LettersShape(Shape):
    """Body that says which dead letters; all that are `dead` unless more is said."""

    state = _state(load_default="dead")
    command = fields.String(load_default=None, allow_none=True, metadata=_COMMAND)
    fingerprint = _fingerprint(load_default=None, allow_none=True)
    lane = fields.String(load_default=None, allow_none=True, metadata=_LANE)
    start = Instant(format="iso", load_default=None, allow_none=True, metadata=_START)
    end = Instant(format="iso", load_default=None, allow_none=True, metadata=_END)
    ids: fields.Field[Any] = ids_field(MAX_IDS, "Only these executions.")
    up_to = up_to_field("what was submitted after that one is left alone.")


class ManyLettersShape(LettersShape):
    """Body that says which dead letters to deal with, and how many they are."""

    count = count_field()
    cursor = part_cursor_field()
    user = user_field()


_FROM_START = said("From its beginning, instead of where it ended.")


class RequeueManyShape(ManyLettersShape):
    """Body of a request to run many dead letters again."""

    from_start = StrictBoolean(load_default=False, metadata=_FROM_START)


class HandlingShape(Shape):
    """Body of a request to deal with one dead letter; it may be left out."""

    user = user_field()


class RequeueShape(HandlingShape):
    """Body of a request to run one dead letter again; it may be left out."""

    from_start = StrictBoolean(load_default=False, metadata=_FROM_START)


class HandledShape(Shape):
    """What was done about a dead letter."""

    action = fields.String(required=True, validate=validate.OneOf(("requeued", "dropped")))
    user = fields.String(required=True, allow_none=True)
    at = fields.AwareDateTime(required=True, format="iso")
    execution_id = fields.UUID(required=True, allow_none=True, metadata=said("The execution that follows it."))


class DeadLetterShape(Shape):
    """An execution that ended without success, and what to do about it."""

    id = fields.UUID(required=True, metadata=said("Of the execution."))
    command = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    lane = fields.String(required=True)
    priority = fields.Integer(required=True)
    user = fields.String(required=True)
    correlation_id = fields.UUID(required=True)
    parent_id = fields.UUID(required=True, allow_none=True)
    fingerprint = fields.String(required=True, allow_none=True, metadata=said("The same for the same cause."))
    last_step = fields.String(
        required=True,
        allow_none=True,
        metadata=said("The step that failed. Of a dead one the last on record: it died in that or the next."),
    )
    error = fields.Dict(required=True, allow_none=True)
    attempts = fields.Integer(required=True, metadata=said("How often it was begun."))
    failures = fields.Integer(required=True, metadata=said("Attempts that failed and were tried again."))
    deaths = fields.Integer(required=True, metadata=said("Workers that were lost with it."))
    deaths_alone = fields.Integer(required=True, metadata=said("Those of them where nothing else ran."))
    queued_at = fields.AwareDateTime(required=True, format="iso")
    started_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    finished_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    next_action = fields.String(required=True, metadata=said("What to do about it, in a sentence."))
    handled = fields.Nested(
        HandledShape, required=True, allow_none=True, metadata=said("What was done about it; null while it is open.")
    )


class CauseShape(Shape):
    """Dead letters of one command with one cause."""

    command = fields.String(required=True)
    fingerprint = fields.String(required=True, allow_none=True)
    letters = fields.Integer(required=True)
    dead = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    first_at = fields.AwareDateTime(required=True, format="iso", metadata=said("When the first of them ended."))
    last_at = fields.AwareDateTime(required=True, format="iso")
    newest_id = fields.UUID(required=True)
    error = fields.Dict(required=True, allow_none=True, metadata=said("Of the newest."))


class PreviewShape(FoundShape):
    """What would be dealt with."""

    samples = fields.List(fields.Nested(DeadLetterShape), required=True, metadata=said("The oldest of them."))


class DoneShape(Shape):
    """A dead letter that was dealt with."""

    id = fields.UUID(required=True)
    execution_id = fields.UUID(required=True, allow_none=True, metadata=said("The execution that follows it."))


class RefusedShape(Shape):
    """A dead letter that cannot be dealt with; it stays in the list."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    detail = fields.String(required=True)


class BatchShape(PartShape):
    """What one request dealt with, oldest first; at most 200."""

    done = fields.List(fields.Nested(DoneShape), required=True)
    refused = fields.List(fields.Nested(RefusedShape), required=True)


DeadLetterPage = page_of(DeadLetterShape, "DeadLetterPage")
CausePage = page_of(CauseShape, "CausePage")
