"""What requests and answers about schedules hold."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.answers import FaultShape, page_of
from api.schemas.durations import duration_field
from api.schemas.requests import (
    DigitsInteger,
    Instant,
    QueryShape,
    StrictBoolean,
    WholeNumber,
    WholePattern,
    cursor_field,
    limit_field,
    name_field,
    user_field,
)
from api.schemas.shape import Shape, said
from dsl.checking.shape import MAX_SLUG, SLUG
from dsl.scheduling.spec import MISFIRES, OVERLAPS, ScheduleSpec
from telemetry.settings import format_duration

STATES = ("waiting", "fired", "late", "caught_up", "skipped", "missed")
REASONS = (
    "late", "superseded", "window", "overlap", "queue_full", "paused", "removed", "command_unknown", "command_invalid",
    "inputs_invalid", "secrets_missing",
)  # fmt: skip
ORIGINS = ("calendar", "backfill", "manual")

#: Due times ahead that may be asked for.
MAX_NEXT = 100

_STANDARD = ScheduleSpec()


def _command(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    return fields.String(
        validate=[validate.Length(1, MAX_SLUG), WholePattern(f"^{SLUG.pattern}$", error="Expected a slug.")],
        metadata=said("Slug."),
        **facts,
    )


def _name(**facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    return fields.String(
        validate=WholePattern(
            "^[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?$",
            error="Expected 1 to 100 lower case letters, digits, `.`, `_` or `-`, with a letter or digit at both ends.",
        ),
        metadata=said("What it is called; no other schedule is."),
        **facts,
    )


class ScheduleWords(Shape):
    """What a schedule says; of `cron`, `every` and `at` exactly one. What is not given stays, or is the default."""

    command = _command()
    name = _name()
    cron = fields.String(metadata=said("Five fields, six with the second first, or an alias such as `@daily`."))
    every = duration_field("Or an interval of elapsed time, at least `1s`.")
    anchor = fields.String(metadata=said("From where intervals are counted; 1970-01-01 UTC unless given."))
    at = fields.String(metadata=said("Or the one time: a date and time in the zone, or with an offset."))
    timezone = fields.String(metadata=said(f"Zone of the IANA database; `{_STANDARD.timezone}` unless given."))
    jitter = duration_field("Each due time is put off by less than this, always by as much; at most `1h`.")
    misfire = fields.String(
        validate=validate.OneOf(MISFIRES),
        metadata=said(f"What is run of due times that passed; `{_STANDARD.misfire}` unless given."),
    )
    window = duration_field(f"How old they may be; `{format_duration(_STANDARD.window)}` unless given.")
    overlap = fields.String(
        validate=validate.OneOf(OVERLAPS),
        metadata=said(f"For a due time while an execution is not final; `{_STANDARD.overlap}` unless given."),
    )
    pause_after = WholeNumber(
        allow_none=True,
        validate=validate.Range(1, 1000),
        metadata=said("Failures in a row that pause it; null is never."),
    )
    inputs = fields.Dict(
        keys=fields.String(), metadata=said("Of the command; texts may be templates with `due_at` and `schedule`.")
    )
    user = user_field(ma.missing)
    space = name_field(metadata=said("Made when it is new."))
    priority = WholeNumber(validate=validate.Range(0, 9), metadata=said("0 is the most urgent, 9 the least."))


class NewSchedule(ScheduleWords):
    """Body of a new schedule."""

    command = _command(required=True)
    name = _name(required=True)


class BackfillShape(Shape):
    """Body of a backfill."""

    start = Instant(required=True, format="iso", metadata=said("From this instant."))
    end = Instant(format="iso", load_default=None, metadata=said("Before this instant; now unless given."))
    preview = StrictBoolean(load_default=False, metadata=said("Only say which due times it would run."))


class ScheduleQuery(QueryShape):
    """Which schedules."""

    command = fields.String(metadata=said("Slug."))
    limit = limit_field()
    cursor = cursor_field()


class OccurrenceQuery(QueryShape):
    """Which occurrences of a schedule."""

    state = fields.String(validate=validate.OneOf(STATES))
    limit = limit_field()
    cursor = cursor_field()


class NextQuery(QueryShape):
    """How many due times ahead."""

    count = DigitsInteger(validate=validate.Range(1, MAX_NEXT), metadata=said("5 unless given."))


class NextShape(Shape):
    """A due time that is to come."""

    due_at = fields.AwareDateTime(required=True, format="iso")
    local_time = fields.String(required=True, metadata=said("The same by the clock of the schedule's zone."))
    fire_at = fields.AwareDateTime(required=True, format="iso", metadata=said("With its jitter."))


class ScheduleLinksShape(Shape):
    """Where to go on."""

    self = fields.String(required=True)
    occurrences = fields.String(required=True)


class ScheduleShape(Shape):
    """A schedule as the list shows it."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    command = fields.String(required=True)
    declared = fields.Boolean(required=True, metadata=said("Whether a command file declares it, and alone changes it."))
    state = fields.String(required=True, validate=validate.OneOf(("active", "paused", "done", "removed")))
    timing = fields.String(required=True, metadata=said("When it is due, in words."))
    cron = fields.String(required=True, allow_none=True)
    every = fields.String(required=True, allow_none=True)
    anchor = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    timezone = fields.String(required=True)
    jitter = fields.String(required=True, allow_none=True)
    misfire = fields.String(required=True)
    window = fields.String(required=True)
    overlap = fields.String(required=True)
    pause_after = fields.Integer(required=True, allow_none=True)
    inputs = fields.Dict(required=True)
    user = fields.String(required=True)
    space = fields.String(required=True)
    priority = fields.Integer(required=True)
    next_due_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    wake_at = fields.AwareDateTime(required=True, allow_none=True, format="iso", metadata=said("With its jitter."))
    paused_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    pause_reason = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True, format="iso")
    updated_at = fields.AwareDateTime(required=True, format="iso")
    removed_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    links = fields.Nested(ScheduleLinksShape, required=True)


class ScheduleDetailShape(ScheduleShape):
    """A schedule and what is to come."""

    next_runs = fields.List(fields.Nested(NextShape), required=True)
    wrong_inputs = fields.List(
        fields.Nested(FaultShape),
        required=True,
        metadata=said("Why the command would not take the inputs at the next due time; empty when it would."),
    )


class OccurrenceShape(Shape):
    """What became of a due time."""

    due_at = fields.AwareDateTime(required=True, format="iso")
    last_due_at = fields.AwareDateTime(required=True, format="iso", metadata=said("Of several in a row, the last."))
    due_times = fields.Integer(required=True, metadata=said("How many in a row; 10,000 for as many or more."))
    origin = fields.String(required=True, validate=validate.OneOf(ORIGINS))
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    reason = fields.String(required=True, allow_none=True, validate=validate.OneOf(REASONS))
    fire_at = fields.AwareDateTime(required=True, format="iso", metadata=said("With its jitter."))
    occurred_at = fields.AwareDateTime(required=True, format="iso", metadata=said("When it was dealt with."))
    lateness_ms = fields.Float(required=True, allow_none=True)
    command = fields.String(required=True)
    execution_id = fields.UUID(required=True, allow_none=True)
    correlation_id = fields.UUID(required=True)


class BackfilledShape(Shape):
    """What a backfill runs, or would."""

    preview = fields.Boolean(required=True)
    paused = fields.Boolean(
        required=True, metadata=said("Whether the schedule is paused: what has to wait its turn waits until resumed.")
    )
    count = fields.Integer(required=True)
    first = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    last = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    run_before = fields.Integer(required=True, metadata=said("Due times in the range that were run already."))
    due_times = fields.List(fields.AwareDateTime(format="iso"), required=True)


SchedulePage = page_of(ScheduleShape, "SchedulePage")
OccurrencePage = page_of(OccurrenceShape, "OccurrencePage")
NextPage = page_of(NextShape, "NextPage")
