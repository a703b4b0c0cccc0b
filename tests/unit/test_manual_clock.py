from __future__ import annotations

from datetime import timedelta

import pytest

from telemetry.clock import Clock, from_unix_us
from telemetry.testing import NOON, ManualClock


def test_a_manual_clock_stands_still_until_told_to_move(clock: ManualClock) -> None:
    as_protocol: Clock = clock

    assert as_protocol.now() == as_protocol.now() == NOON


def test_both_clocks_move_together_when_time_passes(clock: ManualClock) -> None:
    clock.advance(timedelta(seconds=2, microseconds=3))

    assert clock.monotonic_us() == 2_000_003
    assert clock.now() == NOON + timedelta(seconds=2, microseconds=3) == from_unix_us(clock.unix_us())


def test_the_monotonic_clock_does_not_notice_a_correction(clock: ManualClock) -> None:
    clock.advance(timedelta(seconds=1))
    clock.set(NOON - timedelta(days=1))

    assert clock.now() == NOON - timedelta(days=1)
    assert clock.monotonic_us() == 1_000_000


def test_time_never_passes_backwards(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(timedelta(microseconds=-1))
