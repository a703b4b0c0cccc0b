"""What requests may hold; every request is checked by one of these. Long, for there is one for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any
from uuid import UUID

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.durations import duration_field
from api.schemas.shape import Shape
from dsl.errors import RecordInvalid
from dsl.records import MAX_CONTENT, MAX_TAG, MAX_TAGS, MAX_TITLE, NAME, checked_tags, json_text
from telemetry.components import COMPONENTS, component_name, nearest
from telemetry.event_types import NAMES, is_event_type, nearest_event_type
from telemetry.filters.kinds import LEVELS, OUTCOMES
from telemetry.filters.parsing import MAX_TEXT
from workers.executions import STATES
from workers.progress import POSITION

#: Rows of a page, whatever the settings say.
MAX_LIMIT = 10_000

#: Notes of one import request.
MAX_NOTES = 500

#: Ordinal of a step, whatever its execution; the column holds no higher one.
MAX_ORDINAL = 2**31 - 1

#: Characters of a user's name.
MAX_USER = 200


class OneOfNear(validate.OneOf):
    """One of some words; another one is answered with the nearest."""

    def __call__(self, value: Any) -> Any:  # noqa: ANN401 - marshmallow's
        if value not in self.choices:
            near = get_close_matches(str(value).lower(), map(str, self.choices), n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ma.ValidationError(f"Must be one of: {self.choices_text}.{meant}")
        return value


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


class WholeNumber(fields.Integer):
    """A whole number of JSON, where 5.0 is one (JSON Schema 2020-12, § 4.2.3); true is none, and neither is "5"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:  # noqa: ANN401 - marshmallow's
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
            raise self.make_error("invalid", input=value)
        return int(value)


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


class Instant(fields.AwareDateTime):
    """An instant, in UTC whatever offset it comes with: Postgres does not know all that there are."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:  # noqa: ANN401 - marshmallow's
        found = super()._deserialize(value, attr, data, **kwargs)
        try:
            return found.astimezone(UTC)
        except OverflowError as error:
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error


class WholePattern(validate.Regexp):
    """A pattern that the whole value has; `$` alone would let a line break follow."""

    def __call__(self, value: Any) -> Any:  # noqa: ANN401 - marshmallow's
        if self.regex.fullmatch(value) is None:
            raise ma.ValidationError(self.error)
        return value


def name_field(**facts: Any) -> fields.String:  # noqa: ANN401 - as fields.String
    """The name of a space or the type of a fragment."""
    error = "Expected 1 to 63 lower case letters, digits, `.`, `_` or `-`, with a letter or digit first."
    return fields.String(validate=WholePattern(f"^{NAME.pattern}$", error=error), **facts)


#: How a tag is described; that it is not blank is checked with the record.
_TAG = {"pattern": r"[^\s\x1c-\x1f\x85]"}


def _storable(check: Callable[[Any], object]) -> Callable[[Any], None]:
    """A validator that asks what a record is asked before it is stored."""

    def ask(value: Any) -> None:  # noqa: ANN401 - of any field
        try:
            check(value)
        except RecordInvalid as error:
            raise ma.ValidationError(error.detail) from error

    return ask


def _check_tags(tags: Sequence[str]) -> None:
    """As a record's, and no more of them, whichever are the same."""
    validate.Length(max=MAX_TAGS)(tags)
    _storable(checked_tags)(tags)


def _tags(description: str, **facts: Any) -> fields.List[Any]:  # noqa: ANN401 - as fields.List
    tag: fields.Field[Any] = fields.String(validate=validate.Length(1, MAX_TAG), metadata=_TAG)
    metadata = {"maxItems": MAX_TAGS, "description": description}
    return fields.List(tag, validate=_check_tags, metadata=metadata, **facts)


def _json(what: str, **facts: Any) -> fields.Dict:  # noqa: ANN401 - as fields.Dict
    return fields.Dict(keys=fields.String(), validate=_storable(lambda value: json_text(what, value)), **facts)


def tags_of(given: str | None) -> list[str]:
    """The tags of a query parameter, which holds one, or several with commas."""
    return [tag.strip() for tag in (given or "").split(",") if tag.strip()]


def user_field(load_default: Any = "local-default", **facts: Any) -> fields.String:  # noqa: ANN401 - as fields.String
    """On whose behalf something is done."""
    return fields.String(
        load_default=load_default,
        validate=validate.Length(1, MAX_USER),
        metadata={"description": "On whose behalf; telemetry keeps only its keyed hash."},
        **facts,
    )


def limit_field() -> DigitsInteger:
    """How many items a page has."""
    return DigitsInteger(
        validate=validate.Range(1, MAX_LIMIT),
        metadata={"description": "Items of the page at most; 100 unless given."},
    )


def _is_component(text: str) -> None:
    """`tool` and `tool_telemetry` mean the same component."""
    name = component_name(text)
    if name not in COMPONENTS:
        near = nearest(name, COMPONENTS)
        meant = f" Did you mean {near}?" if near else ""
        raise ma.ValidationError(f"Must be one of: {', '.join(COMPONENTS)}.{meant}")


def _is_event_type(text: str) -> None:
    """A type of the catalogue, or the first words of some."""
    if not is_event_type(text):
        near = nearest_event_type(text)
        meant = f" Did you mean {near}?" if near else ""
        raise ma.ValidationError(f"Expected a type of events, or its first words.{meant}")


def cursor_field() -> fields.String:
    """Where a page begins."""
    return fields.String(metadata={"description": "`next_cursor` of the page before, with the same filters."})


def component_field() -> fields.String:
    """A component of events."""
    return fields.String(
        validate=_is_component,
        metadata={"enum": list(COMPONENTS), "description": "`tool_telemetry` and other names are understood."},
    )


def event_type_field() -> fields.String:
    """A type of events, or the first words of some."""
    return fields.String(
        validate=_is_event_type,
        metadata={"description": "Full name, or its first words: `dsl.step`, `tool`.", "enum": sorted(NAMES)},
    )


class QueryShape(Shape):
    """Base of query parameters: what was not given is none."""

    @ma.post_load
    def _complete(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return dict.fromkeys(self.fields) | data


class EmptyShape(Shape):
    """Body of an operation that takes nothing: `{}`, or none at all."""


class SubmissionShape(Shape):
    """Body of a submission; every field may be left out."""

    inputs = fields.Dict(
        keys=fields.String(), load_default=dict, metadata={"description": "As the command's `inputs` schema says."}
    )
    dry_run = StrictBoolean(load_default=False, metadata={"description": "Do everything, then roll all of it back."})
    priority = WholeNumber(
        load_default=5,
        validate=validate.Range(0, 9),
        metadata={"description": "0 is the most urgent, 9 the least."},
    )
    run_at = Instant(
        format="iso",
        load_default=None,
        allow_none=True,
        metadata={"description": "When it is due: ISO 8601 with a zone, at most 366 days ahead; at once unless given."},
    )
    expires_in = duration_field(
        "How long it may wait to be begun once it is due: `30s`, at most 366 days. One that was begun does not expire.",
        load_default=None,
        allow_none=True,
    )
    user = user_field()
    space = name_field(load_default="default", metadata={"description": "Made when it is new."})


class NoteShape(Shape):
    """A note to import; `source` is what a later import knows it by."""

    source = fields.String(required=True, validate=validate.Length(1, 1000))
    title = fields.String(load_default="")
    content = fields.String(load_default="")
    type = name_field(load_default="note")
    tags = fields.List(
        fields.String(validate=validate.Length(1, MAX_TAG), metadata=_TAG),
        load_default=list,
        validate=validate.Length(max=MAX_TAGS),
    )
    metadata = fields.Dict(keys=fields.String(), load_default=dict)
    created_at = Instant(format="iso", load_default=None, allow_none=True)
    updated_at = Instant(format="iso", load_default=None, allow_none=True)
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

    space = name_field(load_default="default", metadata={"description": "Made when it is new."})
    user = user_field()
    notes = fields.List(fields.Nested(NoteShape), required=True, validate=validate.Length(0, MAX_NOTES))


class DraftShape(Shape):
    """Body of a fragment to be made."""

    type = name_field(required=True, metadata={"description": "What kind of record it is: `todo`, `note`, `digest`."})
    title = fields.String(load_default="", validate=validate.Length(max=MAX_TITLE))
    content = fields.String(load_default="", validate=validate.Length(max=MAX_CONTENT))
    state = _json("state", load_default=dict, metadata={"description": "What commands track of it."})
    tags = _tags("Words to find it by; each is kept once.", load_default=list)
    metadata = _json("metadata", load_default=dict, metadata={"description": "Anything else that is known of it."})
    space = name_field(load_default="default", metadata={"description": "Made when it is new."})
    user = user_field()


class ChangeShape(Shape):
    """Body of a change to a fragment; what is not given stays as it is."""

    type = name_field(metadata={"description": "Another kind of record."})
    title = fields.String(validate=validate.Length(max=MAX_TITLE))
    content = fields.String(validate=validate.Length(max=MAX_CONTENT))
    state = _json("state", metadata={"description": "Merged into what it has (RFC 7396): null removes a key."})
    metadata = _json("metadata", metadata={"description": "Merged likewise."})
    tags = _tags("In place of those it has.")
    add_tags = _tags("Added to those it has.", load_default=list)
    remove_tags = _tags("Taken away, after adding.", load_default=list)
    user = user_field()


class AgainShape(Shape):
    """Body of a request to run an execution again; it may be left out."""

    text = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "A corrected command file, to run in place of the definition that ran."},
    )


class ResumeShape(AgainShape):
    """Body of a request to go on where an execution failed; it may be left out."""

    since = fields.String(
        data_key="from",
        load_default=None,
        allow_none=True,
        metadata={"description": "Id of a step of the command: it and all after it run anew."},
    )


class TextShape(Shape):
    """Body of a command file to be looked at."""

    text = fields.String(required=True, metadata={"description": "The file."})
    origin = fields.String(
        load_default="text",
        validate=validate.Length(1, 1000),
        metadata={"description": "What the answer calls it: its path, for example."},
    )


class ExecutionQuery(QueryShape):
    """Which executions."""

    state = fields.String(validate=validate.OneOf(STATES))
    command = fields.String(metadata={"description": "Slug."})
    correlation_id = AnyId()
    slow = WordBoolean(metadata={"description": "Only those that were slow, or only those that were not."})
    limit = limit_field()
    cursor = cursor_field()


class StepQuery(QueryShape):
    """Which steps of an execution."""

    after = DigitsInteger(
        validate=validate.Range(0, MAX_ORDINAL),
        metadata={"description": "Only steps with a higher `ordinal`; not together with `cursor`."},
    )
    limit = limit_field()
    cursor = cursor_field()


class ProgressQuery(QueryShape):
    """From where an execution is told."""

    after = fields.String(
        validate=WholePattern(f"^{POSITION}$", error="Expected the `id` of an event, or the ordinal of a step."),
        metadata={"description": "`id` of an event, or an `ordinal`: only what was not told by then."},
    )


class FragmentQuery(QueryShape):
    """Which fragments."""

    type = name_field()
    tag = fields.String(
        validate=_storable(lambda given: checked_tags(tags_of(given))),
        metadata={"description": "One tag, or several with commas: all of them."},
    )
    space = name_field()
    q = fields.String(
        validate=validate.Length(max=MAX_TITLE), metadata={"description": "Text in the title or content."}
    )
    contents = fields.String(
        validate=validate.OneOf(("excerpt", "whole")),
        metadata={
            "description": "`whole`: each fragment with all of its content, at most 100 a page, 20 unless given."
        },
    )
    limit = limit_field()
    cursor = cursor_field()


class AuthorQuery(Shape):
    """Who asks for something that has no body to say it in."""

    user = user_field()


def time_range_field(text: str, **options: Any) -> fields.String:  # noqa: ANN401 - as marshmallow's
    """How far back from now."""
    return fields.String(
        validate=WholePattern(
            r"^[0-9]{1,9}(\.[0-9]{1,6})?(us|ms|s|m|h|d)$",
            error="Expected a number and a unit (us, ms, s, m, h, d), such as 15m.",
        ),
        metadata={"description": text},
        **options,
    )


class EventFilterQuery(QueryShape):
    """Which events, from when to when. What is given has to hold, all of it."""

    filter = fields.String(
        validate=validate.Length(max=MAX_TEXT),
        metadata={
            "description": "`command:x outcome:failed duration:>2s -type:transform`; see docs/reference/filters.md."
        },
    )
    component = component_field()
    event_type = event_type_field()
    level = fields.String(validate=validate.OneOf(LEVELS), metadata={"description": "Exactly this one."})
    correlation_id = AnyId()
    execution_id = AnyId()
    command = fields.String(metadata={"description": "Slug."})
    step_type = fields.String(metadata={"description": "Name of a step type: `fragment.create`."})
    user = fields.String(metadata={"description": "The plain name; its hash is looked for."})
    space = fields.String(metadata={"description": "Name of the space."})
    outcome = fields.String(validate=validate.OneOf(OUTCOMES))
    time_range = time_range_field("As far back as this: `15m`, `1h`, `90d`.")
    start = fields.AwareDateTime(
        format="iso", metadata={"description": "From this instant; not together with time_range."}
    )
    end = fields.AwareDateTime(format="iso", metadata={"description": "Before this instant."})


class EventQuery(EventFilterQuery):
    """Which events, and which page of them."""

    after = fields.String(
        metadata={
            "description": "`position` of an answer: what was stored since, and perhaps some of what came just before."
        }
    )
    count = WordBoolean(metadata={"description": "Count all that match, of whichever page."})
    limit = limit_field()
    cursor = cursor_field()
