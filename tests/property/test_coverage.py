"""Every minute of an answer is read in exactly one place, and never from a bucket that is dirty or gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.rollups.coverage import WIDEST_FIRST, Known, Stretch, cover, snapped, without
from telemetry.rollups.parts import MINUTES, Width

pytestmark = pytest.mark.req("A-06")

END = 5 * 1440


@st.composite
def stretches(draw: st.DrawFn, step: int = 1) -> list[Stretch]:
    cuts = sorted(draw(st.sets(st.integers(0, END // step), max_size=8)))
    return [(first * step, end * step) for first, end in zip(cuts[::2], cuts[1::2], strict=False)]


@st.composite
def known(draw: st.DrawFn) -> Known:
    dirty: dict[Width, list[Stretch]] = {width: draw(stretches(MINUTES[width])) for width in WIDEST_FIRST}
    kept_from = {width: draw(st.integers(0, 3)) * 1440 for width in WIDEST_FIRST}
    return Known(dirty, kept_from, draw(stretches(1440)))


@given(wanted=stretches(), known=known(), widest=st.sampled_from(WIDEST_FIRST))
def test_every_minute_is_read_once_and_from_clean_buckets(wanted: list[Stretch], known: Known, widest: Width) -> None:
    coverage = cover(wanted, known, widest)

    read: list[int] = []
    for width, found in coverage.buckets.items():
        assert MINUTES[width] <= MINUTES[widest]
        for first, end in found:
            assert first % MINUTES[width] == end % MINUTES[width] == 0
            assert first >= known.kept_from[width]
            assert without([(first, end)], known.dirty[width]) == [(first, end)]
            read.extend(range(first, end))
    for first, end in coverage.events:
        read.extend(range(first, end))
    assert sorted(read) == [minute for first, end in wanted for minute in range(first, end)]


@given(first=st.integers(0, END - 1), length=st.integers(1, 1440), known=known(), widest=st.sampled_from(WIDEST_FIRST))
def test_an_end_moves_outwards_by_less_than_a_bucket_and_only_where_events_are_gone(
    first: int, length: int, known: Known, widest: Width
) -> None:
    start, end = snapped((first, first + length), known, widest)

    assert first - MINUTES[widest] < start <= first
    assert first + length <= end < first + length + MINUTES[widest]
    if not any(at <= first < to for at, to in known.sealed):
        assert start == first
    if not any(at <= first + length - 1 < to for at, to in known.sealed):
        assert end == first + length
