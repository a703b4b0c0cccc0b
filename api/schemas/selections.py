"""What requests and answers have in common that deal with many: a preview first, then its number, then part after part.

Previewed is what there is by then: `up_to` leaves alone what comes later. The first part says how many it is to be, and
is refused if it is another number by now; each answer says where the next part begins.
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.schemas.requests import WholeNumber
from api.schemas.shape import Shape, said

#: Greatest number that can be confirmed.
MAX_COUNT = 10**9


def ids_field(most: int, text: str) -> fields.List[Any]:
    """Those that are named."""
    return fields.List(
        fields.UUID(), load_default=None, allow_none=True, validate=validate.Length(1, most), metadata=said(text)
    )


def up_to_field(text: str) -> fields.UUID:
    """The newest of the preview."""
    return fields.UUID(load_default=None, allow_none=True, metadata=said(f"Of the preview: {text}"))


def count_field() -> WholeNumber:
    """The number of the preview."""
    return WholeNumber(
        load_default=None,
        validate=validate.Range(0, MAX_COUNT),
        metadata=said("How many that is, as the preview says; refused if it is another number. Required at first."),
    )


def part_cursor_field() -> fields.String:
    """Where a part begins."""
    return fields.String(
        load_default=None,
        allow_none=True,
        metadata=said("`next_cursor` of the answer before, to go on behind what it dealt with."),
    )


class FoundShape(Shape):
    """What would be dealt with; `samples` is whoever derives from it to say."""

    count = fields.Integer(required=True)
    up_to = fields.UUID(required=True, allow_none=True, metadata=said("The newest there is: to be sent back."))


class PartShape(Shape):
    """What one request dealt with; `done` and `refused` is whoever derives from it to say."""

    remaining = fields.Integer(required=True, metadata=said("How many are left behind these."))
    next_cursor = fields.String(required=True, allow_none=True, metadata=said("Null when nothing is left."))
