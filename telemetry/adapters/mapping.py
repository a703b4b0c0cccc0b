"""What a mapping file says: which line is which event, and where its fields are. Pure: the file is read by others.

time: {field: datetime}
common:                                   # of every event that has such a field
  correlation_id: context.correlation_id
events:                                   # the first whose conditions hold
  - type: command.execution.started
    if: {message: command.execution.started}
    fields: {queue_wait_us: {value: 0, unit: us}}
ignore:                                   # lines that are no events
  - {message: [cache.hit, cache.miss]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Mapped
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from difflib import get_close_matches
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from telemetry.adapters.catalogue import ERROR, SCOPE, TYPES, targets_of
from telemetry.adapters.fields import UNITS, Source, Target, Unfit, text_of, value_at
from telemetry.events import Event

#: Keys from the root of the file, and indexes of lists.
Path: TypeAlias = tuple[str | int, ...]

_TIMES: Final = ("rfc3339", "unix_s", "unix_ms", "unix_us")
_KEYS: Final = ("time", "common", "events", "ignore")
_TIME_KEYS: Final = ("field", "format", "zone")
_EVENT_KEYS: Final = ("type", "if", "fields")
_SOURCE_KEYS: Final = ("field", "value", "map", "names", "unit", "hash")
_UNITS: Final = ("s", "ms", "us", "ns")
#: Rules of one mapping, at most: every line is held against them.
MAX_RULES: Final = 200


@dataclass(frozen=True, slots=True)
class MappingFault:
    """One thing that is wrong with a mapping.

    Attributes:
        code: Stable name of the kind of fault.
        message: One sentence for a person.
        path: Where it is.
        expected: What should be there.
        nearest: The nearest valid name.
    """

    code: str
    message: str
    path: Path
    expected: str | None = None
    nearest: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """What stands at a place of a line."""

    path: tuple[str, ...]
    values: frozenset[str]

    def holds(self, line: Mapped[str, Any]) -> bool:
        """Whether one of the values is there."""
        return text_of(value_at(line, self.path)) in self.values


@dataclass(frozen=True, slots=True)
class Rule:
    """How lines that meet all conditions become events of a type.

    Attributes:
        type: Class of the event.
        conditions: All of them must hold.
        scope: Fields of its scope.
        fields: Fields of its own, measures and error among them.
    """

    type: type[Event]
    conditions: tuple[Condition, ...]
    scope: tuple[Source, ...]
    fields: tuple[Source, ...]

    def is_for(self, line: Mapped[str, Any]) -> bool:
        """Whether a line is one of its lines."""
        return all(condition.holds(line) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A whole mapping.

    Attributes:
        time_path: Where the time of a line is.
        time_format: `rfc3339`, `unix_s`, `unix_ms`, `unix_us`, or a pattern of `strptime`.
        zone: Of times without an offset.
        rules: In their order.
        ignored: Lines that meet all of one of these are no events.
    """

    time_path: tuple[str, ...]
    time_format: str
    zone: tzinfo | None
    rules: tuple[Rule, ...]
    ignored: tuple[tuple[Condition, ...], ...]

    def rule_for(self, line: Mapped[str, Any]) -> Rule | None:
        """The first rule whose line it is."""
        return next((rule for rule in self.rules if rule.is_for(line)), None)

    def ignores(self, line: Mapped[str, Any]) -> bool:
        """Whether it is known to be no event."""
        return any(all(condition.holds(line) for condition in conditions) for conditions in self.ignored)


def parse(given: object) -> tuple[Mapping | None, tuple[MappingFault, ...]]:
    """A mapping from plain values, or everything that is wrong with it. Never raises."""
    parser = _Parser()
    mapping = parser.mapping(given)
    return (None if parser.faults else mapping), tuple(parser.faults)


@dataclass
class _Parser:
    """Collects faults, and goes on as if there were none."""

    faults: list[MappingFault] = field(default_factory=list)

    def mapping(self, given: object) -> Mapping:
        root = self._object(given, (), _KEYS, needed=("time", "events"))
        time = self._object(root.get("time", {"field": ""}), ("time",), _TIME_KEYS, needed=("field",))
        common = self._object(root.get("common"), ("common",), None)
        rules = self._list(root.get("events"), ("events",))
        if not rules and "events" in root:
            self._fault("mapping.empty", "a mapping needs at least one event", ("events",), expected="a list of events")
        if len(rules) > MAX_RULES:
            self._fault("mapping.too_long", "there are too many events", ("events",), expected=f"at most {MAX_RULES}")
        self._known(common, ("common",), self._all_targets())
        return Mapping(
            self._path(time.get("field"), ("time", "field")),
            self._time_format(time.get("format", "rfc3339")),
            self._zone(time.get("zone")),
            tuple(
                rule
                for number, each in enumerate(rules[:MAX_RULES])
                if (rule := self._rule(each, ("events", number), common)) is not None
            ),
            tuple(
                self._conditions(each, ("ignore", number))
                for number, each in enumerate(self._list(root.get("ignore"), ("ignore",)))
            ),
        )

    def _rule(self, given: object, path: Path, common: Mapped[str, object]) -> Rule | None:
        rule = self._object(given, path, _EVENT_KEYS, needed=("type", "if"))
        name = rule.get("type")
        if not isinstance(name, str) or name not in TYPES:
            if "type" in rule:
                self._unknown("mapping.unknown_type", "there is no such event type", name, (*path, "type"), TYPES)
            return None
        targets = {**SCOPE, **targets_of(name)}
        own = self._object(rule.get("fields"), (*path, "fields"), None)
        self._known(own, (*path, "fields"), targets)
        sources = {
            key: self._source(value, place, targets[key])
            for place, key, value in (
                *((("common", key), key, value) for key, value in common.items() if key not in own),
                *(((*path, "fields", key), key, value) for key, value in own.items()),
            )
            if key in targets
        }
        self._complete(name, targets, sources, path)
        return Rule(
            TYPES[name],
            self._conditions(rule.get("if", {}), (*path, "if")) if "if" in rule else (),
            tuple(source for key, source in sources.items() if key in SCOPE),
            tuple(source for key, source in sources.items() if key not in SCOPE),
        )

    def _complete(self, name: str, targets: Mapped[str, Target], given: Iterable[str], path: Path) -> None:
        missing = [key for key, target in targets.items() if target.is_required and key not in given]
        error = {target.name for target in ERROR} & set(targets)
        if error & set(given):
            missing += sorted(error - set(given) - set(missing))  # both, or neither
        if missing:
            message = f"`{name}` cannot be without {', '.join(f'`{key}`' for key in missing)}"
            self._fault("mapping.field_missing", message, path, expected="where it is in a line, or a value")

    def _source(self, given: object, path: Path, target: Target) -> Source:
        if isinstance(given, str | list):
            given = {"field": given}
        source = self._object(given, path, _SOURCE_KEYS)
        if ("field" in source) == ("value" in source):
            self._fault("mapping.no_source", "give either `field` or `value`", path, expected="a place in the line")
            return Source(target)
        made = Source(
            target,
            self._path(source["field"], (*path, "field")) if "field" in source else (),
            source.get("value"),
            self._words(source.get("map"), (*path, "map")),
            frozenset(self._texts(source.get("names"), (*path, "names"))),
            self._unit(source.get("unit"), path, target),
            source.get("hash") is True,
        )
        self._suits(source, path, target)
        constants = [((*path, "map", key), value) for key, value in made.words.items()]
        if "value" in source:
            constants.append(((*path, "value"), made.constant))
        for place, value in constants:
            self._constant(target, value, made.unit_us, place)
        return made

    def _suits(self, source: Mapped[str, object], path: Path, target: Target) -> None:
        """That what is said of a value fits what the field holds."""
        only = {"names": "name", "unit": "duration", "hash": "id"}
        for key, kind in only.items():
            if key in source and target.kind != kind:
                message = f"`{key}` says nothing about `{target.name}`, which is a {target.kind}"
                self._fault("mapping.misplaced", message, (*path, key))
        if "hash" in source and not isinstance(source["hash"], bool):
            self._fault("mapping.wrong_type", "this is neither true nor false", (*path, "hash"), expected="true")

    def _constant(self, target: Target, value: object, unit_us: float, path: Path) -> None:
        if target.kind == "user":
            self._fault("mapping.misplaced", "users are read from lines, so that none is written here", path)
            return
        try:
            Source(target, constant=value, unit_us=unit_us).read({}, _NO_KEYS, lambda: None)
        except Unfit as error:
            words = f"one of {', '.join(target.words)}" if target.words else None
            near = get_close_matches(str(value), target.words, n=1) if target.words else []
            self._fault("mapping.wrong_value", error.reason, path, expected=words, nearest=near[0] if near else None)

    def _unit(self, given: object, path: Path, target: Target) -> float:
        if given is None:
            if target.kind == "duration":
                message = f"say what `{target.name}` is counted in"
                self._fault("mapping.no_unit", message, path, expected=f"`unit`: one of {', '.join(_UNITS)}")
            return 1
        if not isinstance(given, str) or given not in UNITS:
            self._unknown("mapping.unknown_unit", "there is no such unit", given, (*path, "unit"), UNITS)
            return 1
        return UNITS[given]

    def _conditions(self, given: object, path: Path) -> tuple[Condition, ...]:
        conditions = self._object(given, path, None)
        if not conditions and isinstance(given, dict):
            self._fault("mapping.empty", "a condition is needed", path, expected="`FIELD: VALUE`")
        return tuple(
            Condition(
                self._path(key, (*path, key)),
                frozenset(map(text_of, value if isinstance(value, list) else [value])),
            )
            for key, value in conditions.items()
            if self._are_scalars(value, (*path, key))
        )

    def _are_scalars(self, given: object, path: Path) -> bool:
        fine = all(isinstance(each, str | int | float) for each in (given if isinstance(given, list) else [given]))
        if not fine:
            self._fault("mapping.wrong_type", "a condition compares with a text, a number, true or false", path)
        return fine

    def _time_format(self, given: object) -> str:
        if isinstance(given, str) and (given in _TIMES or "%" in given):
            return given
        self._unknown("mapping.unknown_format", "there is no such form of time", given, ("time", "format"), _TIMES)
        return "rfc3339"

    def _zone(self, given: object) -> tzinfo | None:
        if given is None:
            return None
        try:
            return UTC if given == "UTC" else ZoneInfo(str(given))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._fault(
                "mapping.unknown_zone", "there is no such time zone", ("time", "zone"), expected="a name such as UTC"
            )
            return None

    def _words(self, given: object, path: Path) -> Mapped[str, Any]:
        words = self._object(given, path, None)
        if given is not None and not words:
            self._fault("mapping.empty", "a map needs at least one value", path)
        return words

    def _texts(self, given: object, path: Path) -> list[str]:
        texts = self._list(given, path)
        for number, each in enumerate(texts):
            if not isinstance(each, str):
                self._fault("mapping.wrong_type", "this is no text", (*path, number), expected="a text")
        return [each for each in texts if isinstance(each, str)]

    def _path(self, given: object, path: Path) -> tuple[str, ...]:
        """A place in a line: keys with dots between them, or a list of keys that may have dots themselves."""
        if isinstance(given, str) and given and all(given.split(".")):
            return tuple(given.split("."))
        if isinstance(given, list) and given and all(isinstance(each, str) for each in given):
            return tuple(given)
        self._fault("mapping.no_place", "this is no place in a line", path, expected="keys such as context.user_id")
        return ("",)

    def _object(
        self, given: object, path: Path, known: tuple[str, ...] | None, needed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        if given is None and not needed:
            return {}
        if not isinstance(given, dict):
            self._fault("mapping.wrong_type", "this is no mapping", path, expected="keys and values")
            return {}
        if known is not None:
            for key in set(given) - set(known):
                self._unknown("mapping.unknown_key", "there is no such key", key, (*path, key), known)
        for key in needed:
            if key not in given:
                self._fault("mapping.key_missing", f"`{key}` is missing", path, expected=f"`{key}`")
        return given

    def _list(self, given: object, path: Path) -> list[Any]:
        if given is None:
            return []
        if not isinstance(given, list):
            self._fault("mapping.wrong_type", "this is no list", path, expected="a list")
            return []
        return given

    def _known(self, given: Mapped[str, object], path: Path, targets: Iterable[str]) -> None:
        names = list(targets)
        for key in given:
            if key not in names:
                self._unknown("mapping.unknown_field", "the event has no such field", key, (*path, key), names)

    def _all_targets(self) -> set[str]:
        return {*SCOPE, *(name for type_name in TYPES for name in targets_of(type_name))}

    def _unknown(self, code: str, message: str, given: object, path: Path, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(str(given), names, n=1)
        few = 12
        expected = f"one of {', '.join(names)}" if len(names) <= few else None
        self._fault(code, message, path, expected=expected, nearest=near[0] if near else None)

    def _fault(
        self, code: str, message: str, path: Path, *, expected: str | None = None, nearest: str | None = None
    ) -> None:
        fault = MappingFault(code, message, path, expected, nearest)
        if fault not in self.faults:  # what is common is looked at for every event
            self.faults.append(fault)


class _NoKeys:
    """Constants of a mapping are never hidden."""

    user: Callable[[str], bytes] = staticmethod(lambda _: bytes(16))

    def content(self, value: object) -> bytes:
        return bytes(16)


_NO_KEYS: Final = _NoKeys()
