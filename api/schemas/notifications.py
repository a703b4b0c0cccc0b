"""What requests and answers about the inbox hold."""

from __future__ import annotations

from typing import get_args

from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import (
    MAX_USER,
    OneOfNear,
    QueryShape,
    cursor_field,
    limit_field,
    name_field,
    time_range_field,
)
from api.schemas.shape import Shape, said
from dsl.notifications import MessageLevel

_LEVELS = get_args(MessageLevel)


class NotificationQuery(QueryShape):
    """Which messages of the inbox."""

    user = fields.String(validate=validate.Length(1, MAX_USER), metadata=said("Only those for this user."))
    space = name_field(metadata=said("Only those of this space."))
    level = fields.String(validate=OneOfNear(_LEVELS), metadata=said("Exactly this one."))
    time_range = time_range_field("As far back as this: `15m`, `1h`, `7d`.")
    start = fields.AwareDateTime(format="iso", metadata=said("From this instant; not together with time_range."))
    end = fields.AwareDateTime(format="iso", metadata=said("Before this instant."))
    limit = limit_field()
    cursor = cursor_field()


class NotificationShape(Shape):
    """A message that somebody was sent."""

    id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True, format="iso")
    user = fields.String(required=True, metadata=said("Whom it is for."))
    level = fields.String(required=True, validate=validate.OneOf(_LEVELS))
    message = fields.String(required=True)
    space = fields.String(required=True)
    execution_id = fields.UUID(
        required=True, allow_none=True, metadata=said("What sent it; none for an alert, or once that is cleaned away.")
    )


NotificationPage = page_of(NotificationShape, "NotificationPage")
