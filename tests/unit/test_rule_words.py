"""What a rule may say, and who is told when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from telemetry.alerts.errors import RuleInvalid
from telemetry.alerts.figures import about, plain_number
from telemetry.alerts.policy import Decision, Pace, Quiet, Standing, decide, held_back, muting
from telemetry.alerts.rule import Rule, make_rule
from telemetry.alerts.subjects import COMPONENTS, SUBJECTS
from telemetry.rollups.metrics import METRICS, REQUESTS, Bucket
from telemetry.testing import NOON

pytestmark = pytest.mark.req("A-07")

MINUTE = timedelta(minutes=1)
PACE = Pace(duplicates=30 * MINUTE, renotify=240 * MINUTE)
SLOW = Rule(name="slow", metric="total_latency", threshold=5000, parents=("sink",))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"threshold": None}, "threshold is missing"),
        ({"metric": "latencies"}, "metric: expected one of"),
        ({"statistic": "p42"}, "statistic: expected one of average"),
        ({"operator": "="}, "operator"),
        ({"threshold": "much"}, "threshold cannot be meant"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": True}, "threshold cannot be meant"),
        ({"window": "90s"}, "whole minutes"),
        ({"window": "soon"}, "window cannot be meant"),
        ({"for": "32d"}, "for: expected at most"),
        ({"violations": 0}, "violations"),
        ({"channels": ["pigeon"]}, "channels"),
        ({"channels": []}, "channels"),
        ({"parents": ["slow"]}, "parents"),
        ({"command": "a", "space": "b"}, "exclude"),
        ({"user": "alice"}, "pseudonym"),
        ({"component": "dsl"}, "component"),
        ({"metric": "sink_lag", "statistic": "value", "command": "a"}, "is of the system"),
        ({"treshold": 4}, "did you mean threshold?"),
    ],
)
def test_what_cannot_be_meant_is_said(words: dict[str, Any], fault: str) -> None:
    with pytest.raises(RuleInvalid, match=fault):
        make_rule("slow", {"metric": "total_latency", "threshold": 1, **words})


def test_every_metric_of_requests_can_be_watched_by_everything_it_tells() -> None:
    assert {name for name, subject in SUBJECTS.items() if subject.kind == "requests"} == set(METRICS)
    assert set(COMPONENTS) == set(REQUESTS)
    bucket = Bucket(NOON, 1.0, {})
    for name, metric in METRICS.items():
        told = metric.point(bucket)[1]
        assert set(SUBJECTS[name].units) - {SUBJECTS[name].usual} <= set(told)


def test_a_message_has_numbers_and_registered_names_only() -> None:
    assert SLOW.message(6123.5) == "slow: total_latency average is 6123.5 ms over 5m (> 5000)"


def standing(
    *, is_open: bool = True, acknowledged: bool = False, told: float | None = None, rule: float | None = None
) -> Standing:
    """`told`, `rule`: minutes ago."""
    before = [None if ago is None else NOON - ago * MINUTE for ago in (told, rule)]
    return Standing(is_open, acknowledged, *before)


@pytest.mark.parametrize(
    ("alert", "why", "expected"),
    [
        (standing(), None, Decision("fire")),
        (standing(), "silenced", Decision("fire", "silenced")),
        (standing(), "muted", Decision("fire", "muted")),
        (standing(rule=29.9), None, Decision("fire", "duplicate")),
        (standing(rule=30), None, Decision("fire")),
        (standing(told=239), None, None),
        (standing(told=240), None, Decision("renotify")),
        (standing(told=240), "silenced", Decision("renotify", "silenced")),
        (standing(told=240, acknowledged=True), None, None),
        (standing(is_open=False, told=1), None, Decision("resolve")),
        (standing(is_open=False, told=1, acknowledged=True), None, Decision("resolve")),
        (standing(is_open=False), None, Decision("fire", "ended")),
    ],
)
def test_who_is_told_when(alert: Standing, why: Any, expected: Decision | None) -> None:  # noqa: ANN401 - a Reason
    assert decide(alert, PACE, NOON, why) == expected


def test_silences_end_and_are_about_something() -> None:
    hour = Quiet(NOON, NOON + 60 * MINUTE, rule="slow")
    assert held_back(SLOW, [hour], [], NOON) == "silenced"
    assert held_back(SLOW, [hour], [], NOON + 60 * MINUTE) is None
    assert held_back(SLOW, [Quiet(NOON, NOON + MINUTE, severity="critical")], [], NOON) is None
    assert held_back(SLOW, [Quiet(NOON, NOON + MINUTE)], [], NOON) == "silenced"


def test_a_parent_that_fires_mutes() -> None:
    assert held_back(SLOW, [], ["sink"], NOON) == "muted"
    assert held_back(SLOW, [], ["another"], NOON) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "0s"), (89.680947, "1m 30s"), (1860, "31m"), (3605, "1h"), (7384, "2h 3m"), (187_200, "2d 4h")],
)
def test_how_long_it_took_is_told_in_no_more_than_two_units(seconds: float, told: str) -> None:
    assert about(timedelta(seconds=seconds)) == told


def test_no_number_has_an_exponent_that_people_have_to_resolve() -> None:
    budget = Rule(name="tokens", metric="total_tokens", threshold=2_400_000)
    assert budget.message(2_619_036) == "tokens: total_tokens total is 2,619,036 tokens over 5m (> 2,400,000)"
    room = Rule(name="room", metric="disk_free", operator="<", threshold=1e18)
    assert room.message(8e10) == "room: disk_free is 80,000,000,000 bytes (< 1,000,000,000,000,000,000)"
    assert [plain_number(each) for each in (8000, 0.25, 99.5)] == ["8000", "0.25", "99.5"]


def test_rules_that_mute_each_other_are_heard() -> None:
    """Directly or in a ring; one that only hangs below the ring is muted by it."""
    parents = {"a": ["b"], "b": ["c"], "c": ["a"], "below": ["a"], "gone": ["removed"]}
    words = {"metric": "total_latency", "threshold": 1}
    rules = {name: make_rule(name, {**words, "parents": above}) for name, above in parents.items()}
    firing = [*parents, "removed"]
    found = {name: muting(rule, rules, firing) for name, rule in rules.items()}
    assert found == {"a": [], "b": [], "c": [], "below": ["a"], "gone": ["removed"]}
