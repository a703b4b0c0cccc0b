"""How a value of a log line becomes a field of an event. Pure.

Nothing is guessed: a value of another type, a word that is not in the list, a name that nobody declared is refused, or,
for names, hidden behind a keyed hash. So no text of a log gets into telemetry, whatever stands in the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeGuard
from uuid import UUID

from telemetry.clock import to_unix_us
from telemetry.rows import NAME

#: Keyed hash of anything, 16 bytes (`telemetry.privacy.Pseudonyms`).
Hash: TypeAlias = Callable[[object], bytes]

#: What a field holds.
Kind: TypeAlias = Literal["id", "user", "name", "word", "count", "duration", "number", "flag"]

#: Microseconds in a unit.
UNITS: Final = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 0.001}

#: Whole numbers must fit where sums of them are kept.
_LARGEST: Final = (1 << 63) - 1
#: What names begin with that nobody declared.
HIDDEN: Final = "hidden-"
#: An id that is of the same things as another.
_SAME_IDS: Final = {"parent_id": "execution_id"}
#: Characters of a UUID, without and with its hyphens.
_UUID_TEXTS: Final = (32, 36)


class Unfit(Exception):
    """A value is not what its field holds. Says which field and why, never the value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Keys(Protocol):
    """What hides names: `telemetry.privacy.Pseudonyms`."""

    user: Callable[[str], bytes]

    def content(self, value: object) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A field of an event, as the catalogue has it.

    Attributes:
        name: As mapping files name it.
        kind: What it holds.
        words: Those that it may hold; empty for any.
        is_required: Whether an event cannot be without it.
    """

    name: str
    kind: Kind
    words: tuple[str, ...] = ()
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a line a field's value is, and what is done with it.

    Attributes:
        target: The field.
        path: Keys from the line's top; empty for a constant.
        constant: The value itself, if there is no path.
        words: What a value of the line stands for.
        names: Names that are kept as they are.
        unit_us: Microseconds in what durations are counted in.
        hashed: Whether an id is made of the value by a hash.
    """

    target: Target
    path: tuple[str, ...] = ()
    constant: Any = None
    words: Mapping[str, Any] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    unit_us: float = 1
    hashed: bool = False

    def read(self, line: Mapping[str, Any], keys: Keys, hide: Callable[[], None]) -> Any:  # noqa: ANN401 - any field
        """The field's value; none if the line has none.

        Args:
            line: Decoded.
            keys: What hides names.
            hide: Told of a name that was hidden.

        Raises:
            Unfit: It is there, and is not what the field holds.
        """
        value = self.constant if not self.path else value_at(line, self.path)
        if value is None:
            return None
        if self.words:
            word = self.words.get(text_of(value))
            if word is None and not self.names:
                raise Unfit(f"{self.target.name}: not in its map")
            if word is not None:
                return self._checked(word)
        elif not self.path:
            return self._checked(value)
        return _READ[self.target.kind](self, value, keys, hide)

    def _checked(self, value: Any) -> Any:  # noqa: ANN401 - as above
        """A value of the mapping itself."""
        return _READ[self.target.kind](self, value, None, None)


def value_at(line: Mapping[str, Any], path: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    """What stands at a path; none if nothing does."""
    value: Any = line
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text_of(value: object) -> str:
    """A JSON value as the keys of maps are written; empty for lists and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that fits; JSON has integers that are larger than any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def read_time(value: object, form: str, zone: tzinfo | None) -> int:
    """An instant of a line in microseconds since 1970.

    Args:
        value: As it stands there.
        form: `rfc3339`, `unix_s`, `unix_ms`, `unix_us`, or the pattern that `strptime` knows.
        zone: Of what has no offset.

    Raises:
        Unfit: It is none.
    """
    if form.startswith("unix_"):
        if not _is_number(value):
            raise Unfit("time: not a number")
        return int(value * UNITS[form.removeprefix("unix_")])
    if not isinstance(value, str):
        raise Unfit("time: not a text")
    try:
        instant = datetime.fromisoformat(value) if form == "rfc3339" else datetime.strptime(value, form)  # noqa: DTZ007
        if instant.tzinfo is None:
            if zone is None:
                raise Unfit("time: without an offset, and the mapping names no zone")
            instant = instant.replace(tzinfo=zone)
        return to_unix_us(instant)
    except (ValueError, OverflowError):
        raise Unfit("time: of another form") from None


def _read_id(source: Source, value: object, keys: Any, _: object) -> bytes:  # noqa: ANN401 - absent for constants
    if source.hashed and isinstance(value, str | int) and not isinstance(value, bool):
        hashed: bytes = keys.content([_SAME_IDS.get(source.target.name, source.target.name), str(value)])
        return hashed
    if not isinstance(value, str) or len(value) not in _UUID_TEXTS:
        raise Unfit(f"{source.target.name}: not a UUID")
    try:
        return UUID(value).bytes
    except ValueError:
        raise Unfit(f"{source.target.name}: not a UUID") from None


def _read_user(source: Source, value: object, keys: Any, _: object) -> bytes:  # noqa: ANN401 - as above
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit(f"{source.target.name}: not a name")
    pseudonym: bytes = keys.user(str(value))
    return pseudonym


def _read_name(source: Source, value: object, keys: Any, hide: Any) -> str:  # noqa: ANN401 - as above
    """A declared name as it is, any other behind a hash."""
    if not isinstance(value, str):
        raise Unfit(f"{source.target.name}: not a text")
    if keys is None or value in source.names:
        if NAME.fullmatch(value) is None:
            raise Unfit(f"{source.target.name}: not of the form of a name")
        return value
    hide()
    return f"{HIDDEN}{keys.content(value).hex()[:16]}"


def _read_word(source: Source, value: object, *_: object) -> str:
    if not isinstance(value, str) or value not in source.target.words:
        raise Unfit(f"{source.target.name}: not one of its words")
    return value


def _read_number(source: Source, value: object, *_: object) -> int | float:
    if not _is_number(value):
        raise Unfit(f"{source.target.name}: not a number")
    return value


def _read_count(source: Source, value: object, *_: object) -> int:
    number = _read_number(source, value)
    if number != int(number) or number < 0:
        raise Unfit(f"{source.target.name}: not a whole number")
    return int(number)


def _read_duration(source: Source, value: object, *_: object) -> int:
    """Microseconds of any number of its unit."""
    number = _read_number(source, value) * source.unit_us
    if not 0 <= number <= _LARGEST:
        raise Unfit(f"{source.target.name}: out of range")
    return round(number)


def _read_flag(source: Source, value: object, *_: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit(f"{source.target.name}: neither true nor false")
    return value


_READ: Final[Mapping[Kind, Callable[..., Any]]] = {
    "id": _read_id,
    "user": _read_user,
    "name": _read_name,
    "word": _read_word,
    "number": _read_number,
    "count": _read_count,
    "duration": _read_duration,
    "flag": _read_flag,
}
