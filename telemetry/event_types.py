"""What can be asked for as a type of events: full names, and the first words of some. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import accumulate
from typing import Final

from telemetry.components import COMPONENTS, event_type_name
from telemetry.events import CATALOGUE, event_type

_FULL: Final = frozenset(map(event_type, CATALOGUE))

#: Every type of the catalogue and all that types begin with: `dsl`, `dsl.step`, `dsl.step.failed`.
NAMES: Final = frozenset(COMPONENTS).union(
    *(accumulate(name.split("."), lambda before, word: f"{before}.{word}") for name in _FULL)
)


def is_event_type(text: str) -> bool:
    """Whether an event may have this type, or one that begins so; names of other systems are understood."""
    return event_type_name(text) in NAMES


def types_of(text: str) -> Iterator[str]:
    """The types of the catalogue that a name means: itself, or those that begin with it."""
    name = event_type_name(text)
    return (each for each in sorted(_FULL) if f"{each}.".startswith(f"{name}."))


def nearest_event_type(text: str) -> str | None:
    """The name that looks most like it."""
    near = get_close_matches(event_type_name(text).lower(), sorted(NAMES), n=1)
    return near[0] if near else None
