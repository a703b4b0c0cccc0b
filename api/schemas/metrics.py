"""What metrics of requests look like."""

from __future__ import annotations

from typing import Any, get_args

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import (
    MAX_USER,
    OneOfNear,
    QueryShape,
    component_field,
    cursor_field,
    event_type_field,
    limit_field,
    time_range_field,
)
from api.schemas.shape import Shape, said
from telemetry.export.request import DIMENSIONS, WIDTHS
from telemetry.rollups.metrics import CATEGORIES, METRICS, REQUESTS, SHORT, Aggregation
from telemetry.rollups.records import UNITS

#: What aggregations are called elsewhere.
ALIASES = {"minutely": "minute", "hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
AGGREGATIONS = get_args(Aggregation)


class WhoseQuery(QueryShape):
    """Whose requests, from when to when."""

    component = fields.String(
        validate=OneOfNear(tuple(REQUESTS)),
        metadata=said("Only requests of this kind: chats, or executions of commands. All of them unless given."),
    )
    user = fields.String(
        validate=validate.Length(1, MAX_USER),
        metadata=said("The plain name; its hash is looked for. Not together with `space`."),
    )
    space = fields.String(metadata=said("Name of the space."))


class CurrentQuery(WhoseQuery):
    """Whose requests, and of how long."""

    window = time_range_field("Up to now, as far back as this; `1h` unless given.", load_default="1h")


class HistoricalQuery(WhoseQuery):
    """Which metric, whose, from when to when, in steps of what length."""

    type = fields.String(
        required=True,
        validate=OneOfNear((*METRICS, *SHORT)),
        metadata=said("Or short: `latency` is `total_latency`, `tokens` is `total_tokens`, `errors`, `cache`."),
    )
    aggregation = fields.String(
        load_default="hour",
        validate=OneOfNear((*AGGREGATIONS, *ALIASES)),
        metadata=said("How long each item's time is; weeks begin on Monday. `hourly` is `hour`, and so on."),
    )
    time_range = time_range_field("As far back as this: `6h`, `30d`. A day unless there is a `start`.")
    start = fields.AwareDateTime(format="iso", metadata=said("From this instant; not together with time_range."))
    end = fields.AwareDateTime(format="iso", metadata=said("Before this instant; now unless given."))

    @ma.post_load
    def _usual_names(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        data["type"] = SHORT.get(data["type"], data["type"])
        data["aggregation"] = ALIASES.get(data["aggregation"], data["aggregation"])
        return data


class LatencyShape(Shape):
    """Durations in milliseconds. Average, least and greatest are exact, percentiles within 1.1 %."""

    count = fields.Integer(required=True)
    average = fields.Float(required=True, allow_none=True)
    median = fields.Float(required=True, allow_none=True)
    p95 = fields.Float(required=True, allow_none=True)
    p99 = fields.Float(required=True, allow_none=True)
    min = fields.Float(required=True, allow_none=True)
    max = fields.Float(required=True, allow_none=True)


class LatenciesShape(Shape):
    """Of whole requests, and of two parts of them where those are known."""

    total = fields.Nested(LatencyShape, required=True)
    context = fields.Nested(LatencyShape, required=True)
    llm = fields.Nested(LatencyShape, required=True)


class RatesShape(Shape):
    """How many requests ended."""

    last_minute = fields.Integer(required=True, metadata=said("In the last whole minute."))
    last_hour = fields.Integer(required=True, metadata=said("In the last 60 whole minutes."))
    last_day = fields.Integer(required=True, metadata=said("In the last 24 hours."))
    per_minute = fields.Float(required=True, metadata=said("On average, within the window."))
    in_window = fields.Integer(required=True)


class TokensShape(Shape):
    """Tokens of the requests that told how many."""

    prompt = fields.Integer(required=True)
    completion = fields.Integer(required=True)
    total = fields.Integer(required=True)
    requests = fields.Integer(required=True)
    average_per_request = fields.Float(required=True, allow_none=True)
    by_user = fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, metadata=said("By pseudonym; the 100 largest.")
    )
    by_space = fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, metadata=said("By id; the 100 largest.")
    )


def _category() -> fields.String:
    return fields.String(validate=validate.OneOf(CATEGORIES))


class ErrorsShape(Shape):
    """Each error is in exactly one of the categories."""

    requests = fields.Integer(required=True)
    errors = fields.Integer(required=True)
    rate_percent = fields.Float(required=True, allow_none=True)
    count_by_type = fields.Dict(
        keys=fields.String(validate=validate.OneOf(CATEGORIES)), values=fields.Integer(), required=True
    )
    rate_by_type = fields.Dict(
        keys=fields.String(validate=validate.OneOf(CATEGORIES)), values=fields.Float(allow_none=True), required=True
    )


class CacheShape(Shape):
    """Of requests that looked whether the answer was there already."""

    hits = fields.Integer(required=True)
    misses = fields.Integer(required=True)
    rate_percent = fields.Float(required=True, allow_none=True)


class CurrentShape(Shape):
    """How it goes."""

    start = fields.AwareDateTime(required=True, format="iso", metadata=said("Of the window."))
    end = fields.AwareDateTime(required=True, format="iso", metadata=said("Of the window: now."))
    requests = fields.Nested(RatesShape, required=True)
    latency = fields.Nested(LatenciesShape, required=True, metadata=said("Within the window."))
    tokens = fields.Nested(TokensShape, required=True)
    errors = fields.Nested(ErrorsShape, required=True)
    cache = fields.Nested(CacheShape, required=True)


class PointShape(Shape):
    """One value."""

    timestamp = fields.AwareDateTime(required=True, format="iso", metadata=said("When its time begins."))
    value = fields.Float(required=True, allow_none=True, metadata=said("null: there is nothing to tell."))
    metadata = fields.Dict(keys=fields.String(), required=True, metadata=said("What else is known of it."))


class HistoryShape(Shape):
    """A metric over time."""

    type = fields.String(required=True, validate=validate.OneOf(tuple(METRICS)))
    unit = fields.String(required=True, metadata=said("Of `value`."))
    aggregation = fields.String(required=True, validate=validate.OneOf(AGGREGATIONS))
    items = fields.List(fields.Nested(PointShape), required=True, metadata=said("Oldest first, without gaps."))


class BucketQuery(QueryShape):
    """Which buckets, and which page of them."""

    width = fields.String(
        load_default="hour", validate=OneOfNear(WIDTHS), metadata=said("How long a bucket is, in UTC.")
    )
    by = fields.String(
        validate=OneOfNear(DIMENSIONS),
        metadata=said("What is told apart beside what all buckets do; never two of them. `operation` unless given."),
    )
    component = component_field()
    event_type = event_type_field()
    operation = fields.String(metadata=said("Name of the operation: a command, a tool, a model."))
    measure = fields.String(validate=OneOfNear(tuple(UNITS)), metadata=said("What was measured."))
    user = fields.String(
        validate=validate.Length(1, MAX_USER), metadata=said("The plain name; its hash is looked for, by user.")
    )
    space = fields.String(metadata=said("Name of the space; by space."))
    time_range = time_range_field("As far back as this: `6h`, `30d`. A day unless there is a `start`.")
    start = fields.AwareDateTime(format="iso", metadata=said("From this instant; not together with time_range."))
    end = fields.AwareDateTime(format="iso", metadata=said("Before this instant; to the newest unless given."))
    limit = limit_field()
    cursor = cursor_field()


class BucketShape(Shape):
    """What the events of a stretch of time add up to, as integers. How to merge: docs/how-to/export-telemetry.md."""

    starts_at = fields.AwareDateTime(required=True, format="iso")
    width = fields.String(required=True, validate=validate.OneOf(WIDTHS))
    dimension = fields.String(required=True, validate=validate.OneOf(DIMENSIONS))
    component = fields.String(required=True)
    event_type = fields.String(required=True)
    level = fields.String(required=True)
    dry_run = fields.Boolean(required=True)
    outcome = fields.String(required=True, allow_none=True)
    error_category = fields.String(required=True, allow_none=True)
    measure = fields.String(required=True, validate=validate.OneOf(tuple(UNITS)))
    operation = fields.String(required=True, allow_none=True)
    space_id = fields.UUID(required=True, allow_none=True)
    user_id = fields.String(required=True, allow_none=True)
    unit = fields.String(
        required=True, validate=validate.OneOf(tuple(dict.fromkeys(UNITS.values()))), metadata=said("Of the values.")
    )
    events = fields.Integer(required=True, metadata=said("How many there were."))
    errors = fields.Integer(required=True, metadata=said("How many of them were errors."))
    measured = fields.Integer(required=True, metadata=said("How many of them have a value."))
    sum = fields.Integer(required=True, metadata=said("Of the values."))
    min = fields.Integer(required=True, allow_none=True, metadata=said("The least value, exactly."))
    max = fields.Integer(required=True, allow_none=True, metadata=said("The greatest, exactly."))
    last_at = fields.AwareDateTime(required=True, format="iso", metadata=said("When the last of them occurred."))
    scale = fields.Integer(required=True, metadata=said("Bins grow by 2^(1/2^scale)."))
    bins = fields.List(fields.Integer(), required=True, metadata=said("Numbers of those that have values, ascending."))
    counts = fields.List(fields.Integer(), required=True, metadata=said("How many values each of `bins` has."))


BucketPage = page_of(BucketShape, "BucketPage")
