"""An event as a row of `telemetry_events`, in PostgreSQL's binary COPY form. Pure: no I/O.

A row is encoded here and not by the driver because most of it repeats. What its type fixes, what its scope fixes, its
words (step path, step type, outcome, error) and its measures were seen before, nearly always, and are bytes that are
already there; only ids, times and numbers are written anew. So the sink keeps up with what Postgres can take in
(benchmarks/telemetry.py). The form is that of PostgreSQL's manual, COPY, "Binary Format": per column its length and
its bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final, TypeAlias, Union
from uuid import UUID

import msgspec

from telemetry.events import (
    CATALOGUE,
    MAX_FAILED_FIELDS,
    MAX_FIELD,
    MEASURES,
    ErrorFacts,
    Event,
    FieldFault,
    Measures,
    Scope,
    event_type,
)
from telemetry.measures import AllowedMeasures

#: Columns in the order of an encoded row.
COLUMNS: Final = (
    # what the event's type fixes
    *("event_type", "component", "level"),
    # what its scope fixes
    *("correlation_id", "request_source", "user_id", "space_id", "execution_id", "parent_id"),
    *("command_slug", "definition_hash", "dry_run", "attempt"),
    # its words
    *("operation", "step_path", "step_type", "outcome", "error_type", "error_category", "error_fingerprint"),
    # what is its own
    *("event_id", "occurred_at", "duration_us", "mutations_count", "step_try", "fragment_id", "measures"),
)

#: Fields of events whose column has another name.
_RENAMED: Final = {"total_duration_us": "duration_us"}
#: Fields of events that are not measures of their class.
_NOT_MEASURES: Final = frozenset(
    {*COLUMNS, *_RENAMED, "occurred_at_us", "scope", "error", "measures", "route", "model", "rule"}
)

#: Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000

_NULL: Final = b"\xff\xff\xff\xff"
_HEAD: Final = struct.pack(">h", len(COLUMNS))
_STAMP: Final = struct.Struct(">i16siq")
_STEP_NUMBERS: Final = struct.Struct(">iqiiih")
_INT2: Final = struct.Struct(">ih")
_INT4: Final = struct.Struct(">ii")
_INT8: Final = struct.Struct(">iq")
_JSONB_VERSION: Final = b"\x01"
_ID_BYTES: Final = 16
_FINGERPRINT_BYTES: Final = 8

#: The greatest numbers that there may be, of either sign, of anything and of tokens: very many of them are added up,
#: and sums have eight bytes.
MOST: Final = 1 << 53
MOST_TOKENS: Final = 1 << 31

#: Names that are registered somewhere: no blanks, so that a sentence is not one.
NAME: Final = re.compile(r"[A-Za-z0-9_.:/<>\[\]-]{1,1000}")

_json = msgspec.json.Encoder()

_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(
    Union[CATALOGUE]  # noqa: UP007 - a union made of a tuple has no other spelling
)

Encode: TypeAlias = Callable[[Any], bytes]


class MalformedEvent(ValueError):
    """An event that is not a row. The message names its type and what is wrong, never a value."""


#: Decodes one event of any type. Refuses what is not exactly one: also one with more fields than its type has here.
decode_event: Final = _decoder.decode


class RowEncoder:
    """Turns events into rows; one compiled function for each type of event.

    Args:
        measures: What steps may report of themselves: numbers (none) and enums (their words), by name.

    Attributes:
        dropped_measures: Measures left out because they are not allowed; whoever reports the number resets it.
    """

    def __init__(self, measures: Measures = MEASURES) -> None:
        self.dropped_measures = 0
        self._measures = _measures_encoder(AllowedMeasures(measures))
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
        words, numbers, fragment, measures = _words_of(cls), _numbers_of(cls), _fragment_of(cls), self._measures_of(cls)

        def row(event: Event) -> bytes:
            event_id, occurred_at_us = event.event_id, event.occurred_at_us
            if len(event_id) != _ID_BYTES or int.from_bytes(event_id[:6]) != occurred_at_us // 1000:
                raise MalformedEvent(f"{event_type(cls)}: event_id")
            stamp = _STAMP.pack(_ID_BYTES, event_id, 8, occurred_at_us - _POSTGRES_EPOCH_US)
            scope = _scope(event.scope)
            return b"".join((head, scope, words(event), stamp, numbers(event), fragment(event), measures(event)))

        return row

    def _measures_of(self, cls: type[Event]) -> Encode:
        """What makes the measures column: a step's own, the numbers of the class that have no column, or nothing."""
        keys = tuple(name for name in cls.__struct_fields__ if name not in _NOT_MEASURES)
        if "measures" in cls.__struct_fields__:
            return partial(self._measures_and, keys) if keys else self._step_measures
        if not keys:
            return _always(_NULL)
        return lambda event: _jsonb(_told(event, keys))

    def _step_measures(self, event: Any) -> bytes:  # noqa: ANN401 - any class with measures
        if not event.measures:
            return _NULL
        _, encoded, dropped = self._measures(tuple(event.measures.items()))
        self.dropped_measures += dropped
        return encoded

    def _measures_and(self, keys: tuple[str, ...], event: Any) -> bytes:  # noqa: ANN401 - any class with measures
        """A step's own measures together with fields of its class."""
        told = _told(event, keys)
        if not told:
            return self._step_measures(event)
        allowed, _, dropped = self._measures(tuple((event.measures or {}).items()))
        self.dropped_measures += dropped
        return _jsonb(allowed | told)


def _words_of(cls: type[Event]) -> Encode:
    """From operation to error_fingerprint; rows remember them by their values, of which there are few."""
    fields = [_operation(cls)]
    for field, (encode, columns) in _WORDS.items():
        known = field in cls.__struct_fields__
        fields.append((field, encode) if known else ("component", _always(_NULL * columns)))
    values_of = attrgetter(*(source for source, _ in fields))

    @lru_cache(maxsize=8192)
    def words(values: tuple[Any, ...]) -> bytes:
        return b"".join(encode(value) for value, (_, encode) in zip(values, fields, strict=True))

    return lambda event: words(values_of(event))


def _operation(cls: type[Event]) -> tuple[str, Encode]:
    """Where the registered name of what was done comes from."""
    if cls.component == "command":
        return "scope.command_slug", lambda slug: _name(slug or "unknown")
    if cls.component == "dsl":
        return "step_type", _name
    if cls.component == "http":
        return "route", _name
    if cls.component == "alert":
        return "rule", _name
    if "model" in cls.__struct_fields__:
        return "model", _name
    return "component", _always(_name(event_type(cls).rpartition(".")[2]))


def _numbers_of(cls: type[Event]) -> Encode:
    """From duration_us to step_try."""
    sources = {_RENAMED.get(name, name): name for name in cls.__struct_fields__}
    if all(column in sources for column in _NUMBERS):  # steps: nearly all events
        pack = _STEP_NUMBERS.pack
        return lambda event: pack(8, _fit(event.duration_us), 4, event.mutations_count, 2, event.step_try)
    parts = [
        _number(sources[column], number) if column in sources else _always(_NULL) for column, number in _NUMBERS.items()
    ]
    return lambda event: b"".join([part(event) for part in parts])


def _number(source: str, number: struct.Struct) -> Encode:
    get, size = attrgetter(source), number.size - 4
    return lambda event: number.pack(size, _fit(get(event)))


def _fit(value: int, most: int = MOST) -> int:
    """A number, if it is none that no sum has room for.

    Raises:
        MalformedEvent: It is.
    """
    if not -most <= value <= most:
        raise MalformedEvent("a number that cannot be")
    return value


def _fragment_of(cls: type[Event]) -> Encode:
    if "fragment_id" not in cls.__struct_fields__:
        return _always(_NULL)
    return lambda event: _optional_id(event.fragment_id)


def _always(encoded: bytes) -> Encode:
    return lambda _: encoded


def _told(event: Event, keys: tuple[str, ...]) -> dict[str, Any]:
    """Fields of a class that have no column; what is none, false or empty says nothing, and is left out."""
    values = ((key, getattr(event, key)) for key in keys)
    return {
        key: _checked(key, value) for key, value in values if value is not None and value is not False and value != ()
    }


def _checked(key: str, value: Any) -> Any:  # noqa: ANN401 - any field
    """What of a field goes into the measures.

    Raises:
        MalformedEvent: It has another form than registered names and ids, or there are too many, or it is too great.
    """
    if isinstance(value, int):
        return _fit(value, MOST_TOKENS if key.endswith("_tokens") else MOST)
    if isinstance(value, str):
        _name(value)
    elif isinstance(value, bytes):
        return _id_text(value)
    elif isinstance(value, tuple):
        if len(value) > MAX_FAILED_FIELDS:
            raise MalformedEvent("too many failed fields")
        return [_field_fault(fault) for fault in value]
    return value


def _field_fault(fault: FieldFault) -> dict[str, str]:
    _name(fault.field)
    if len(fault.field) > MAX_FIELD:
        raise MalformedEvent("a failed field of another form than registered names")
    return {"field": fault.field, "rule": fault.rule}


#: A step's measures as pairs; those that are allowed, the column, and how many were left out.
MeasuresEncoder: TypeAlias = Callable[[tuple[tuple[str, Any], ...]], tuple[dict[str, Any], bytes, int]]


def _measures_encoder(known: AllowedMeasures) -> MeasuresEncoder:
    """Makes of a step's measures the column; it remembers those it has seen."""

    @lru_cache(maxsize=4096)
    def encode(measures: tuple[tuple[str, Any], ...]) -> tuple[dict[str, Any], bytes, int]:
        allowed = known.allowed(dict(measures))
        return allowed, _jsonb(allowed) if allowed else _NULL, len(measures) - len(allowed)

    return encode


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
            _INT2.pack(2, scope.attempt),
        )
    )


@lru_cache(maxsize=16_384)
def _name(name: str) -> bytes:
    if NAME.fullmatch(name) is None:
        raise MalformedEvent("a name of another form than registered ones")
    encoded = name.encode()
    return len(encoded).to_bytes(4) + encoded


def _optional_name(value: str | None) -> bytes:
    return _NULL if value is None else _name(value)


def _bytes(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise MalformedEvent(f"{len(value)} bytes where {size} belong")
    return size.to_bytes(4) + value


def _id(value: bytes) -> bytes:
    return _bytes(value, _ID_BYTES)


def _id_text(value: bytes) -> str:
    """An id inside the measures."""
    return str(UUID(bytes=_id(value)[4:]))


def _optional_id(value: bytes | None) -> bytes:
    return _NULL if value is None else _id(value)


def _error(facts: ErrorFacts | None) -> bytes:
    if facts is None:
        return _NULL * 3
    names = _name(facts.error_type) + _name(facts.error_category)
    return names + _bytes(facts.error_fingerprint, _FINGERPRINT_BYTES)


def _jsonb(value: Mapping[str, Any]) -> bytes:
    encoded = _JSONB_VERSION + _json.encode(value)
    return len(encoded).to_bytes(4) + encoded


#: Fields whose values are words, each with how it is written and the columns it fills.
_WORDS: Final[dict[str, tuple[Encode, int]]] = {
    "step_path": (_optional_name, 1),
    "step_type": (_name, 1),
    "outcome": (_name, 1),
    "error": (_error, 3),
}
#: Columns that are whole numbers, each with its form.
_NUMBERS: Final = {"duration_us": _INT8, "mutations_count": _INT4, "step_try": _INT2}
