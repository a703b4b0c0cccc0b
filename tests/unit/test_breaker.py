"""The breaker: open at the first failure, half open after the pause."""

from __future__ import annotations

from datetime import timedelta

import pytest

from telemetry.breaker import Breaker
from telemetry.testing import ManualClock

PAUSE = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)


@pytest.mark.req("C-13")
def test_it_opens_at_the_first_failure_and_lets_one_try_when_the_pause_is_over(clock: ManualClock) -> None:
    breaker = Breaker(clock, PAUSE)
    assert breaker.is_closed
    assert breaker.allows()

    breaker.failed()
    assert not breaker.is_closed
    assert not breaker.allows()
    clock.advance(PAUSE - MOMENT)
    assert not breaker.allows()
    clock.advance(MOMENT)
    assert breaker.allows()
    assert not breaker.is_closed

    breaker.failed()
    assert not breaker.allows()


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
    breaker.hurry()
    assert breaker.is_closed

    breaker.failed()
    breaker.hurry()

    assert breaker.allows()
    assert not breaker.is_closed
