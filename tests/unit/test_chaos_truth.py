"""The chaos harness notices what must never happen: each check is shown a run with one thing wrong in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from chaos.completeness import Verdict
from chaos.differences import Difference
from chaos.facts import AttemptFact, ExecutionFact, Facts, OccurrenceFact, ScheduleFact
from chaos.orders import Order
from chaos.recipes import ALL, BY_SLUG, FAMILY, SIX, SLOW, Recipe
from chaos.report import Report, recoveries
from chaos.schedules import WANTED
from chaos.truth import judge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TICKS = 3


def run_once() -> tuple[list[Order], Facts]:
    """One order of each recipe and three due times of each schedule, all as it must be."""
    facts = Facts(executions=[], schedules=[], occurrences=[], attempts=[])
    orders: list[Order] = []
    for recipe in ALL:
        if recipe.weight:
            order = Order(recipe, f"1-{len(orders)}", ids=[f"id-{len(orders)}"])
            orders.append(order)
            execute(facts, recipe, order.ids[0], order.token)
            facts.keys[order.ids[0]] = 1
    for wanted in WANTED:
        schedule = ScheduleFact(f"s-{wanted.name}", wanted.name, NOW, NOW + TICKS * wanted.every)
        facts.schedules = [*facts.schedules, schedule]
        for number in range(1, TICKS + 1):
            due = NOW + number * wanted.every
            execution_id = f"{schedule.id}-{number}"
            token = f"{wanted.name}@{due:%Y%m%dT%H%M%S}"
            execute(facts, BY_SLUG["chaos.tick"], execution_id, token, link="scheduled_by", schedule_id=schedule.id)
            told = OccurrenceFact(schedule.id, due, due, 1, "calendar", "fired", None, execution_id)
            facts.occurrences = [*facts.occurrences, told]
    return orders, facts


def execute(  # noqa: PLR0913 - columns of a row
    facts: Facts,
    recipe: Recipe,
    execution_id: str,
    token: str,
    *,
    link: str | None = None,
    parent_id: str | None = None,
    schedule_id: str | None = None,
) -> None:
    """Note what an execution leaves behind that runs to its end."""
    fact = ExecutionFact(
        execution_id, recipe.slug, recipe.state, link, parent_id, schedule_id, recipe.dry, token, 1, 0, None
    )
    facts.executions = [*facts.executions, fact]
    facts.attempts = [*facts.attempts, AttemptFact(execution_id, 1, "w", NOW, None, None, None)]
    rows = facts.steps.setdefault(execution_id, [])
    kept = (facts.dry_mutations if recipe.dry else facts.mutations).setdefault(execution_id, Counter())
    for step in recipe.steps:
        rows.extend((step.path, "failed", number, 1) for number in range(1, step.fails + 1))
        if step.outcome != "failed":
            rows.append((step.path, step.outcome, step.fails + 1, 1))
        for effect in step.effects:
            kept[effect.entity, effect.operation] += 1
            if not recipe.dry:
                change(facts, token + effect.ending, effect.entity, effect.operation)
        if step.kid is not None and not recipe.dry:
            kid_id, kid = f"{execution_id}{step.kid.ending}", BY_SLUG[step.kid.slug]
            execute(facts, kid, kid_id, token + step.kid.ending, link=step.kid.link, parent_id=execution_id)


def change(facts: Facts, token: str, entity: str, operation: str) -> None:
    facts.journal.setdefault(token, Counter())[entity, operation] += 1
    if operation == "created":
        there = facts.fragments if entity == "fragment" else facts.rows
        there[token] = there.get(token, 0) + 1


def of(facts: Facts, recipe: Recipe) -> ExecutionFact:
    return next(each for each in facts.executions if each.slug == recipe.slug and not each.dry_run)


def put(facts: Facts, old: ExecutionFact, new: ExecutionFact) -> None:
    facts.executions = [new if each is old else each for each in facts.executions]


def test_a_run_in_which_all_went_well_has_no_differences() -> None:
    orders, facts = run_once()
    assert judge(orders, facts) == []


def lose_an_execution(orders: list[Order], facts: Facts) -> None:
    lost = of(facts, SIX)
    facts.executions = [each for each in facts.executions if each is not lost]


def accept_twice(orders: list[Order], facts: Facts) -> None:
    execute(facts, SIX, "another", orders[0].token)


def accept_what_is_faulty(orders: list[Order], facts: Facts) -> None:
    orders[0].is_valid = False


def answer_nothing(orders: list[Order], facts: Facts) -> None:
    orders.append(Order(SIX, "never answered"))


def answer_two_ids(orders: list[Order], facts: Facts) -> None:
    orders[0].ids.append("another")


def run_what_nobody_ordered(orders: list[Order], facts: Facts) -> None:
    execute(facts, SIX, "extra", "extra")


def leave_one_running(orders: list[Order], facts: Facts) -> None:
    put(facts, of(facts, SIX), replace(of(facts, SIX), state="running"))


def fail_what_should_succeed(orders: list[Order], facts: Facts) -> None:
    put(facts, of(facts, SIX), replace(of(facts, SIX), state="failed", error_type="Surprise"))


def cancel_what_nobody_cancelled(orders: list[Order], facts: Facts) -> None:
    put(facts, of(facts, SLOW), replace(of(facts, SLOW), state="cancelled"))


def go_on_after_a_cancellation(orders: list[Order], facts: Facts) -> None:
    order = next(order for order in orders if order.recipe is SLOW)
    order.cancelled_id = order.ids[0]
    order.cancel_answers.append(200)


def succeed_twice(orders: list[Order], facts: Facts) -> None:
    facts.steps[of(facts, SIX).id].append(("note", "succeeded", 1, 2))


def leave_a_step_out(orders: list[Order], facts: Facts) -> None:
    del facts.steps[of(facts, SIX).id][-1]


def run_a_step_that_is_not_there(orders: list[Order], facts: Facts) -> None:
    facts.steps[of(facts, SIX).id].append(("surprise", "succeeded", 1, 1))


def try_once_too_often(orders: list[Order], facts: Facts) -> None:
    facts.steps[of(facts, BY_SLUG["chaos.retries"]).id].append(("try", "failed", 3, 2))


def write_twice(orders: list[Order], facts: Facts) -> None:
    change(facts, of(facts, SIX).token, "fragment", "created")


def write_in_a_dry_run(orders: list[Order], facts: Facts) -> None:
    change(facts, next(each.token for each in facts.executions if each.dry_run), "rows", "created")


def lose_a_row(orders: list[Order], facts: Facts) -> None:
    del facts.rows[of(facts, SIX).token]


def forget_a_mutation(orders: list[Order], facts: Facts) -> None:
    facts.mutations[of(facts, SIX).id]["fragment", "created"] = 0


def have_two_children(orders: list[Order], facts: Facts) -> None:
    parent = of(facts, FAMILY)
    execute(facts, SLOW, "twin", f"{parent.token}/kid", link="child", parent_id=parent.id)


def have_no_child(orders: list[Order], facts: Facts) -> None:
    facts.executions = [each for each in facts.executions if not each.token.endswith("/other")]


def keep_an_attempt(orders: list[Order], facts: Facts) -> None:
    old = of(facts, SIX)
    put(facts, old, replace(old, attempt=2))
    facts.attempts = [*facts.attempts, AttemptFact(old.id, 2, "w", NOW, None, None, None)]


def keep_a_lease(orders: list[Order], facts: Facts) -> None:
    facts.lapsed_leases = 1


def leave_a_due_time_out(orders: list[Order], facts: Facts) -> None:
    row = facts.occurrences[1]
    facts.occurrences = [each for each in facts.occurrences if each is not row]
    facts.executions = [each for each in facts.executions if each.id != row.execution_id]


def end_before_the_last_due_time(orders: list[Order], facts: Facts) -> None:
    facts.schedules = [replace(each, updated_at=each.updated_at + timedelta(minutes=1)) for each in facts.schedules]


def run_a_due_time_twice(orders: list[Order], facts: Facts) -> None:
    row = facts.occurrences[0]
    token = of(facts, BY_SLUG["chaos.tick"]).token
    execute(facts, BY_SLUG["chaos.tick"], "again", token, link="scheduled_by", schedule_id=row.schedule_id)


def leave_one_waiting(orders: list[Order], facts: Facts) -> None:
    facts.occurrences = [replace(facts.occurrences[0], state="waiting"), *facts.occurrences[1:]]


def miss_one_of_all(orders: list[Order], facts: Facts) -> None:
    row = facts.occurrences[0]
    facts.occurrences = [replace(row, state="missed", reason="late", execution_id=None), *facts.occurrences[1:]]
    facts.executions = [each for each in facts.executions if each.id != row.execution_id]


def run_too_many_at_a_time(orders: list[Order], facts: Facts) -> None:
    facts.crowds = [("chaos.narrow", 3, 2)]


def end_twice(orders: list[Order], facts: Facts) -> None:
    facts.final_events[of(facts, SIX).id] = 2


WRONG = (
    lose_an_execution, accept_twice, accept_what_is_faulty, answer_nothing, answer_two_ids, run_what_nobody_ordered,
    leave_one_running, fail_what_should_succeed, cancel_what_nobody_cancelled, go_on_after_a_cancellation,
    succeed_twice, leave_a_step_out, run_a_step_that_is_not_there, try_once_too_often, write_twice, write_in_a_dry_run,
    lose_a_row, forget_a_mutation, have_two_children, have_no_child, keep_an_attempt, keep_a_lease,
    leave_a_due_time_out, end_before_the_last_due_time, run_a_due_time_twice, leave_one_waiting, miss_one_of_all,
    run_too_many_at_a_time, end_twice,
)  # fmt: skip


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_whatever_goes_wrong_is_noticed(spoil: Callable[[list[Order], Facts], None]) -> None:
    orders, facts = run_once()
    spoil(orders, facts)
    assert judge(orders, facts)


def test_one_that_was_cancelled_in_the_middle_is_as_it_must_be() -> None:
    orders, facts = run_once()
    order = next(order for order in orders if order.recipe is SLOW)
    order.cancelled_id = order.ids[0]
    order.cancel_answers.append(202)
    old = next(each for each in facts.executions if each.id == order.ids[0])
    put(facts, old, replace(old, state="cancelled"))
    facts.steps[old.id] = [("note", "succeeded", 1, 1), ("wait", "failed", 1, 1)]
    del facts.mutations[old.id]["fragment", "updated"]
    del facts.journal[old.token]["fragment", "updated"]

    assert judge(orders, facts) == []


def test_one_whose_child_was_cancelled_by_itself_has_failed_of_it() -> None:
    orders, facts = run_once()
    order = next(order for order in orders if order.recipe is FAMILY)
    parent = next(each for each in facts.executions if each.id == order.ids[0])
    kid = next(each for each in facts.executions if each.parent_id == parent.id)
    order.cancelled_id = kid.id
    put(facts, kid, replace(kid, state="cancelled"))
    put(facts, parent, replace(parent, state="failed", error_type="ChildFailed"))
    facts.steps[parent.id] = [("note", "succeeded", 1, 1), ("kid", "failed", 1, 2)]
    for gone in (facts.steps, facts.mutations):
        del gone[kid.id]
    for token_gone in (facts.journal, facts.fragments):
        del token_gone[kid.token]

    assert judge(orders, facts) == []
    order.cancelled_id = None  # nobody asked for it
    assert judge(orders, facts)


def test_recovery_is_measured_from_the_kill_to_the_next_attempt() -> None:
    second = timedelta(seconds=1)
    lost = AttemptFact("e", 1, "w", NOW, NOW + 3 * second, "worker_lost", 0)
    again = AttemptFact("e", 2, "v", NOW + 4 * second, None, None, None)
    kill_us = int((NOW + second).timestamp() * 1_000_000)

    assert recoveries(Facts(attempts=[lost, again]), {"w": 7}, {7: kill_us}) == [3.0]
    assert recoveries(Facts(attempts=[lost, again]), {"w": 7}, {}) == []


def test_a_report_is_written_with_all_its_counts(tmp_path: Path) -> None:
    report = Report(1, 60.0, dropped=Counter(a=2), differences=[Difference("events", "rows", {1}, 2)])
    report.verdict = Verdict(is_complete=False, missing={}, gone=Counter({"http.request.completed": 13}))

    report.write(tmp_path / "new" / "report.json")

    found = json.loads((tmp_path / "new" / "report.json").read_text())
    assert (found["seed"], found["dropped"], found["verdict"]["gone"]) == (1, {"a": 2}, {"http.request.completed": 13})
    assert found["differences"][0]["check"] == "events"
