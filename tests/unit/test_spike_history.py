"""What a count is compared with: as far as anything is known of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from telemetry.analytics.baseline import Baseline, judge, level
from telemetry.analytics.history import DAYS_OF_SLOTS, HOUR, SLOT, Known, of_hour, of_slot

pytestmark = pytest.mark.req("A-05")

UTC_ZONE = ZoneInfo("UTC")
DAY = timedelta(days=1)
HERE = datetime(2026, 3, 20, 15, tzinfo=UTC)


def known(days: int) -> Known:
    """For so many days, from the same hour on."""
    since = HERE - days * DAY
    return Known(since - HOUR, frozenset((since + number * DAY).date() for number in range(days + 1)))


def names(baselines: list[Baseline]) -> list[str]:
    return [baseline.name for baseline in baselines]


def test_the_same_time_of_past_days_counts_once_there_are_seven() -> None:
    counts = {HERE - number * DAY: number for number in range(40)}

    assert of_hour(HERE, counts, known(6), UTC_ZONE)[0].name == "hours"
    (days,) = of_hour(HERE, counts, known(7), UTC_ZONE)
    assert days == Baseline("days", [1, 2, 3, 4, 5, 6, 7])
    days, weeks = of_hour(HERE, counts, known(40), UTC_ZONE)
    assert days.counts == list(range(1, 29))
    assert weeks == Baseline("weeks", [7, 14, 21, 28])


def test_before_that_it_is_the_hours_before_and_with_hardly_any_nothing() -> None:
    counts = {HERE - 2 * HOUR: 9}
    recent = Known(HERE - 7 * HOUR, frozenset({HERE.date()}))

    assert of_hour(HERE, counts, recent, UTC_ZONE) == [Baseline("hours", [0, 9, 0, 0, 0, 0])]
    assert of_hour(HERE, counts, Known(HERE - 6 * HOUR, {HERE.date()}), UTC_ZONE) == []
    assert of_hour(HERE, counts, Known(None, ()), UTC_ZONE) == []


def test_days_on_which_nothing_ran_say_nothing() -> None:
    whole = known(20)
    off = {(HERE - number * DAY).date() for number in range(3, 10)}
    (days, *_) = of_hour(HERE, {}, Known(whole.since, frozenset(whole.days) - off), UTC_ZONE)

    assert len(days.counts) == 13


def test_the_time_of_day_is_that_of_the_clocks_there() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    summer = datetime(2026, 4, 2, 7, tzinfo=UTC)
    at_nine = {datetime(2026, 3, day, 8, tzinfo=UTC): 5 for day in range(20, 29)} | {
        datetime(2026, 3, day, 7, tzinfo=UTC): 5 for day in range(29, 32)
    }
    alive = Known(datetime(2026, 3, 20, tzinfo=UTC), frozenset(date(2026, 3, day) for day in range(20, 32)))

    (days, *_) = of_hour(summer, at_nine, alive, berlin)
    assert set(days.counts) == {5}


def test_five_minutes_are_a_share_of_their_hour_and_the_same_as_those_before() -> None:
    slot = HERE + 2 * SLOT
    hours = {HERE - number * DAY: 24 for number in range(1, 10)}
    slots = {slot - number * DAY: 7 for number in range(1, 10)}

    days, of_hours, of_days = of_slot(slot, hours, slots, known(8), UTC_ZONE)

    assert days.name == "days"
    assert days.share == pytest.approx(1 / 12)
    assert (of_hours.name, len(of_hours.counts), max(of_hours.counts)) == ("slots", 24, 7)
    assert (of_days.name, of_days.counts) == ("slot_days", [7] * DAYS_OF_SLOTS)
    assert of_slot(slot, hours, slots, Known(None, ()), UTC_ZONE) == []


def test_one_after_none_is_no_spike_and_twenty_are() -> None:
    nothing, threshold = [Baseline("days", [0] * 28)], level(24, 10)
    judged = {count: judge(count, nothing, threshold) for count in (1, 4, 5, 20)}

    assert {count: verdict and verdict.is_spike for count, verdict in judged.items()} == {
        1: False,
        4: False,
        5: True,
        20: True,
    }
    assert judge(3, [], threshold) is None


def test_an_outbreak_of_the_past_does_not_hide_the_next() -> None:
    quiet, broken = [2, 3, 1, 2, 4, 2, 3, 1, 2, 3], [2, 3, 1, 400, 4, 2, 3, 350, 2, 3]
    threshold = level(24, 10)

    for counts in (quiet, broken):
        verdict = judge(40, [Baseline("days", counts)], threshold)
        assert verdict is not None
        assert verdict.is_spike
        assert verdict.expected < 6


def test_the_example_of_the_page_is_what_it_says() -> None:
    past = [Baseline("days", [2, 3, 1, 400, 4, 2, 3, 350, 2, 3])]
    few, many = (judge(count, past, level(24, 10)) for count in (20, 35))

    assert few is not None
    assert many is not None
    assert few.expected == pytest.approx(4.3)
    assert (few.is_spike, round(few.p_value, 3), many.is_spike) == (False, 0.004, True)


def test_what_the_same_weekday_explains_is_no_spike() -> None:
    sundays = [50, 48, 55, 52]
    days = [*([1] * 24), *sundays]
    threshold = level(24, 10)

    alone = judge(51, [Baseline("days", days)], threshold)
    both = judge(51, [Baseline("days", days), Baseline("weeks", sundays)], threshold)

    assert alone is not None
    assert both is not None
    assert (alone.is_spike, both.is_spike, both.baseline) == (True, False, "weeks")
