"""Shapes of the check-up, of performance snapshots, and of chains."""

from __future__ import annotations

from typing import Any, get_args

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import AnyId, QueryShape, WholePattern, cursor_field, limit_field, time_range_field
from api.schemas.shape import Shape, said
from telemetry import chains
from telemetry.components import component_name, nearest
from telemetry.events import CATALOGUE
from workers.checkup import finding
from workers.checkup.look import CHECKS

STATUSES = get_args(finding.Status)
SUBJECTS = ("process", "lane", "command", "step_type")
#: Components of events: those of the catalogue, and those whose events are still to come. They have an error rate.
_OF_EVENTS = {each.component for each in CATALOGUE} | {"tool", "llm", "chat", "alert"}
#: Components of which anything may be found.
COMPONENTS = tuple(sorted({check.component for check in CHECKS if check.name != "error_rate"} | _OF_EVENTS))
CLASSES = ("fast", "normal", "slow", "critical")


def _name(text: str) -> fields.String:
    error = "Expected lower case letters, digits, `.`, `_` or `-`."
    return fields.String(validate=WholePattern(r"^[a-z0-9._-]{1,200}$", error=error), metadata=said(text))


def _is_component(text: str) -> None:
    """Of what is looked at, or of events; `tool` and `tool_telemetry` mean the same."""
    name = component_name(text)
    if name not in COMPONENTS:
        near = nearest(name, COMPONENTS)
        meant = f" Did you mean {near}?" if near else ""
        raise ma.ValidationError(f"Expected one of {', '.join(COMPONENTS)}.{meant}")


def _component() -> fields.String:
    return fields.String(
        validate=_is_component,
        metadata=said("Only of this component; `tool_telemetry` means `tool`.", enum=list(COMPONENTS)),
    )


def _since() -> fields.String:
    return time_range_field("As far back as this: `15m`, `1h`, `7d`.")


class HealthQuery(QueryShape):
    """Of what the check-up is."""

    component = _component()


class FindingShape(Shape):
    """How one thing is."""

    name = fields.String(required=True, metadata=said("Of what was looked at."))
    component = fields.String(required=True, metadata=said("What it belongs to."))
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    detail = fields.String(required=True, metadata=said("One sentence for people."))
    value = fields.Float(required=True, allow_none=True, metadata=said("What was measured, if it is a number."))
    unit = fields.String(required=True, allow_none=True)
    fix = fields.String(
        required=True, allow_none=True, metadata=said("The command that mends it, or says more; none while healthy.")
    )


class ComponentHealthShape(Shape):
    """How everything of one component is together."""

    component = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))


class TelemetryHealthShape(Shape):
    """How telemetry stands."""

    status = fields.String(
        required=True,
        validate=validate.OneOf(("ok", "degraded")),
        metadata=said("Of `checks`; `degraded` too if something else is critical."),
    )
    checks = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata=said("The account of events: `ok`, or what is wrong; `stream`, `watermark`, `producers`, `ledger`."),
    )
    overall_health = fields.String(
        required=True, validate=validate.OneOf(("healthy", "warning", "critical")), metadata=said("Of all findings.")
    )
    looked_at = fields.AwareDateTime(required=True, format="iso")
    components = fields.List(fields.Nested(ComponentHealthShape), required=True)
    findings = fields.List(fields.Nested(FindingShape), required=True)


class HealthCheckQuery(QueryShape):
    """Which stored findings."""

    component = _component()
    status = fields.String(validate=validate.OneOf(STATUSES), metadata=said("Only what was so."))
    time_range = _since()
    limit = limit_field()
    cursor = cursor_field()


class HealthCheckShape(Shape):
    """How one thing was when it was looked at."""

    id = fields.UUID(required=True)
    window_at = fields.AwareDateTime(required=True, format="iso", metadata=said("When the window began."))
    checked_at = fields.AwareDateTime(required=True, format="iso")
    name = fields.String(required=True)
    component = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    value = fields.Float(required=True, allow_none=True)
    unit = fields.String(required=True, allow_none=True)


class SnapshotQuery(QueryShape):
    """Which performance snapshots."""

    subject = fields.String(validate=validate.OneOf(SUBJECTS), metadata=said("Only of these."))
    name = _name("Only of this process, lane, command or step type.")
    time_range = _since()
    limit = limit_field()
    cursor = cursor_field()


def _count(text: str = "") -> fields.Integer:
    return fields.Integer(required=True, allow_none=True, metadata=said(text) if text else {})


def _ms(text: str = "") -> fields.Float:
    return fields.Float(required=True, allow_none=True, metadata=said(text) if text else {})


class SnapshotShape(Shape):
    """How a process, a lane, a command or a step type did in one window; what it has not is null."""

    id = fields.UUID(required=True)
    window_at = fields.AwareDateTime(required=True, format="iso", metadata=said("When the window began."))
    window_ms = fields.Float(required=True)
    subject = fields.String(required=True, validate=validate.OneOf(SUBJECTS))
    name = fields.String(required=True)
    host = fields.String(required=True, allow_none=True)
    process_id = _count()
    memory_bytes = _count()
    cpu_share = fields.Float(required=True, allow_none=True, metadata=said("Of one processor, since it last told."))
    threads = _count()
    slots = _count("What it does at a time, at most.")
    slots_taken = _count()
    events_waiting = _count("In the memory of its recorder.")
    events_spooled = _count("On disk.")
    events_dropped = _count("Since it began.")
    clock_skew_ms = _ms("How far its clock is ahead of the database's.")
    queued = _count()
    running = _count()
    oldest_ms = _ms("How long the oldest of the queued has waited.")
    runs = _count()
    failures = _count()
    p50_ms = _ms()
    p95_ms = _ms()
    p99_ms = _ms()
    max_ms = _ms()
    total_ms = _ms()
    # `class` is no name in Python.
    locals()["class"] = fields.String(
        required=True, allow_none=True, validate=validate.OneOf(CLASSES), metadata=said("By its 95th percentile.")
    )


class ChainQuery(QueryShape):
    """Which chains."""

    status = fields.String(validate=validate.OneOf(get_args(chains.Status)), metadata=said("Only with this one."))
    correlation_id: fields.Field[Any] = AnyId(metadata=said("Only this trace."))
    time_range = _since()
    limit = limit_field()
    cursor = cursor_field()


class ChainShape(Shape):
    """What became of one trace."""

    correlation_id = fields.UUID(required=True)
    status = fields.String(
        required=True,
        validate=validate.OneOf(get_args(chains.Status)),
        metadata=said("Of the executions that no other of the trace began; of requests, where there are none."),
    )
    command_slug = fields.String(required=True, allow_none=True)
    root_execution_id = fields.UUID(required=True, allow_none=True)
    request_source = fields.String(required=True)
    user_id = fields.String(required=True, allow_none=True, metadata=said("A keyed hash."))
    space_id = fields.UUID(required=True, allow_none=True)
    depth = fields.Integer(required=True, metadata=said("Levels of executions that began each other."))
    events = fields.Integer(required=True)
    executions = fields.Integer(required=True)
    steps = fields.Integer(required=True)
    errors = fields.Integer(required=True, metadata=said("Events of level error."))
    components = fields.List(fields.String(), required=True)
    started_at = fields.AwareDateTime(required=True, format="iso")
    ended_at = fields.AwareDateTime(required=True, format="iso")
    duration_ms = fields.Float(required=True)
    truncated = fields.Boolean(required=True, metadata=said("Whether it has more events than are counted."))
    cut = fields.Boolean(
        required=True, metadata=said("Whether some of its events are gone; it says what it was with them.")
    )


HealthCheckPage = page_of(HealthCheckShape, "HealthCheckPage")
SnapshotPage = page_of(SnapshotShape, "SnapshotPage")
ChainPage = page_of(ChainShape, "ChainPage")
