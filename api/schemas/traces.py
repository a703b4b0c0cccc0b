"""What answers about traces hold."""

from __future__ import annotations

from marshmallow import fields

from api.schemas.answers import EventShape
from api.schemas.shape import Shape, said


class LinkedShape(Shape):
    """An execution of the trace, or one of another trace that is linked with it."""

    id = fields.UUID(required=True)
    command = fields.String(required=True)
    state = fields.String(required=True)
    link = fields.String(required=True, allow_none=True, metadata=said("How it comes from its parent or schedule."))
    parent_id = fields.UUID(required=True, allow_none=True)
    schedule_id = fields.UUID(required=True, allow_none=True)
    correlation_id = fields.UUID(required=True, metadata=said("Of its own trace."))
    attempt = fields.Integer(required=True)
    dry_run = fields.Boolean(required=True)
    why_open = fields.String(
        required=True, allow_none=True, metadata=said("Why it has not ended: its state, or `worker_lost`; else null.")
    )


class SpanShape(Shape):
    """Something that took time, or a change. Parents come before their children."""

    index = fields.Integer(required=True)
    parent = fields.Integer(required=True, allow_none=True, metadata=said("`index` of the span it is inside of."))
    depth = fields.Integer(required=True)
    kind = fields.String(required=True, metadata=said("`request`, `execution`, `attempt`, `step`, `item` or `change`."))
    name = fields.String(required=True)
    type = fields.String(required=True, metadata=said("The step type, or a word for what else it is."))
    offset_ms = fields.Float(required=True, metadata=said("From the beginning of the trace to its own."))
    duration_ms = fields.Float(required=True, allow_none=True)
    wait_ms = fields.Float(required=True, metadata=said("How much of it was waiting in the queue."))
    outcome = fields.String(required=True, allow_none=True)
    error_type = fields.String(required=True, allow_none=True)
    is_open = fields.Boolean(required=True, metadata=said("Whether it has no end that is known of."))
    why_open = fields.String(
        required=True,
        allow_none=True,
        metadata=said("A state of its execution, `worker_lost`, or `event_missing`: its execution has ended."),
    )
    execution_id = fields.UUID(required=True, allow_none=True)
    step_path = fields.String(required=True, allow_none=True)
    event_id = fields.UUID(required=True, allow_none=True, metadata=said("Of the event that tells of it."))


class SegmentShape(Shape):
    """A stretch of the critical path: what had to be shorter for the whole to be shorter."""

    span = fields.Integer(required=True, metadata=said("`index` of the span that was worked at."))
    offset_ms = fields.Float(required=True)
    duration_ms = fields.Float(required=True)


class TypeSumsShape(Shape):
    """Spans of one kind and type together."""

    kind = fields.String(required=True)
    type = fields.String(required=True)
    count = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    total_ms = fields.Float(required=True, metadata=said("What ran at a time is counted as often."))
    self_ms = fields.Float(required=True, metadata=said("Without what was inside of them."))
    max_ms = fields.Float(required=True)
    critical_ms = fields.Float(required=True, metadata=said("How much of the critical path is theirs."))


class TraceShape(Shape):
    """All of one trace: its events in the order they occurred, the tree they make, and where the time went."""

    found_by = fields.String(
        required=True, metadata=said("What the id is: `correlation_id`, `execution`, `event` or `fragment`.")
    )
    correlation_id = fields.UUID(required=True)
    started_at = fields.AwareDateTime(required=True, format="iso")
    duration_ms = fields.Float(required=True)
    items = fields.List(fields.Nested(EventShape), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
    executions = fields.List(fields.Nested(LinkedShape), required=True)
    spans = fields.List(fields.Nested(SpanShape), required=True)
    critical_path = fields.List(fields.Nested(SegmentShape), required=True)
    statistics = fields.List(fields.Nested(TypeSumsShape), required=True)
