"""What statistics over events look like."""

from __future__ import annotations

from marshmallow import fields

from api.schemas.shape import Shape, said


class CountShape(Shape):
    """How many there were."""

    events = fields.Integer(required=True)
    errors = fields.Integer(required=True, metadata=said("Of them at level `error`."))


class ComponentCount(CountShape):
    """Of one component."""

    component = fields.String(required=True)


class RunShape(Shape):
    """How often something was done, and how it went."""

    count = fields.Integer(required=True)
    outcomes = fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, metadata=said("How many of each.")
    )
    average_ms = fields.Float(required=True, allow_none=True)
    last_at = fields.AwareDateTime(required=True, format="iso")


class CommandUse(RunShape):
    """Executions of one command that ended."""

    command = fields.String(required=True, allow_none=True)


class ToolUse(RunShape):
    """Invocations of one tool."""

    tool = fields.String(required=True, allow_none=True)


class ChatType(CountShape):
    """Events of one type."""

    event_type = fields.String(required=True)


class ChatHour(CountShape):
    """Events of one hour of the day."""

    hour = fields.Integer(required=True, metadata=said("0 to 23, UTC."))


class ChatUse(CountShape):
    """What chats look like."""

    types = fields.List(fields.Nested(ChatType), required=True)
    hours = fields.List(fields.Nested(ChatHour), required=True, metadata=said("Those with any."))


class StatsShape(CountShape):
    """Statistics over the events that the filter lets through; lists have the most frequent first."""

    start = fields.AwareDateTime(required=True, format="iso", metadata=said("From this instant."))
    end = fields.AwareDateTime(
        required=True, allow_none=True, format="iso", metadata=said("Before this one; null: up to now.")
    )
    filter = fields.String(required=True, metadata=said("All that was asked for, as one filter."))
    components = fields.List(fields.Nested(ComponentCount), required=True)
    commands = fields.List(fields.Nested(CommandUse), required=True)
    tools = fields.List(fields.Nested(ToolUse), required=True)
    chat = fields.Nested(ChatUse, required=True)
