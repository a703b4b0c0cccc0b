"""Rings of minutes, and how much memory they take, whatever comes."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from fixtures.samples import encoded, make_scope, make_step, now_us, one_of_each
from hypothesis import given
from hypothesis import strategies as st

from api.cli.live import _Paced, _Picture
from api.cli.terminal import Terminal
from telemetry.ids import mint
from telemetry.live.buffer import TimeSeriesBuffer
from telemetry.live.deltas import applied, changes
from telemetry.live.requests import EventMalformed, Request, request_of
from telemetry.live.seen import Seen
from telemetry.live.store import OTHER, MetricsStore, Series
from telemetry.live.view import View, figures
from telemetry.rollups.histogram import Histogram
from telemetry.rollups.metrics import CATEGORIES, REQUESTS, Tally

pytestmark = pytest.mark.req("A-03")

MINUTE_US = 60_000_000
NOON = 29_000_000  # a minute

Added = tuple[int, int | None, int | None]
ADDED = st.lists(
    st.tuples(
        st.integers(NOON, NOON + 9),
        st.none() | st.integers(0, 1 << 40),
        st.none() | st.integers(0, len(CATEGORIES) - 1),
    ),
    max_size=60,
)


def plain(added: Sequence[Added], first: int, end: int) -> Tally:
    """What a buffer is to say, without one."""
    within = [each for each in added if first <= each[0] < end]
    values = [value for _, value, _ in within if value is not None]
    kinds = [CATEGORIES[kind] for _, _, kind in within if kind is not None]
    categories = {name: kinds.count(name) for name in CATEGORIES if name in kinds}
    return Tally(len(within), len(kinds), len(values), sum(values), Histogram.of(values), categories)


@given(ADDED, st.integers(NOON - 2, NOON + 11), st.integers(0, 14))
def test_a_buffer_says_of_any_range_what_was_added_in_it(added: list[Added], first: int, length: int) -> None:
    buffer = TimeSeriesBuffer(10)
    for each in added:
        assert buffer.add(*each)
    assert buffer.get_range(first, first + length) == plain(added, first, first + length)


@given(ADDED, ADDED)
def test_what_is_merged_is_as_if_it_had_been_added(one: list[Added], other: list[Added]) -> None:
    whole, merged = TimeSeriesBuffer(10), TimeSeriesBuffer(10)
    for each in [*one, *other]:
        whole.add(*each)
    for each in one:
        merged.add(*each)
    for minute in range(NOON, NOON + 10):
        merged.merge(minute, plain(other, minute, minute + 1))
    assert merged.get_range(NOON, NOON + 10) == whole.get_range(NOON, NOON + 10)


def test_a_newer_minute_takes_the_place_of_an_old_one_which_does_not_come_back() -> None:
    buffer = TimeSeriesBuffer(3)
    buffer.add(NOON, 5, 0)
    assert buffer.add(NOON + 3, 7)
    assert not buffer.add(NOON, 5)
    assert buffer.get_range(NOON - 10, NOON + 10) == plain([(NOON + 3, 7, None)], NOON, NOON + 10)


def test_what_is_cleaned_up_is_gone_and_so_is_its_memory() -> None:
    buffer = TimeSeriesBuffer(3)
    empty = buffer.size_bytes
    for value in range(100):
        buffer.add(NOON, value)
        buffer.add(NOON + 1, value)
    assert buffer.cleanup(NOON + 1)
    assert buffer.minutes() == [NOON + 1]
    assert not buffer.cleanup(NOON + 2)
    assert buffer.size_bytes == empty


def some_request(
    chance: random.Random, user: int, minute: int = NOON, measures: Sequence[str] = ("duration", "context", "model")
) -> Request:
    values = {name: int(chance.lognormvariate(9, 2)) for name in measures}
    return Request("chat", minute * MINUTE_US, "small", user.to_bytes(16), user.to_bytes(16), None, values)


def test_the_memory_of_a_store_is_what_python_has_for_it() -> None:
    chance = random.Random(1)
    requests = [some_request(chance, number, NOON + number // 50) for number in range(2000)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        store = MetricsStore(62, 20, 10 << 20, ["user", "space"])
        for request in requests:
            store.add(request)
        size = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert size * 0.9 < store.size_bytes < size * 1.1


@pytest.mark.req("A-14")
def test_a_hundred_thousand_users_never_take_more_memory_than_there_may_be() -> None:
    limit, chance = 1 << 20, random.Random(1)
    store = MetricsStore(62, 20, limit, ["user"])
    for number in range(100_000):
        minute = NOON + number * 60 // 100_000
        store.add(some_request(chance, number, minute, ("duration",)))
        assert store.size_bytes <= limit
        if number % 10_000 == 0:
            counted = store.size_bytes
            store.cleanup(minute)
            assert counted == store.size_bytes
    first = store.first_minute
    told = store.get_range([Series("chat")], first, NOON + 60)["duration"].events
    others = store.get_range([Series("chat", "user", OTHER)], first, NOON + 60)["duration"].events
    named = sum(
        store.get_range([Series("chat", "user", member)], first, NOON + 60)["duration"].events
        for member in store.members("user")
    )
    # Nobody is left out; the rest is counted together, and said to be.
    assert told == others + named
    assert store.grouped >= others
    assert len(store.members("user")) <= 20


def test_minutes_that_take_too_much_memory_are_left_out_from_the_oldest_on() -> None:
    chance = random.Random(2)
    store = MetricsStore(62, 5, 60_000, ["user"])
    for minute in range(NOON, NOON + 60):
        for _ in range(200):
            store.add(some_request(chance, 1, minute))
        store.cleanup(minute)
        assert store.size_bytes <= 60_000
    assert NOON < store.first_minute <= NOON + 60
    seen = figures(store, View(60, "chat", "user"), (NOON + 60) * MINUTE_US)
    assert seen["minutes"] == NOON + 60 - store.first_minute


def test_a_series_of_which_nothing_is_left_makes_room_for_another() -> None:
    chance = random.Random(3)
    store = MetricsStore(10, 1, 1 << 20, ["user"])
    store.add(some_request(chance, 1))
    store.add(some_request(chance, 2))
    assert store.members("user") == [(1).to_bytes(16).hex()]
    store.cleanup(NOON + 20)
    store.add(some_request(chance, 2, NOON + 20))
    assert store.members("user") == [(2).to_bytes(16).hex()]


RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), max_size=30)


@given(RANGES)
def test_each_number_is_fresh_once(ranges: list[tuple[int, int]]) -> None:
    seen, known = Seen(), set[int]()
    for first, length in ranges:
        fresh = [number for begin, end in seen.take(b"epoch", first, first + length) for number in range(begin, end)]
        assert fresh == sorted(set(range(first, first + length)) - known)
        known.update(fresh)
        assert seen.take(b"other", 1, 1) == []


SAID = st.fixed_dictionaries(
    {
        "as_of": st.integers(0, 3),
        "metrics": st.fixed_dictionaries({"a": st.integers(0, 2), "b": st.integers(0, 2)}),
        "other": st.fixed_dictionaries({"a": st.integers(0, 2)}),
        "series": st.dictionaries(st.sampled_from("xyz"), st.fixed_dictionaries({"a": st.integers(0, 2)}), max_size=3),
    }
)


@given(SAID, SAID)
def test_changes_make_of_what_was_what_is(before: dict[str, object], after: dict[str, object]) -> None:
    assert applied(before, changes(before, after)) == after
    assert changes(after, after) == {}


def test_of_all_events_those_that_end_requests_count() -> None:
    found = [request_of(each) for each in encoded(*one_of_each())]
    told = [(each.component, each.category is not None) for each in found if each is not None]
    assert len(told) == sum(map(len, REQUESTS.values()))
    assert sorted(told) == [
        ("chat", False),
        ("chat", True),
        ("command", False),
        ("command", False),
        ("command", True),
    ]


def test_dry_runs_are_no_requests() -> None:
    assert [request_of(each) for each in encoded(*one_of_each(make_scope(dry_run=True)))] == [None] * len(one_of_each())


def test_what_is_no_event_is_malformed_or_none_of_ours() -> None:
    ending = encoded(one_of_each()[-1])[0]
    step = encoded(make_step(make_scope(), now_us()))[0]
    assert request_of(step) is None
    for data in (b"", b"nothing", b"\x91\xa1", ending[:40], ending + b"x", step[:40]):
        with pytest.raises(EventMalformed, match=r"^not an event$"):
            request_of(data)


def test_an_event_whose_id_is_of_another_time_is_malformed_for_it_is_never_stored() -> None:
    event = one_of_each()[-1]
    wrong = msgspec.structs.replace(event, event_id=mint(event.occurred_at_us + 5_000_000))
    with pytest.raises(EventMalformed, match=r"^command\.execution\.cancelled: event_id$"):
        request_of(encoded(wrong)[0])


@pytest.mark.req("S-11")
def test_on_a_terminal_the_figures_are_one_picture_with_the_busiest_first(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(4)
    store = MetricsStore(10, 2, 1 << 20, ["user"])
    for user in (1, 2, 2, 3):
        store.add(some_request(chance, user))
    said = figures(store, View(5, None, "user"), (NOON + 1) * MINUTE_US)
    about = {"as_of": "2026-11-21T12:00:00Z", "state": "live", "reasons": ["sink_behind"]}

    _Picture(Terminal(width=120, interactive=True), "user").show({**about, **said})

    lines = capsys.readouterr().out.splitlines()
    assert "live (sink behind)" in lines[0]
    told = [line.split()[:2] for line in lines[3:7]]
    assert told == [["all", "4"], [(2).to_bytes(16).hex(), "2"], [(1).to_bytes(16).hex(), "1"], ["(others)", "1"]]


@pytest.mark.req("S-11")
def test_at_sixty_columns_no_line_of_it_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    said = figures(MetricsStore(10, 2, 1 << 20, ["user"]), View(5, None, "user"), (NOON + 1) * MINUTE_US)
    about = {"as_of": "2026-11-21T12:00:00Z", "state": "live", "reasons": []}
    _Picture(Terminal(width=60, interactive=True), "user").show({**about, **said})
    assert max(len(line.split("\x1b[K")[0]) for line in capsys.readouterr().out.splitlines()[2:]) <= 60


class _Noting:
    """Notes what is shown."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.is_third = threading.Event()

    def show(self, said: Mapping[str, Any]) -> None:
        self.shown.append(said["number"])
        if said["number"] == 3:
            self.is_third.set()


@pytest.mark.req("S-11")
def test_the_newest_figures_are_shown_though_nothing_follows_them() -> None:
    noting: Any = _Noting()
    with _Paced(noting, 0.05) as paced:
        for number in (1, 2, 3):
            paced.show("delta", {}, {"number": number})
        assert noting.is_third.wait(5)
    assert noting.shown == [1, 3]


@pytest.mark.req("S-11")
def test_what_waits_for_its_turn_is_shown_at_the_end() -> None:
    noting: Any = _Noting()
    with _Paced(noting, 3600) as paced:
        for number in (1, 2, 3):
            paced.show("delta", {}, {"number": number})
    assert noting.shown == [1, 3]
