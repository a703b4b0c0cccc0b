"""When schedules are due: cron, intervals and single times, on the days when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import pytest

from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.misfire import MAX_COUNTED, MAX_TOLD, Policy, Settlement, jittered, settle, stretches
from dsl.scheduling.spec import Misfire
from dsl.scheduling.timing import Every, Timing, count, instant, last, timing_of
from dsl.scheduling.zones import zone_named

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GRACE = timedelta(seconds=10)
SCHEDULE = UUID(int=7)


class Change(NamedTuple):
    """A change of clocks, and a daily time of day that falls into it: on the day before, on the day, on the day after.

    Attributes:
        at: When clocks change.
        cron: The time of day; it never comes, or comes twice.
        due: The three due times.
    """

    zone: str
    at: str
    cron: str
    due: tuple[str, str, str]


#: By what clocks do, and where: an hour, half an hour, at midnight, and in a zone that is off by a quarter.
CHANGES = {
    "forward Berlin": Change(
        "Europe/Berlin", "03-29T01:00", "30 2 * * *", ("03-28T01:30", "03-29T01:00", "03-30T00:30")
    ),
    "back Berlin": Change("Europe/Berlin", "10-25T01:00", "30 2 * * *", ("10-24T00:30", "10-25T00:30", "10-26T01:30")),
    "forward New York": Change(
        "America/New_York", "03-08T07:00", "30 2 * * *", ("03-07T07:30", "03-08T07:00", "03-09T06:30")
    ),
    "back New York": Change(
        "America/New_York", "11-01T06:00", "30 1 * * *", ("10-31T05:30", "11-01T05:30", "11-02T06:30")
    ),
    "forward Lord Howe": Change(
        "Australia/Lord_Howe", "10-03T15:30", "15 2 * * *", ("10-02T15:45", "10-03T15:30", "10-04T15:15")
    ),
    "back Lord Howe": Change(
        "Australia/Lord_Howe", "04-04T15:00", "45 1 * * *", ("04-03T14:45", "04-04T14:45", "04-05T15:15")
    ),
    "forward Santiago": Change(
        "America/Santiago", "09-06T04:00", "30 0 * * *", ("09-05T04:30", "09-06T04:00", "09-07T03:30")
    ),
    "back Santiago": Change(
        "America/Santiago", "04-05T03:00", "30 23 * * *", ("04-04T02:30", "04-05T02:30", "04-06T03:30")
    ),
    "forward Cairo": Change("Africa/Cairo", "04-23T22:00", "30 0 * * *", ("04-22T22:30", "04-23T22:00", "04-24T21:30")),
    "back Cairo": Change("Africa/Cairo", "10-29T21:00", "30 23 * * *", ("10-28T20:30", "10-29T20:30", "10-30T21:30")),
    "forward Chatham": Change(
        "Pacific/Chatham", "09-26T14:00", "0 3 * * *", ("09-25T14:15", "09-26T14:00", "09-27T13:15")
    ),
    "back Chatham": Change(
        "Pacific/Chatham", "04-04T14:00", "0 3 * * *", ("04-03T13:15", "04-04T13:15", "04-05T14:15")
    ),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def due_between(timing: Timing, start: datetime, end: datetime) -> list[datetime]:
    found, due = [], timing.next(start)
    while due is not None and due <= end:
        found.append(due)
        due = timing.next(due)
    return found


def told(settled: Settlement) -> list[tuple[datetime, str]]:
    missed = [(stretch.first, "missed") for stretch in settled.missed]
    return [*missed, *((run.due_at, run.punctuality) for run in settled.runs)]


@pytest.mark.req("D-04")
@every_change
@pytest.mark.parametrize("misfire", ["skip", "latest", "all"])
def test_on_the_day_clocks_change_a_daily_time_is_due_once_whatever_the_policy(
    change: Change, misfire: Misfire
) -> None:
    timing = timing_of(change.zone, cron=change.cron)
    due = [at(text) for text in change.due]
    start, end = due[0] - HOUR, due[2] + HOUR
    policy = Policy(misfire, DAY * 7, GRACE, 100)

    awake: list[tuple[datetime, str]] = []
    cursor: datetime | None = timing.next(start)
    now = start
    while now <= end and cursor is not None:  # a scheduler that ticks once a minute
        settled = settle(timing, lambda instant: instant, cursor, now, policy)
        awake += told(settled)
        cursor, now = settled.next_due_at, now + MINUTE
    assert awake == [(each, "fired") for each in due]

    first = timing.next(start)
    assert first is not None
    asleep = told(settle(timing, lambda instant: instant, first, end, policy))  # and one that slept all the while
    states = {
        "skip": ["missed", "missed", "missed"],
        "latest": ["missed", "missed", "late"],
        "all": ["caught_up", "caught_up", "late"],
    }
    assert asleep == list(zip(due, states[misfire], strict=True))


@every_change
def test_what_follows_the_clock_keeps_its_distance_over_the_change(change: Change) -> None:
    timing = timing_of(change.zone, cron="*/15 * * * *")
    start = at(change.at) - HOUR * 3

    due = due_between(timing, start, start + HOUR * 6)

    assert due == [start + MINUTE * 15 * number for number in range(1, 25)]


@every_change
def test_an_interval_is_elapsed_time_which_no_change_touches(change: Change) -> None:
    timing = timing_of(change.zone, every=MINUTE * 40, anchor=at(change.at))

    assert due_between(timing, at(change.at) - HOUR * 2, at(change.at) + HOUR) == [
        at(change.at) + MINUTE * 40 * number for number in (-2, -1, 0, 1)
    ]


@every_change
def test_a_single_time_means_the_first_of_two_and_the_end_of_a_gap(change: Change) -> None:
    minute, hour = change.cron.split()[:2]
    day = at(change.due[1]).astimezone(zone_named(change.zone)).date()

    assert instant("at", f"{day}T{int(hour):02}:{int(minute):02}", change.zone) == at(change.due[1])


@every_change
def test_six_fields_follow_the_same_rule_as_five(change: Change) -> None:
    five, six = timing_of(change.zone, cron=change.cron), timing_of(change.zone, cron=f"0 {change.cron}")
    start = at(change.due[0]) - HOUR

    assert due_between(six, start, start + DAY * 4) == due_between(five, start, start + DAY * 4)


def test_what_falls_into_one_gap_is_due_once_at_its_end() -> None:
    timing = timing_of("Europe/Berlin", cron="0,15,30,45 2,3 * * *")

    due = due_between(timing, at("03-29T00:30"), at("03-29T01:50"))

    assert due == [at("03-29T01:00"), at("03-29T01:15"), at("03-29T01:30"), at("03-29T01:45")]


@every_change
def test_asked_while_the_clock_shows_something_again_what_was_due_the_first_time_is_behind(change: Change) -> None:
    timing = timing_of(change.zone, cron=change.cron)
    start, end = at(change.due[1]), at(change.due[2])

    asked = start
    while asked < end:
        assert timing.next(asked) == end
        asked += MINUTE


def test_a_fixed_hour_with_any_minute_follows_the_clock_which_shows_it_twice_or_not_at_all() -> None:
    timing = timing_of("Europe/Berlin", cron="*/30 2 * * *")

    assert due_between(timing, at("03-28T12:00"), at("03-29T12:00")) == []
    assert due_between(timing, at("10-24T12:00"), at("10-25T12:00")) == [
        at("10-25T00:00"),
        at("10-25T00:30"),
        at("10-25T01:00"),
        at("10-25T01:30"),
    ]


def test_a_day_that_a_zone_left_out_is_due_when_it_was_over() -> None:
    timing = timing_of("Pacific/Apia", cron="0 12 30 12 *")

    due = timing.next(datetime(2011, 6, 1, tzinfo=UTC))

    assert due == datetime(2011, 12, 30, 10, tzinfo=UTC)  # midnight of the 31st there


@pytest.mark.parametrize(
    ("alias", "cron"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_an_alias_is_its_expression(alias: str, cron: str) -> None:
    start = at("01-13T12:00")

    assert timing_of("Asia/Tokyo", cron=alias).next(start) == timing_of("Asia/Tokyo", cron=cron).next(start)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 13 * FRI", "01-16T00:00"),
        ("0 0 L * *", "01-31T00:00"),
        ("0 0 LW * *", "01-30T00:00"),
        ("0 0 * * MON#1", "02-02T00:00"),
        ("0 0 * * 5L", "01-30T00:00"),
        ("0 0 * * 7", "01-18T00:00"),
        ("15 0 12 * * *", "01-13T12:00:15"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
    ],
)
def test_fields_mean_what_they_mean_to_debians_cron(cron: str, expected: str) -> None:
    wanted = datetime.fromisoformat(expected if expected.startswith("2028") else f"2026-{expected}")

    assert timing_of("UTC", cron=cron).next(at("01-13T12:00")) == wanted.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "key", "known"),
    [
        pytest.param({"cron": "61 * * * *"}, "cron", None, id="minute"),
        pytest.param({"cron": "* * *"}, "cron", None, id="fields"),
        pytest.param({"cron": "0 0 30 2 *"}, "cron", None, id="never"),
        pytest.param({"cron": "@reboot"}, "cron", "@daily", id="alias"),
        pytest.param({"cron": "0 0 * * *" + " " * 200}, "cron", None, id="long"),
        pytest.param({"cron": "L/2 * * * *"}, "cron", None, id="last minute"),
        pytest.param({"every": timedelta(milliseconds=999)}, "every", None, id="often"),
        pytest.param({"every": timedelta(days=366)}, "every", None, id="seldom"),
        pytest.param({"every": HOUR, "at": at("01-01T00:00")}, "at", None, id="two"),
        pytest.param({}, "cron", None, id="none"),
        pytest.param({"cron": "@daily", "anchor": at("01-01T00:00")}, "anchor", None, id="anchor"),
        pytest.param({"cron": "@daily", "zone": "Berlin"}, "timezone", "Europe/Berlin", id="city"),
        pytest.param({"cron": "@daily", "zone": "europe/berlin"}, "timezone", "Europe/Berlin", id="case"),
        pytest.param({"cron": "@daily", "zone": "../passwd"}, "timezone", None, id="path"),
        pytest.param({"cron": "@daily", "zone": "Europe"}, "timezone", None, id="folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_key(words: dict[str, object], key: str, known: str | None) -> None:
    given = dict(words)
    zone = str(given.pop("zone", "UTC"))

    with pytest.raises(TimingInvalid) as caught:
        timing_of(zone, **given)  # type: ignore[arg-type]  # whatever somebody writes

    assert caught.value.key == key
    assert known is None or known in caught.value.known
    assert caught.value.expected


@pytest.mark.parametrize(
    ("cron", "said", "allowed"),
    [
        ("99 * * * *", "the minute cannot be `99`", "0 to 59"),
        ("*/0 * * * *", "the minute cannot be `*/0`", "0 to 59"),
        ("99 0 * * * *", "the second cannot be `99`", "0 to 59"),
        ("0 24 * * *", "the hour cannot be `24`", "0 to 23"),
        ("0 0 32 * *", "the day of month cannot be `32`", "1 to 31"),
        ("0 0 * JAM *", "the month cannot be `JAM`", "JAN to DEC"),
        ("0 0 0 * * 8", "the day of week cannot be `8`", "0 to 7"),
        ("0 0 *", "3 field(s)", "five fields"),
    ],
)
def test_a_fault_of_an_expression_names_the_field_its_value_and_the_range(cron: str, said: str, allowed: str) -> None:
    with pytest.raises(TimingInvalid) as caught:
        timing_of("UTC", cron=cron)

    assert said in caught.value.message
    assert allowed in caught.value.expected


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-02-30T00:00", "0001-01-01T00:00+23:00", "9999-12-31T23:59"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TimingInvalid):
        instant("at", text, "America/New_York")


def test_the_last_due_time_and_their_number_are_found_without_walking_through_ten_years() -> None:
    secondly = timing_of("Europe/Berlin", cron="* * * * * *")
    start, end = at("01-13T12:00"), datetime(2036, 1, 13, 12, tzinfo=UTC)

    assert last(secondly, start, end) == end
    assert last(secondly, start, start + timedelta(milliseconds=900)) is None
    assert count(secondly, start, end, 500) == 500
    assert count(Every(MINUTE), start, end, 10**9) == (end - start) // MINUTE


def test_jitter_is_always_the_same_and_never_reaches_the_next_due_time() -> None:
    timing = Every(MINUTE)
    fire_at = jittered(SCHEDULE, timing, HOUR)
    due = [at("01-13T12:00") + MINUTE * number for number in range(500)]

    fired = [fire_at(each) for each in due]

    assert fired == [fire_at(each) for each in due]
    assert fired == sorted(fired)
    assert all(timedelta(0) <= after - before < MINUTE for before, after in zip(due, fired, strict=True))
    assert len({after - before for before, after in zip(due, fired, strict=True)}) > 450
    other = jittered(UUID(int=8), timing, HOUR)
    assert [other(each) for each in due] != fired
    assert jittered(SCHEDULE, timing, timedelta(0))(due[0]) == due[0]


def test_few_that_are_missed_are_told_one_by_one_and_many_as_one_stretch() -> None:
    timing, start = Every(MINUTE), at("01-13T12:00")

    few = stretches(timing, start, start + MINUTE * (MAX_TOLD - 1))
    many = stretches(timing, start, start + MINUTE * MAX_TOLD)
    countless = stretches(timing, start, start + MINUTE * MAX_COUNTED * 2)

    assert [(each.first, each.last, each.due_times) for each in few] == [
        (start + MINUTE * number, start + MINUTE * number, 1) for number in range(MAX_TOLD)
    ]
    assert [(each.last, each.due_times) for each in many] == [(start + MINUTE * MAX_TOLD, MAX_TOLD + 1)]
    assert [(each.last, each.due_times) for each in countless] == [(start + MINUTE * MAX_COUNTED * 2, MAX_COUNTED)]
