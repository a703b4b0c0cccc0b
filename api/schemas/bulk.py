"""What requests and answers about many submissions hold."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import fields, validate

from api.schemas.answers import ProblemShape
from api.schemas.requests import AnyId, SubmissionShape
from api.schemas.shape import Shape
from dsl.checking.shape import MAX_SLUG
from workers.bulk import MAX_ITEMS

#: Name of the shape of an item, in the description.
ITEM = "BulkItemShape"


class BulkItemShape(SubmissionShape):
    """One of many submissions: what a single one takes, and what it has outside of its body."""

    command = fields.String(
        required=True, validate=validate.Length(1, MAX_SLUG), metadata={"description": "Slug of the command."}
    )
    correlation_id = AnyId(
        load_default=None, allow_none=True, metadata={"description": "The trace it belongs to; that of the request."}
    )
    idempotency_key = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "As the header of a single submission, for this item alone."},
    )


class _AnyItem(fields.Raw):
    """An item is refused by itself, so the list may hold anything."""

    def __init__(self, **facts: Any) -> None:  # noqa: ANN401 - marshmallow's
        super().__init__(metadata={"anyOf": [{"$ref": f"#/components/schemas/{ITEM}"}, {}]}, **facts)


class BulkShape(Shape):
    """Body of many submissions."""

    #: One that cannot be stored is refused by itself, too.
    LOOKS_AT_ITEMS_ITSELF: ClassVar[bool] = True

    items = fields.List(
        _AnyItem(allow_none=True),
        required=True,
        metadata={
            "maxItems": MAX_ITEMS,
            "description": f"{MAX_ITEMS:,} at most; each a `{ITEM}`. What is none is refused, and the others are not.",
        },
    )


class BulkVerdictShape(Shape):
    """What became of one of many submissions."""

    index = fields.Integer(required=True, metadata={"description": "Its place in `items`, from 0."})
    verdict = fields.String(required=True, validate=validate.OneOf(("accepted", "replayed", "refused")))
    status = fields.Integer(required=True, metadata={"description": "That a single submission would be answered with."})
    id = fields.UUID(required=True, allow_none=True, metadata={"description": "Of its execution."})
    location = fields.String(required=True, allow_none=True)
    problem = fields.Nested(ProblemShape, required=True, allow_none=True)


class BulkAnswerShape(Shape):
    """What became of many submissions, in their order."""

    accepted = fields.Integer(required=True, metadata={"description": "New executions."})
    replayed = fields.Integer(required=True, metadata={"description": "Those whose key was sent before."})
    refused = fields.Integer(required=True)
    items = fields.List(fields.Nested(BulkVerdictShape), required=True)
