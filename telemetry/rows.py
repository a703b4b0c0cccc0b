"""An event as a row of `telemetry_events`, in PostgreSQL's binary COPY form. Pure: no I/O.

A row is encoded here and not by the driver because most of it repeats: what its type fixes, what its scope fixes, and
names that were seen before are bytes that are already there. So the sink keeps up with what Postgres can take in
(benchmarks/telemetry.py). The form is that of PostgreSQL's manual, COPY, "Binary Format": per column its length and
its bytes; a property test holds it against what Postgres reads back.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

from telemetry.events import CATALOGUE, MEASURES, ErrorFacts, Event, Measures, Scope, event_type

#: Columns in the order of an encoded row.
COLUMNS: Final = (
    # what the event's type fixes
    *("event_type", "component", "level"),
    # what its scope fixes
    *("correlation_id", "request_source", "user_id", "space_id", "execution_id", "parent_id"),
    *("command_slug", "definition_hash", "dry_run", "attempt"),
    # its own
    *("event_id", "occurred_at"),
    *("operation", "duration_us", "mutations_count", "step_try", "fragment_id", "step_path", "step_type", "outcome"),
    *("error_type", "error_category", "error_fingerprint"),
    "measures",
)

#: Fields of events whose column has another name.
_RENAMED: Final = {"total_duration_us": "duration_us"}
#: Fields of events that are not measures of their class.
_NOT_MEASURES: Final = frozenset({*COLUMNS, *_RENAMED, "occurred_at_us", "scope", "error", "measures", "route"})

#: Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000

_NULL: Final = b"\xff\xff\xff\xff"
_HEAD: Final = struct.pack(">h", len(COLUMNS))
_STAMP: Final = struct.Struct(">i16siq")
_INT2: Final = struct.Struct(">ih")
_INT4: Final = struct.Struct(">ii")
_INT8: Final = struct.Struct(">iq")
_JSONB_VERSION: Final = b"\x01"
_ID_BYTES: Final = 16
_FINGERPRINT_BYTES: Final = 8

#: Names that are registered somewhere: no blanks, so that a sentence is not one.
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/<>\[\]-]{1,1000}")

_json = msgspec.json.Encoder()

Encode: TypeAlias = Callable[[Any], bytes]


class MalformedEvent(ValueError):
    """An event that is not a row. The message names its type and what is wrong, never a value."""


class RowEncoder:
    """Turns events into rows; one compiled function for each type of event.

    Args:
        measures: What steps may report of themselves: numbers (none) and enums (their words), by name.

    Attributes:
        dropped_measures: Measures left out so far because `measures` does not allow them.
    """

    def __init__(self, measures: Measures = MEASURES) -> None:
        self.dropped_measures = 0
        self._numbers = frozenset(key for key, words in measures.items() if words is None)
        self._enums = {key: words for key, words in measures.items() if words is not None}
        self._row_of = {cls: self._compile(cls) for cls in CATALOGUE}

    def encode(self, event: Event) -> bytes:
        """The event's row, in the order of `COLUMNS`.

        Raises:
            MalformedEvent: A value has another size, range or form than its column, or the id was not minted from
                `occurred_at_us`.
        """
        try:
            return self._row_of[type(event)](event)
        except (struct.error, TypeError, AttributeError) as error:
            # Not chained: their words may quote a value.
            raise MalformedEvent(f"{event_type(event)}: {type(error).__name__}") from None

    def _compile(self, cls: type[Event]) -> Callable[[Event], bytes]:
        head = _HEAD + b"".join(map(_name, (event_type(cls), cls.component, cls.level)))
        sources, encoders = zip(*_own_fields(cls), strict=True)
        own = attrgetter(*sources)
        measures = self._measures_of(cls)

        def row(event: Event) -> bytes:
            event_id, occurred_at_us = event.event_id, event.occurred_at_us
            if len(event_id) != _ID_BYTES or int.from_bytes(event_id[:6]) != occurred_at_us // 1000:
                raise MalformedEvent(f"{event_type(cls)}: event_id")
            stamp = _STAMP.pack(_ID_BYTES, event_id, 8, occurred_at_us - _POSTGRES_EPOCH_US)
            fields = [encode(value) for encode, value in zip(encoders, own(event), strict=True)]
            return b"".join((head, _scope(event.scope), stamp, *fields, measures(event)))

        return row

    def _measures_of(self, cls: type[Event]) -> Callable[[Event], bytes]:
        """What makes the measures column: a step's own, the numbers of the class that have no column, or nothing."""
        if "measures" in cls.__struct_fields__:
            return lambda event: self._step_measures(event.measures)  # type: ignore[attr-defined]  # just seen
        keys = tuple(name for name in cls.__struct_fields__ if name not in _NOT_MEASURES)
        if not keys:
            return lambda _: _NULL
        return lambda event: _jsonb({key: getattr(event, key) for key in keys})

    def _step_measures(self, measures: Mapping[str, int | float | str] | None) -> bytes:
        if not measures:
            return _NULL
        known = {
            key: value
            for key, value in measures.items()
            if (key in self._numbers and not isinstance(value, str)) or value in self._enums.get(key, ())
        }
        self.dropped_measures += len(measures) - len(known)
        return _jsonb(known) if known else _NULL


def _own_fields(cls: type[Event]) -> list[tuple[str, Encode]]:
    """Attribute and encoder for each column between stamp and measures; nulls are written by the one before them."""
    attributes = {_RENAMED.get(name, name): name for name in cls.__struct_fields__}
    fields = [_operation(cls)]
    nulls = b""
    for column, encode in reversed(_OWN_COLUMNS.items()):
        if column in attributes:
            fields.insert(1, (attributes[column], _followed_by(nulls, encode)))
            nulls = b""
        else:
            nulls += _NULL * _WIDTH.get(column, 1)
    fields[0] = (fields[0][0], _followed_by(nulls, fields[0][1]))
    # attrgetter gives no tuple for a single attribute.
    return fields if len(fields) > 1 else [*fields, ("event_id", lambda _: b"")]


def _followed_by(nulls: bytes, encode: Encode) -> Encode:
    return (lambda value: encode(value) + nulls) if nulls else encode


def _operation(cls: type[Event]) -> tuple[str, Encode]:
    """Where the registered name of what was done comes from."""
    if cls.component == "command":
        return "scope.command_slug", lambda slug: _name(slug or "unknown")
    if cls.component == "dsl":
        return "step_type", _name
    if cls.component == "http":
        return "route", _name
    verb = _name(event_type(cls).rpartition(".")[2])
    return "event_id", lambda _: verb


@lru_cache(maxsize=16_384)
def _name(name: str) -> bytes:
    if _NAME.fullmatch(name) is None:
        raise MalformedEvent("a name of another form than registered ones")
    encoded = name.encode()
    return len(encoded).to_bytes(4) + encoded


def _bytes(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise MalformedEvent(f"{len(value)} bytes where {size} belong")
    return size.to_bytes(4) + value


def _id(value: bytes) -> bytes:
    return _bytes(value, _ID_BYTES)


def _int2(value: int) -> bytes:
    return _INT2.pack(2, value)


def _int4(value: int) -> bytes:
    return _INT4.pack(4, value)


def _int8(value: int) -> bytes:
    return _INT8.pack(8, value)


def _optional_id(value: bytes | None) -> bytes:
    return _NULL if value is None else _id(value)


def _optional_name(value: str | None) -> bytes:
    return _NULL if value is None else _name(value)


def _error(facts: ErrorFacts | None) -> bytes:
    if facts is None:
        return _NULL * 3
    names = _name(facts.error_type) + _name(facts.error_category)
    return names + _bytes(facts.error_fingerprint, _FINGERPRINT_BYTES)


def _jsonb(value: Mapping[str, Any]) -> bytes:
    encoded = _JSONB_VERSION + _json.encode(value)
    return len(encoded).to_bytes(4) + encoded


@lru_cache(maxsize=4096)
def _scope(scope: Scope) -> bytes:
    ids = (scope.user_id, scope.space_id, scope.execution_id, scope.parent_id)
    return b"".join(
        (
            _id(scope.correlation_id),
            _name(scope.request_source),
            *map(_optional_id, ids),
            _optional_name(scope.command_slug),
            _optional_id(scope.definition_hash),
            b"\0\0\0\x01\x01" if scope.dry_run else b"\0\0\0\x01\0",
            _int2(scope.attempt),
        )
    )


#: Columns of the event's own after the stamp, each with how its value is written.
_OWN_COLUMNS: Final[dict[str, Encode]] = {
    "duration_us": _int8,
    "mutations_count": _int4,
    "step_try": _int2,
    "fragment_id": _optional_id,
    "step_path": _optional_name,
    "step_type": _name,
    "outcome": _name,
    "error": _error,
}
#: How many columns one of those fills, where it is not one.
_WIDTH: Final = {"error": 3}
