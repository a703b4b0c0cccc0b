"""What of an event counts among the figures of requests: the twin of `telemetry.rollups.parts`. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from telemetry.events import (
    ChatRequestCompleted,
    ChatRequestFailed,
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    event_type,
)
from telemetry.ids import unix_ms_of
from telemetry.misfits import UNDECODABLE
from telemetry.rollups.metrics import CATEGORIES, REQUESTS, WITHOUT_ERROR
from telemetry.rows import decode_event

_MINUTE_US: Final = 60_000_000
_ENDS: Final = frozenset(kind for kinds in REQUESTS.values() for kind in kinds)
_CATEGORY: Final[Mapping[str, int]] = {name: place for place, name in enumerate(CATEGORIES)}
_CACHE: Final[Mapping[str, int | None]] = {"hit": 1, "miss": 0, "none": None}


class EventMalformed(ValueError):
    """It is no event of the catalogue, or not one that can be stored. Says why without quoting it."""


class _Kind(Struct, array_like=True):
    """How every encoded event begins; what follows is not looked at."""

    event_type: str


_kind_of = msgspec.msgpack.Decoder(_Kind).decode


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has ended.

    Attributes:
        component: Of `REQUESTS`.
        at_us: When it ended, in microseconds since 1970.
        operation: Slug of the command, or name of the model.
        user_id: Pseudonym.
        space_id: 16 bytes.
        category: Of its error, as a place in `CATEGORIES`; none if it is no error.
        values: By measure; `duration` is always there.
    """

    component: str
    at_us: int
    operation: str
    user_id: bytes | None
    space_id: bytes | None
    category: int | None
    values: Mapping[str, int | None]

    @property
    def minute(self) -> int:
        """Since 1970."""
        return self.at_us // _MINUTE_US


def request_of(data: bytes) -> Request | None:
    """The request whose end an encoded event tells; none if it tells of something else, or of a dry run.

    Raises:
        EventMalformed: It cannot be read; the sink keeps it aside.
    """
    try:
        if _kind_of(data).event_type not in _ENDS:
            return None
        event = decode_event(data)
    except UNDECODABLE:
        # Not chained: the decoder's message may quote the event.
        raise EventMalformed("not an event") from None
    if unix_ms_of(event.event_id) != event.occurred_at_us // 1000:
        raise EventMalformed(f"{event_type(event)}: event_id")
    return None if event.scope.dry_run else _request(event)


def _request(event: Event) -> Request | None:
    if isinstance(event, (ChatRequestCompleted, ChatRequestFailed)):
        told = {
            "context": event.context_us,
            "model": event.model_us,
            "prompt_tokens": event.prompt_tokens,
            "completion_tokens": event.completion_tokens,
            "cache_hit": _CACHE[event.cache],
        }
        values = {"duration": event.duration_us} | {name: value for name, value in told.items() if value is not None}
        return _made(event, event.model, values)
    if isinstance(event, (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)):
        return _made(event, event.scope.command_slug or "unknown", {"duration": event.total_duration_us})
    return None


def _made(event: Event, operation: str, values: Mapping[str, int | None]) -> Request:
    scope, category = event.scope, None
    if event.level == "error":
        error = getattr(event, "error", None)
        outcome = getattr(event, "outcome", None)
        category = _CATEGORY[error.error_category if error else WITHOUT_ERROR.get(outcome, "internal")]
    return Request(event.component, event.occurred_at_us, operation, scope.user_id, scope.space_id, category, values)
