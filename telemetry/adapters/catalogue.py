"""What fields the events of the catalogue have for a mapping, found from their types. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from telemetry.adapters.fields import Target
from telemetry.events import CATALOGUE, MEASURES, Category, Event, event_type

#: Event types that a line may become: all but telemetry's word on itself.
TYPES: Final[Mapping[str, type[Event]]] = {
    event_type(cls): cls for cls in CATALOGUE if cls.component not in ("alert", "telemetry")
}

#: Who caused it, of any event.
SCOPE: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (
        Target("correlation_id", "id"),
        Target("execution_id", "id"),
        Target("parent_id", "id"),
        Target("space_id", "id"),
        Target("user_id", "user"),
        Target("command_slug", "name"),
        Target("dry_run", "flag"),
        Target("attempt", "count"),
    )
}
#: What failed: both, or neither.
ERROR: Final = (Target("error_type", "name"), Target("error_category", "word", get_args(Category)))

_STAMP: Final = frozenset({"event_id", "occurred_at_us", "scope"})
#: Fields that no line can give: the fields of inputs are lists of declared names.
_NOT_MAPPED: Final = frozenset({"failed_fields"})


@cache
def targets_of(type_name: str) -> Mapping[str, Target]:
    """The fields of an event type by name; measures as `measures.NAME`."""
    cls = TYPES[type_name]
    hints = get_type_hints(cls)
    found: dict[str, Target] = {}
    for each in msgspec.structs.fields(cls):
        if each.name in _STAMP | _NOT_MAPPED:
            continue
        if each.name == "error":
            found |= {target.name: Target(target.name, target.kind, target.words, each.required) for target in ERROR}
        elif each.name == "measures":
            found |= {f"measures.{name}": _measure(name) for name in MEASURES}
        else:
            found[each.name] = _target(each.name, hints[each.name], is_required=each.required)
    return found


@cache
def blanks_of(cls: type[Event]) -> tuple[Mapping[str, None], tuple[str, ...]]:
    """Of the fields of an event that have no default: those that may be none, and those that may not."""
    own = [each.name for each in msgspec.structs.fields(cls) if each.required and each.name not in _STAMP]
    may_be_none = {name for name in own if NoneType in get_args(get_type_hints(cls)[name])}
    return dict.fromkeys(may_be_none), tuple(name for name in own if name not in may_be_none)


def _measure(name: str) -> Target:
    words = MEASURES[name]
    return Target(f"measures.{name}", "number") if words is None else Target(f"measures.{name}", "word", words)


def _target(name: str, hint: Any, *, is_required: bool) -> Target:  # noqa: ANN401 - any annotation
    if get_origin(hint) in {Union, UnionType}:
        is_required = is_required and NoneType not in get_args(hint)
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Literal:
        return Target(name, "word", get_args(hint), is_required)
    if hint is bytes:
        return Target(name, "id", (), is_required)
    if hint is bool:
        return Target(name, "flag", (), is_required)
    if hint is int:
        return Target(name, "duration" if name.endswith("_us") else "count", (), is_required)
    return Target(name, "name", (), is_required)
