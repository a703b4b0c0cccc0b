"""Shapes of the account of events: what is missing."""

from __future__ import annotations

from marshmallow import fields, validate

from api.schemas.requests import QueryShape, time_range_field
from api.schemas.shape import Shape
from telemetry.completeness import KINDS


class CompletenessQuery(QueryShape):
    """Which stretch of time."""

    time_range = time_range_field("As far back as this: `15m`, `1h`, `7d`; `24h` unless given.")


class WindowShape(Shape):
    """The stretch of time that was looked at."""

    since = fields.AwareDateTime(required=True, format="iso")
    until = fields.AwareDateTime(required=True, format="iso")
    checked_until = fields.AwareDateTime(
        required=True, format="iso", metadata={"description": "Events of later rows may be on their way."}
    )
    watermark = fields.AwareDateTime(
        required=True, format="iso", metadata={"description": "Whatever occurred before was handed over."}
    )
    held_by = fields.String(
        required=True, allow_none=True, metadata={"description": "The producer that holds what is oldest."}
    )
    heard_at = fields.AwareDateTime(
        required=True, format="iso", metadata={"description": "When the newest batch of any producer was stored."}
    )
    silent = fields.List(
        fields.String(), required=True, metadata={"description": "Producers not heard of, and not waited for."}
    )
    days_not_kept = fields.List(
        fields.String(), required=True, metadata={"description": "Days whose events are not kept: not looked at."}
    )


class EpochShape(Shape):
    """A producer of events, from its start or a fork to its end."""

    epoch = fields.UUID(required=True)
    producer = fields.String(required=True)
    state = fields.String(
        required=True,
        validate=validate.OneOf(("open", "closed", "ended")),
        metadata={"description": "At work; ended and said so; not heard of any more."},
    )
    rung = fields.String(required=True, validate=validate.OneOf(("normal", "spooling", "dropping")))
    started_at = fields.AwareDateTime(required=True, format="iso")
    heard_at = fields.AwareDateTime(required=True, format="iso")
    complete = fields.Boolean(required=True)
    given = fields.Integer(required=True, metadata={"description": "Its greatest number that is known of."})
    arrived = fields.Integer(required=True)
    missing = fields.List(
        fields.List(fields.Integer()),
        required=True,
        metadata={"description": "Numbers that have not arrived: first and last of each range, the first 1,000."},
    )
    missing_count = fields.Integer(required=True)
    dropped = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "What it says it lost, by event type."},
    )
    lost = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "What of that has no row, and cannot be made again."},
    )
    closed = fields.Boolean(required=True)
    tail_unknown_after = fields.Integer(
        required=True, allow_none=True, metadata={"description": "It ended without saying what it gave after this."}
    )
    healed = fields.Boolean(
        required=True, metadata={"description": "It has faults, and every row of then has its event all the same."}
    )


class TransportShape(Shape):
    """Whether every number has arrived."""

    complete = fields.Boolean(required=True)
    epochs = fields.List(fields.Nested(EpochShape), required=True)


class ExampleShape(Shape):
    """A row whose event is stored nowhere."""

    event_id = fields.UUID(required=True)
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    occurred_at = fields.AwareDateTime(required=True, format="iso")


def _counts(text: str) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": f"{text}, by kind."}
    )


class LedgerShape(Shape):
    """Whether the event of every row is stored."""

    complete = fields.Boolean(required=True)
    checked = _counts("Rows that were looked at")
    missing = _counts("Those whose event is stored nowhere")
    quarantined = _counts("Those whose event is in quarantine")
    examples = fields.List(fields.Nested(ExampleShape), required=True)


class CompletenessShape(Shape):
    """What is missing of the events of a stretch of time."""

    complete = fields.Boolean(
        required=True, metadata={"description": "Whether nothing is missing, and all of it could be looked at."}
    )
    current = fields.Boolean(
        required=True,
        metadata={
            "description": "Whether what is known reaches to the end of it, but for the last two minutes at most."
        },
    )
    may_be_missing = fields.Boolean(
        required=True,
        metadata={"description": "Whether events without a row may be missing, which nobody can make again."},
    )
    window = fields.Nested(WindowShape, required=True)
    transport = fields.Nested(TransportShape, required=True)
    ledger = fields.Nested(LedgerShape, required=True)
    reconciled = fields.Integer(required=True, metadata={"description": "Events that were made again from their rows."})
