"""A rule: when to be told of what. Pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args

from telemetry.alerts.errors import RuleInvalid
from telemetry.alerts.figures import measured, plain_number
from telemetry.alerts.subjects import COMPONENTS, SUBJECTS, Subject
from telemetry.settings import format_duration, parse_duration

Operator = Literal[">", ">=", "<", "<="]
Severity = Literal["info", "warning", "critical"]
#: What no data means: nothing is known and everything stays as it is; all is well; or that is what is wrong.
NoData = Literal["keep", "ok", "alert"]
ChannelName = Literal["log", "inbox", "webhook", "email"]

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
CHANNELS: Final[tuple[ChannelName, ...]] = get_args(ChannelName)

#: Names of rules are registered names: they may be in events, messages and logs.
NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
#: Names of commands and spaces, as far as a rule looks at them.
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_USER: Final = re.compile(r"[0-9a-f]{32}")

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
#: Windows of requests are whole minutes: so are the buckets they are read from.
_MINUTE: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=31)
MOST_VIOLATIONS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to be told of what.

    Attributes:
        name: A registered name; no other rule has it.
        metric: Of `SUBJECTS`.
        statistic: Of the metric; its usual one unless given.
        operator: How the value is compared with the threshold for a violation.
        threshold: In the unit of the statistic.
        window: Of requests; whole minutes.
        violations: So many windows in a row must violate it.
        hold: And for so long (`for`, to people).
        severity: How bad that is.
        channels: Who is told.
        no_data: What a window without data means.
        parents: Rules that keep this one quiet while they fire.
        component: Only requests of this: `chat` or `command`.
        command: Only those of this operation.
        user: Only those of this user: the pseudonym, in hex.
        space: Only those in this space, by its name.
        least_requests: A window with fewer of them has no data.
        enabled: Whether it is looked at.
    """

    name: str
    metric: str
    threshold: float
    statistic: str = ""
    operator: Operator = ">"
    window: timedelta = timedelta(minutes=5)
    violations: int = 1
    hold: timedelta = timedelta(0)
    severity: Severity = "warning"
    channels: tuple[ChannelName, ...] = ("log", "inbox")
    no_data: NoData = "keep"
    parents: tuple[str, ...] = ()
    component: str | None = None
    command: str | None = None
    user: str | None = None
    space: str | None = None
    least_requests: int = 0
    enabled: bool = True

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return SUBJECTS[self.metric]

    @property
    def measured(self) -> str:
        """The statistic that is compared."""
        return self.statistic or self.subject.usual

    @property
    def unit(self) -> str:
        """Of the value and the threshold."""
        return self.subject.units[self.measured]

    def is_violated_by(self, value: float) -> bool:
        """Whether a value is what the rule is there for."""
        return _COMPARE[self.operator](value, self.threshold)

    def message(self, value: float) -> str:
        """What is said of it: numbers and registered names only."""
        over = f" over {format_duration(self.window)}" if self.subject.kind == "requests" else ""
        return (
            f"{self.name}: {measured(self.metric, self.measured)} is {plain_number(value)} {self.unit}{over}"
            f" ({self.operator} {plain_number(self.threshold)})"
        )


def make_rule(name: str, words: Mapping[str, Any]) -> Rule:
    """A rule from what people write: durations as text (`5m`), `for` instead of `hold`.

    Raises:
        RuleInvalid: A word is unknown, missing, or cannot be meant; all of them.
    """
    faults: list[str] = []
    if not NAME.fullmatch(name):
        faults.append("a name is 1 to 64 lower case letters, digits, `.`, `_` and `-`")
    given = {key: value for key, value in words.items() if value is not None}
    read = {_FIELD.get(key, key): _read(key, value, faults) for key, value in given.items()}
    faults.extend(f"{key} is missing" for key in ("metric", "threshold") if key not in given)
    if faults:
        raise RuleInvalid(name if NAME.fullmatch(name) else "?", faults)
    rule = Rule(name=name, **read)
    faults.extend(_faults(rule))
    if faults:
        raise RuleInvalid(name, faults)
    return rule


def words_of(rule: Rule) -> dict[str, Any]:
    """What people would write for it: `make_rule` of it is the same rule."""
    return {
        _WORDS.get(field.name, field.name): _written(getattr(rule, field.name))
        for field in fields(rule)
        if field.name != "name"
    }


_FIELD: Final = {"for": "hold"}
_WORDS: Final = {field: word for word, field in _FIELD.items()}
_TEXTS: Final = ("metric", "statistic", "operator", "severity", "no_data", "component", "command", "user", "space")
_LISTS: Final = ("channels", "parents")
_TYPES: Final[Mapping[str, type]] = {"threshold": float, "violations": int, "least_requests": int, "enabled": bool}
_KEYS: Final = (*_TEXTS, *_LISTS, "threshold", "window", "for", "violations", "least_requests", "enabled")


def _read(key: str, value: Any, faults: list[str]) -> Any:  # noqa: ANN401 - one of the types of a rule's fields
    """One word; a fault is noted."""
    try:
        return _converted(key, value)
    except (ValueError, TypeError, OverflowError):
        faults.append(f"{key} cannot be meant" if key in _KEYS else _unknown(key))
        return None


def _converted(key: str, value: Any) -> Any:  # noqa: ANN401 - as above
    if key not in _KEYS:
        raise ValueError(key)
    if key in {"window", "for"}:
        return value if isinstance(value, timedelta) else parse_duration(value)
    if key in _LISTS:
        if isinstance(value, str) or not all(isinstance(each, str) for each in value):
            raise TypeError(key)
        return tuple(value)
    if isinstance(value, bool) != (key == "enabled"):
        raise TypeError(key)
    if key == "threshold" and isinstance(value, int | float):
        return float(value)
    if not isinstance(value, _TYPES.get(key, str)):
        raise TypeError(key)
    return value


def _unknown(key: str) -> str:
    near = get_close_matches(key, _KEYS, n=1)
    # Not the key itself: nobody registered it.
    return f"there is no such word; did you mean {near[0]}?" if near else "there is no such word"


def _faults(rule: Rule) -> Iterator[str]:
    """Why a rule of the right types cannot be meant."""
    if rule.metric not in SUBJECTS:
        yield f"metric: expected one of {', '.join(SUBJECTS)}"
        return
    if rule.statistic and rule.statistic not in rule.subject.units:
        yield f"statistic: expected one of {', '.join(rule.subject.units)}"
    yield from _not_among(rule)
    if not math.isfinite(rule.threshold):
        yield "threshold: expected a number"
    if not _MINUTE <= rule.window <= LONGEST or rule.window % _MINUTE:
        yield f"window: expected whole minutes, at most {format_duration(LONGEST)}"
    if not timedelta(0) <= rule.hold <= LONGEST:
        yield f"for: expected at most {format_duration(LONGEST)}"
    if not 1 <= rule.violations <= MOST_VIOLATIONS:
        yield f"violations: expected 1 to {MOST_VIOLATIONS}"
    if not 0 <= rule.least_requests < 1 << 31:
        yield "least_requests: expected no fewer than 0"
    yield from _faulty_filters(rule)


def _not_among(rule: Rule) -> Iterator[str]:
    choices = {"operator": Operator, "severity": Severity, "no_data": NoData}
    for key, kind in choices.items():
        if getattr(rule, key) not in get_args(kind):
            yield f"{key}: expected one of {', '.join(get_args(kind))}"
    if not rule.channels or not set(rule.channels) <= set(CHANNELS):
        yield f"channels: expected some of {', '.join(CHANNELS)}"
    if rule.name in rule.parents or not all(NAME.fullmatch(parent) for parent in rule.parents):
        yield "parents: expected names of other rules"


def _faulty_filters(rule: Rule) -> Iterator[str]:
    filters = (rule.component, rule.command, rule.user, rule.space)
    if rule.subject.kind == "system" and (any(filters) or rule.least_requests):
        yield f"{rule.metric} is of the system: it has no component, command, user, space or least_requests"
    if rule.component is not None and rule.component not in COMPONENTS:
        yield f"component: expected one of {', '.join(COMPONENTS)}"
    if sum(each is not None for each in (rule.command, rule.user, rule.space)) > 1:
        yield "command, user and space exclude each other"
    if rule.user is not None and not _USER.fullmatch(rule.user):
        yield "user: expected a pseudonym, 32 hexadecimal digits"
    for key in ("command", "space"):
        if (name := getattr(rule, key)) is not None and not _WORD.fullmatch(name):
            yield f"{key}: expected a name"


def _written(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, timedelta):
        return format_duration(value) if value else "0s"
    return list(value) if isinstance(value, tuple) else value
