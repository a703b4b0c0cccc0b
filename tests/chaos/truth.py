"""Ground truth against facts. Pure: what was ordered and what is found, in; every difference, out.

Each check is a function of `(orders, facts)` in `CHECKS`; what comes later adds its own there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from chaos.differences import Difference
from chaos.due_times import fired
from chaos.facts import ExecutionFact, Facts
from chaos.monitor import FINAL
from chaos.orders import Order
from chaos.recipes import BY_SLUG, Recipe, StepTruth

Changes: TypeAlias = Counter[tuple[str, str]]

_OK, _CONFLICT = 200, 409


Check: TypeAlias = Callable[[Sequence[Order], Facts], Iterator[Difference]]


def accepted(orders: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Every order that was accepted is one execution, every execution was ordered; what was sent again is the same."""
    by_token: dict[str, list[ExecutionFact]] = {}
    for execution in facts.executions:
        if execution.link is None:
            by_token.setdefault(execution.token, []).append(execution)
    for order in orders:
        found = by_token.pop(order.token, [])
        yield from _answered(order)
        expected = sorted({(execution_id, order.recipe.slug, order.recipe.dry) for execution_id in order.ids})
        if sorted((each.id, each.slug, each.dry_run) for each in found) != expected or len(expected) > 1:
            yield Difference("accepted once", order.token, expected, found)
        for execution_id, *_ in expected:
            if facts.keys.get(execution_id) != 1:
                yield Difference("one key", execution_id, 1, facts.keys.get(execution_id))
    for token, unknown in by_token.items():
        yield Difference("ordered", token, "no such execution", unknown)


def ended(orders: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Every execution is final, in the state its recipe says; one that was cancelled in that or cancelled."""
    may_cancel = _cancellable(orders, facts)
    recipes = _recipes(facts)
    for execution in facts.executions:
        expected = recipes[execution.id].state
        if execution.state not in FINAL:
            yield Difference("final", execution.id, "a final state", execution.state)
        elif execution.state == "cancelled" and execution.id in may_cancel:
            continue
        elif execution.state != expected:
            yield Difference("state", execution.id, expected, f"{execution.state} ({execution.error_type})")
    states = {execution.id: execution.state for execution in facts.executions}
    for order in orders:
        state = states.get(order.cancelled_id or "")
        if _OK in order.cancel_answers and state != "cancelled":
            yield Difference("cancelled", str(order.cancelled_id), "cancelled, as was answered", state)
        if _CONFLICT in order.cancel_answers and state == "cancelled":
            yield Difference("not cancelled", str(order.cancelled_id), "as it had ended", state)


def stepped(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Every path ended once, as the definition says, after as many failures; tries have numbers without gaps."""
    recipes = _recipes(facts)
    for execution in facts.executions:
        recipe, rows = recipes[execution.id], facts.steps.get(execution.id, [])
        found = _ended_paths(rows)
        doubled = [path for path, count in found.items() if count > 1]
        if doubled:
            yield Difference("succeeded once", execution.id, 1, doubled)
        wanted = list(_reached(execution, recipe, rows))
        paths = {path for path, *_ in rows}
        unknown = paths - {step.path for step in wanted} - _interrupted(execution, recipe, wanted)
        if unknown:
            yield Difference("steps", execution.id, [step.path for step in wanted], sorted(unknown))
        for step in wanted:
            outcomes = [(outcome, step_try) for path, outcome, step_try, _ in rows if path == step.path]
            if not _is_as(step, outcomes):
                yield Difference("step", f"{execution.id} {step.path}", step, outcomes)


def changed(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Effects, ledger of mutations, fragments and rows are what the steps that succeeded do, once."""
    expected: dict[str, Changes] = {}
    for execution in facts.executions:
        recipe = BY_SLUG[execution.slug]
        effects = _effects(execution, recipe, facts)
        counted: Changes = Counter()
        for ending, entity, operation in effects:
            counted[entity, operation] += 1
            if not execution.dry_run:
                expected.setdefault(execution.token + ending, Counter())[entity, operation] += 1
        kept = facts.dry_mutations if execution.dry_run else facts.mutations
        other = facts.mutations if execution.dry_run else facts.dry_mutations
        if kept.get(execution.id, Counter()) != counted:
            yield Difference("mutations", execution.id, dict(counted), dict(kept.get(execution.id, {})))
        if other.get(execution.id):
            yield Difference("mutations of a dry run", execution.id, {}, dict(other[execution.id]))
    for token in expected.keys() | facts.journal.keys():
        should, did = expected.get(token, Counter()), facts.journal.get(token, Counter())
        if should != did:
            yield Difference("effects", token, dict(should), dict(did))
        for entity, there in (("fragment", facts.fragments), ("rows", facts.rows)):
            if there.get(token, 0) != should[entity, "created"]:
                yield Difference(f"{entity} there", token, should[entity, "created"], there.get(token, 0))


def had_kids(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """What steps ask for is there once for each step that did, and nothing else is."""
    kids: dict[tuple[str, str], list[ExecutionFact]] = {}
    for execution in facts.executions:
        if execution.parent_id is not None:
            kids.setdefault((execution.parent_id, execution.token), []).append(execution)
    for execution in facts.executions:
        done = _ended_paths(facts.steps.get(execution.id, []))
        for step in BY_SLUG[execution.slug].steps:
            if step.kid is None:
                continue
            found = kids.pop((execution.id, execution.token + step.kid.ending), [])
            most = 1
            least = 1 if step.path in done and not execution.dry_run else 0
            links = {kid.link for kid in found} | {step.kid.link}
            if not least <= len(found) <= most or len(links) > 1 or {kid.slug for kid in found} - {step.kid.slug}:
                yield Difference("kids", f"{execution.id} {step.path}", least, [(kid.id, kid.link) for kid in found])
    for (parent, token), found in kids.items():
        yield Difference("no kid", parent, "none", [(token, kid.id) for kid in found])


def tried(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Attempts have numbers without gaps, and all but the last were let go of; no lease of a lost worker is left."""
    attempts: dict[str, list[bool]] = {}
    for attempt in facts.attempts:
        numbers = attempts.setdefault(attempt.execution_id, [])
        numbers.append(attempt.released_at is not None)
        if attempt.attempt != len(numbers):
            yield Difference("attempts", attempt.execution_id, len(numbers), attempt.attempt)
    for execution in facts.executions:
        released = attempts.get(execution.id, [])
        if len(released) != execution.attempt:
            yield Difference("attempts", execution.id, execution.attempt, len(released))
        if not all(released[:-1]):
            yield Difference("released", execution.id, "every attempt but the last", released)
    if facts.lapsed_leases:
        yield Difference("leases", "workers", 0, facts.lapsed_leases)


def no_crowds(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """Never more ran at a time with the same concurrency key than may."""
    for slug, running, most in facts.crowds:
        yield Difference("at a time", slug, most, running)


def one_final_event(_: Sequence[Order], facts: Facts) -> Iterator[Difference]:
    """No execution has two final events. That none is missing is for whoever can tell lost ones."""
    for execution, number in facts.final_events.items():
        if number > 1:
            yield Difference("final events", execution, 1, number)


def _answered(order: Order) -> Iterator[Difference]:
    if not order.is_answered:
        yield Difference("answered", order.token, "an answer in the end", "none")
    elif order.is_valid and order.refusals:
        yield Difference("accepted", order.token, "202", order.refusals)
    if not order.is_valid and order.ids:
        yield Difference("refused", order.token, "no execution", order.ids)


def _cancellable(orders: Sequence[Order], facts: Facts) -> set[str]:
    """Executions that were asked to stop, and those that they wait for."""
    asked = {order.cancelled_id for order in orders if order.cancelled_id is not None}
    return asked | {
        execution.id for execution in facts.executions if execution.parent_id in asked and execution.link == "child"
    }


def _recipes(facts: Facts) -> dict[str, Recipe]:
    """What each execution had to do: that of its command; of one whose child was cancelled by itself, less."""
    bereft = {
        execution.parent_id
        for execution in facts.executions
        if execution.link == "child" and execution.state == "cancelled"
    }
    return {
        execution.id: _bereft(BY_SLUG[execution.slug]) if execution.id in bereft else BY_SLUG[execution.slug]
        for execution in facts.executions
    }


def _bereft(recipe: Recipe) -> Recipe:
    """The step that waited fails, and the command with it."""
    waits = next(number for number, step in enumerate(recipe.steps) if step.kid is not None)
    failed = replace(recipe.steps[waits], outcome="failed", fails=1)
    return replace(recipe, steps=(*recipe.steps[:waits], failed), state="failed")


def _ended_paths(rows: Sequence[tuple[str, str, int, int]]) -> Counter[str]:
    return Counter(path for path, outcome, *_ in rows if outcome != "failed")


def _reached(
    execution: ExecutionFact, recipe: Recipe, rows: Sequence[tuple[str, str, int, int]]
) -> Iterator[StepTruth]:
    """Steps that must have run: all of them; of one that was cancelled those up to the last that did."""
    if execution.state != "cancelled":
        yield from recipe.steps
        return
    done = _ended_paths(rows)
    last = max((number for number, step in enumerate(recipe.steps) if step.path in done), default=-1)
    yield from recipe.steps[: last + 1]


def _interrupted(execution: ExecutionFact, recipe: Recipe, wanted: Sequence[StepTruth]) -> set[str]:
    """The step in which one that was cancelled may have been interrupted: it has a row that failed."""
    following = recipe.steps[len(wanted) : len(wanted) + 1]
    return {step.path for step in following} if execution.state == "cancelled" else set()


def _is_as(step: StepTruth, outcomes: Sequence[tuple[str, int]]) -> bool:
    failed = sorted(step_try for outcome, step_try in outcomes if outcome == "failed")
    others = [outcome for outcome, _ in outcomes if outcome != "failed"]
    if failed != list(range(1, len(failed) + 1)):
        return False
    return len(failed) == step.fails and others == ([] if step.outcome == "failed" else [step.outcome])


def _effects(execution: ExecutionFact, recipe: Recipe, facts: Facts) -> Iterator[tuple[str, str, str]]:
    done = _ended_paths(facts.steps.get(execution.id, []))
    for step in recipe.steps:
        if step.path in done:
            for effect in step.effects:
                yield effect.ending, effect.entity, effect.operation


CHECKS: tuple[Check, ...] = (accepted, ended, stepped, changed, had_kids, tried, fired, no_crowds, one_final_event)


def judge(orders: Sequence[Order], facts: Facts, checks: Sequence[Check] = CHECKS) -> list[Difference]:
    """Every difference that these checks find."""
    return [difference for check in checks for difference in check(orders, facts)]
