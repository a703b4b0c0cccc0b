"""What requests and answers about alerts hold."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.durations import duration_field
from api.schemas.requests import (
    Instant,
    OneOfNear,
    QueryShape,
    StrictBoolean,
    WholeNumber,
    WholePattern,
    cursor_field,
    limit_field,
    time_range_field,
    user_field,
)
from api.schemas.shape import Shape, said
from telemetry.alerts.rule import CHANNELS, MOST_VIOLATIONS, NAME, SEVERITIES
from telemetry.alerts.states import STATES
from telemetry.alerts.subjects import COMPONENTS, SUBJECTS

_STATISTICS = sorted({name for subject in SUBJECTS.values() for name in subject.units})


def _rule_name(text: str, **facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    error = "Expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, with a letter or digit at both ends."
    return fields.String(validate=WholePattern(f"^{NAME.pattern}$", error=error), metadata=said(text), **facts)


def _severity(text: str, **facts: Any) -> fields.String:  # noqa: ANN401 - of a field
    return fields.String(validate=OneOfNear(SEVERITIES), metadata=said(text), **facts)


class AlertQuery(QueryShape):
    """Which alerts."""

    state = fields.String(validate=OneOfNear(("firing", "resolved")), metadata=said("Only those in this state."))
    rule = _rule_name("Only those of this rule.")
    severity = _severity("Only those of this severity.")
    time_range = time_range_field("Only those that fired since: `15m`, `1h`, `7d`.")
    limit = limit_field()
    cursor = cursor_field()


class AlertShape(Shape):
    """A time that a rule fired."""

    id = fields.UUID(required=True)
    rule = fields.String(required=True)
    metric = fields.String(required=True)
    statistic = fields.String(required=True)
    unit = fields.String(required=True)
    severity = _severity("How bad it is.", required=True)
    operator = fields.String(required=True)
    threshold = fields.Float(required=True)
    value = fields.Float(
        required=True, allow_none=True, metadata=said("What was measured; none where no data was what was wrong.")
    )
    message = fields.String(required=True, metadata=said("Numbers and registered names."))
    state = fields.String(required=True, validate=validate.OneOf(("firing", "resolved")))
    fired_at = fields.AwareDateTime(required=True, format="iso")
    window_ended_at = fields.AwareDateTime(required=True, format="iso", metadata=said("Of what was measured."))
    resolved_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    acknowledged_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    acknowledged_by = fields.String(required=True, allow_none=True, metadata=said("Pseudonym, in hexadecimal digits."))
    notified_at = fields.AwareDateTime(
        required=True, allow_none=True, format="iso", metadata=said("When channels were last given it to tell.")
    )
    withheld = fields.String(
        required=True, allow_none=True, metadata=said("What was last kept back, and why: `fire:silenced`.")
    )
    channels = fields.List(fields.String(), required=True)


AlertPage = page_of(AlertShape, "AlertPage")


class AttemptShape(Shape):
    """A time that a delivery was tried."""

    attempt = fields.Integer(required=True)
    began_at = fields.AwareDateTime(required=True, format="iso")
    outcome = fields.String(
        required=True,
        validate=validate.OneOf(("begun", "delivered", "failed")),
        metadata=said("`begun`: nobody knows whether it arrived."),
    )
    reason = fields.String(required=True, allow_none=True)
    latency_ms = fields.Float(required=True, allow_none=True)


class DeliveryShape(Shape):
    """What a channel was to tell, and what became of it."""

    id = fields.UUID(required=True)
    channel = fields.String(required=True)
    kind = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(("due", "delivered", "failed", "withheld", "capped")))
    reason = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True, format="iso")
    due_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    finished_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    latency_ms = fields.Float(required=True, allow_none=True, metadata=said("Of the last attempt."))
    attempts = fields.List(fields.Nested(AttemptShape), required=True)


class AlertDetailShape(AlertShape):
    """An alert, and who was told of it."""

    deliveries = fields.List(fields.Nested(DeliveryShape), required=True)


class AcknowledgeBody(Shape):
    """Body of an acknowledgement; every field may be left out."""

    user = user_field()


class _Words(Shape):
    """What a rule says."""

    metric = fields.String(required=True, validate=OneOfNear(tuple(SUBJECTS)))
    threshold = fields.Float(required=True, allow_nan=False, metadata=said("In the unit of the statistic."))
    statistic = fields.String(
        validate=OneOfNear(_STATISTICS), metadata=said("Of the metric; its usual one unless given.")
    )
    operator = fields.String(validate=validate.OneOf((">", ">=", "<", "<=")), metadata=said("`>` unless given."))
    window = duration_field("Whole minutes of requests; `5m` unless given.")
    violations = WholeNumber(
        validate=validate.Range(1, MOST_VIOLATIONS), metadata=said("So many windows in a row; 1 unless given.")
    )
    for_ = duration_field("And for so long; `0s` unless given.", data_key="for")
    severity = _severity("`warning` unless given.")
    channels = fields.List(
        fields.String(validate=OneOfNear(CHANNELS)),
        validate=validate.Length(1, len(CHANNELS)),
        metadata=said("`log` and `inbox` unless given."),
    )
    no_data = fields.String(
        validate=OneOfNear(("keep", "ok", "alert")),
        metadata=said("What a window without data means; `keep` unless given."),
    )
    parents = fields.List(
        _rule_name("Another rule."), validate=validate.Length(0, 20), metadata=said("Rules that mute it.")
    )
    component = fields.String(validate=OneOfNear(COMPONENTS), allow_none=True)
    command = fields.String(validate=validate.Length(1, 200), allow_none=True)
    space = fields.String(validate=validate.Length(1, 200), allow_none=True)
    user = fields.String(validate=validate.Length(1, 200), allow_none=True)
    least_requests = WholeNumber(
        validate=validate.Range(0, 2**31 - 1), metadata=said("A window with fewer has no data; 0 unless given.")
    )
    enabled = StrictBoolean(metadata=said("Whether it is looked at; true unless given."))


class NewRuleShape(_Words):
    """Body of a rule to be made."""

    name = _rule_name("What it is called; no other rule is.", required=True)


class RuleShape(_Words):
    """A rule, and how it stands."""

    name = fields.String(required=True)
    unit = fields.String(required=True, metadata=said("Of the value and the threshold."))
    user = fields.String(required=True, allow_none=True, metadata=said("Pseudonym, in hexadecimal digits."))
    origin = fields.String(
        required=True,
        validate=validate.OneOf(("weir", "file", "user")),
        metadata=said("Weir's own, declared in `weir.toml`, or made by a user."),
    )
    changed_at = fields.AwareDateTime(required=True, format="iso")
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    since = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    value = fields.Float(required=True, allow_none=True, metadata=said("What was measured last."))
    evaluated_until = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    skipped_windows = fields.Integer(
        required=True, metadata=said("Windows that were not looked at: there were too many at once.")
    )


RulePage = page_of(RuleShape, "RulePage")


class MadeRuleShape(RuleShape):
    """A rule that was made, and what of it cannot work yet."""

    warnings = fields.List(
        fields.String(),
        required=True,
        metadata=said(
            "What it names and is not there: a space, a command, a parent; it fires, or is muted, once it is."
        ),
    )


class TriedShape(Shape):
    """What became of a test of a channel."""

    channel = fields.String(required=True)
    status = fields.String(required=True)
    reason = fields.String(required=True, allow_none=True)
    latency_ms = fields.Float(required=True, allow_none=True)
    hint = fields.String(required=True, allow_none=True, metadata=said("What to do about it, where that is known."))


class TestedShape(Shape):
    """What became of a test of a rule's channels."""

    rule = fields.String(required=True)
    channels = fields.List(fields.Nested(TriedShape), required=True)


class SilenceBody(Shape):
    """Body of a silence; it needs an end."""

    rule = _rule_name("Of this rule only.", load_default=None, allow_none=True)
    severity = _severity("Of this severity only.", load_default=None, allow_none=True)
    starts_at = Instant(format="iso", load_default=None, allow_none=True, metadata=said("Now unless given."))
    ends_at = Instant(format="iso", load_default=None, allow_none=True)
    for_ = duration_field("Or so long from its beginning.", data_key="for", load_default=None, allow_none=True)
    user = user_field()
    preview = StrictBoolean(load_default=False, metadata=said("Only say what it would keep back."))


class SilenceShape(Shape):
    """Quiet for a while."""

    id = fields.UUID(required=True)
    rule = fields.String(required=True, allow_none=True)
    severity = fields.String(required=True, allow_none=True)
    starts_at = fields.AwareDateTime(required=True, format="iso")
    ends_at = fields.AwareDateTime(required=True, format="iso")
    created_at = fields.AwareDateTime(required=True, format="iso")
    created_by = fields.String(required=True, allow_none=True, metadata=said("Pseudonym, in hexadecimal digits."))


SilencePage = page_of(SilenceShape, "SilencePage")


class SilencedShape(SilenceShape):
    """A silence that was asked for, and what it is about."""

    preview = fields.Boolean(required=True, metadata=said("Whether nothing was kept."))
    rules = fields.List(fields.String(), required=True, metadata=said("Enabled rules that it keeps quiet."))
    firing = fields.List(fields.Nested(AlertShape), required=True, metadata=said("Alerts of theirs that are open."))
