"""What a schedule gives its command: values, and templates that say for which due time it runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dsl.expressions import Compiler
from dsl.nodes import Entry, ListNode, MappingNode, Node, ScalarNode
from dsl.scheduling.zones import zone_named

#: What templates in the inputs of a schedule may name.
NAMES = ("due_at", "schedule")


def evaluate(
    inputs: Mapping[str, Any], compiler: Compiler, *, due_at: datetime, timezone: str, schedule: str
) -> dict[str, Any]:
    """The inputs for one due time, not yet checked against the command.

    Args:
        inputs: As written down.
        compiler: Of the templates.
        due_at: For which due time; templates see it as text, by the clock of the schedule's zone.
        timezone: That zone.
        schedule: Its name.

    Raises:
        ExpressionError: A template cannot be read or evaluated.
        TimingInvalid: There is no such zone.
    """
    names = {"due_at": due_at.astimezone(zone_named(timezone)).isoformat(), "schedule": schedule}
    evaluated: dict[str, Any] = compiler.value(as_node(inputs)).evaluate(names)
    return evaluated


def has_templates(value: object) -> bool:
    """Whether a value holds a template anywhere."""
    if isinstance(value, Mapping):
        return any(map(has_templates, value.values()))
    if isinstance(value, list):
        return any(map(has_templates, value))
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def as_node(value: object) -> Node:
    """A value as the loader would have read it, each text standing by itself."""
    if isinstance(value, Mapping):
        return MappingNode("", 0, 0, {key: Entry(_scalar(key), as_node(inner)) for key, inner in value.items()})
    if isinstance(value, list):
        return ListNode("", 0, 0, tuple(map(as_node, value)))
    return _scalar(value)


def _scalar(value: Any) -> ScalarNode:  # noqa: ANN401 - text, number, bool or null
    source = value if isinstance(value, str) else ""
    return ScalarNode(source, 0, len(source), value)
