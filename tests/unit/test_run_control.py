"""What is left of the time of a run's steps, and whose it was that ran out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import pytest

from dsl.command import StepSpec
from dsl.errors import StepFailed, StepTimedOut
from dsl.executor import Executor, Outcome
from dsl.instrumentation import StepMeter
from dsl.plan import Plan
from dsl.step import Effect, EffectTransaction, Step, StepContext, StepParams, StepResult, StepRow
from dsl.steps import REGISTRY
from dsl.testing import PlainTools, make_command, make_execution, make_spec
from telemetry.events import ErrorFacts
from telemetry.testing import ManualClock
from workers.control import RunControl

SECOND = timedelta(seconds=1)


class TakesParams(StepParams):
    seconds: int
    fails: bool = False


@dataclass
class Takes(Step):
    """Takes as many seconds as it is told."""

    type: ClassVar[str] = "takes"
    effect: ClassVar[Effect] = Effect.NONE
    Params: ClassVar = TakesParams
    clock: ManualClock
    begun: list[str] = field(default_factory=list)

    def run(self, params: TakesParams, context: StepContext) -> StepResult:
        self.begun.append(context.path)
        self.clock.advance(params.seconds * SECOND)
        if params.fails:
            raise StepFailed("as it was told")
        return StepResult(params.seconds)


class Rows:
    """The ledger, in memory."""

    def __init__(self) -> None:
        self.rows: list[StepRow] = []

    def effect(self, *, pipelined: bool = False) -> AbstractContextManager[EffectTransaction]:
        raise AssertionError

    def reading(self) -> AbstractContextManager[Any]:
        raise AssertionError

    def add(self, row: StepRow) -> None:
        self.rows.append(row)

    def flush(self) -> None:
        raise AssertionError

    def freeze(self, path: str, items: str) -> Sequence[Any]:
        kept: list[Any] = msgspec.json.decode(items)
        return kept


class Errors:
    def facts(self, error: BaseException) -> ErrorFacts:
        return ErrorFacts(type(error).__name__, "timeout", bytes(8))

    def details(self, error: BaseException) -> dict[str, Any]:
        return {"message": str(error)}


@dataclass
class Bench:
    """Runs steps on a clock that only they move: nobody interrupts them."""

    clock: ManualClock
    takes: Takes
    rows: dict[str, str] = field(default_factory=dict)

    def run(self, *steps: StepSpec) -> Outcome:
        meter = StepMeter(
            self.clock, 1, Errors(), telemetry_on=False, dry_run=False, max_output_bytes=1000, max_total_bytes=9000
        )
        ledger, control = Rows(), RunControl(self.clock)
        plan = Plan(make_command(steps=steps), make_execution(), {})
        registry = {**REGISTRY, "takes": self.takes}
        outcome = Executor(registry, PlainTools(), meter, ledger, plan, control=control).execute()
        self.rows = {row.path: row.outcome for row in ledger.rows}
        assert (control.deadline_us, control.asked) == (None, None)
        return outcome


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    return Bench(clock, Takes(clock))


def takes(seconds: int, step_id: str = "it", *, timeout: int | None = None, fails: bool = False) -> StepSpec:
    return bounded(make_spec(step_id, "takes", {"seconds": seconds, "fails": fails}), timeout)


def each(*inside: StepSpec, items: int = 3, timeout: int | None = None, step_id: str = "each") -> StepSpec:
    made = make_spec(
        step_id,
        "list.map",
        {"items": list(range(items))},
        literals={"on_error": "continue"},
        blocks={"do": inside},
    )
    return bounded(made, timeout)


def bounded(spec: StepSpec, timeout: int | None) -> StepSpec:
    return spec if timeout is None else replace(spec, timeout=timeout * SECOND)


def timed_out(outcome: Outcome) -> tuple[str | None, str]:
    assert isinstance(outcome.error, StepTimedOut), outcome.error
    return outcome.failed_path, str(outcome.error)


def test_no_step_begins_when_the_one_around_it_has_no_time_left(bench: Bench) -> None:
    outcome = bench.run(each(takes(2), timeout=3), takes(1, "after"))

    assert timed_out(outcome) == ("each", "the step took longer than its timeout of 3 s; it was at each[2].it")
    assert bench.takes.begun == ["each[0].it", "each[1].it"]
    assert bench.rows == {"each[0].it": "succeeded", "each[1].it": "succeeded", "each": "failed"}


def test_steps_inside_that_fail_do_not_take_the_time_from_the_outer_one(bench: Bench) -> None:
    outcome = bench.run(each(takes(2, fails=True), timeout=3))

    assert timed_out(outcome)[0] == "each"
    assert bench.rows == {"each[0].it": "failed", "each[1].it": "failed", "each": "failed"}


def test_a_condition_bounds_its_branch(bench: Bench) -> None:
    branch = {"then": [takes(2, "one"), takes(2, "two")]}
    outcome = bench.run(bounded(make_spec("which", "condition", conditions={"if": True}, blocks=branch), 1))

    assert timed_out(outcome) == ("which", "the step took longer than its timeout of 1 s; it was at which.two")
    assert bench.takes.begun == ["which.one"]


def test_of_two_steps_around_it_the_one_that_runs_out_first_fails(bench: Bench) -> None:
    outcome = bench.run(each(each(takes(2), timeout=9, step_id="inner"), timeout=3))

    assert timed_out(outcome)[0] == "each"
    assert bench.takes.begun == ["each[0].inner[0].it", "each[0].inner[1].it"]
    assert bench.rows == {**dict.fromkeys(bench.takes.begun, "succeeded"), "each": "failed"}


def test_an_inner_map_that_runs_out_is_one_item_of_the_outer_one(bench: Bench) -> None:
    outcome = bench.run(each(each(takes(2), timeout=3, step_id="inner"), timeout=60), takes(60, "after"))

    assert outcome.error is None
    inner = [bench.rows[f"each[{index}].inner"] for index in range(3)]
    assert (inner, bench.rows["each"], bench.rows["after"]) == (["failed"] * 3, "succeeded", "succeeded")


def test_what_follows_has_its_own_time(bench: Bench) -> None:
    outcome = bench.run(each(takes(2), timeout=9), takes(60, "after"), each(takes(2), timeout=9, step_id="again"))

    assert outcome.error is None


def slow(bench: Bench, seconds: int, then: Mapping[str, Any], step_id: str = "it") -> StepSpec:
    """A step whose templates take their time."""

    def rendered(_: object) -> Mapping[str, Any]:
        bench.clock.advance(seconds * SECOND)
        return then

    return make_spec(step_id, "takes", rendered)


def test_templates_are_part_of_the_time_of_a_step(bench: Bench) -> None:
    outcome = bench.run(bounded(slow(bench, 2, {"seconds": 0}), 1))

    assert timed_out(outcome) == ("it", "the step took longer than its timeout of 1 s")
    assert bench.takes.begun == []


def test_templates_are_part_of_the_time_of_the_step_around(bench: Bench) -> None:
    outcome = bench.run(each(slow(bench, 2, {"seconds": 0}), timeout=1))

    assert timed_out(outcome) == ("each", "the step took longer than its timeout of 1 s; it was at each[0].it")
    assert (bench.takes.begun, bench.rows) == ([], {"each": "failed"})


def test_no_template_is_rendered_when_the_step_around_has_no_time_left(bench: Bench) -> None:
    bench.run(each(takes(2), slow(bench, 60, {"seconds": 0}, "late"), timeout=1))

    assert bench.clock.monotonic_us() == 2_000_000


@pytest.mark.parametrize(("own", "failed"), [(1, {"each[0].it", "each"}), (3, {"each"})])
def test_what_runs_out_first_is_told(bench: Bench, own: int, failed: set[str]) -> None:
    """Of the step and the one around it; neither has time for more."""
    inside = bounded(slow(bench, 4, {"seconds": 0}), own)
    bench.run(each(inside, timeout=2))

    assert {path for path, outcome in bench.rows.items() if outcome == "failed"} == failed


class TestWithdrawn:
    """A step that ended just as it was to be interrupted."""

    def test_the_next_one_is_not_interrupted_for_it(self, clock: ManualClock) -> None:
        control = RunControl(clock)
        control.before_step("one")
        with control.running(SECOND, None):
            clock.advance(2 * SECOND)
            assert control.overdue(clock.monotonic_us()) == "step_timed_out"
        control.ask("step_timed_out")

        control.before_step("two")
        with control.running(None, None):
            control.interrupt()
        control.withdraw()

        assert control.asked is None

    def test_a_cancellation_stands(self, clock: ManualClock) -> None:
        control = RunControl(clock)
        control.ask("cancelled")
        control.withdraw()

        assert control.asked == "cancelled"
