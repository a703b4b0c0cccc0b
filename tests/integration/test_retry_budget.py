"""A command is retried no more often than its budget says, whoever runs it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.errors import LedgerUnavailable, StepError
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.connections import open_pool
from telemetry.testing import ManualClock
from workers.retry_budget import MINUTES, RetryBudget
from workers.testing import World

STEP = "slug: patient\nsteps: [{id: call, type: down, retry: {max_attempts: 5, backoff: 1h}}]"
COMMAND = "slug: patient\nretry: {max_attempts: 5, backoff: 1h}\nsteps: [{id: call, type: down}]"
IN_A_MAP = """
slug: patient
steps:
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2]' | from_json }}"
      on_error: continue
      do: [{id: call, type: down, retry: {max_attempts: 5, backoff: 1h}}]
"""

Budgets = Callable[..., RetryBudget]


class Down(StepError):
    """What it calls does not answer."""

    code = "step.down"
    category = "network"


class Calls(Step):
    """Fails, always for the same reason."""

    type = "down"
    effect = Effect.NONE
    Params = StepParams

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        raise Down("nobody answers")


@pytest.fixture
def down(world: World) -> World:
    world.step_types["down"] = Calls()
    return world


@pytest.fixture
def budgets(world: World) -> Budgets:
    """Makes the budgets of processes."""

    def make(*, share: int = 20, floor: int = 2) -> RetryBudget:
        return RetryBudget(world.pool, world.clock, share=share, floor=floor)

    return make


def granted(budget: RetryBudget, times: int = 100, slug: str = "patient") -> int:
    return sum(budget.take(slug) for _ in range(times))


def run(world: World, budget: RetryBudget, source: str, times: int) -> list[UUID]:
    ids = [world.submit(world.load(source)) for _ in range(times)]
    world.runner(budget=budget).run_lane("default")
    return ids


@pytest.mark.req("D-01")
def test_the_floor_is_granted_and_no_more(budgets: Budgets) -> None:
    budget = budgets(floor=7)

    assert granted(budget) == 7
    assert granted(budget, slug="other") == 7


@pytest.mark.req("D-01")
def test_executions_that_were_begun_add_their_share(budgets: Budgets) -> None:
    budget = budgets()
    for _ in range(50):
        budget.begin("patient")

    assert granted(budget) == 2 + 10


def test_what_several_processes_begin_and_retry_is_counted_together(budgets: Budgets) -> None:
    first, second = budgets(), budgets()
    for budget in (first, second):
        for _ in range(25):
            budget.begin("patient")

    assert granted(first, 5) == 5
    assert granted(second, 100) == 7
    assert granted(first) == 0


@pytest.mark.req("D-01")
def test_many_who_ask_at_once_get_no_more(budgets: Budgets) -> None:
    processes = [budgets(floor=30) for _ in range(6)]

    with ThreadPoolExecutor(6) as threads:
        got = list(threads.map(lambda number: processes[number % 6].take("patient"), range(120)))

    assert sum(got) == 30


def test_what_is_older_than_the_window_does_not_count(budgets: Budgets, connection: Connection[Any]) -> None:
    budget = budgets()
    budget.begin("patient")
    assert granted(budget) == 2

    connection.execute("update retry_counts set minute = minute - %s * interval '1 minute'", [MINUTES - 2])
    assert granted(budget) == 0
    connection.execute("update retry_counts set minute = minute - interval '2 minutes'")
    assert granted(budget) == 2
    assert budget.forget() == 0
    connection.execute("update retry_counts set minute = minute - %s * interval '1 minute'", [2 * MINUTES])
    assert budget.forget() == 3


def test_what_was_begun_long_ago_is_not_handed_over(budgets: Budgets, clock: ManualClock) -> None:
    budget = budgets()
    for _ in range(100):
        budget.begin("patient")
    clock.advance(timedelta(minutes=MINUTES))
    for _ in range(5):
        budget.begin("patient")

    assert granted(budget) == 2 + 1


def test_begun_minutes_ago_still_counts(budgets: Budgets, clock: ManualClock) -> None:
    budget = budgets()
    for _ in range(50):
        budget.begin("patient")
    clock.advance(timedelta(minutes=MINUTES - 2))

    assert granted(budget) == 2 + 10


def test_without_postgres_nothing_is_decided(world: World) -> None:
    with open_pool(
        "postgresql://nobody@127.0.0.1:1/nothing",
        name="nowhere",
        max_size=2,
        autocommit=True,
        wait=None,
        checkout_timeout=timedelta(milliseconds=50),
    ) as nowhere:
        budget = RetryBudget(nowhere, world.clock, share=20, floor=5)
        budget.begin("patient")
        with pytest.raises(LedgerUnavailable):
            budget.take("patient")


@pytest.mark.req("D-01")
@pytest.mark.parametrize("source", [STEP, COMMAND], ids=["step", "command"])
def test_beyond_it_an_execution_fails_for_good_and_says_so(
    down: World, budgets: Budgets, source: str, connection: Connection[Any]
) -> None:
    ids = run(down, budgets(), source, 6)

    states = [down.executions.get(each).state for each in ids]
    assert (states.count("scheduled"), states.count("failed")) == (2 + 1, 3)
    failed = next(down.executions.get(each) for each in ids if down.executions.get(each).state == "failed")
    error = failed.error
    assert error is not None
    assert (error["code"], error["category"], error["step"]) == ("step.retries_spent", "network", "call")
    assert error["message"].startswith("nobody answers (not tried again")
    # The ledger keeps what the step failed with.
    (row,) = connection.execute("select error ->> 'code' from command_steps where execution_id = %s", [failed.id])
    assert row == ("step.down",)


def test_beyond_it_a_map_that_goes_on_after_failures_does(down: World, budgets: Budgets) -> None:
    (execution_id,) = run(down, budgets(floor=0), IN_A_MAP, 1)

    assert down.executions.get(execution_id).state == "succeeded"


def test_a_dry_run_spends_nothing(down: World, budgets: Budgets, connection: Connection[Any]) -> None:
    down.submit(down.load(STEP), dry_run=True)
    down.runner(budget=budgets()).run_lane("default")

    assert connection.execute("select count(*) from retry_counts").fetchone() == (0,)
