"""docs/reference/events.md: every event type, from the catalogue, each with an example of its stored row as JSON."""

from __future__ import annotations

import hashlib
import json
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from docs.generators.markdown import code, document, fenced, table
from docs.generators.stored_rows import as_json
from dsl.reference.docstrings import docstring_of
from telemetry.clock import to_unix_us
from telemetry.events import (
    CATALOGUE,
    MEASURES,
    Category,
    ErrorFacts,
    Event,
    FieldFault,
    Level,
    Origin,
    Rule,
    Scope,
    event_type,
)
from telemetry.testing import NOON

INTRODUCTION = """
Every event type there is. The types are closed: what is not a field here cannot be recorded, and there is no field for
text that a user, a model or a record holds ([privacy](../explanation/privacy.md)). The examples are rows of
[`telemetry_events`](tables.md#telemetry_events) as `GET /api/telemetry/events` gives them, without what is null.
The tables name a type's own fields; those without a column of their own are in `measures`. Durations are kept in
microseconds (`_us`) and shown in milliseconds (`_ms`).

How they travel, what may get lost and what may not: [telemetry](../explanation/telemetry.md).
"""

#: What fields are called by their units; the first suffix that fits.
_UNITS = {
    "_at_us": "microseconds since 1970",
    "_us": "microseconds",
    "_count": "count",
    "_bytes": "bytes",
    "steps_": "count",
    "_id": "16 bytes",
    "_hash": "16 bytes",
    "_fingerprint": "8 bytes",
    "_try": "count from 1",
}

#: How a docstring says that another type's fields mean the same.
_REFERENCE = re.compile(r"Fields as in `(?P<name>[a-z.]+)`\.")
_BY_NAME = {event_type(cls): cls for cls in CATALOGUE}

#: Values of examples by field name, where one made from the type alone would mislead.
_SAMPLES: dict[str, Any] = {
    "route": "/api/commands/<slug>/executions",
    "method": "POST",
    "status": 202,
    "duration_us": 3120,
    "total_duration_us": 14_870,
    "queue_wait_us": 1840,
    "elapsed_us": 17_210,
    "priority": 5,
    "steps_executed": 3,
    "steps_successful": 3,
    "steps_failed": 0,
    "steps_skipped": 1,
    "mutations_count": 1,
    "step_path": "keep",
    "step_type": "fragment.update",
    "step_try": 1,
    "measures": {"fields": 2},
    "due_at_us": to_unix_us(NOON),
    "last_due_at_us": to_unix_us(NOON),
    "lateness_us": 4150,
    "due_times": 1,
    "slow": False,
    "slowest_step": None,
    "slowest_step_type": None,
    "slowest_step_us": None,
    "handed_over_count": 81_300,
    "waiting_count": 0,
    "spooled_count": 2400,
    "spooled_bytes": 512_400,
    "dropped_count": 0,
    "failures_count": 3,
}

#: Events of executions that no worker has claimed.
_UNCLAIMED = {"command.execution.queued", "schedule.triggered", "schedule.missed", "schedule.skipped"}

#: What differs in the examples of some types: a failure, and one that was slow too.
_OWN_SAMPLES: dict[str, dict[str, Any]] = {
    "command.validation.failed": {
        "failed_fields": (FieldFault("inputs.body", "required"), FieldFault("inputs.<unknown>", "unknown"))
    },
    "dsl.step.failed": {
        "step_path": "check",
        "step_type": "validate",
        "mutations_count": 0,
        "fragment_id": None,
        "measures": {"faults": 1},
        "failed_fields": (FieldFault("rules[0]", "pattern"),),
    },
    "telemetry.recorder.state": {"rung": "spooling"},
    "alert.fired": {"rule": "latency", "metric": "total_latency", "severity": "warning", "value": 6123.5},
    "alert.resolved": {"rule": "latency", "metric": "total_latency", "severity": "warning", "value": 6123.5},
    "command.execution.failed": {
        "total_duration_us": 6_120_400,
        "elapsed_us": 6_123_900,
        "steps_successful": 2,
        "steps_failed": 1,
        "mutations_count": 0,
        "slow": True,
        "slowest_step": "find",
        "slowest_step_type": "fragment.query",
        "slowest_step_us": 5_981_000,
    },
}


def page() -> str:
    """The page."""
    sections = [_index(), _common(), _vocabulary(), *map(_section, CATALOGUE), _measures()]
    return document("Events", "`telemetry/events.py`", INTRODUCTION, sections)


def example_of(cls: type[Event]) -> Event:
    """An instance with plausible values; always the same."""
    hints = get_type_hints(cls)
    own = [name for name in cls.__struct_fields__ if name not in Event.__struct_fields__]
    samples = _SAMPLES | _OWN_SAMPLES.get(event_type(cls), {})
    values = {name: samples[name] if name in samples else _sample(hints[name], name) for name in own}
    # Within the millisecond of NOON, which the sample ids are of.
    return cls(event_id=_sample_id(event_type(cls)), occurred_at_us=to_unix_us(NOON) + 123, scope=_scope(cls), **values)


def _index() -> str:
    rows = [
        (
            f"[`{event_type(cls)}`](#{_anchor(cls)})",
            cls.component,
            cls.level,
            _without_reference(docstring_of(cls).summary),
        )
        for cls in CATALOGUE
    ]
    return table(("event", "component", "level", "when"), rows)


def _common() -> str:
    rows = [
        ("`event_id`", "UUIDv7, minted from `occurred_at`."),
        ("`occurred_at`", "UTC, to the microsecond; the end of what is described."),
        ("`event_type`, `component`, `level`", "As in the table above."),
        ("`operation`", "What was done: the command's slug, the step's type, the route, or the last word of the type."),
        *((code(name), text) for name, text in docstring_of(Scope).items("Attributes").items()),
        *((code(name), text) for name, text in docstring_of(ErrorFacts).items("Attributes").items()),
    ]
    note = "Every event has these; what does not apply is null. Error fields are set where something failed."
    return f"## Common fields\n\n{note}\n\n{table(('field', 'meaning'), rows)}"


def _vocabulary() -> str:
    words = {"level": Level, "request_source": Origin, "error_category": Category, "rule": Rule}
    rows = [(code(name), ", ".join(map(code, get_args(kind)))) for name, kind in words.items()]
    components = sorted({cls.component for cls in CATALOGUE})
    rows.append(("`component`", ", ".join(map(code, components))))
    return f"## Vocabulary\n\n{table(('field', 'one of'), rows)}"


def _section(cls: type[Event]) -> str:
    says = docstring_of(cls)
    facts = f"Component `{cls.component}`, level `{cls.level}`, version {cls.version}."
    return "\n\n".join(
        part
        for part in (
            f"## {event_type(cls)}",
            f"{_without_reference(says.summary)} {facts}",
            _without_reference(says.body),
            table(("field", "value", "unit", "meaning"), _fields(cls)),
            fenced(json.dumps(as_json(example_of(cls)), indent=2), "json"),
        )
        if part
    )


def _fields(cls: type[Event]) -> Iterator[tuple[str, str, str, str]]:
    hints = get_type_hints(cls)
    meanings = _meanings(cls)
    for field in msgspec.structs.fields(cls):
        if field.name in Event.__struct_fields__:
            continue
        kind = hints[field.name]
        yield code(field.name), _kind(kind), _unit(field.name), meanings[field.name]


def _meanings(cls: type[Event]) -> dict[str, str]:
    """What its fields mean: in its own words, else in those of the type it refers to, else of the first with any."""
    said = docstring_of(cls).items("Attributes")
    referred = _REFERENCE.search(cls.__doc__ or "")
    if referred:
        said = docstring_of(_BY_NAME[referred["name"]]).items("Attributes") | said
    said.setdefault("outcome", "How it ended.")
    for other in CATALOGUE:
        said = docstring_of(other).items("Attributes") | said
    return said


def _without_reference(text: str) -> str:
    return _REFERENCE.sub("", text).strip()


def _measures() -> str:
    rows = [
        (code(key), "number" if words is None else " or ".join(map(code, words))) for key, words in MEASURES.items()
    ]
    note = (
        "What a step type may report of itself. Other keys are dropped and counted. Tables that the configuration "
        "declares join the words of `model`; step types of users bring their own."
    )
    return f"## Measures of steps\n\n{note}\n\n{table(('key', 'value'), rows)}"


def _anchor(cls: type[Event]) -> str:
    return event_type(cls).replace(".", "")


def _unit(name: str) -> str:
    return next((unit for part, unit in _UNITS.items() if name.endswith(part) or name.startswith(part)), "")


def _kind(kind: Any) -> str:  # noqa: ANN401 - any annotation
    if get_origin(kind) is Literal:
        return " or ".join(map(code, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(kind))
    if kind is ErrorFacts:
        return "`error_type`, `error_category`, `error_fingerprint`"
    if get_origin(kind) is tuple:
        return "list of `field` and `rule`"
    names = {
        int: "whole number",
        float: "number",
        str: "registered name",
        bytes: "bytes",
        bool: "boolean",
        type(None): "null",
    }
    return names.get(kind, "map of measures")


def _sample(kind: Any, name: str) -> Any:  # noqa: ANN401 - from and to any type of field
    """A value from the type alone."""
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        return _sample(get_args(kind)[0], name)
    samples = {int: 2, float: 5000.0, str: "name", bytes: _sample_id(name), bool: False}
    if kind is ErrorFacts:
        return ErrorFacts("StepFailed", "validation", bytes.fromhex("5be1f0c27a94d3e8"))
    return samples[kind]


def _scope(cls: type[Event]) -> Scope:
    """An HTTP request knows no execution, a refused submission none yet; nobody asked for what is told of telemetry."""
    if cls.component == "telemetry":
        return Scope(correlation_id=_sample_id("correlation"), request_source="weir")
    has_execution = cls.component != "http" and event_type(cls) != "command.validation.failed"
    return Scope(
        correlation_id=_sample_id("correlation"),
        request_source="schedule" if cls.component == "schedule" else "api",
        user_id=_sample_id("user"),
        space_id=bytes.fromhex("00000000000070008000000000000001"),
        execution_id=_sample_id("execution") if has_execution and "reason" not in cls.__struct_fields__ else None,
        command_slug=None if cls.component == "http" else "todo.add",
        definition_hash=_sample_id("definition") if has_execution else None,
        attempt=0 if not has_execution or event_type(cls) in _UNCLAIMED else 1,
    )


def _sample_id(name: str) -> bytes:
    """16 bytes of the form of a UUIDv7 of the examples' time, the same for the same name."""
    noise = int.from_bytes(hashlib.sha256(name.encode()).digest()[:10])
    value = (to_unix_us(NOON) // 1000) << 80 | noise
    return (value & ~(0xF << 76) & ~(0b11 << 62) | 0x7 << 76 | 0b10 << 62).to_bytes(16)
