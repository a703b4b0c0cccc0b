"""What durations and failures look like."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import ValidationError, fields, validate

from api.schemas.requests import DigitsInteger, EventFilterQuery
from api.schemas.shape import Shape, said
from telemetry.performance import KINDS, MAX_LINES, ORDERS, kind_named

_MS = said("Milliseconds.")


class KindName(fields.String):
    """A kind, or what else it is called: `chat`, `tool_telemetry`, `llm`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:  # noqa: ANN401 - marshmallow's
        text = super()._deserialize(value, attr, data, **kwargs)
        kind = kind_named(text or "")
        if kind is None:
            raise ValidationError(f"Must be one of: {', '.join(KINDS)}.")
        return kind


class PerformanceQuery(EventFilterQuery):
    """Of what, and in which order."""

    type = KindName(metadata={"enum": list(KINDS), "description": "Of what; commands and step types unless given."})
    sort = fields.String(
        validate=validate.OneOf(ORDERS), metadata=said("What the most of comes first: `total` unless given.")
    )
    limit = DigitsInteger(validate=validate.Range(1, MAX_LINES), metadata=said(f"Lines, at most; {MAX_LINES} at most."))


#: Of an answer with percentiles.
ERROR_PERCENT: Final = fields.Float(
    required=True,
    metadata=said(
        "By how much percentiles are off, at most: 1.1 from roll-ups (older than 90 days 4.4), 0 from events."
    ),
)


class TimingShape(Shape):
    """How something went. Percentiles are off by no more than the answer says; all else is exact."""

    count = fields.Integer(
        required=True, metadata=said("How often it ran to an end; dry runs and cancelled ones aside.")
    )
    failures = fields.Integer(required=True, metadata=said("How often it did not succeed."))
    success_percent = fields.Float(required=True, allow_none=True)
    p50_ms = fields.Float(required=True, metadata=_MS)
    p95_ms = fields.Float(required=True, metadata=_MS)
    p99_ms = fields.Float(required=True, metadata=_MS)
    max_ms = fields.Float(required=True, metadata=_MS)
    total_ms = fields.Float(required=True, metadata=said("All runs together, in milliseconds."))
    last_at = fields.AwareDateTime(required=True, format="iso", metadata=said("When the last ended."))


class PerformanceLine(TimingShape):
    """How one command, step type or route went."""

    type = fields.String(required=True, validate=validate.OneOf(KINDS))
    name = fields.String(required=True, allow_none=True, metadata=said("Slug, step type, or method and route."))
    share_percent = fields.Float(
        required=True, allow_none=True, metadata=said("Of the time that all of its type took together.")
    )


class PerformanceShape(Shape):
    """Durations and failures."""

    start = fields.AwareDateTime(required=True, format="iso", metadata=said("From this instant."))
    end = fields.AwareDateTime(
        required=True, allow_none=True, format="iso", metadata=said("Before this one; null: up to now.")
    )
    filter = fields.String(required=True, metadata=said("All that was asked for, as one filter."))
    sort = fields.String(required=True, validate=validate.OneOf(ORDERS))
    percentile_error_percent = ERROR_PERCENT
    items = fields.List(fields.Nested(PerformanceLine), required=True)
