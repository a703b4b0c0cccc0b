"""A schedule as somebody wrote it down, in a command file or over REST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, get_args

from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.timing import EPOCH, Timing, instant, timing_of
from dsl.scheduling.zones import zone_named
from telemetry.settings import format_duration

#: What becomes of due times that passed with nobody there.
Misfire = Literal["skip", "latest", "all"]
#: What becomes of a due time while an execution of the same schedule is not final.
Overlap = Literal["allow", "skip", "queue"]

MISFIRES: tuple[Misfire, ...] = get_args(Misfire)
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)

#: The longest jitter and the longest window.
MAX_JITTER, MAX_WINDOW = timedelta(hours=1), timedelta(days=365)

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """When a command runs by itself, and what it is given. Exactly one of cron, every and at is there.

    Attributes:
        cron: Expression of five or six fields, or an alias.
        every: Interval.
        anchor: From where intervals are counted; none is 1970-01-01 UTC.
        at: The one time.
        timezone: Name of the zone that cron and local times are in.
        jitter: Each due time is put off by less than this, always by as much; never past the next one.
        misfire: For due times that passed.
        window: How old they may be and still be run.
        overlap: While an execution is not final.
        pause_after: Failures in a row that pause it.
        inputs: Of the command; texts in them may be templates with `due_at` and `schedule`.
        user: On whose behalf.
        space: Which space.
        priority: 0 is the most urgent, 9 the least.
    """

    cron: str | None = None
    every: timedelta | None = None
    anchor: datetime | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    jitter: timedelta = timedelta(0)
    misfire: Misfire = "latest"
    window: timedelta = timedelta(days=1)
    overlap: Overlap = "skip"
    pause_after: int | None = None
    inputs: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    user: str = "local-default"
    space: str = "default"
    priority: int = 5

    @property
    def timing(self) -> Timing:
        """When it is due.

        Raises:
            TimingInvalid: Never, or in a zone that this machine does not know any more.
        """
        return timing_of(self.timezone, cron=self.cron, every=self.every, anchor=self.anchor, at=self.at)


def complete(spec: ScheduleSpec, anchor: str | None, at: str | None) -> ScheduleSpec:
    """A schedule whose every value is of the right type, with its local times as instants, if it can be meant.

    Args:
        spec: Without `anchor` and `at`.
        anchor: As it was written.
        at: Likewise.

    Raises:
        TimingInvalid: It has no timing, or more than one, or one that is never due; or a duration is out of bounds.
    """
    for invalid in faults_of(spec, anchor, at):
        raise invalid
    return replace(
        spec,
        anchor=spec.anchor if anchor is None else instant("anchor", anchor, spec.timezone),
        at=spec.at if at is None else instant("at", at, spec.timezone),
    )


def faults_of(spec: ScheduleSpec, anchor: str | None, at: str | None) -> Iterator[TimingInvalid]:
    """Everything for which `complete` would refuse the same; each key is told at most once."""
    zone, instants = spec.timezone, {"anchor": spec.anchor, "at": spec.at}
    try:
        zone_named(zone)
    except TimingInvalid as invalid:
        yield invalid
        zone = "UTC"  # the rest is looked at all the same
    for key, text in (("anchor", anchor), ("at", at)):
        if text is not None:
            instants[key] = EPOCH
            try:
                instant(key, text, zone)
            except TimingInvalid as invalid:
                yield invalid
    try:
        timing_of(zone, cron=spec.cron, every=spec.every, **instants)
    except TimingInvalid as invalid:
        yield invalid
    if not timedelta(0) <= spec.jitter <= MAX_JITTER:
        yield TimingInvalid("jitter", "`jitter` is too long", f"at most {format_duration(MAX_JITTER)}")
    elif spec.every is not None and spec.jitter >= spec.every > timedelta(0):
        message = "`jitter` is as long as the interval"
        yield TimingInvalid("jitter", message, f"less than {format_duration(spec.every)}")
    if not timedelta(0) < spec.window <= MAX_WINDOW:
        bounds = f"more than 0s and at most {format_duration(MAX_WINDOW)}"
        yield TimingInvalid("window", "`window` is nothing, or too long", bounds)
