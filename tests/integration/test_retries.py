"""What fails is tried again when its command or step says so, after a wait that is kept in Postgres."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, cast
from uuid import UUID

import pytest
from psycopg import Connection

from dsl.errors import StepError
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.events import Category, ExecutionFailed, ExecutionRetried, StepFailed
from workers.executions import Execution
from workers.testing import World


class Busy(StepError):
    """Somebody else is."""

    code = "step.busy"

    def __init__(self, category: Category = "server", retry_after: timedelta | None = None) -> None:
        super().__init__("busy")
        self.category = category  # type: ignore[misc] # one class for all of them
        self.retry_after = retry_after


class Flaky(Step):
    """Raises what it is told to, in turn, then succeeds."""

    type = "flaky"
    effect = Effect.NONE
    Params = StepParams
    errors: ClassVar[list[Exception]] = []
    runs: ClassVar[int] = 0

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        Flaky.runs += 1
        if Flaky.errors:
            raise Flaky.errors.pop(0)
        return StepResult("done")


STEP_RETRY = """
slug: patient
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: try, type: flaky, retry: {max_attempts: 3, backoff: 10s, max_backoff: 1h}}
"""

ITEMS = """
slug: items
steps:
  - id: each
    type: list.map
    with:
      items: "{{ '[1, 2, 3]' | from_json }}"
      on_error: continue
      do:
        - id: which
          type: condition
          with: {if: item > 0, then: [{id: try, type: flaky, retry: {max_attempts: 2, backoff: 10s}}]}
"""

COMMAND_RETRY = """
slug: whole
retry: {max_attempts: 3, backoff: 10s}
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: try, type: flaky}
"""

CLEANS_UP = """
slug: tidy
steps:
  - {id: keep, type: transform, with: {template: kept}}
  - {id: try, type: flaky}
on_failure:
  - {id: tell, type: notify, with: {channel: inbox, message: "{{ steps.keep.output }}"}}
  - {id: again, type: flaky, retry: {max_attempts: 2, backoff: 1s}}
"""


@pytest.fixture
def flaky(world: World) -> World:
    Flaky.errors, Flaky.runs = [], 0
    world.step_types[Flaky.type] = Flaky()
    return world


def start(world: World, source: str, *errors: Exception) -> UUID:
    Flaky.errors = list(errors)
    execution_id = world.submit(world.load(source))
    world.runner().run_lane("default")
    return execution_id


def go_on(world: World, execution_id: UUID) -> Execution:
    """As if the wait were over."""
    with world.pool.connection() as connection:
        connection.execute("update command_executions set run_at = now() where state = 'scheduled'")
    world.executions.promote()
    world.runner().run_lane("default")
    return world.executions.get(execution_id)


def retries(world: World) -> list[ExecutionRetried]:
    return [event for event in world.recorder.events if isinstance(event, ExecutionRetried)]


@pytest.mark.req("D-01")
def test_a_step_is_tried_again_after_a_wait_and_what_was_before_is_kept(
    flaky: World, connection: Connection[Any]
) -> None:
    execution_id = start(flaky, STEP_RETRY, Busy())

    waiting = flaky.executions.get(execution_id)
    assert waiting.state == "scheduled"
    assert flaky.runner().run_lane("default") == 0
    execution = go_on(flaky, execution_id)

    assert (execution.state, execution.attempt, execution.result) == ("succeeded", 2, "done")
    tries = [(step.path, step.step_try, step.outcome) for step in flaky.executions.steps(execution_id, limit=10)]
    assert tries == [("keep", 1, "succeeded"), ("try", 1, "failed"), ("try", 2, "succeeded")]
    assert (execution.steps_executed, execution.steps_failed, execution.mutations_count) == (2, 0, 1)
    assert connection.execute("select count(*) from fragments").fetchone() == (1,)
    [retried] = retries(flaky)
    assert (retried.reason, retried.step_path) == ("step_failed", "try")
    assert 0 <= retried.delay_us <= 10_000_000
    assert retried.error is not None
    assert retried.error.error_category == "server"


def test_an_item_that_is_tried_again_has_no_other_item_tried_again(flaky: World) -> None:
    execution_id = start(flaky, ITEMS, Busy("validation"), Busy(), Busy("network"), Busy())
    go_on(flaky, execution_id)
    execution = go_on(flaky, execution_id)

    assert execution.state == "succeeded"
    assert [execution.result["succeeded"], execution.result["failed"]] == [1, 2]
    tries = [
        (step.path, step.step_try, step.outcome)
        for step in flaky.executions.steps(execution_id, limit=20)
        if step.step_type == "flaky"
    ]
    assert tries == [
        ("each[0].which.try", 1, "failed"),
        ("each[1].which.try", 1, "failed"),
        ("each[1].which.try", 2, "failed"),
        ("each[2].which.try", 1, "failed"),
        ("each[2].which.try", 2, "succeeded"),
    ]


def test_a_step_fails_for_good_after_its_last_try(flaky: World) -> None:
    execution_id = start(flaky, STEP_RETRY, Busy(), Busy(), Busy(), Busy())
    go_on(flaky, execution_id)
    execution = go_on(flaky, execution_id)

    assert (execution.state, Flaky.runs) == ("failed", 3)
    assert [event.step_try for event in flaky.recorder.events if isinstance(event, StepFailed)] == [1, 2, 3]
    assert flaky.recorder.types.count("command.execution.failed") == 1


@pytest.mark.parametrize(
    ("category", "state"),
    [
        ("network", "scheduled"),
        ("timeout", "scheduled"),
        ("rate_limit", "scheduled"),
        ("server", "scheduled"),
        ("internal", "scheduled"),
        ("validation", "failed"),
    ],
)
def test_what_will_not_change_is_not_tried_again(flaky: World, category: str, state: str) -> None:
    execution_id = start(flaky, STEP_RETRY, Busy(cast("Category", category)))

    assert flaky.executions.get(execution_id).state == state


@pytest.mark.parametrize(
    ("category", "state"), [("network", "scheduled"), ("server", "failed"), ("internal", "failed")]
)
@pytest.mark.parametrize("source", ["step", "command"])
def test_only_the_categories_that_are_named_are_tried_again(
    flaky: World, source: str, category: str, state: str
) -> None:
    text = STEP_RETRY if source == "step" else COMMAND_RETRY
    text = text.replace("backoff: 10s", "on: [network, timeout], backoff: 10s")
    execution_id = start(flaky, text, Busy(cast("Category", category)))

    assert flaky.executions.get(execution_id).state == state


@pytest.mark.parametrize("source", [STEP_RETRY, COMMAND_RETRY], ids=["step", "command"])
def test_a_wait_that_the_other_side_asks_for_is_kept(flaky: World, source: str, connection: Connection[Any]) -> None:
    # Longer than `max_backoff` of either.
    start(flaky, source, Busy("rate_limit", timedelta(hours=2)))

    row = connection.execute("select run_at - now() from command_executions").fetchone()
    assert row is not None
    assert timedelta(minutes=119) < row[0] <= timedelta(hours=2)


@pytest.mark.req("D-01")
def test_a_command_is_tried_again_from_the_step_that_failed(flaky: World, connection: Connection[Any]) -> None:
    execution_id = start(flaky, COMMAND_RETRY, Busy())
    execution = go_on(flaky, execution_id)

    assert (execution.state, execution.attempt) == ("succeeded", 2)
    assert [event.reason for event in retries(flaky)] == ["failed"]
    assert connection.execute("select count(*) from fragments").fetchone() == (1,)
    assert connection.execute("select failures, deaths from command_executions").fetchone() == (1, 0)


def test_a_command_fails_for_good_after_its_last_attempt(flaky: World) -> None:
    execution_id = start(flaky, COMMAND_RETRY, *(Busy() for _ in range(9)))
    go_on(flaky, execution_id)
    execution = go_on(flaky, execution_id)

    assert (execution.state, execution.attempt, Flaky.runs) == ("failed", 3, 3)
    assert (execution.failures, execution.deaths) == (2, 0)
    assert execution.error is not None
    assert execution.error["code"] == "step.busy"


def test_a_dry_run_waits_for_nothing(flaky: World) -> None:
    Flaky.errors = [Busy()]
    execution = flaky.run(STEP_RETRY, dry_run=True)

    assert (execution.state, Flaky.runs) == ("failed", 1)


@pytest.mark.req("D-01")
def test_on_failure_runs_once_and_sees_what_went_before(flaky: World, connection: Connection[Any]) -> None:
    execution_id = start(flaky, CLEANS_UP, Busy("validation"))

    execution = flaky.executions.get(execution_id)
    assert execution.state == "failed"
    assert execution.error is not None
    assert (execution.error["step"], execution.error["category"]) == ("try", "validation")
    assert connection.execute("select message from notifications").fetchall() == [("kept",)]
    paths = [step.path for step in flaky.executions.steps(execution_id, limit=10)]
    assert paths == ["keep", "try", "on_failure:tell", "on_failure:again"]


def test_on_failure_goes_on_where_it_was_and_the_error_stays_what_it_was(
    flaky: World, connection: Connection[Any]
) -> None:
    execution_id = start(flaky, CLEANS_UP, Busy("validation"), Busy())
    assert flaky.executions.get(execution_id).state == "scheduled"
    execution = go_on(flaky, execution_id)

    assert (execution.state, execution.attempt, Flaky.runs) == ("failed", 2, 3)
    assert execution.error is not None
    assert (execution.error["step"], execution.error["category"]) == ("try", "validation")
    assert connection.execute("select count(*) from notifications").fetchone() == (1,)
    failed = flaky.recorder.events[-1]
    assert isinstance(failed, ExecutionFailed)
    assert failed.error is not None
    assert failed.error.error_fingerprint.hex() == execution.error["fingerprint"]


def test_on_failure_is_not_run_before_the_last_attempt(flaky: World, connection: Connection[Any]) -> None:
    source = CLEANS_UP.replace("slug: tidy", "slug: tidy\nretry: {max_attempts: 2, backoff: 1s}")
    execution_id = start(flaky, source, Busy(), Busy())

    assert connection.execute("select count(*) from notifications").fetchone() == (0,)
    go_on(flaky, execution_id)
    assert connection.execute("select count(*) from notifications").fetchone() == (1,)
