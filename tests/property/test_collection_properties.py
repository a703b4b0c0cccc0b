"""Properties 10 to 12 of metrics, without servers: alerts, how long collecting takes, and what it lets through."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, get_args

import pytest
from fixtures.canaries import Secrets
from fixtures.samples import encoded
from fixtures.secret_requests import AROUND, ENDINGS, tell_secrets
from fixtures.told_requests import MINUTE_US, MODELS, PSEUDONYMS, Told, collect_quickly, ended, tell, told_requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from api.resources.answers import json_bytes
from telemetry.alerts.measuring import observed
from telemetry.alerts.rule import Operator, make_rule
from telemetry.alerts.settings import AlertSettings, own_rules
from telemetry.alerts.states import Observation, Track, advance
from telemetry.clock import SystemClock, from_unix_us, to_unix_us
from telemetry.collector import Collector
from telemetry.live.requests import request_of
from telemetry.live.store import BYS, MetricsStore, Series
from telemetry.live.view import View, figures
from telemetry.pipeline import open_writer
from telemetry.recorder import BufferedRecorder
from telemetry.rollups.metrics import METRICS, REQUESTS, Bucket
from telemetry.settings import TelemetrySettings
from telemetry.testing import NOON, ManualClock
from workers.testing import RememberingRecorder

pytestmark = pytest.mark.req("A-10")

MANY: Final = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
STEPS: Final = 8
MINUTES: Final = 5
NOON_US: Final = to_unix_us(NOON)
PLENTY: Final = 50 << 20

COMPARED: Final[Mapping[Operator, Callable[[float, float], bool]]] = {
    ">": lambda value, threshold: value > threshold,
    ">=": lambda value, threshold: not value < threshold,
    "<": lambda value, threshold: value < threshold,
    "<=": lambda value, threshold: not value > threshold,
}
DEFAULTS: Final = {
    rule.metric: rule
    for rule in own_rules(AlertSettings(daily_token_budget=100, request_capacity=2))
    if rule.subject.kind == "requests"
}


def bucket_of(requests: Sequence[Told]) -> Bucket:
    """Requests of some minutes, as they are known in memory."""
    store = MetricsStore(MINUTES, 0, PLENTY)
    for data in encoded(*tell(requests, NOON_US)):
        if (request := request_of(data)) is not None:
            store.add(request)
    first = NOON_US // MINUTE_US
    return Bucket(NOON, MINUTES, store.get_range(map(Series, REQUESTS), first, first + MINUTES))


@MANY
@given(requests=told_requests(MINUTES))
def test_property_10_alert_threshold_triggering(requests: list[Told]) -> None:
    """Property 10: Alert threshold triggering. The four that are there from the beginning: above, and only above.

    More than 10 % errors, 5 s on average, 20 % more tokens than the budget, 50 % more requests than there is room for.
    """
    of_all = ended(requests, NOON_US)
    durations_us = [each.duration_us for each in of_all]
    exceeded = {
        "error_rate": 10 * sum(each.category is not None for each in of_all) > len(of_all),
        "total_latency": sum(durations_us) > 5_000_000 * len(of_all),
        "total_tokens": sum((each.prompt_tokens or 0) + (each.completion_tokens or 0) for each in of_all) > 120,
        "request_rate": len(of_all) > 3 * MINUTES,
    }
    bucket = bucket_of(requests)
    for metric, expected in exceeded.items():
        value, _ = METRICS[metric].point(bucket)
        if value is None:
            assert not requests
            continue
        seen = observed(DEFAULTS[metric], NOON, value).seen
        assert (seen == "violated") == expected, (metric, value)


class Thresholds(RuleBasedStateMachine):
    """Values come one after another; a rule fires when enough in a row are on the wrong side, and at no other time."""

    @initialize(
        operator=st.sampled_from(get_args(Operator)), threshold=st.integers(-3, 3), violations=st.integers(1, 4)
    )
    def begin(self, operator: Operator, threshold: int, violations: int) -> None:
        words = {"metric": "total_latency", "threshold": threshold, "operator": operator, "violations": violations}
        self.rule = make_rule("slow", words)
        self.track = Track()
        self.at: datetime = NOON
        self.row = 0
        self.is_open = False

    @rule(distance=st.sampled_from([-1e9, -1.0, -1e-9, 0.0, 1e-9, 1.0, 1e9]), windows=st.integers(1, 4))
    def values_come(self, distance: float, windows: int) -> None:
        value = self.rule.threshold + distance
        for _ in range(windows):
            is_violated = COMPARED[self.rule.operator](value, self.rule.threshold)
            self.row = self.row + 1 if is_violated else 0
            expected = None
            if is_violated and not self.is_open and self.row >= self.rule.violations:
                expected = "fire"
            elif not is_violated and self.is_open:
                expected = "resolve"
            self.advance(observed(self.rule, self.at, value), expected)
            assert self.track.value == value

    @rule(windows=st.integers(1, 2))
    def nothing_comes(self, windows: int) -> None:
        for _ in range(windows):
            self.advance(observed(self.rule, self.at, None), None)

    def advance(self, observation: Observation, expected: str | None) -> None:
        """One window."""
        self.track, effect = advance(self.track, self.rule, observation)
        self.at += timedelta(minutes=1)
        assert effect == expected
        self.is_open = self.is_open if effect is None else effect == "fire"
        assert self.track.is_open == self.is_open


def test_property_10_alert_threshold_triggering_of_one_window_after_another() -> None:
    """Property 10: Alert threshold triggering. When so many windows in a row are beyond it, and only then."""
    run_state_machine_as_test(Thresholds, settings=settings(MANY, stateful_step_count=STEPS))


@pytest.fixture(scope="module")
def pressed() -> Iterator[dict[str, BufferedRecorder]]:
    """Recorders whose stream is away, or takes what it is sent and never answers; one has no room, besides."""
    clock = SystemClock()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        made = {}
        for name, url, room in (
            ("away", "redis://127.0.0.1:1/0", 50_000),
            ("stuck", stuck, 50_000),
            ("full", stuck, 100),
        ):
            chosen = TelemetrySettings(buffer_max_events=room, stream_timeout=timedelta(seconds=1))
            made[name] = BufferedRecorder(chosen, partial(open_writer, chosen, url), name="test", clock=clock)
        collector = Collector(made["full"], clock, PSEUDONYMS)
        for _ in range(200):
            collector.complete_request(collector.start_request())
        yield made
    for recorder in made.values():
        recorder.close()


# The threads of recorders draw lots while Hypothesis does, which thinks that its own strategies did.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
@MANY
@given(name=st.sampled_from(["away", "stuck", "full"]), requests=told_requests(1, most=12, least=1))
def test_property_11_metric_collection_timing(
    pressed: dict[str, BufferedRecorder], name: str, requests: list[Told]
) -> None:
    """Property 11: Metric collection timing. Less than 10 ms, whether there is a stream, and room, or not."""
    recorder = pressed[name]
    collector = Collector(recorder, SystemClock(), PSEUDONYMS, MODELS)
    collect_quickly(collector, requests)
    # Nobody took anything all the while: no call can have waited for that.
    assert recorder.stats().handed_over == 0
    assert bool(recorder.stats().dropped) == (name == "full")


@MANY
@given(around=AROUND, error=ENDINGS, seed=st.integers(0, 1 << 32))
def test_property_12_privacy_preservation(around: tuple[str, str], error: int | None, seed: int) -> None:
    """Property 12: Privacy preservation. No words are in an event or a figure."""
    secrets, recorder = Secrets(seed), RememberingRecorder()
    tell_secrets(Collector(recorder, ManualClock(from_unix_us(NOON_US)), PSEUDONYMS, MODELS), secrets, around, error)
    events = encoded(*recorder.events)
    store = MetricsStore(MINUTES, 10, PLENTY, BYS)
    for data in events:
        if (request := request_of(data)) is not None:
            store.add(request)
    said: list[dict[str, Any]] = [figures(store, View(1, None, by), NOON_US + MINUTE_US) for by in BYS]

    assert len(events) == 2
    assert all(each["metrics"]["request_rate"]["metadata"]["requests"] == 1 for each in said)
    assert secrets.found_in(b"\n".join([*events, *map(json_bytes, said)])) == []
