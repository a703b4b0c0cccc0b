"""What requests and answers about the quarantine of events hold."""

from __future__ import annotations

from typing import Any, get_args

from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import QueryShape, StrictBoolean, WholePattern, cursor_field, limit_field
from api.schemas.selections import FoundShape, PartShape, count_field, ids_field, part_cursor_field, up_to_field
from api.schemas.shape import Shape, said
from telemetry.misfits import Reason
from telemetry.replay import AT_ONCE

REASONS = get_args(Reason)
_KEPT = "Only those whose event is kept, so that it can be stored after all."


def _reason(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    return fields.String(validate=validate.OneOf(REASONS), metadata=said("Only those with this reason."), **facts)


def _event_type(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    error = "Expected the full name of an event type, such as `dsl.step.executed`."
    described = said("Only events of this type: its full name.")
    return fields.String(validate=WholePattern(r"^[a-z_.]{1,100}$", error=error), metadata=described, **facts)


class QuarantineQuery(QueryShape):
    """Which rows of the quarantine."""

    reason = _reason()
    event_type = _event_type()
    kept = fields.Boolean(load_default=False, metadata=said(_KEPT))
    limit = limit_field()
    cursor = cursor_field()


class SelectionShape(Shape):
    """Body that says which rows of the quarantine; all of it unless more is said."""

    reason = _reason(load_default=None, allow_none=True)
    event_type = _event_type(load_default=None, allow_none=True)
    kept = StrictBoolean(load_default=False, metadata=said(_KEPT))
    ids: fields.Field[Any] = ids_field(AT_ONCE, "Only these.")
    up_to = up_to_field("what came in after that one is left alone.")


class ManyQuarantinedShape(SelectionShape):
    """Body that says which rows to deal with, and how many they are."""

    count = count_field()
    cursor = part_cursor_field()


class QuarantinedShape(Shape):
    """Something that could not be stored as an event."""

    id = fields.UUID(required=True)
    quarantined_at = fields.AwareDateTime(required=True, format="iso")
    reason = fields.String(required=True, validate=validate.OneOf(REASONS))
    event_type = fields.String(required=True, allow_none=True, metadata=said("What it says it is."))
    event_id = fields.UUID(required=True, allow_none=True)
    epoch = fields.UUID(required=True, allow_none=True, metadata=said("Of its producer."))
    number = fields.Integer(required=True, allow_none=True, metadata=said("Its number in that epoch."))
    shape = fields.Dict(required=True, metadata=said("Types and sizes of its fields; never what is in them."))
    size_bytes = fields.Integer(required=True)
    is_kept = fields.Boolean(required=True, metadata=said("Whether the event is kept, so that it can be replayed."))


class QuarantinePreviewShape(FoundShape):
    """What would be dealt with."""

    samples = fields.List(fields.Nested(QuarantinedShape), required=True, metadata=said("The oldest of them."))


class KeptBackShape(Shape):
    """A row that stays in quarantine."""

    id = fields.UUID(required=True)
    code = fields.String(
        required=True,
        validate=validate.OneOf(("not_kept", "not_understood", "outside")),
        metadata=said(
            "`not_kept`: only its shape is; `not_understood`: this version does not know it, or Postgres refuses it;"
            " `outside`: no partition holds its day."
        ),
    )


class QuarantineBatchShape(PartShape):
    """What one request dealt with, oldest first; at most 1,000."""

    done = fields.List(fields.UUID(), required=True)
    refused = fields.List(fields.Nested(KeptBackShape), required=True)


QuarantinePage = page_of(QuarantinedShape, "QuarantinePage")
