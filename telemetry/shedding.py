"""Which events go first when there is no room for all of them: those that tell of progress, before errors and ends."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from telemetry.events import (
    ChatRequestStarted,
    Event,
    FragmentCreated,
    FragmentDeleted,
    FragmentUpdated,
    StepExecuted,
    StepSkipped,
    event_type,
)

#: What can be spared: many, small, each soon followed by what came of it all. Everything else is kept for longer.
PROGRESS: Final[frozenset[type[Event]]] = frozenset(
    {StepExecuted, StepSkipped, ChatRequestStarted, FragmentCreated, FragmentUpdated, FragmentDeleted}
)
_PROGRESS_TYPES: Final = frozenset(map(event_type, PROGRESS))


class _Head(Struct, array_like=True):
    """How every encoded event begins; what follows is not looked at."""

    event_type: str


_head_of = msgspec.msgpack.Decoder(_Head).decode


def type_of_encoded(event: bytes) -> str:
    """The type of an event that the recorder encoded itself."""
    return _head_of(event).event_type


def is_progress(event: bytes) -> bool:
    """Whether an encoded event is one of `PROGRESS`."""
    return type_of_encoded(event) in _PROGRESS_TYPES
