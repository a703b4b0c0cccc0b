"""Kinds of values in filters: how each is read from text and written again. Pure.

Reading raises `ValueError` for what is no value of the kind; the caller says where, and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, get_args
from uuid import UUID

from telemetry.components import COMPONENTS, component_name, event_type_name, nearest
from telemetry.events import Category, Level, Origin
from telemetry.filters.syntax import Value
from telemetry.settings import format_duration

#: Characters of one value, at most: more than any name has that is registered in practice.
MAX_VALUE: Final = 500

OUTCOMES: Final = ("succeeded", "failed", "skipped", "expired", "dead", "cancelled")
#: The lowest first.
LEVELS: Final[tuple[str, ...]] = get_args(Level)

#: Instants that ids and Postgres both know.
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)

#: The longest duration that can be asked for.
_LONGEST_US: Final = timedelta(days=36_500) // timedelta(microseconds=1)
_UNITS_US: Final = {"us": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}
_DURATION: Final = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,6})?)(us|ms|s|m|h|d)", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of values.

    Attributes:
        expected: What a value looks like, for messages and the reference.
        read: From text; raises ValueError.
        show: The canonical text.
        is_ordered: Whether `>`, `>=`, `<`, `<=` and ranges make sense.
        has_prefixes: Whether `x*` makes sense.
        words: All values there are, where they are few; the lowest first, where they are ordered.
    """

    expected: str
    read: Callable[[str], Value]
    show: Callable[[Value], str] = str
    is_ordered: bool = False
    has_prefixes: bool = False
    words: tuple[str, ...] = ()

    def nearest(self, text: str) -> str | None:
        """The word that looks most like it."""
        return nearest(text, self.words)


def _one_of(words: tuple[str, ...], named: Callable[[str], str] = str.lower, *, is_ordered: bool = False) -> Kind:
    def read(text: str) -> str:
        word = named(text)
        if word not in words:
            raise ValueError
        return word

    return Kind(f"one of {', '.join(words)}", read, words=words, is_ordered=is_ordered)


def _read_text(text: str) -> str:
    if not 1 <= len(text) <= MAX_VALUE:
        raise ValueError
    return text


def _read_uuid(text: str) -> UUID:
    if _UUID.fullmatch(text) is None:
        raise ValueError
    return UUID(text)


def _hexadecimal(size: int) -> Kind:
    pattern = re.compile(rf"[0-9a-f]{{{2 * size}}}", re.ASCII | re.IGNORECASE)

    def read(text: str) -> bytes:
        if pattern.fullmatch(text) is None:
            raise ValueError
        return bytes.fromhex(text)

    return Kind(f"{2 * size} hexadecimal digits", read, lambda value: value.hex() if isinstance(value, bytes) else "")


def _read_whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise ValueError
    return int(text)


def _read_duration(text: str) -> int:
    """Microseconds, exactly; less than one is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError
    micros = int(Decimal(match[1]) * _UNITS_US[match[2]])
    if micros > _LONGEST_US:
        raise ValueError
    return micros


def _show_duration(value: Value) -> str:
    return format_duration(timedelta(microseconds=int(str(value))))


def _read_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError
    try:
        instant = instant.astimezone(UTC)
    except OverflowError:
        raise ValueError from None
    if not EARLIEST <= instant <= LATEST:
        raise ValueError
    return instant


def _show_instant(value: Value) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else ""


def _read_yes(text: str) -> bool:
    word = text.lower()
    if word not in {"true", "false"}:
        raise ValueError
    return word == "true"


def _read_event_type(text: str) -> str:
    return event_type_name(_read_text(text))


TEXT: Final = Kind(f"a text of at most {MAX_VALUE} characters", _read_text, has_prefixes=True)
EVENT_TYPE: Final = Kind(TEXT.expected, _read_event_type, has_prefixes=True)
#: A plain name that is looked up, or hashed: it cannot be found by how it begins.
PLAIN_NAME: Final = Kind(f"a name of at most {MAX_VALUE} characters", _read_text)
ID: Final = Kind("an id: a UUID, with or without hyphens", _read_uuid)
FINGERPRINT: Final = _hexadecimal(8)
PSEUDONYM: Final = _hexadecimal(16)
NUMBER: Final = Kind("a whole number of at most 9 digits", _read_whole, is_ordered=True)
DURATION: Final = Kind(
    "a number and a unit (us, ms, s, m, h, d), such as 1.5s", _read_duration, _show_duration, is_ordered=True
)
INSTANT: Final = Kind(
    "a time with its offset, such as 2026-03-01T09:00:00Z, from 1970 on", _read_instant, _show_instant, is_ordered=True
)
YES_OR_NO: Final = Kind("true or false", _read_yes, lambda value: str(value).lower(), words=("true", "false"))
COMPONENT: Final = _one_of(COMPONENTS, component_name)
LEVEL: Final = _one_of(LEVELS, is_ordered=True)
OUTCOME: Final = _one_of(OUTCOMES)
CATEGORY: Final = _one_of(get_args(Category))
SOURCE: Final = _one_of(get_args(Origin))
