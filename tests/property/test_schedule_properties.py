"""Every due time is accounted for exactly once, whatever ticks, deaths and clocks do; and cron is what a scan says."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.scheduling.misfire import MAX_TOLD, Policy, Stretch, jittered, settle
from dsl.scheduling.spec import MISFIRES
from dsl.scheduling.timing import Every, Timing, last, timing_of
from dsl.scheduling.zones import instant_of, reading, zone_named

START = datetime(2026, 3, 28, 20, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

#: Where clocks change within a day of some instant, forward and back.
NEAR_CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 1, 1, tzinfo=UTC)),
]

fixed = st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True).map(sorted)
hours = st.lists(st.integers(0, 23), min_size=1, max_size=4, unique=True).map(sorted)


def listed(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def due_between(timing: Timing, start: datetime, end: datetime) -> list[datetime]:
    found, due = [], timing.next(start)
    while due is not None and due <= end:
        found.append(due)
        due = timing.next(due)
    return found


@settings(deadline=None)
@given(st.sampled_from(NEAR_CHANGES), fixed, hours)
def test_a_time_of_day_is_due_once_for_each_reading(
    change: tuple[str, datetime], minutes: list[int], of_hours: list[int]
) -> None:
    name, around = change
    zone = zone_named(name)
    start, end = around - HOUR * 30, around + HOUR * 30
    timing = timing_of(name, cron=f"{listed(minutes)} {listed(of_hours)} * * *")

    days = [reading(start, zone).date() + timedelta(days=number) for number in range(-2, 6)]
    times = [datetime.combine(day, time(hour, minute)) for day in days for hour in of_hours for minute in minutes]
    expected = sorted({due for local in times if start < (due := instant_of(local, zone)) <= end})

    assert due_between(timing, start, end) == expected


@settings(deadline=None, max_examples=30)  # each scans two days minute by minute
@given(st.sampled_from(NEAR_CHANGES), st.sampled_from([1, 7, 10, 15, 20]), st.none() | hours)
def test_what_follows_the_clock_is_due_at_every_minute_that_shows_a_match(
    change: tuple[str, datetime], step: int, of_hours: list[int] | None
) -> None:
    name, around = change
    zone = zone_named(name)
    start, end = around - HOUR * 26, around + HOUR * 26
    timing = timing_of(name, cron=f"*/{step} {'*' if of_hours is None else listed(of_hours)} * * *")

    expected = []
    due = start + MINUTE
    while due <= end:
        local = reading(due, zone)
        if local.minute % step == 0 and (of_hours is None or local.hour in of_hours):
            expected.append(due)
        due += MINUTE

    assert due_between(timing, start, end) == expected


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(NEAR_CHANGES), hours, st.integers(0, 60 * 60 * 50), st.integers(0, 999_999))
def test_the_next_due_time_does_not_depend_on_where_one_asks_from(
    change: tuple[str, datetime], of_hours: list[int], seconds: int, micros: int
) -> None:
    name, around = change
    start = around - HOUR * 26
    asked = start + timedelta(seconds=seconds, microseconds=micros)
    for cron in (f"30 {listed(of_hours)} * * *", "*/10 * * * *", f"*/20 {listed(of_hours)} * * *"):
        timing = timing_of(name, cron=cron)
        expected = next(due for due in due_between(timing, start, around + HOUR * 60) if due > asked)
        assert timing.next(asked) == expected
        assert last(timing, start, asked) == max((due for due in due_between(timing, start, asked)), default=None)


Happening = tuple[Literal["tick", "die", "back", "sleep"], int]
happenings = st.lists(
    st.tuples(st.sampled_from(["tick", "tick", "tick", "die", "back", "sleep"]), st.integers(1, 40_000)),
    min_size=1,
    max_size=40,
)
timings = st.one_of(
    st.integers(20, 5000).map(lambda seconds: Every(timedelta(seconds=seconds))),
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 * * * *", "*/20 * * * * *", "15 */3 * * *"]).map(
        lambda cron: timing_of("Europe/Berlin", cron=cron)
    ),
)


@pytest.mark.req("D-04")
@settings(deadline=None)
@given(
    timings,
    happenings,
    st.sampled_from(MISFIRES),
    st.integers(1, 100_000),
    st.integers(0, 3600),
    st.sampled_from([1, 3, 100]),
)
def test_every_due_time_is_accounted_for_exactly_once(  # noqa: PLR0913 - one part each
    timing: Timing,
    story: list[Happening],
    misfire: Literal["skip", "latest", "all"],
    window: int,
    jitter: int,
    most: int,
) -> None:
    policy = Policy(misfire, timedelta(seconds=window), timedelta(seconds=10), most)
    fire_at = jittered(UUID(int=3), timing, timedelta(seconds=jitter))
    first = timing.next(START)
    assert first is not None
    cursor: datetime | None = first
    now = START
    run: list[datetime] = []
    missed: list[Stretch] = []

    for what, seconds in [*story, ("tick", 1)] + [("tick", 0)] * 3:
        now += timedelta(seconds=-seconds if what == "back" else seconds)
        if cursor is None:
            break
        settled = settle(timing, fire_at, cursor, now, policy)
        if what == "die":
            continue  # before the commit: nothing was kept
        assert all(each.fire_at <= now for each in settled.runs)
        assert len(settled.runs) <= most
        run += [each.due_at for each in settled.runs]
        missed += settled.missed
        cursor = settled.next_due_at

    assert len(set(run)) == len(run)
    assert run == sorted(run)
    accounted = set(run)
    for stretch in missed:
        inside = due_between(timing, stretch.first - timedelta(microseconds=1), stretch.last)
        assert stretch.due_times in {len(inside), min(len(inside), 10_000)}
        assert not accounted & set(inside)
        accounted |= set(inside)
    assert cursor is not None
    # Everything before the cursor, and nothing else; and what is left is not due yet, or comes with the next tick.
    assert sorted(accounted) == [due for due in due_between(timing, START, cursor) if due < cursor]
    assert len(missed) <= len(story) * MAX_TOLD + MAX_TOLD
    assert all(before.last < after.first for before, after in pairwise(missed))
