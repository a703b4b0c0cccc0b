"""What requests and answers about the quarantine of events hold."""

from __future__ import annotations

from typing import Any, get_args

from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import QueryShape, StrictBoolean, WholeNumber, WholePattern, cursor_field, limit_field
from api.schemas.shape import Shape
from telemetry.misfits import Reason
from telemetry.replay import AT_ONCE

#: Greatest number of rows that can be confirmed.
MAX_COUNT = 10**9

REASONS = get_args(Reason)
_KEPT = "Only those whose event is kept, so that it can be stored after all."


def _said(text: str, **facts: Any) -> dict[str, Any]:  # noqa: ANN401 - of JSON Schema
    return {"description": text, **facts}


def _reason(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    return fields.String(validate=validate.OneOf(REASONS), metadata=_said("Only those with this reason."), **facts)


def _event_type(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    error = "Expected the full name of an event type, such as `dsl.step.executed`."
    described = _said("Only events of this type: its full name.")
    return fields.String(validate=WholePattern(r"^[a-z_.]{1,100}$", error=error), metadata=described, **facts)


class QuarantineQuery(QueryShape):
    """Which rows of the quarantine."""

    reason = _reason()
    event_type = _event_type()
    kept = fields.Boolean(load_default=False, metadata=_said(_KEPT))
    limit = limit_field()
    cursor = cursor_field()


class SelectionShape(Shape):
    """Body that says which rows of the quarantine; all of it unless more is said."""

    reason = _reason(load_default=None, allow_none=True)
    event_type = _event_type(load_default=None, allow_none=True)
    kept = StrictBoolean(load_default=False, metadata=_said(_KEPT))
    ids: fields.Field[Any] = fields.List(
        fields.UUID(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, AT_ONCE),
        metadata=_said("Only these."),
    )
    up_to = fields.UUID(
        load_default=None, allow_none=True, metadata=_said("Of the preview: what came in after that one is left alone.")
    )


class ManyQuarantinedShape(SelectionShape):
    """Body that says which rows to deal with, and how many they are."""

    count = WholeNumber(
        load_default=None,
        validate=validate.Range(0, MAX_COUNT),
        metadata=_said("How many that is, as the preview says; refused if it is another number. Required at first."),
    )
    cursor = fields.String(
        load_default=None,
        allow_none=True,
        metadata=_said("`next_cursor` of the answer before, to go on behind what it dealt with."),
    )


class QuarantinedShape(Shape):
    """Something that could not be stored as an event."""

    id = fields.UUID(required=True)
    quarantined_at = fields.AwareDateTime(required=True, format="iso")
    reason = fields.String(required=True, validate=validate.OneOf(REASONS))
    event_type = fields.String(required=True, allow_none=True, metadata=_said("What it says it is."))
    event_id = fields.UUID(required=True, allow_none=True)
    epoch = fields.UUID(required=True, allow_none=True, metadata=_said("Of its producer."))
    number = fields.Integer(required=True, allow_none=True, metadata=_said("Its number in that epoch."))
    shape = fields.Dict(required=True, metadata=_said("Types and sizes of its fields; never what is in them."))
    size_bytes = fields.Integer(required=True)
    is_kept = fields.Boolean(required=True, metadata=_said("Whether the event is kept, so that it can be replayed."))


class QuarantinePreviewShape(Shape):
    """What would be dealt with."""

    count = fields.Integer(required=True)
    samples = fields.List(fields.Nested(QuarantinedShape), required=True, metadata=_said("The oldest of them."))
    up_to = fields.UUID(required=True, allow_none=True, metadata=_said("The newest there is: to be sent back."))


class KeptBackShape(Shape):
    """A row that stays in quarantine."""

    id = fields.UUID(required=True)
    code = fields.String(
        required=True,
        validate=validate.OneOf(("not_kept", "not_understood", "outside")),
        metadata=_said(
            "`not_kept`: only its shape is; `not_understood`: this version does not know it, or Postgres refuses it;"
            " `outside`: no partition holds its day."
        ),
    )


class QuarantineBatchShape(Shape):
    """What one request dealt with, oldest first; at most 1,000."""

    done = fields.List(fields.UUID(), required=True)
    refused = fields.List(fields.Nested(KeptBackShape), required=True)
    remaining = fields.Integer(required=True, metadata=_said("How many are left behind these."))
    next_cursor = fields.String(required=True, allow_none=True, metadata=_said("Null when nothing is left."))


QuarantinePage = page_of(QuarantinedShape, "QuarantinePage")
