from __future__ import annotations

from datetime import timedelta

from telemetry.testing import ManualClock
from telemetry.throttle import Throttle


def test_one_line_of_a_kind_is_allowed_per_interval(clock: ManualClock) -> None:
    throttle = Throttle(clock, timedelta(seconds=10))

    first = [throttle.allows("loss"), throttle.allows("loss"), throttle.allows("failure")]
    clock.advance(timedelta(seconds=9))
    early = throttle.allows("loss")
    clock.advance(timedelta(seconds=1))

    assert first == [True, False, True]
    assert not early
    assert throttle.allows("loss")
    assert not throttle.allows("loss")
