"""Properties 1 to 9 of metrics, on the code that is pure: what a program tells comes out as the figures of it.

The way is that of live figures: requests are told to a collector, its events are encoded, read again and counted in
memory. `fixtures.plain_figures` says what they should come to. The same properties of what is stored are in
`test_stored_metric_properties`; those of alerts, of collecting and of privacy in `test_collection_properties`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, get_args
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fixtures import plain_figures as plain
from fixtures.plain_figures import Ended
from fixtures.samples import encoded
from fixtures.told_requests import MINUTE_US, Told, durations, ended, tell, told_requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.events import ChatRequestCompleted, ChatRequestFailed
from telemetry.live.buffer import TimeSeriesBuffer
from telemetry.live.requests import request_of
from telemetry.live.store import BYS, OTHER, By, MetricsStore, Series
from telemetry.live.view import View, figures
from telemetry.rollups.metrics import REQUESTS, Aggregation, latency_of, start_of, stretches
from telemetry.testing import NOON

pytestmark = pytest.mark.req("A-10")

MANY: Final = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: What a machine does, one thing after another.
STEPS: Final = 6
MINUTES: Final = 10
NOON_US: Final = to_unix_us(NOON)
REQUESTS_OF_A_WHILE: Final = told_requests(MINUTES, most=16)
COMPONENTS: Final = st.sampled_from([None, *REQUESTS])
ZONES: Final = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe")
PLENTY: Final = 50 << 20


class Counted:
    """Requests of some minutes from noon on, told and counted in memory.

    Args:
        requests: Of which kind ever.
        by: What tells them apart.
        most_series: Members that are told apart.
    """

    def __init__(self, requests: Sequence[Told], by: By | None = None, most_series: int = 0) -> None:
        self.ended = ended(requests, NOON_US)
        self.events = tell(requests, NOON_US)
        self._store = MetricsStore(MINUTES + 2, most_series, PLENTY, [by] if by else [])
        for data in encoded(*self.events):
            if (request := request_of(data)) is not None:
                assert self._store.add(request)

    def look(self, component: str | None = None, by: By | None = None) -> dict[str, Any]:
        """Live figures when the last of the minutes is just over."""
        return figures(self._store, View(MINUTES, component, by), NOON_US + MINUTES * MINUTE_US)

    def of(self, component: str | None) -> list[Ended]:
        """What ended there."""
        return [each for each in self.ended if component in {None, each.component}]

    def assert_plain(self, component: str | None, *names: str) -> None:
        """These metrics are what the requests of a component say, or those of all."""
        said, expected = self.look(component)["metrics"], plain.metrics(self.of(component), MINUTES)
        for name in names:
            value, metadata = expected[name]
            assert said[name] == {"value": value, "metadata": metadata}, name


@MANY
@given(requests=REQUESTS_OF_A_WHILE, component=COMPONENTS)
def test_property_1_request_counting_accuracy(requests: list[Told], component: str | None) -> None:
    """Property 1: Request counting accuracy. What ends is counted once, whatever became of it; what begins is not."""
    Counted(requests).assert_plain(component, "request_rate")


@MANY
@given(
    requests=told_requests(3 * 24 * 60),
    aggregation=st.sampled_from(get_args(Aggregation)),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
)
def test_property_2_time_window_aggregation(requests: list[Told], aggregation: Aggregation, zone: ZoneInfo) -> None:
    """Property 2: Time window aggregation. A request is in one minute, hour, day, week and month: that it ended in."""
    until = NOON + (timedelta(hours=3) if aggregation == "minute" else timedelta(days=3))
    instants = [at for each in ended(requests, NOON_US) if (at := from_unix_us(each.at_us)) < until]
    found = {
        start: sum(start <= at < end for at in instants) for start, end in stretches(NOON, until, aggregation, zone)
    }
    starts = Counter(start_of(at, aggregation, zone) for at in instants)

    assert found == {start: starts[start] for start in found}
    assert sum(found.values()) == len(instants)


class Windows(RuleBasedStateMachine):
    """Requests of any minute come in any order, while time passes and the oldest minutes are forgotten."""

    @initialize(minutes=st.integers(2, 6), most_series=st.integers(0, 3))
    def begin(self, minutes: int, most_series: int) -> None:
        self.minutes = minutes
        self.store = MetricsStore(minutes, most_series, PLENTY, BYS)
        self.now = NOON_US // MINUTE_US
        self.ended: list[Ended] = []

    @rule(requests=told_requests(1, most=4), age=st.integers(0, 8))
    def requests_end(self, requests: list[Told], age: int) -> None:
        since_us = (self.now - age) * MINUTE_US
        for data in encoded(*tell(requests, since_us)):
            if (request := request_of(data)) is not None:
                assert self.store.add(request) or age >= self.minutes
        self.ended += ended(requests, since_us)

    @rule(minutes=st.integers(1, 4))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes
        self.store.cleanup(self.now)
        assert self.store.first_minute == self.oldest

    @property
    def oldest(self) -> int:
        """Minute that is kept."""
        return self.now - self.minutes + 1

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def every_window_has_what_ended_in_it(self) -> None:
        for component in REQUESTS:
            for first in range(self.oldest, self.now + 1):
                self.compare(component, first, self.now + 1)
            self.compare(component, self.oldest, self.now)

    def compare(self, component: str, first: int, end: int) -> None:
        """One window."""
        within = [each for each in self.ended if each.component == component and first <= each.at_us // MINUTE_US < end]
        found = self.store.get_range([Series(component)], first, end)
        told = found.get("duration")
        assert (told.events if told else 0) == len(within)
        assert (told.total if told else 0) == sum(each.duration_us for each in within)
        assert (told.categories if told else {}) == Counter(each.category for each in within if each.category)

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def members_are_all_of_it_together(self) -> None:
        for by in BYS:
            components = ["command"] if by == "command" else list(REQUESTS)
            members = [*self.store.members(by), OTHER]
            series = [Series(component, by, member) for component in components for member in members]
            whole = self.store.get_range(map(Series, components), self.oldest, self.now + 1)
            assert self.store.get_range(series, self.oldest, self.now + 1) == whole


def test_property_2_time_window_aggregation_as_time_passes() -> None:
    """Property 2: Time window aggregation. Nor does it matter in what order requests come and minutes go."""
    run_state_machine_as_test(Windows, settings=settings(MANY, stateful_step_count=STEPS))


@MANY
@given(requests=REQUESTS_OF_A_WHILE, by=st.sampled_from(BYS), most_series=st.integers(0, 4))
def test_property_3_dimensional_aggregation_consistency(requests: list[Told], by: By, most_series: int) -> None:
    """Property 3: Dimensional aggregation consistency. What users, spaces or commands have is what there is."""
    counted = Counted(requests, by, most_series)
    said = counted.look(by=by)
    whole = counted.of("command" if by == "command" else None)
    parts = [said["other"], *said["series"].values()]
    expected = plain.metrics(whole, MINUTES)
    assert len(said["series"]) <= most_series
    for name, key in (
        ("request_rate", "requests"),
        ("error_rate", "errors"),
        ("cache_hit_rate", "hits"),
        ("cache_hit_rate", "misses"),
        ("total_latency", "count"),
    ):
        assert sum(part[name]["metadata"][key] for part in parts) == expected[name][1][key]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert sum(part[name]["value"] for part in parts) == expected[name][0]
    for member, told in said["series"].items():
        own = plain.metrics([each for each in whole if member_of(each, by) == member], MINUTES)
        assert told == {name: {"value": value, "metadata": metadata} for name, (value, metadata) in own.items()}


def member_of(each: Ended, by: By) -> str:
    """As series are named."""
    if by == "command":
        return each.operation
    if by == "user":
        return "" if each.user is None else each.user.hex()
    return "" if each.space is None else str(UUID(bytes=each.space))


@MANY
@given(requests=REQUESTS_OF_A_WHILE, component=COMPONENTS)
def test_property_4_latency_measurement_completeness(requests: list[Told], component: str | None) -> None:
    """Property 4: Latency measurement completeness. Gathering context and asking the model are parts of the whole."""
    counted = Counted(requests)
    for each in counted.events:
        if isinstance(each, ChatRequestCompleted | ChatRequestFailed):
            assert (each.context_us or 0) + (each.model_us or 0) <= each.duration_us
    counted.assert_plain(component, "context_latency", "llm_latency")
    said = counted.look("chat")["metrics"]
    context, model, whole = (said[name]["metadata"] for name in ("context_latency", "llm_latency", "total_latency"))
    assert max(context["count"], model["count"]) <= whole["count"]
    parts = sum((told["average"] or 0) * told["count"] for told in (context, model))
    assert parts <= (whole["average"] or 0) * whole["count"] + 0.001 * (whole["count"] + 1)


@MANY
@given(durations=durations(most=150), minutes=st.integers(1, 5))
@example(durations=[1, 56, 170], minutes=1)  # 55 and 56 are in one bin, and 1.8 % apart
def test_property_5_statistical_calculation_accuracy(durations: list[int], minutes: int) -> None:
    """Property 5: Statistical calculation accuracy. Average, least, greatest are exact, percentiles within 1.1 %."""
    buffer = TimeSeriesBuffer(minutes)
    for number, duration_us in enumerate(durations):
        buffer.add(number % minutes, duration_us)

    assert latency_of(buffer.get_range(0, minutes)) == plain.latency(durations)


@MANY
@given(requests=REQUESTS_OF_A_WHILE, component=COMPONENTS)
def test_property_6_token_sum_consistency(requests: list[Told], component: str | None) -> None:
    """Property 6: Token sum consistency. All tokens are those of prompts and those of completions."""
    counted = Counted(requests)
    counted.assert_plain(component, "prompt_tokens", "completion_tokens", "total_tokens")
    said = counted.look(component)["metrics"]
    assert said["total_tokens"]["value"] == said["prompt_tokens"]["value"] + said["completion_tokens"]["value"]


@MANY
@given(requests=REQUESTS_OF_A_WHILE, component=COMPONENTS)
def test_property_7_error_rate_calculation(requests: list[Told], component: str | None) -> None:
    """Property 7: Error rate calculation. It is errors / requests * 100; of no requests there is none."""
    counted = Counted(requests)
    asked = counted.of(component)
    wrong = sum(each.category is not None for each in asked)
    value = counted.look(component)["metrics"]["error_rate"]["value"]
    assert value == (plain.Near(100 * wrong / len(asked), within=0.00005) if asked else None)


@MANY
@given(requests=REQUESTS_OF_A_WHILE, component=COMPONENTS)
def test_property_8_error_categorization_completeness(requests: list[Told], component: str | None) -> None:
    """Property 8: Error categorization completeness. Each error is of one of the six categories."""
    counted = Counted(requests)
    counted.assert_plain(component, "error_rate")
    told = counted.look(component)["metrics"]["error_rate"]["metadata"]
    assert set(told["count_by_type"]) == set(told["rate_by_type"]) == set(plain.CATEGORIES)
    assert sum(told["count_by_type"].values()) == told["errors"] <= told["requests"]


@MANY
@given(requests=REQUESTS_OF_A_WHILE, component=COMPONENTS)
def test_property_9_cache_hit_rate_calculation(requests: list[Told], component: str | None) -> None:
    """Property 9: Cache hit rate calculation. It is hits / (hits + misses) * 100; who did not look is in neither."""
    counted = Counted(requests)
    counted.assert_plain(component, "cache_hit_rate")
    told = counted.look(component)["metrics"]["cache_hit_rate"]["metadata"]
    assert told["hits"] + told["misses"] == sum(each.cache != "none" for each in counted.of(component))
