"""The breaker: open at the first failure, half open after the pause."""

from __future__ import annotations

from datetime import timedelta

import pytest

from telemetry.breaker import Breaker
from telemetry.testing import ManualClock

PAUSE = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)
NO_TIME = timedelta(0)


@pytest.mark.req("C-13", "A-12")
def test_it_opens_at_the_first_failure_and_lets_one_try_when_the_pause_is_over(clock: ManualClock) -> None:
    breaker = Breaker(clock, PAUSE)
    seen = [(breaker.is_closed, breaker.allows())]

    breaker.failed()
    for duration in (NO_TIME, PAUSE - MOMENT, MOMENT):
        clock.advance(duration)
        seen.append((breaker.is_closed, breaker.allows()))
    breaker.failed()
    seen.append((breaker.is_closed, breaker.allows()))

    assert seen == [(True, True), (False, False), (False, False), (False, True), (False, False)]


@pytest.mark.req("C-13")
def test_an_attempt_that_goes_well_closes_it(clock: ManualClock) -> None:
    breaker = Breaker(clock, PAUSE)
    breaker.failed()
    clock.advance(PAUSE)

    breaker.succeeded()

    assert breaker.is_closed
    assert breaker.retry_at_us is None


def test_a_process_that_ends_need_not_wait(clock: ManualClock) -> None:
    breaker = Breaker(clock, PAUSE)
    breaker.failed()
    breaker.hurry()

    assert breaker.allows()
    assert not breaker.is_closed


def test_one_that_is_closed_need_not_hurry(clock: ManualClock) -> None:
    breaker = Breaker(clock, PAUSE)
    breaker.hurry()

    assert breaker.is_closed
