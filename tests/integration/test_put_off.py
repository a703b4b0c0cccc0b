"""Executions that are put off, and those that are not begun in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from fixtures.apis import Api
from psycopg import Connection

from dsl.errors import StepError
from dsl.step import Effect, Step, StepContext, StepParams, StepResult
from telemetry.clock import SystemClock
from workers.stops import Stops
from workers.testing import World

SAY = "slug: say\nsteps: [{id: say, type: respond, with: {value: 1}}]"


def stops(world: World) -> Stops:
    return Stops(world.pool, world.executions, world.clock, world.recorder)


def ahead(**span: float) -> datetime:
    return SystemClock().now() + timedelta(**span)


def pass_by(connection: Connection[Any], span: str = "2 h") -> None:
    """As if that much time had gone by for what waits."""
    connection.execute(
        "update command_executions set run_at = run_at - %(span)s::interval,"
        " expires_at = expires_at - %(span)s::interval where finished_at is null",
        {"span": span},
    )


@pytest.mark.req("D-04")
def test_what_is_put_off_runs_when_it_is_due_and_not_before(world: World, connection: Connection[Any]) -> None:
    execution_id = world.submit(world.load(SAY), run_at=ahead(hours=1))

    assert world.executions.get(execution_id).state == "scheduled"
    promoted = world.executions.promote()
    assert promoted.lanes == []
    assert promoted.again_in is not None
    assert timedelta(minutes=59) < promoted.again_in <= timedelta(hours=1)
    assert world.runner().run_lane("default") == 0

    pass_by(connection)
    assert world.executions.promote().lanes == ["default"]
    assert world.runner().run_lane("default") == 1
    execution = world.executions.get(execution_id)
    assert execution.state == "succeeded"
    assert execution.queue_wait_us is not None
    # It waited since it was due, not since it was asked for.
    assert execution.queue_wait_us < timedelta(minutes=61) / timedelta(microseconds=1)


def test_an_instant_that_has_passed_means_at_once(world: World) -> None:
    execution_id = world.submit(world.load(SAY), run_at=ahead(seconds=-30), expires_in=timedelta(minutes=5))

    execution = world.executions.get(execution_id)
    assert execution.state == "queued"
    assert execution.run_at > ahead(seconds=-20)
    assert execution.expires_at == execution.run_at + timedelta(minutes=5)
    assert world.runner().run_lane("default") == 1


@pytest.mark.req("D-04")
def test_what_waited_too_long_once_it_was_due_is_never_begun(world: World, connection: Connection[Any]) -> None:
    execution_id = world.submit(world.load(SAY), run_at=ahead(hours=1), expires_in=timedelta(minutes=10))

    pass_by(connection, "65 min")
    world.executions.promote()
    assert stops(world).expire() == 0
    pass_by(connection, "10 min")

    # Even where the sweep has not looked yet.
    assert world.runner().run_lane("default") == 0
    assert stops(world).expire() == 1
    assert world.executions.get(execution_id).state == "expired"


class Fails(Step):
    """Fails the first time."""

    type = "fails"
    effect = Effect.NONE
    Params = StepParams
    runs = 0

    def run(self, params: StepParams, context: StepContext) -> StepResult:
        Fails.runs += 1
        if Fails.runs == 1:
            raise StepError("once")
        return StepResult("done")


@pytest.mark.req("D-04")
def test_what_was_begun_does_not_expire_between_its_attempts(world: World, connection: Connection[Any]) -> None:
    Fails.runs = 0
    world.step_types["fails"] = Fails()
    command = world.load("slug: again\nsteps: [{id: a, type: fails, retry: {max_attempts: 2, backoff: 1h}}]")
    execution_id = world.submit(command, expires_in=timedelta(minutes=5))
    world.runner().run_lane("default")
    assert world.executions.get(execution_id).state == "scheduled"

    pass_by(connection)
    assert stops(world).expire() == 0
    world.executions.promote()
    assert stops(world).expire() == 0

    assert world.runner().run_lane("default") == 1
    assert world.executions.get(execution_id).state == "succeeded"


def test_what_is_begun_just_before_it_is_expired_goes_on(world: World, connection: Connection[Any]) -> None:
    Fails.runs = 0
    world.step_types["fails"] = Fails()
    command = world.load("slug: again\nsteps: [{id: a, type: fails, retry: {max_attempts: 2, backoff: 1h}}]")
    execution_id = world.submit(command, expires_in=timedelta(minutes=5))
    world.runner().run_lane("default")

    # As if the sweep had read its id before it was claimed.
    assert stops(world)._end(connection, execution_id, "expired") == "scheduled"
    assert world.executions.get(execution_id).state == "scheduled"


def test_a_submission_says_when_it_is_due_and_when_it_expires(api: Api) -> None:
    due = ahead(days=2).replace(microsecond=0)
    answer = api.submit("todo.add", {"body": "x"}, run_at=due.isoformat(), expires_in="90s", priority=1)

    assert answer.status_code == 202
    shown = answer.json
    assert (shown["state"], shown["priority"]) == ("scheduled", 1)
    assert datetime.fromisoformat(shown["run_at"]) == due
    assert datetime.fromisoformat(shown["expires_at"]) == due + timedelta(seconds=90)
    assert api.run() == 0


def test_a_zone_is_taken_into_account(api: Api) -> None:
    due = ahead(days=2).replace(microsecond=0)
    elsewhere = (due + timedelta(hours=5, minutes=30)).replace(tzinfo=None).isoformat() + "+05:30"

    assert datetime.fromisoformat(api.submit("todo.add", {"body": "x"}, run_at=elsewhere).json["run_at"]) == due


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        ({"run_at": "2026-03-01T09:00"}, "run_at", "not a valid aware datetime"),
        ({"run_at": "soon"}, "run_at", "not a valid"),
        ({"run_at": 1_800_000_000}, "run_at", "not a valid"),
        ({"run_at": "2020-03-01T09:00:00Z"}, "run_at", "days ago"),
        ({"run_at": "2999-03-01T09:00:00Z"}, "run_at", "days ahead"),
        ({"expires_in": "0s"}, "expires_in", "out of bounds"),
        ({"expires_in": "367d"}, "expires_in", "out of bounds"),
        ({"expires_in": "9999999999d"}, "expires_in", "expected a number of at most nine digits and a unit"),
        ({"expires_in": 30}, "expires_in", "expected a number of at most nine digits and a unit"),
        ({"expires_in": "-1s"}, "expires_in", "expected a number of at most nine digits and a unit"),
        ({"run_in": "30s"}, "run_in", "did you mean run_at?"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_what_was_expected(
    api: Api, body: dict[str, Any], path: str, said: str
) -> None:
    answer = api.submit("todo.add", {"body": "x"}, **body)

    assert answer.status_code == 422
    (fault,) = answer.json["errors"]
    assert fault["path"] == path
    assert said in fault["message"]


def test_null_is_as_if_it_were_not_there(api: Api) -> None:
    shown = api.submit("todo.add", {"body": "x"}, run_at=None, expires_in=None).json

    assert (shown["state"], shown["expires_at"]) == ("queued", None)


def test_another_time_under_the_same_key_is_another_submission(api: Api) -> None:
    def send(**fields: str) -> int:
        body = {"inputs": {"body": "x"}, **fields}
        return api.post("/api/commands/todo.add/executions", body, Idempotency_Key="k").status_code

    due = ahead(days=1).isoformat()
    assert [send(run_at=due), send(run_at=due), send(), send(run_at=due, expires_in="1h")] == [202, 202, 409, 409]
