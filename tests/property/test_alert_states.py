"""What becomes of a rule, whatever is seen of it in whatever order."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise, product
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from telemetry.alerts.rule import NoData, Rule, make_rule, words_of
from telemetry.alerts.states import NEXT, SEEN, STATES, Observation, Seen, Track, advance
from telemetry.alerts.subjects import SUBJECTS
from telemetry.alerts.windows import AT_ONCE, STEP, ends
from telemetry.testing import NOON

pytestmark = pytest.mark.req("A-07")

MINUTE = timedelta(minutes=1)
NO_DATA = st.sampled_from(get_args(NoData))


def make(violations: int = 1, hold: int = 0, no_data: NoData = "keep") -> Rule:
    return Rule(
        name="slow",
        metric="total_latency",
        threshold=5000,
        violations=violations,
        hold=hold * MINUTE,
        no_data=no_data,
    )


def test_every_state_goes_on_from_everything_that_can_be_seen() -> None:
    for state, is_open, seen, no_data in product(STATES, (False, True), SEEN, get_args(NoData)):
        track, effect = advance(Track(state, NOON, is_open), make(no_data=no_data), Observation(NOON, seen))
        assert track.state in STATES
        assert effect in {None, "resolve" if is_open else "fire"}
    assert set(NEXT) == set(product((False, True), (*SEEN, "enough")))


class Watched(RuleBasedStateMachine):
    """Observations in any order, beside the plainest account of what should have come of them."""

    @initialize(violations=st.integers(1, 4), hold=st.integers(0, 4), no_data=NO_DATA)
    def begin(self, violations: int, hold: int, no_data: NoData) -> None:
        self.rule = make(violations, hold, no_data)
        self.track = Track()
        self.at = NOON
        self.history: list[tuple[datetime, str]] = []
        self.effects: list[str] = []

    @rule(seen=st.sampled_from(SEEN), windows=st.integers(1, 3))
    def see(self, seen: Seen, windows: int) -> None:
        for _ in range(windows):
            self.at += MINUTE
            was_open = self.track.is_open
            self.track, effect = advance(self.track, self.rule, Observation(self.at, seen))
            meant = {"keep": seen, "ok": "clear", "alert": "violated"}[self.rule.no_data] if seen == "nothing" else seen
            self.history.append((self.at, meant))
            assert effect == self.expected(was_open=was_open)
            if effect:
                self.effects.append(effect)

    def expected(self, *, was_open: bool) -> str | None:
        """By the whole history: what the last observation of it sets off."""
        last = self.history[-1][1]
        if last == "clear":
            return "resolve" if was_open else None
        if last != "violated" or was_open:
            return None
        row = []
        for at, meant in reversed(self.history):
            if meant == "clear":
                break
            row.append((at, meant))
        violated = [at for at, meant in row if meant == "violated"]
        pairs = pairwise(each for each in row if each[1] != "behind")
        held = sum((one[0] - two[0] for one, two in pairs if one[1] == two[1] == "violated"), timedelta(0))
        return "fire" if len(violated) >= self.rule.violations and held >= self.rule.hold else None

    @invariant()
    def fires_and_resolves_by_turns(self) -> None:
        effects = getattr(self, "effects", [])
        assert effects == (["fire", "resolve"] * len(effects))[: len(effects)]

    @invariant()
    def says_firing_only_of_what_is_open(self) -> None:
        track = getattr(self, "track", Track())
        assert track.state != "firing" or track.is_open
        assert track.state not in {"ok", "pending", "resolved"} or not track.is_open


TestWatched = Watched.TestCase
TestWatched.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(behind=st.integers(0, 200), off=st.integers(0, 59))
def test_windows_follow_one_another_without_gaps_or_are_said_to_be_skipped(behind: int, off: int) -> None:
    found, skipped = ends(NOON, NOON + behind * STEP + timedelta(seconds=off))
    assert len(found) + skipped == behind
    assert len(found) <= AT_ONCE
    assert found == [NOON + number * STEP for number in range(skipped + 1, behind + 1)]


@given(
    metric=st.sampled_from(sorted(SUBJECTS)),
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    window=st.integers(1, 44_640),
    hold=st.integers(0, 86_400),
    enabled=st.booleans(),
)
def test_a_rule_is_the_same_when_it_is_read_again(
    metric: str,
    threshold: float,
    window: int,
    hold: int,
    enabled: bool,
) -> None:
    one = Rule(
        name="a.rule",
        metric=metric,
        threshold=threshold,
        window=window * MINUTE,
        hold=timedelta(seconds=hold),
        enabled=enabled,
        parents=("sink.lag",),
    )
    assert make_rule("a.rule", words_of(one)) == one
