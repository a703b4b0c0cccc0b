"""A command is retried no more often than its budget says, whoever runs it; what is beyond waits longer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.errors import LedgerUnavailable, StepError
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.connections import open_pool
from telemetry.events import ExecutionRetried
from telemetry.testing import ManualClock
from workers.retry_budget import MINUTES, WINDOW, RetryBudget
from workers.testing import World

US = timedelta(microseconds=1)

STEP = "slug: patient\nsteps: [{id: call, type: down, retry: {max_attempts: 5, backoff: 1s}}]"
COMMAND = "slug: patient\nretry: {max_attempts: 5, backoff: 1s}\nsteps: [{id: call, type: down}]"
IN_A_MAP = """
slug: patient
steps:
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2]' | from_json }}"
      on_error: continue
      do: [{id: call, type: down, retry: {max_attempts: 5, backoff: 1s}}]
"""

Budgets = Callable[..., RetryBudget]


class Down(StepError):
    """What it calls does not answer."""

    code = "step.down"
    category = "network"


class Calls(Step):
    """Fails, always for the same reason, until it works."""

    type = "down"
    effect = Effect.NONE
    Params = StepParams
    works: ClassVar[bool]

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        if Calls.works:
            return StepResult("an answer")
        raise Down("nobody answers")


@pytest.fixture
def down(world: World) -> World:
    Calls.works = False
    world.step_types["down"] = Calls()
    return world


@pytest.fixture
def budgets(world: World) -> Budgets:
    """Makes the budgets of processes."""

    def make(*, share: int = 20, floor: int = 2) -> RetryBudget:
        return RetryBudget(world.pool, world.clock, share=share, floor=floor, draw=lambda: 1.0)

    return make


def granted(budget: RetryBudget, times: int = 100, slug: str = "patient") -> int:
    return sum(budget.take(slug) for _ in range(times))


def come_due(world: World, connection: Connection[Any], within: timedelta = timedelta(days=1)) -> int:
    """As if the wait were over of what is due within a time; how many that are."""
    due = "update command_executions set run_at = now() where state = 'scheduled' and run_at < now() + %s"
    count = connection.execute(due, [within]).rowcount
    world.executions.promote()
    return count


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
    counted = connection.execute("select count(*) from retry_counts").fetchone()
    assert counted is not None
    assert budget.forget() == counted[0] >= 3  # a row more where a minute ended meanwhile
    assert connection.execute("select count(*) from retry_counts").fetchone() == (0,)


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
def test_beyond_it_a_retry_is_put_off_and_nothing_fails(
    down: World, budgets: Budgets, source: str, connection: Connection[Any]
) -> None:
    ids = run(down, budgets(), source, 6)

    executions = [down.executions.get(each) for each in ids]
    assert {each.state for each in executions} == {"scheduled"}
    assert all(each.waiting_for is not None and each.waiting_for["reason"] == "retry" for each in executions)
    delays = [
        (reason, delay_us >= WINDOW / US)
        for reason, delay_us in connection.execute("select reason, delay_us from command_attempts order by claimed_at")
    ]
    reason = "step_failed" if source is STEP else "failed"
    # Of six that were begun a share of one, beside the floor of two.
    assert sorted(delays) == [(reason, False)] * 3 + [(reason, True)] * 3
    events = [event for event in down.recorder.events if isinstance(event, ExecutionRetried)]
    assert sorted(event.delay_us >= WINDOW / US for event in events) == [False] * 3 + [True] * 3


def test_a_part_of_the_window_is_drawn(world: World) -> None:
    budget = RetryBudget(world.pool, world.clock, share=0, floor=0)
    drawn = [budget.put_off() for _ in range(1000)]

    assert all(timedelta() <= each < WINDOW for each in drawn)
    assert min(drawn) < WINDOW / 10
    assert max(drawn) > WINDOW * 0.9


def test_what_is_put_off_has_the_tries_it_had(down: World, budgets: Budgets, connection: Connection[Any]) -> None:
    (execution_id,) = run(down, budgets(floor=0), STEP, 1)
    for tries in range(1, 5):
        assert down.executions.get(execution_id).state == "scheduled"
        assert len(down.executions.steps(execution_id, limit=10)) == tries
        come_due(down, connection)
        down.runner(budget=budgets(floor=0)).run_lane("default")

    failed = down.executions.get(execution_id)
    assert failed.error is not None
    assert (failed.state, failed.attempt, failed.error["code"]) == ("failed", 5, "step.down")


@pytest.mark.req("D-01")
@pytest.mark.parametrize("at", ["steps", "command"])
def test_an_outage_puts_off_a_hundred_and_fails_none(
    down: World, budgets: Budgets, connection: Connection[Any], at: str
) -> None:
    retry = "retry: {max_attempts: 50, backoff: 1ms, max_backoff: 1ms}"
    source = {
        "steps": f"slug: patient\nsteps: [{{id: call, type: down, {retry}}}]",
        "command": f"slug: patient\n{retry}\nsteps: [{{id: call, type: down}}]",
    }[at]
    processes = [budgets(floor=10, share=20) for _ in range(2)]
    ids = run(down, processes[0], source, 100)
    while come_due(down, connection, within=WINDOW / 2):
        for budget in processes:
            down.runner(budget=budget).run_lane("default")

    states = connection.execute("select state, count(*) from command_executions group by 1").fetchall()
    assert states == [("scheduled", 100)]
    (retried,) = connection.execute("select sum(attempt) - 100 from command_executions").fetchone() or (0,)
    assert 10 <= retried <= 10 + 20
    assert connection.execute("select sum(retries) from retry_counts").fetchone() == (retried,)

    Calls.works = True
    come_due(down, connection)
    down.runner(budget=processes[0]).run_lane("default")

    assert {down.executions.get(each).state for each in ids} == {"succeeded"}
    assert "command.execution.failed" not in down.recorder.types
    assert down.recorder.types.count("command.execution.completed") == 100


def test_beyond_it_a_map_that_goes_on_after_failures_waits_too(
    down: World, budgets: Budgets, connection: Connection[Any]
) -> None:
    (execution_id,) = run(down, budgets(floor=0), IN_A_MAP, 1)
    assert down.executions.get(execution_id).state == "scheduled"

    while come_due(down, connection):
        down.runner(budget=budgets(floor=0)).run_lane("default")

    assert down.executions.get(execution_id).state == "succeeded"
    assert len(down.executions.steps(execution_id, limit=20)) == 2 * 5 + 1


def test_a_dry_run_spends_nothing(down: World, budgets: Budgets, connection: Connection[Any]) -> None:
    down.submit(down.load(STEP), dry_run=True)
    down.runner(budget=budgets()).run_lane("default")

    assert connection.execute("select count(*) from retry_counts").fetchone() == (0,)
