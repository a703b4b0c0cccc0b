"""What went on, in one answer."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.schemas.error_groups import ErrorGroupShape
from api.schemas.performance import ERROR_PERCENT, PerformanceLine, TimingShape
from api.schemas.requests import DigitsInteger, EventFilterQuery
from api.schemas.shape import Shape, said
from telemetry.overview import STRETCHES
from workers.checkup.finding import STATUSES

#: Lines of each list, at most.
MAX_TOP = 50


class OverviewQuery(EventFilterQuery):
    """Of what."""

    limit = DigitsInteger(validate=validate.Range(1, MAX_TOP), metadata=said("Lines of each list, at most; usually 5."))


class ExecutionCounts(Shape):
    """What became of executions, by events of the time."""

    queued = fields.Integer(required=True, metadata=said("Accepted."))
    started = fields.Integer(required=True, metadata=said("Attempts that began."))
    retried = fields.Integer(required=True, metadata=said("Attempts after which there is another."))
    refused = fields.Integer(required=True, metadata=said("Submissions whose inputs were refused."))
    ended = fields.Integer(required=True)
    succeeded = fields.Integer(required=True)
    failed = fields.Integer(required=True, metadata=said("Those that failed, expired or died."))
    cancelled = fields.Integer(required=True)
    outcomes = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    success_percent = fields.Float(required=True, allow_none=True, metadata=said("Of those that succeeded or failed."))
    per_minute = fields.Float(required=True, metadata=said("How many ended."))
    took = fields.Nested(TimingShape, required=True, allow_none=True)


class ComponentRates(Shape):
    """Events of one component."""

    component = fields.String(required=True)
    events = fields.Integer(required=True)
    errors = fields.Integer(required=True, metadata=said("Of them at level `error`."))
    error_percent = fields.Float(required=True, allow_none=True)
    per_minute = fields.Float(required=True)


def _counts(of: str) -> fields.List[Any]:
    return fields.List(fields.Integer(), required=True, metadata=said(of))


class Spread(Shape):
    """How many there were in each of equal stretches of the time, of whole minutes, hours or days in UTC."""

    start = fields.AwareDateTime(
        required=True, format="iso", metadata=said("When the first begins, which may be before the time asked for.")
    )
    step_s = fields.Integer(required=True, metadata=said("How long each is, in seconds."))
    executions = _counts(f"That ended, in {STRETCHES + 1} stretches at most.")
    failures = _counts("Executions that failed.")
    events = _counts("All events.")
    errors = _counts("Those at level `error`.")


class NowShape(Shape):
    """What runs and waits at this moment, of everybody."""

    running = fields.Integer(required=True)
    queued = fields.Integer(required=True, metadata=said("Waiting for their turn."))
    scheduled = fields.Integer(required=True, metadata=said("Due later."))
    oldest_wait_ms = fields.Float(required=True, allow_none=True)


class ProblemCheck(Shape):
    """Something that is not well."""

    name = fields.String(required=True)
    component = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    value = fields.Float(required=True, allow_none=True)
    unit = fields.String(required=True, allow_none=True)


class StandingShape(Shape):
    """How everything is, by the newest stored check-up; none before the first."""

    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    checked_at = fields.AwareDateTime(required=True, format="iso")
    checks = fields.Integer(required=True, metadata=said("How many things were looked at."))
    problems = fields.List(fields.Nested(ProblemCheck), required=True)
    lag_s = fields.Float(
        required=True, allow_none=True, metadata=said("How long the oldest event that was not stored had waited.")
    )


class OverviewShape(Shape):
    """What went on."""

    start = fields.AwareDateTime(required=True, format="iso")
    end = fields.AwareDateTime(required=True, format="iso")
    filter = fields.String(required=True, metadata=said("All that was asked for, as one filter."))
    percentile_error_percent = ERROR_PERCENT
    minutes = fields.Float(required=True, metadata=said("How long that is; rates are of it."))
    events = fields.Integer(required=True)
    errors = fields.Integer(required=True, metadata=said("Of them at level `error`."))
    executions = fields.Nested(ExecutionCounts, required=True)
    components = fields.List(fields.Nested(ComponentRates), required=True)
    spread = fields.Nested(Spread, required=True)
    commands = fields.List(fields.Nested(PerformanceLine), required=True, metadata=said("The slowest, by p95."))
    step_types = fields.List(fields.Nested(PerformanceLine), required=True, metadata=said("The slowest, by p95."))
    tools = fields.List(fields.Nested(PerformanceLine), required=True, metadata=said("Step types that call tools."))
    models = fields.List(fields.Nested(PerformanceLine), required=True, metadata=said("Those that call models."))
    newest_errors = fields.List(fields.Nested(ErrorGroupShape), required=True)
    now = fields.Nested(
        NowShape, required=True, allow_none=True, metadata=said("Null where a filter or an end in the past is given.")
    )
    health = fields.Nested(StandingShape, required=True, allow_none=True)
    completeness = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata=said("`ok`, or what is wrong, by what was looked at, as in `/readyz`."),
    )
