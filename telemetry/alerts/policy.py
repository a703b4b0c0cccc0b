"""Who is told of an alert, and when: pure. What is kept back is kept back for a reason that is written down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from telemetry.alerts.rule import Rule

Kind = Literal["fire", "resolve", "renotify"]
#: Why something is kept back: somebody wants quiet; a parent fires; the same rule told of another alert shortly before;
#: it had ended before anybody could be told.
Reason = Literal["silenced", "muted", "duplicate", "ended"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often people are told.

    Attributes:
        duplicates: For how long after telling of an alert others of its rule are not told of.
        renotify: After how long those who were told of one that is still open, and that nobody acknowledged, are told
            again; zero is never.
    """

    duplicates: timedelta
    renotify: timedelta


@dataclass(frozen=True, slots=True)
class Standing:
    """How an alert stands.

    Attributes:
        is_open: Whether it has not been resolved.
        is_acknowledged: Whether somebody has it in hand.
        notified_at: When people were last told of it; none if they never were.
        rule_notified_at: When they were last told that an alert of its rule had begun.
    """

    is_open: bool
    is_acknowledged: bool
    notified_at: datetime | None
    rule_notified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be told, and why it is not, if it is kept back."""

    kind: Kind
    withheld: Reason | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """Somebody wants no notifications for a while.

    Attributes:
        starts_at: From when on.
        ends_at: Until when.
        rule: Of this one only.
        severity: Of this one only.
    """

    starts_at: datetime
    ends_at: datetime
    rule: str | None = None
    severity: str | None = None

    def holds(self, rule: Rule, now: datetime) -> bool:
        """Whether it keeps back what the rule has to tell now."""
        return self.starts_at <= now < self.ends_at and self.is_about(rule)

    def is_about(self, rule: Rule) -> bool:
        """Whether it keeps back what the rule has to tell, while it holds."""
        return self.rule in {None, rule.name} and self.severity in {None, rule.severity}


def decide(standing: Standing, pace: Pace, now: datetime, held_back: Reason | None) -> Decision | None:
    """What is to be told of an alert now, if anything.

    An alert that is kept back and still open is told of when nothing keeps it back any more.

    Args:
        standing: How it stands.
        pace: How often people are told.
        now: The time.
        held_back: `silenced`, `muted`, or nothing.
    """
    if not standing.is_open:
        return Decision("fire", "ended") if standing.notified_at is None else Decision("resolve", held_back)
    if standing.notified_at is None:
        if held_back is None and standing.rule_notified_at is not None:
            held_back = "duplicate" if now - standing.rule_notified_at < pace.duplicates else None
        return Decision("fire", held_back)
    is_due = pace.renotify and now - standing.notified_at >= pace.renotify
    return Decision("renotify", held_back) if is_due and not standing.is_acknowledged else None


def held_back(rule: Rule, silences: Iterable[Quiet], firing: Collection[str], now: datetime) -> Reason | None:
    """Why nothing of a rule is told now, if so: a silence, or a parent that fires."""
    if any(silence.holds(rule, now) for silence in silences):
        return "silenced"
    return "muted" if set(rule.parents) & set(firing) else None


def muting(rule: Rule, rules: Mapping[str, Rule], firing: Collection[str]) -> list[str]:
    """Parents that fire and may keep a rule quiet.

    One that the rule keeps quiet in turn, itself or through others, may not: of those that fire together nobody would
    ever be told.

    Args:
        rule: Whose.
        rules: All of them, by name.
        firing: Names of those that fire.
    """
    return [name for name in rule.parents if name in firing and rule.name not in _above(name, rules)]


def _above(name: str, rules: Mapping[str, Rule]) -> set[str]:
    """A rule's parents, theirs, and so on."""
    found: set[str] = set()
    left = [name]
    while left:
        rule = rules.get(left.pop())
        new = set(rule.parents) - found if rule is not None else set()
        found |= new
        left.extend(new)
    return found
