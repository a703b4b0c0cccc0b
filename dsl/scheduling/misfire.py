"""What to do about the due times between the last one dealt with and now: each is run or missed, none is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Literal
from uuid import UUID

from dsl.scheduling.spec import Misfire
from dsl.scheduling.timing import Timing, count, last

#: Missed due times that are told one by one; more in a row are told as one stretch.
MAX_TOLD = 100

#: Due times of a stretch that are counted; a stretch of as many may have more.
MAX_COUNTED = 10_000

Reason = Literal["late", "superseded", "window"]
Punctuality = Literal["fired", "late", "caught_up"]

#: When a due time is acted on: itself, or a moment later by jitter.
FireAt = Callable[[datetime], datetime]

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Due times in a row, none of which is run.

    Attributes:
        first: The first of them.
        last: The last; the same for a single one.
        due_times: How many; `MAX_COUNTED` for as many or more.
    """

    first: datetime
    last: datetime
    due_times: int


@dataclass(frozen=True, slots=True)
class Run:
    """A due time that is run.

    Attributes:
        due_at: When.
        fire_at: With jitter.
        punctuality: `fired` within the grace; else `late` for the newest that is due, `caught_up` for those before.
    """

    due_at: datetime
    fire_at: datetime
    punctuality: Punctuality


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of the due times up to now, oldest first: the missed, then those that are run.

    Attributes:
        missed: Stretches, in order; all of them before the first that is run.
        reason: Why they were missed.
        runs: In order.
        next_due_at: The first due time that is not dealt with; none when there is no more.
    """

    missed: tuple[Stretch, ...]
    reason: Reason
    runs: tuple[Run, ...]
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Policy:
    """How late is too late.

    Attributes:
        misfire: What is run of what passed.
        window: How late it may be.
        grace: How late counts as on time.
        most_runs: How many are run at once; the others stay for the next time.
    """

    misfire: Misfire
    window: timedelta
    grace: timedelta
    most_runs: int


def jittered(schedule_id: UUID, timing: Timing, jitter: timedelta) -> FireAt:
    """Puts due times off by less than `jitter`, and never past the next one: by a hash, so always by as much."""

    def fire_at(due_at: datetime) -> datetime:
        if not jitter:
            return due_at
        following = timing.next(due_at)
        room = jitter if following is None else min(jitter, following - due_at)
        digest = blake2b(schedule_id.bytes + due_at.isoformat().encode(), digest_size=8).digest()
        return due_at + timedelta(microseconds=(room // _INSTANT) * int.from_bytes(digest) >> 64)

    return fire_at


def settle(timing: Timing, fire_at: FireAt, cursor: datetime, now: datetime, policy: Policy) -> Settlement:
    """Deal with the due times from `cursor` on that are to be acted on by now.

    Args:
        timing: When it is due.
        fire_at: Jitter.
        cursor: The first due time that was not dealt with.
        now: The wall clock.
        policy: What is run.
    """
    newest = _newest(timing, fire_at, cursor, now)
    reason: Reason = "late" if policy.misfire == "skip" else "window"
    if newest is None:
        return Settlement((), reason, (), cursor)
    patience = max(policy.window, policy.grace)
    every_one = patience if policy.misfire == "all" else policy.grace
    due_times = _not_older(timing, fire_at, cursor, newest, now - every_one, policy.most_runs)
    if policy.misfire == "latest" and now - fire_at(newest) <= patience:
        reason = "superseded"
        due_times = due_times or [newest]
    runs = tuple(Run(due, fire_at(due), _punctuality(due, newest, now - fire_at(due), policy)) for due in due_times)
    dealt_with = due_times[-1] if due_times else newest
    end = due_times[0] - _INSTANT if due_times else newest
    return Settlement(stretches(timing, cursor, end), reason, runs, timing.next(dealt_with))


def stretches(timing: Timing, cursor: datetime, end: datetime) -> tuple[Stretch, ...]:
    """The due times from `cursor` to `end`, both included: one by one, or as one stretch when they are many."""
    before = cursor - _INSTANT
    number = count(timing, before, end, MAX_COUNTED)
    final = last(timing, before, end) if number > MAX_TOLD else None
    if final is not None:
        return (Stretch(cursor, final, number),)
    told: list[Stretch] = []
    due = timing.next(before)
    while due is not None and due <= end:
        told.append(Stretch(due, due, 1))
        due = timing.next(due)
    return tuple(told)


def _newest(timing: Timing, fire_at: FireAt, cursor: datetime, now: datetime) -> datetime | None:
    before = cursor - _INSTANT
    newest = last(timing, before, now)
    if newest is None or fire_at(newest) <= now:
        return newest
    return last(timing, before, newest - _INSTANT)


def _not_older(  # noqa: PLR0913 - one bound each
    timing: Timing, fire_at: FireAt, cursor: datetime, newest: datetime, oldest: datetime, most: int
) -> list[datetime]:
    """Due times up to the newest that were to be acted on at `oldest` or after, in order; the first so many."""
    start = last(timing, cursor - _INSTANT, min(oldest, newest)) or cursor  # those before were acted on before it
    due: datetime | None = start
    found: list[datetime] = []
    while due is not None and due <= newest and len(found) < most:
        if fire_at(due) >= oldest:
            found.append(due)
        due = timing.next(due)
    return found


def _punctuality(due: datetime, newest: datetime, lateness: timedelta, policy: Policy) -> Punctuality:
    if lateness <= policy.grace:
        return "fired"
    return "late" if due == newest else "caught_up"
