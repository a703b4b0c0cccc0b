"""What requests may hold; every request is checked by one of these."""

from __future__ import annotations

import re
from typing import Any, get_args
from uuid import UUID

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.shape import Shape
from telemetry.events import Level
from telemetry.query import component_name
from workers.executions import STATES

#: Rows of a page, whatever the settings say.
MAX_LIMIT = 10_000

#: Notes of one import request.
MAX_NOTES = 500

#: Characters of a user's name.
MAX_USER = 200

#: Form of a space's name and of a fragment's type, as the schema of the database has it.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")

_COMPONENTS = ("command", "dsl", "tool", "llm", "chat", "fragment", "schedule", "http", "alert", "telemetry")
_LEVELS = get_args(Level)
_OUTCOMES = ("succeeded", "failed", "skipped", "expired", "dead", "cancelled")


class StrictBoolean(fields.Boolean):
    """true or false, and nothing that merely sounds like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:  # noqa: ANN401 - marshmallow's
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class WordBoolean(fields.Boolean):
    """`true` or `false` in a query string, and nothing else."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:  # noqa: ANN401 - marshmallow's
        if value not in {"true", "false"}:
            raise self.make_error("invalid", input=value)
        return bool(value == "true")


class DigitsInteger(fields.Integer):
    """A whole number in a query string: up to 15 digits and nothing else."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:  # noqa: ANN401 - marshmallow's
        if not isinstance(value, str) or re.fullmatch(r"[0-9]{1,15}", value) is None:
            raise self.make_error("invalid", input=value)
        return int(value)


class AnyId(fields.UUID):
    """A UUID, with hyphens or as 32 hexadecimal digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> UUID:  # noqa: ANN401 - marshmallow's
        if not isinstance(value, str) or re.fullmatch(r"[0-9a-fA-F-]{32,36}", value) is None:
            raise self.make_error("invalid_uuid")
        return super()._deserialize(value, attr, data, **kwargs)


def _name(**facts: Any) -> fields.String:  # noqa: ANN401 - as fields.String
    rule = validate.Regexp(_NAME, error="Expected 1 to 63 lower case letters, digits, `.`, `_` or `-`.")
    return fields.String(validate=rule, **facts)


def _limit() -> DigitsInteger:
    return DigitsInteger(
        validate=validate.Range(1, MAX_LIMIT),
        metadata={"description": "Items of the page at most; 100 unless given."},
    )


def _is_component(text: str) -> None:
    """`tool` and `tool_telemetry` mean the same component."""
    if component_name(text) not in _COMPONENTS:
        raise ma.ValidationError(f"Must be one of: {', '.join(_COMPONENTS)}.")


def _cursor() -> fields.String:
    return fields.String(metadata={"description": "`next_cursor` of the page before, with the same filters."})


class QueryShape(Shape):
    """Base of query parameters: what was not given is none."""

    @ma.post_load
    def _complete(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return dict.fromkeys(self.fields) | data


class SubmissionShape(Shape):
    """Body of a submission; every field may be left out."""

    inputs = fields.Dict(
        keys=fields.String(), load_default=dict, metadata={"description": "As the command's `inputs` schema says."}
    )
    dry_run = StrictBoolean(load_default=False, metadata={"description": "Do everything, then roll all of it back."})
    priority = fields.Integer(
        strict=True,
        load_default=5,
        validate=validate.Range(0, 9),
        metadata={"description": "0 is the most urgent, 9 the least."},
    )
    user = fields.String(
        load_default="local-default",
        validate=validate.Length(1, MAX_USER),
        metadata={"description": "On whose behalf; telemetry keeps only its keyed hash."},
    )
    space = _name(load_default="default", metadata={"description": "Made when it is new."})


class NoteShape(Shape):
    """A note to import; `source` is what a later import knows it by."""

    source = fields.String(required=True, validate=validate.Length(1, 1000))
    title = fields.String(load_default="")
    content = fields.String(load_default="")
    type = _name(load_default="note")
    tags = fields.List(fields.String(), load_default=list)
    metadata = fields.Dict(keys=fields.String(), load_default=dict)
    created_at = fields.AwareDateTime(format="iso", load_default=None, allow_none=True)
    updated_at = fields.AwareDateTime(format="iso", load_default=None, allow_none=True)
    id = fields.UUID(
        load_default=None,
        allow_none=True,
        metadata={"description": "Of the fragment that the note was exported from; kept where it is free."},
    )
    state = fields.Dict(
        keys=fields.String(), load_default=dict, metadata={"description": "Of a fragment that is new by this import."}
    )


class ImportShape(Shape):
    """Body of an import."""

    space = _name(load_default="default", metadata={"description": "Made when it is new."})
    user = fields.String(load_default="local-default", validate=validate.Length(1, MAX_USER))
    notes = fields.List(fields.Nested(NoteShape), required=True, validate=validate.Length(0, MAX_NOTES))


class ExecutionQuery(QueryShape):
    """Which executions."""

    state = fields.String(validate=validate.OneOf(STATES))
    command = fields.String(metadata={"description": "Slug."})
    correlation_id = AnyId()
    slow = WordBoolean(metadata={"description": "Only those that were slow, or only those that were not."})
    limit = _limit()
    cursor = _cursor()


class StepQuery(QueryShape):
    """Which steps of an execution."""

    after = DigitsInteger(metadata={"description": "Only steps with a higher `ordinal`; not together with `cursor`."})
    limit = _limit()
    cursor = _cursor()


class FragmentQuery(QueryShape):
    """Which fragments."""

    type = fields.String()
    tag = fields.String(metadata={"description": "One tag, or several with commas: all of them."})
    space = fields.String()
    q = fields.String(metadata={"description": "Text in the title or content."})
    contents = fields.String(
        validate=validate.OneOf(("excerpt", "whole")),
        metadata={
            "description": "`whole`: each fragment with all of its content, at most 100 a page, 20 unless given."
        },
    )
    limit = _limit()
    cursor = _cursor()


class EventQuery(QueryShape):
    """Which events."""

    component = fields.String(validate=_is_component, metadata={"enum": list(_COMPONENTS)})
    event_type = fields.String(metadata={"description": "Full name, or a prefix: `dsl.step`."})
    level = fields.String(validate=validate.OneOf(_LEVELS), metadata={"description": "Exactly this one."})
    correlation_id = AnyId()
    execution_id = AnyId()
    command = fields.String(metadata={"description": "Slug."})
    user = fields.String(metadata={"description": "The plain name; its hash is looked for."})
    space = fields.String(metadata={"description": "Name of the space."})
    outcome = fields.String(validate=validate.OneOf(_OUTCOMES))
    time_range = fields.String(metadata={"description": "As far back as this: `15m`, `1h`, `90d`."})
    start = fields.AwareDateTime(
        format="iso", metadata={"description": "From this instant; not together with time_range."}
    )
    end = fields.AwareDateTime(format="iso", metadata={"description": "Before this instant."})
    limit = _limit()
    cursor = _cursor()
