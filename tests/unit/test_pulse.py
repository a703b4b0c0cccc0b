"""Whether a loop comes round, as those who ask see it."""

from __future__ import annotations

from datetime import timedelta

from telemetry.pulse import Pulse
from telemetry.testing import ManualClock
from workers.readiness import SILENCE, look_at_loop

WAIT = timedelta(seconds=5)


def test_a_loop_is_well_as_long_as_it_comes_round_in_time(clock: ManualClock) -> None:
    pulse = Pulse(clock)

    for _ in range(10):
        clock.advance(WAIT + SILENCE)
        assert look_at_loop(pulse, WAIT) == {"loop": "ok"}
        pulse.beat()


def test_a_loop_that_stays_away_says_for_how_long(clock: ManualClock) -> None:
    pulse = Pulse(clock)
    pulse.beat()

    clock.advance(WAIT + SILENCE + timedelta(seconds=1))

    assert look_at_loop(pulse, WAIT) == {"loop": "has not come round for 36 s"}


def test_a_loop_that_never_began_is_away_too(clock: ManualClock) -> None:
    pulse = Pulse(clock)
    clock.advance(timedelta(minutes=2))

    assert look_at_loop(pulse, WAIT) == {"loop": "has not come round for 120 s"}
