"""Parts of Weir that events are of, and the other names they go by. Pure, and imports nothing of ours.

Everything that takes the name of a component, or of a type of events, reads it here: the command line, the parameters
of the API, filters, settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

#: What events are of; each is also the first word of its types of events.
COMPONENTS: Final = ("command", "dsl", "tool", "llm", "chat", "fragment", "schedule", "http", "alert", "telemetry")

#: Names that other systems use, and what they are here.
ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{f"{name}_telemetry": name for name in COMPONENTS if name != "telemetry"},
        **{f"{name}s": name for name in ("command", "tool", "chat", "fragment", "schedule", "alert")},
        "step": "dsl",
        "steps": "dsl",
        "ai": "llm",
    }
)

#: Types of the steps in which a component does its work, of those that are seen there first of all.
STEP_TYPES: Final[Mapping[str, str]] = MappingProxyType({"tool": "tool.call", "llm": "ai.generate"})


def component_name(text: str) -> str:
    """The component that a name means: `tool`, `tool_telemetry`, `tools` and `Tool` are the same. Others stay."""
    name = text.strip().lower()
    return ALIASES.get(name, name)


def event_type_name(text: str) -> str:
    """The type of events, or the first words of some, that a name means: `tool_telemetry` is `tool`. Others stay."""
    return ALIASES.get(text.strip().lower(), text)


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The one of these names, or of the names that mean one of them, that looks most like it."""
    names = {name: name for name in known}
    names |= {other: name for other, name in ALIASES.items() if name in names}
    near = get_close_matches(text.strip().lower(), names, n=1)
    return names[near[0]] if near else None
