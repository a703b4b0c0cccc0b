"""The tick: does what schedules ask for when it is due, and says when it wants to be asked again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog

from telemetry.clock import Clock
from workers.occurrences import Occurrences, ScheduleBroken

log = structlog.get_logger(__name__)

#: Schedules dealt with in one go; other work of the scheduler is done in between.
MAX_SETTLED = 200

#: How long a schedule that cannot be dealt with is left alone.
BROKEN_PATIENCE = timedelta(minutes=1)

#: How much further than the monotonic clock the wall clock may go between two ticks before it is said.
JUMP = timedelta(seconds=5)

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TickResult:
    """What a tick did.

    Attributes:
        counts: Due times by what became of them.
        released: Occurrences that had waited, and were run.
        again_in: When to tick again at the latest; none when nothing is planned.
    """

    counts: dict[str, int] = field(default_factory=dict)
    released: int = 0
    again_in: timedelta | None = None


class Ticker:
    """Ticks. Several may: what one deals with, the others pass over.

    Args:
        occurrences: Deals with due times.
        clock: The wall clock says what is due; where it goes further than the monotonic one, the machine was asleep.
    """

    def __init__(self, occurrences: Occurrences, clock: Clock) -> None:
        self._occurrences = occurrences
        self._clock = clock
        self._broken: dict[UUID, int] = {}
        self._last: tuple[int, int] | None = None

    def run_once(self) -> TickResult:
        """One tick.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        now_us = self._clock.monotonic_us()
        self._broken = {schedule_id: until for schedule_id, until in self._broken.items() if until > now_us}
        wake_at, waits = self._occurrences.look()
        jumped = self._look_at_clocks()
        is_due = wake_at is not None and wake_at <= self._clock.now()
        counts, is_done = self._settle() if is_due else ({}, True)
        released = self._release() if waits else 0
        passed = {state: number for state, number in counts.items() if state in {"late", "caught_up", "missed"}}
        if passed or jumped:
            log.info("due_times_passed", asleep_s=round(jumped / 1e6), **passed)
        if not is_done:
            return TickResult(counts, released, timedelta(0))
        if is_due:
            wake_at, _ = self._occurrences.look()
        # What cannot be dealt with is due all the time; it is looked at again with the next regular tick.
        again_in = None if wake_at is None or self._broken else max(timedelta(0), wake_at - self._clock.now())
        return TickResult(counts, released, again_in)

    def _settle(self) -> tuple[dict[str, int], bool]:
        """Deal with what is due; what became of it, and whether that was all."""
        counts: dict[str, int] = {}
        for _ in range(MAX_SETTLED):
            try:
                settled = self._occurrences.settle_next(tuple(self._broken))
            except ScheduleBroken as broken:
                self._leave_alone(broken)
                continue
            if settled is None:
                return counts, True
            for state, number in settled[1].counts.items():
                counts[state] = counts.get(state, 0) + number
        return counts, False

    def _release(self) -> int:
        """Run what waited and whose turn has come, one of each schedule; how many."""
        released = 0
        for schedule_id in self._occurrences.waiting_schedules():
            if schedule_id in self._broken:
                continue
            try:
                released += self._occurrences.release_waiting(schedule_id)
            except ScheduleBroken as broken:
                self._leave_alone(broken)
        return released

    def _leave_alone(self, broken: ScheduleBroken) -> None:
        """For a while: it holds up no other."""
        log.error("schedule_broken", schedule_id=str(broken.schedule_id), exc_info=broken)
        self._broken[broken.schedule_id] = self._clock.monotonic_us() + BROKEN_PATIENCE // _MICROSECOND

    def _look_at_clocks(self) -> int:
        """By how many microseconds the wall clock went further than the monotonic one, if that is more than a little.

        A machine that sleeps stops its monotonic clock, and not the wall clock; so does nobody notice who sets it.
        """
        now = self._clock.unix_us(), self._clock.monotonic_us()
        last, self._last = self._last or now, now
        ahead_us = (now[0] - last[0]) - (now[1] - last[1])
        if abs(ahead_us) <= JUMP // _MICROSECOND:
            return 0
        log.warning("clock_jumped" if ahead_us < 0 else "host_resumed", by_s=round(ahead_us / 1e6))
        return max(0, ahead_us)
