"""The executor: order, scope, effects, and one ledger row a step whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import msgspec
import pytest

from dsl.command import Command, StepSpec
from dsl.errors import FenceLost, StepFailed
from dsl.executor import Executor, Outcome
from dsl.fragment_events import MAX_FRAGMENT_EVENTS
from dsl.instrumentation import StepMeter, events_of
from dsl.plan import Plan
from dsl.step import Child, Effect, Mutation, Step, StepContext, StepParams, StepResult, StepRow
from dsl.steps import REGISTRY
from dsl.testing import Fixed, PlainTools, make_execution, make_spec
from telemetry.events import ErrorFacts, Scope, StepExecuted, event_type
from telemetry.events import StepFailed as StepFailedEvent
from telemetry.testing import ManualClock


class _Anything(StepParams):
    value: Any = None


class _Recorded(Step):
    """Returns its parameter."""

    type: ClassVar[str] = "recorded"
    effect: ClassVar[Effect] = Effect.DATABASE
    Params = _Anything

    def run(self, params: _Anything, context: StepContext) -> StepResult:
        return StepResult(output=params.value)


class _Broken(Step):
    """Raises what it is given."""

    type: ClassVar[str] = "broken"
    effect: ClassVar[Effect] = Effect.NONE
    Params = _Anything

    def run(self, params: _Anything, context: StepContext) -> StepResult:
        context.measures["items"] = 3
        raise params.value


class _Reaching(Step):
    """Tells the world."""

    type: ClassVar[str] = "reaching"
    effect: ClassVar[Effect] = Effect.EXTERNAL
    Params = _Anything

    def run(self, params: _Anything, context: StepContext) -> StepResult:
        return StepResult(output="sent")

    def preview(self, params: _Anything, context: StepContext) -> StepResult:
        return StepResult(output="would send")


@dataclass
class _Effect:
    connection: Any
    rows: list[StepRow] = field(default_factory=list)

    def add(self, row: StepRow) -> None:
        self.rows.append(row)

    def accept(self, child: Child) -> None:
        raise AssertionError(child)


@dataclass
class _Ledger:
    """The port, in memory: what was asked of it, in order."""

    rows: list[StepRow] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    lost: bool = False

    @contextmanager
    def effect(self, *, pipelined: bool = False) -> Iterator[_Effect]:
        if self.lost:
            raise FenceLost("gone")
        effect = _Effect(object())
        yield effect
        self.calls.append("commit")
        self.rows += effect.rows

    @contextmanager
    def reading(self) -> Iterator[Any]:
        self.calls.append("read")
        yield object()

    def add(self, row: StepRow) -> None:
        self.calls.append("add")
        self.rows.append(row)

    def flush(self) -> None:
        self.calls.append("flush")

    def freeze(self, path: str, items: str) -> Sequence[Any]:
        self.calls.append(f"freeze {path}")
        kept: list[Any] = msgspec.json.decode(items)
        return kept


class _Errors:
    def facts(self, error: BaseException) -> ErrorFacts:
        return ErrorFacts(type(error).__name__, "internal", bytes(8))

    def details(self, error: BaseException) -> dict[str, Any]:
        return {"message": str(error)}


_STEPS = {**REGISTRY, "recorded": _Recorded(), "broken": _Broken(), "reaching": _Reaching()}


def _meter(clock: ManualClock | None = None, *, dry_run: bool = False) -> StepMeter:
    return StepMeter(
        clock or ManualClock(),
        1,
        _Errors(),
        telemetry_on=True,
        dry_run=dry_run,
        max_output_bytes=1000,
        max_total_bytes=3000,
    )


def _execute(
    *steps: StepSpec, ledger: _Ledger | None = None, dry_run: bool = False, names: dict[str, Any] | None = None
) -> tuple[Outcome, _Ledger]:
    ledger = ledger or _Ledger()
    command = Command("test", steps, {}, bytes(16), {}, "", "test")
    plan = Plan(command, make_execution(dry_run=dry_run), names or {})
    outcome = Executor(_STEPS, PlainTools(), _meter(dry_run=dry_run), ledger, plan).execute()
    return outcome, ledger


def _paths(ledger: _Ledger) -> list[str]:
    return [row.path for row in sorted(ledger.rows, key=lambda row: row.ordinal)]


def test_steps_run_in_order_and_see_what_came_before() -> None:
    outcome, ledger = _execute(
        make_spec("one", "recorded", {"value": 1}),
        make_spec("two", "recorded", lambda names: {"value": names["steps"]["one"]["output"] + 1}),
    )

    assert (outcome.error, outcome.result) == (None, 2)
    assert [(row.path, row.output) for row in ledger.rows] == [("one", "1"), ("two", "2")]


def test_respond_decides_the_result_wherever_it_stands() -> None:
    outcome, _ = _execute(make_spec("say", "respond", {"value": {"a": 1}}), make_spec("more", "recorded", {"value": 2}))

    assert outcome.result == {"a": 1}


@pytest.mark.req("C-02", "C-07")
def test_a_step_whose_condition_is_false_is_recorded_as_skipped_and_has_no_output() -> None:
    skipped = replace(make_spec("maybe", "recorded", {"value": 1}), condition=Fixed(False))
    outcome, ledger = _execute(
        skipped, make_spec("after", "recorded", lambda names: {"value": names["steps"]["maybe"]["output"]})
    )

    assert [row.outcome for row in ledger.rows] == ["skipped", "succeeded"]
    assert (outcome.totals.count("skipped"), outcome.totals.count("succeeded")) == (1, 1)
    assert outcome.result is None


@pytest.mark.req("C-07")
def test_an_error_is_recorded_with_its_measures_and_given_back_unchanged() -> None:
    error = ValueError("what the step said")
    outcome, ledger = _execute(
        make_spec("bad", "broken", lambda _: {"value": error}), make_spec("never", "recorded", {"value": 1})
    )

    assert outcome.error is error
    assert outcome.failed_path == "bad"
    (row,) = ledger.rows
    assert (row.outcome, dict(row.measures), row.error) == ("failed", {"items": 3}, {"message": "what the step said"})
    assert outcome.totals.count("failed") == 1


def test_parameters_that_do_not_fit_fail_the_step() -> None:
    outcome, ledger = _execute(make_spec("bad", "recorded", {"unknown": 1}))

    assert type(outcome.error).__name__ == "ValidationError"
    assert [row.outcome for row in ledger.rows] == ["failed"]


def test_a_lost_ledger_stops_the_run_and_is_nobodys_failure() -> None:
    ledger = _Ledger(lost=True)

    with pytest.raises(FenceLost):
        _execute(make_spec("one", "recorded", {"value": 1}), ledger=ledger)

    assert ledger.rows == []


def test_what_waits_is_committed_before_anything_leaves_the_process() -> None:
    _, ledger = _execute(make_spec("light", "respond", {"value": 1}), make_spec("tell", "reaching"))

    assert ledger.calls == ["add", "flush", "add"]


@pytest.mark.req("C-10")
def test_a_dry_run_says_what_it_would_have_sent() -> None:
    outcome, ledger = _execute(make_spec("tell", "reaching"), dry_run=True)

    assert outcome.result == "would send"
    assert "flush" not in ledger.calls


@pytest.mark.req("C-08")
def test_a_map_addresses_each_child_and_freezes_its_list_first() -> None:
    double = make_spec("double", "recorded", lambda names: {"value": names["n"] * names["factor"]})
    outcome, ledger = _execute(
        make_spec("all", "list.map", {"items": [1, 2]}, literals={"as": "n"}, blocks={"do": [double]}),
        names={"factor": 10},
    )

    assert outcome.result["results"] == [10, 20]
    assert _paths(ledger) == ["all", "all[0].double", "all[1].double"]
    assert ledger.calls[0] == "freeze all"
    assert outcome.totals.count("succeeded") == 3


def test_a_child_that_fails_in_a_map_that_goes_on_fails_nothing_else() -> None:
    broken = make_spec("bad", "broken", lambda _: {"value": ValueError("one")})
    outcome, ledger = _execute(
        make_spec(
            "all", "list.map", {"items": [1, 2]}, literals={"as": "n", "on_error": "continue"}, blocks={"do": [broken]}
        ),
    )

    assert outcome.error is None
    assert [row.outcome for row in sorted(ledger.rows, key=lambda row: row.ordinal)] == [
        "succeeded",
        "failed",
        "failed",
    ]
    assert outcome.totals.count("failed") == 2


def test_the_path_of_a_failure_is_that_of_the_step_that_raised_it() -> None:
    broken = make_spec("bad", "broken", lambda _: {"value": ValueError("one")})
    outcome, _ = _execute(make_spec("all", "list.map", {"items": [1]}, literals={"as": "n"}, blocks={"do": [broken]}))

    assert isinstance(outcome.error, ValueError)
    assert outcome.failed_path == "all[0].bad"


def test_what_a_nested_list_makes_stays_in_it() -> None:
    inner = make_spec("inner", "recorded", {"value": 1})
    outcome, _ = _execute(
        make_spec("pick", "condition", conditions={"if": True}, blocks={"then": [inner]}),
        make_spec("look", "recorded", lambda names: {"value": sorted(names["steps"])}),
    )

    assert outcome.result == ["pick"]


@pytest.mark.req("C-02")
def test_the_branch_that_is_not_taken_is_recorded_as_skipped() -> None:
    outcome, ledger = _execute(
        make_spec(
            "pick",
            "condition",
            conditions={"if": False},
            blocks={"then": [make_spec("yes", "recorded")], "else": [make_spec("no", "recorded")]},
        )
    )

    assert {row.path: row.outcome for row in ledger.rows} == {
        "pick": "succeeded",
        "pick.yes": "skipped",
        "pick.no": "succeeded",
    }
    assert outcome.totals.count("skipped") == 1


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("x" * 1001, "a step may keep"),
        ("\N{EURO SIGN}" * 400, "a step may keep"),
        ("with \x00 inside", "NUL"),
        (object(), "JSON"),
        ("\ud800", "JSON"),
    ],
)
def test_an_output_that_cannot_be_kept_fails_its_step(output: object, reason: str) -> None:
    outcome, ledger = _execute(make_spec("big", "recorded", lambda _: {"value": output}))

    assert isinstance(outcome.error, StepFailed)
    assert reason in str(outcome.error)
    assert [row.outcome for row in ledger.rows] == ["failed"]
    assert outcome.totals.count("succeeded") == 0


def test_outputs_are_bounded_together_too() -> None:
    many = [make_spec(f"s{number}", "recorded", {"value": "x" * 900}) for number in range(4)]

    outcome, ledger = _execute(*many)

    assert [row.outcome for row in ledger.rows] == ["succeeded"] * 3 + ["failed"]
    assert "too large together" in str(outcome.error)


_SCOPE = Scope(correlation_id=bytes(16), request_source="api")


def _closed(result: StepResult, *, dry_run: bool = False) -> StepRow:
    return _meter(dry_run=dry_run).start(make_spec("one", "recorded"), "one").succeeded(result)


@pytest.mark.req("C-02")
def test_a_row_becomes_its_step_event_and_one_event_a_changed_fragment() -> None:
    fragment = make_execution().id
    changes = (Mutation("fragment", "updated", fragment), Mutation("notification", "created"))
    row = _closed(StepResult(mutations=changes, fragment_id=fragment, measures={"fields": 2}))

    step, changed = events_of(_SCOPE, row)

    assert isinstance(step, StepExecuted)
    assert (step.mutations_count, step.fragment_id, step.measures) == (2, fragment.bytes, {"fields": 2})
    assert event_type(changed) == "fragment.updated"
    assert step.event_id == row.event_id


def test_more_than_a_hundred_fragment_changes_become_one_summary_an_operation() -> None:
    created = tuple(Mutation("fragment", "created", make_execution().id) for _ in range(MAX_FRAGMENT_EVENTS))
    told = Mutation("notification", "created", make_execution().id)
    row = _closed(StepResult(mutations=(told, *created, Mutation("fragment", "deleted", make_execution().id))))

    events = list(events_of(_SCOPE, row))[1:]

    assert [event_type(event) for event in events] == ["fragment.created", "fragment.deleted"]
    assert [event.mutations_count for event in events] == [MAX_FRAGMENT_EVENTS, 1]  # type: ignore[attr-defined]


@pytest.mark.req("C-10")
def test_a_dry_runs_fragment_changes_have_no_events_of_their_own() -> None:
    row = _closed(StepResult(mutations=(Mutation("fragment", "created"),)), dry_run=True)

    assert [event_type(event) for event in events_of(_SCOPE, row)] == ["dsl.step.executed"]


@pytest.mark.req("C-14")
def test_the_event_of_a_failure_knows_the_class_and_never_the_message() -> None:
    row = _meter().start(make_spec("one", "broken"), "one").failed(ValueError("a secret"), {})

    (event,) = events_of(_SCOPE, row)

    assert isinstance(event, StepFailedEvent)
    assert event.error.error_type == "ValueError"
    assert "secret" not in repr(event)
