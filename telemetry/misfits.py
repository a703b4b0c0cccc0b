"""What is no event that can be stored: why not, what shape it has, and whether it may be kept. Pure: no I/O.

Of most of them only the shape is kept: how many fields, of which types, how long. Nobody knows what is in them, and
telemetry holds nothing that somebody wrote. The event itself is kept, to be stored later, in two cases:

- It passed every check, and Postgres refused it all the same.
- A newer Weir recorded it: it is of a type that this program does not know, or of a known one with more fields at its
  end (or at the end of its scope) than this program knows, and all that is known of it passes every check. What is not
  known is a newer catalogue's, as closed as this one; still, texts must look like names, and measures are left out
  unless they are registered here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from telemetry.events import CATALOGUE, MEASURES, Event, Measures, Scope, event_type
from telemetry.ids import unix_ms_of
from telemetry.measures import AllowedMeasures
from telemetry.rows import NAME, MalformedEvent, RowEncoder, decode_event

#: `undecodable`: not the bytes of any value; `unknown_type`, `newer_version`: a newer Weir's, kept; `malformed`: no
#: event of the catalogue, or one with a value that cannot be; `refused`: by Postgres only, kept; `entry_malformed`: an
#: entry of the stream that is no batch.
Reason = Literal["undecodable", "unknown_type", "newer_version", "malformed", "refused", "entry_malformed"]

#: What decoding anything may raise.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_TYPES: Final[Mapping[str, type[Event]]] = {event_type(cls): cls for cls in CATALOGUE}
_TYPE_NAME: Final = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*){1,4}")
_MAX_TYPE_NAME: Final = 100

#: Where the scope is in an encoded event, and how many values any event begins with.
_SCOPE_AT: Final = 3
_STAMPED: Final = 4
_ID_BYTES: Final = 16

#: Fields and depth of a shape; more are only counted.
_MAX_FIELDS: Final = 40
_MAX_DEPTH: Final = 2

#: What a kept event may hold that is not known: bytes of a hash or an id, depth, and the whole of it in bytes.
_MAX_HASH: Final = 64
_MAX_NESTING: Final = 4
_MAX_KEPT: Final = 65_536

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something that was not stored.

    Attributes:
        reason: Why not.
        shape: Types and sizes, by name where the catalogue has one: never content.
        size_bytes: Of all of it.
        event_type: What it says it is, if that is a type's name.
        event_id: Its id, if that was minted from its own time.
        payload: The event, encoded, if it may be kept.
    """

    reason: Reason
    shape: dict[str, Any]
    size_bytes: int
    event_type: str | None = None
    event_id: bytes | None = None
    payload: bytes | None = None


class Examiner:
    """Looks at what did not pass.

    Args:
        measures: What steps may report of themselves.
    """

    def __init__(self, measures: Measures = MEASURES) -> None:
        self._allowed = AllowedMeasures(measures)
        self._rows = RowEncoder(measures)

    def event(self, data: bytes) -> Misfit:
        """An event that was refused by a check of ours."""
        try:
            found = msgspec.msgpack.decode(data)
        except UNDECODABLE:
            return Misfit("undecodable", {"type": "bytes", "size": len(data)}, len(data))
        stamped = _is_stamped(found)
        name = found[0] if stamped else None
        reason: Reason = "malformed"
        payload = None
        if stamped and (newer := self._newer(found)):
            payload = self._kept(found)
            reason = newer if payload is not None else "malformed"
        known = name if name in _TYPES or payload is not None else None
        return Misfit(reason, _shape(found), len(data), known, found[1] if stamped else None, payload)

    def refused(self, data: bytes) -> Misfit:
        """An event that passed all of ours, and was refused by Postgres."""
        found = msgspec.msgpack.decode(data)
        return Misfit("refused", _shape(found), len(data), found[0], found[1], self._kept(found))

    def entry(self, data: bytes) -> Misfit:
        """An entry of the stream that is no batch."""
        try:
            shape = _shape(msgspec.msgpack.decode(data))
        except UNDECODABLE:
            shape = {"type": "bytes", "size": len(data)}
        return Misfit("entry_malformed", shape, len(data))

    def _newer(self, found: list[Any]) -> Literal["unknown_type", "newer_version"] | None:
        """Whether a newer Weir may have recorded it, by what is known of it."""
        scope = found[_SCOPE_AT]
        if not isinstance(scope, list):
            return None
        known = [*found[:_SCOPE_AT], scope[: len(Scope.__struct_fields__)], *found[_STAMPED:]]
        cls = _TYPES.get(found[0])
        if cls is None:
            # No type to check it by: what every event has is checked as if it were one that has nothing else.
            known = ["command.execution.queued", *known[1:_STAMPED], 0]
        else:
            known = known[: 1 + len(cls.__struct_fields__)]
            if len(known) == len(found) and len(scope) <= len(Scope.__struct_fields__):
                return None
        try:
            self._rows.encode(decode_event(_encode(known)))
        except (*UNDECODABLE, MalformedEvent, TypeError, OverflowError):
            return None
        return "unknown_type" if cls is None else "newer_version"

    def _kept(self, found: list[Any]) -> bytes | None:
        """What of an event may be kept: all of it but measures that are not registered; or nothing."""
        kept = [self._allowed.allowed(value) if isinstance(value, dict) else value for value in found]
        if not all(isinstance(value, dict) or _is_plain(value) for value in kept):
            return None
        payload = _encode(kept)
        return payload if len(payload) <= _MAX_KEPT else None


def _is_stamped(found: object) -> bool:
    """Whether it begins as events do: with a type's name, an id, and the instant that the id was minted from."""
    if not isinstance(found, list) or len(found) < _STAMPED:
        return False
    name, event_id, occurred_at_us = found[:_SCOPE_AT]
    return (
        isinstance(name, str)
        and len(name) <= _MAX_TYPE_NAME
        and _TYPE_NAME.fullmatch(name) is not None
        and isinstance(event_id, bytes)
        and len(event_id) == _ID_BYTES
        and isinstance(occurred_at_us, int)
        and unix_ms_of(event_id) == occurred_at_us // 1000
    )


def _is_plain(value: object, depth: int = 0) -> bool:
    """Whether it looks like what closed types hold: numbers, names, ids and hashes, or a few of them."""
    if value is None or isinstance(value, bool | int | float):
        return True
    if isinstance(value, str):
        return NAME.fullmatch(value) is not None
    if isinstance(value, bytes):
        return len(value) <= _MAX_HASH
    return isinstance(value, list) and depth < _MAX_NESTING and all(_is_plain(each, depth + 1) for each in value)


def _shape(value: object, names: Sequence[str] = (), depth: int = 0) -> dict[str, Any]:
    """Its type and size, and those of its fields: `{"type": "array", "size": 6, "fields": [...]}`."""
    if isinstance(value, list):
        shape: dict[str, Any] = {"type": "array", "size": len(value)}
        if depth < _MAX_DEPTH:
            names = names or _names_of(value)
            named = [*names, *[""] * len(value)]
            fields = [_field(name, each, depth) for name, each in zip(named, value[:_MAX_FIELDS], strict=False)]
            shape["fields"] = fields
        return shape
    if isinstance(value, dict):
        return {"type": "map", "size": len(value)}
    if isinstance(value, str):
        return {"type": "text", "size": len(value)}
    if isinstance(value, bytes):
        return {"type": "bytes", "size": len(value)}
    return {"type": "none" if value is None else _KINDS.get(type(value), "other")}


_KINDS: Final[Mapping[type, str]] = {bool: "bool", int: "int", float: "float"}


def _field(name: str, value: object, depth: int) -> dict[str, Any]:
    names = Scope.__struct_fields__ if name == "scope" else ()
    shape = _shape(value, names, depth + 1)
    return {"name": name, **shape} if name else shape


def _names_of(value: list[Any]) -> tuple[str, ...]:
    """The names of an event's fields, if it is of a known type."""
    cls = _TYPES.get(value[0]) if value and isinstance(value[0], str) else None
    return () if cls is None else ("event_type", *cls.__struct_fields__)
