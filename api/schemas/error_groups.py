"""What errors by their cause look like."""

from __future__ import annotations

from marshmallow import fields, validate

from api.schemas.requests import DigitsInteger, EventFilterQuery
from api.schemas.shape import Shape, said
from telemetry.error_groups import MAX_GROUPS, MAX_NAMED, STRETCHES


class ErrorQuery(EventFilterQuery):
    """Which errors."""

    limit = DigitsInteger(
        validate=validate.Range(1, MAX_GROUPS), metadata=said(f"Groups, at most; {MAX_GROUPS} at the very most.")
    )


class ErrorGroupShape(Shape):
    """Errors with one cause."""

    fingerprint = fields.String(required=True, metadata=said("The same for the same class and frames."))
    error_type = fields.String(required=True, allow_none=True)
    error_category = fields.String(required=True, allow_none=True)
    count = fields.Integer(required=True)
    traces = fields.Integer(required=True, metadata=said("How many traces these are of."))
    first_at = fields.AwareDateTime(required=True, format="iso")
    last_at = fields.AwareDateTime(required=True, format="iso")
    newest_trace = fields.UUID(required=True, metadata=said("Correlation id of the last."))
    commands = fields.List(fields.String(), required=True, metadata=said(f"In which, at most {MAX_NAMED}."))
    step_types = fields.List(fields.String(), required=True, metadata=said("Likewise."))
    spread = fields.List(
        fields.Integer(), required=True, metadata=said(f"How many in each of {STRETCHES} equal stretches of the time.")
    )
    frames = fields.List(
        fields.String(),
        required=True,
        allow_none=True,
        metadata=said(
            "Where it arose: `module:function:line` of Weir and of step types, outermost first; null: unknown."
        ),
    )


class ErrorGroupsShape(Shape):
    """Errors by their cause, the most frequent first."""

    start = fields.AwareDateTime(required=True, format="iso")
    end = fields.AwareDateTime(required=True, format="iso")
    filter = fields.String(required=True, metadata=said("All that was asked for, as one filter."))
    items = fields.List(fields.Nested(ErrorGroupShape), required=True)
