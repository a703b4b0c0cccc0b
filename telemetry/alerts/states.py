"""In which state a rule is, and what follows from what is seen. Pure, and total: every state goes on from everything.

    ok -> pending -> firing -> resolved -> ok
    no_data, stale, error: nothing can be seen at the moment; what is open stays so, and so do counts

Being silenced or muted is no state: it keeps notifications back (`telemetry.alerts.policy`), and changes nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from telemetry.alerts.rule import Rule

State = Literal["ok", "pending", "firing", "resolved", "no_data", "stale", "error"]
#: What was seen of a window: within bounds; out of them; nothing in it. Or no window was seen: events are more than two
#: minutes behind; it could not be measured.
Seen = Literal["clear", "violated", "nothing", "behind", "failed"]
Effect = Literal["fire", "resolve"]

STATES: Final[tuple[State, ...]] = get_args(State)
SEEN: Final[tuple[Seen, ...]] = get_args(Seen)

#: As `Seen`; `enough` is a violation after which there were enough of them, for long enough.
_Met = Literal["clear", "violated", "enough", "nothing", "behind", "failed"]

#: What follows, by whether an alert is open, and of what is met.
NEXT: Final[Mapping[tuple[bool, _Met], tuple[State, Effect | None]]] = {
    (False, "clear"): ("ok", None),
    (False, "violated"): ("pending", None),
    (False, "enough"): ("firing", "fire"),
    (False, "nothing"): ("no_data", None),
    (False, "behind"): ("stale", None),
    (False, "failed"): ("error", None),
    (True, "clear"): ("resolved", "resolve"),
    (True, "violated"): ("firing", None),
    (True, "enough"): ("firing", None),
    (True, "nothing"): ("no_data", None),
    (True, "behind"): ("stale", None),
    (True, "failed"): ("error", None),
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a rule.

    Attributes:
        at: End of the window; of none, when it was looked.
        seen: What.
        value: What was measured, if anything was.
    """

    at: datetime
    seen: Seen
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of a rule from one observation to the next.

    Attributes:
        state: The last one.
        since: From when on; none before the first observation.
        is_open: Whether it fired and has not been resolved.
        violations: Windows in a row that violated it; those without data neither count nor end the row.
        held: For how long without a break.
        violated_at: End of the window before, if that violated it.
        value: What was measured last.
    """

    state: State = "ok"
    since: datetime | None = None
    is_open: bool = False
    violations: int = 0
    held: timedelta = timedelta(0)
    violated_at: datetime | None = None
    value: float | None = None


def advance(track: Track, rule: Rule, observation: Observation) -> tuple[Track, Effect | None]:
    """What follows of an observation; those of windows come in the order of their ends.

    Returns:
        What to remember, and what it sets off: an alert that begins, or one that ends.
    """
    seen = _as_policy_has_it(rule, observation.seen)
    counted = _counted(track, observation.at, seen)
    met: _Met = seen
    if seen == "violated" and counted.violations >= rule.violations and counted.held >= rule.hold:
        met = "enough"
    state, effect = NEXT[track.is_open, met]
    return replace(
        counted,
        state=state,
        since=track.since if state == track.state and track.since is not None else observation.at,
        is_open=track.is_open if effect is None else effect == "fire",
        value=track.value if observation.value is None else observation.value,
    ), effect


def forget_row(track: Track) -> Track:
    """As if nothing had been violated: windows in between were not looked at."""
    return replace(track, violations=0, held=timedelta(0), violated_at=None)


def _as_policy_has_it(rule: Rule, seen: Seen) -> Seen:
    if seen != "nothing" or rule.no_data == "keep":
        return seen
    return "clear" if rule.no_data == "ok" else "violated"


def _counted(track: Track, at: datetime, seen: Seen) -> Track:
    if seen == "clear":
        return forget_row(track)
    if seen == "behind":
        return track
    if seen != "violated":
        return replace(track, violated_at=None)
    # Time counts only from one violated window to the next: nobody knows of what is between two that are apart.
    gained = at - track.violated_at if track.violated_at is not None else timedelta(0)
    return replace(track, violations=track.violations + 1, held=track.held + gained, violated_at=at)
