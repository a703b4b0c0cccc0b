"""What statistics, trends and spikes look like."""

from __future__ import annotations

import re
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, get_args

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.metrics import CacheShape, ErrorsShape, LatenciesShape, TokensShape
from api.schemas.requests import DigitsInteger, OneOfNear, QueryShape, time_range_field
from api.schemas.shape import Shape, said
from telemetry.analytics.figures import ALSO, FIGURES
from telemetry.analytics.groups import By
from telemetry.analytics.history import HOUR, SLOT
from telemetry.analytics.report import MAX_LINES, USUAL
from telemetry.analytics.spikes import SpikesBy
from telemetry.analytics.trends import Direction

BYS = get_args(By)
SPIKES_BY = get_args(SpikesBy)
#: Lengths of what is judged at a time, by their names.
BUCKETS = {"5m": SLOT, "1h": HOUR}
NAMES = (*FIGURES, *ALSO)


#: Some of these, separated by commas.
_SOME = f"({'|'.join(NAMES)})"
SOME_NAMES = f"^{_SOME}(,{_SOME})*$"


class FigureNames(fields.String):
    """Names of figures, separated by commas: a tuple inside."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's
        text = super()._deserialize(value, attr, data, **kwargs)
        if re.fullmatch(SOME_NAMES, text) is None:
            unknown = next((name for name in text.split(",") if name not in NAMES), "")
            near = get_close_matches(unknown.lower(), NAMES, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ma.ValidationError(f"Must be some of: {', '.join(NAMES)}; separated by commas.{meant}")
        return tuple(dict.fromkeys(ALSO.get(name, name) for name in text.split(",")))

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:  # noqa: ANN401 - marshmallow's
        return super()._serialize(value and ",".join(value), attr, obj, **kwargs)


class PeriodQuery(QueryShape):
    """From when to when."""

    name = fields.String(
        validate=validate.Length(1, 200), metadata=said("Only the one that is called so: a slug, a type of steps, ...")
    )
    time_range = time_range_field("As far back as this: `6h`, `30d`. A day unless there is a `start`.")
    start = fields.AwareDateTime(format="iso", metadata=said("From this instant; not together with time_range."))
    end = fields.AwareDateTime(format="iso", metadata=said("Before this instant; now unless given."))


class AnalyticsQuery(PeriodQuery):
    """Of what, of when, which figures."""

    by = fields.String(
        load_default="command",
        validate=OneOfNear(BYS),
        metadata=said("What is told apart; `command` if not said."),
    )
    metric = FigureNames(
        load_default=USUAL,
        metadata=said(
            f"Figures whose trend is told, separated by commas; of {', '.join(f'`{name}`' for name in NAMES)}."
            f" Unless given: {', '.join(USUAL)}.",
            pattern=SOME_NAMES,
        ),
    )
    order = fields.String(
        load_default="request_rate",
        validate=OneOfNear((*NAMES, "name")),
        metadata=said("The figure that what has the most of comes first; or by name."),
    )
    limit = DigitsInteger(
        load_default=20, validate=validate.Range(1, MAX_LINES), metadata=said(f"Lines; {MAX_LINES} at most.")
    )
    user = fields.String(metadata=said("The plain name; its hash is looked for. Of `user` and `component` only."))
    space = fields.String(metadata=said("Name of the space. Of `space` and `component` only."))

    @ma.post_load
    def _usual_names(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        data["order"] = ALSO.get(data["order"], data["order"])
        return data


class SpikesQuery(PeriodQuery):
    """Of what, and of when."""

    by = fields.String(
        load_default="command",
        validate=OneOfNear(SPIKES_BY),
        metadata=said("Whose errors are told apart; `command` if not said."),
    )
    bucket = fields.String(
        validate=validate.OneOf(tuple(BUCKETS)),
        metadata=said(
            "How long a time is judged at once. Unless given: `5m` where no more than six hours are asked for and"
            " minutes are kept of these and two days before, else `1h`; without those it is always `1h`."
        ),
    )


class RequestCounts(Shape):
    """How many, and how often. For components it is events that are counted."""

    count = fields.Integer(required=True)
    share_percent = fields.Float(required=True, allow_none=True, metadata=said("Of all of them."))
    per_minute = fields.Float(required=True)
    per_hour = fields.Float(required=True)
    per_day = fields.Float(required=True)


class TimeTaken(Shape):
    """How long all of them took together."""

    total_ms = fields.Float(required=True)
    share_percent = fields.Float(required=True, allow_none=True, metadata=said("Of the time of all of them."))


class FigureChange(Shape):
    """A figure, beside what it was in the time before."""

    unit = fields.String(required=True)
    value = fields.Float(required=True, allow_none=True, metadata=said("null: there is nothing to tell."))
    previous = fields.Float(required=True, allow_none=True, metadata=said("In the time before, as long."))
    change_percent = fields.Float(required=True, allow_none=True, metadata=said("Of `previous`; null if that is 0."))


class FigureTrend(FigureChange):
    """Where a figure goes."""

    direction = fields.String(
        required=True,
        validate=validate.OneOf(get_args(Direction)),
        metadata=said("`unknown`: too few stretches, or too few events, to tell."),
    )
    slope = fields.Float(
        required=True, allow_none=True, metadata=said("From one `trend_bucket` to the next, in the figure's unit.")
    )
    p_value = fields.Float(
        required=True, allow_none=True, metadata=said("How probable as much of a trend is by chance.")
    )
    values = fields.Integer(required=True, metadata=said("How many stretches have a value."))


class TokenCounts(TokensShape):
    """Tokens of the requests that told how many."""

    class Meta(Shape.Meta):  # noqa: D106 - marshmallow's
        exclude = ("by_user", "by_space")


class StatisticsShape(Shape):
    """All that is known."""

    requests = fields.Nested(RequestCounts, required=True)
    outcomes = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    success_percent = fields.Float(
        required=True, allow_none=True, metadata=said("Of those that succeeded or failed; cancelled ones are neither.")
    )
    errors = fields.Nested(ErrorsShape, required=True)
    latency = fields.Nested(LatenciesShape, required=True)
    time = fields.Nested(TimeTaken, required=True)
    tokens = fields.Nested(TokenCounts, required=True)
    cache = fields.Nested(CacheShape, required=True)


class AllTogether(StatisticsShape):
    """Everything together."""

    changes = fields.Dict(
        keys=fields.String(validate=validate.OneOf(tuple(FIGURES))), values=fields.Nested(FigureChange), required=True
    )


class AnalyticsLine(StatisticsShape):
    """One command, step type, tool, model, user, space or component."""

    component = fields.String(
        required=True, allow_none=True, metadata=said("What told it; `dsl` for steps. null: users and spaces.")
    )
    name = fields.String(
        required=True, allow_none=True, metadata=said("Of users a pseudonym, of spaces an id; null: nobody's, or none.")
    )
    trends = fields.Dict(
        keys=fields.String(validate=validate.OneOf(tuple(FIGURES))), values=fields.Nested(FigureTrend), required=True
    )


class AnalyticsShape(Shape):
    """Statistics and trends."""

    start = fields.AwareDateTime(required=True, format="iso")
    end = fields.AwareDateTime(required=True, format="iso", metadata=said("Not included; now is a whole minute here."))
    previous_start = fields.AwareDateTime(
        required=True, format="iso", metadata=said("Where the time before begins, which ends at `start`.")
    )
    by = fields.String(required=True, validate=OneOfNear(BYS))
    order = fields.String(required=True)
    trend_bucket = fields.String(required=True, metadata=said("How long the stretches are that trends are made of."))
    members = fields.Integer(required=True, metadata=said("How many lines there are; `items` has the first of them."))
    all = fields.Nested(AllTogether, required=True)
    items = fields.List(fields.Nested(AnalyticsLine), required=True)


class SpikePeak(Shape):
    """The worst of it."""

    start = fields.AwareDateTime(required=True, format="iso")
    count = fields.Integer(required=True)
    expected = fields.Float(required=True)


class SpikeShape(Shape):
    """More errors than usual, for a while."""

    name = fields.String(required=True, metadata=said("Of the command, type of step, component or category."))
    start = fields.AwareDateTime(required=True, format="iso")
    end = fields.AwareDateTime(required=True, format="iso")
    is_open = fields.Boolean(required=True, metadata=said("Whether it may go on: it reaches the end of the time."))
    count = fields.Integer(required=True, metadata=said("Of errors."))
    expected = fields.Float(required=True, metadata=said("How many there would have been."))
    ratio = fields.Float(required=True)
    events = fields.Integer(
        required=True, allow_none=True, metadata=said("How many there were, errors or not; null for categories.")
    )
    error_percent = fields.Float(required=True, allow_none=True)
    p_value = fields.Float(required=True, metadata=said("How probable the most improbable count is by chance."))
    baseline = fields.String(
        required=True,
        validate=validate.OneOf(("days", "weeks", "hours", "slots", "slot_days")),
        metadata=said(
            "What explains the peak best: the same time of the past days, or of the same weekday; the hours before; the"
            " same five minutes of those, or of the past days."
        ),
    )
    peak = fields.Nested(SpikePeak, required=True)


class SpikesShape(Shape):
    """Errors that are more than usual."""

    start = fields.AwareDateTime(required=True, format="iso")
    end = fields.AwareDateTime(required=True, format="iso")
    by = fields.String(required=True, validate=OneOfNear(SPIKES_BY))
    bucket = fields.String(required=True, validate=validate.OneOf(tuple(BUCKETS)))
    series = fields.Integer(
        required=True, metadata=said("How many are looked at: those with errors in the past weeks.")
    )
    level = fields.Float(required=True, metadata=said("How improbable a count must be to be told."))
    known_since = fields.AwareDateTime(
        required=True, allow_none=True, format="iso", metadata=said("When what is compared with begins.")
    )
    items = fields.List(fields.Nested(SpikeShape), required=True, metadata=said("The latest first."))


def bucket_of(name: str | None) -> timedelta | None:
    """The length that a name means."""
    return None if name is None else BUCKETS[name]
