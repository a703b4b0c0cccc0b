"""A submission that is sent again under its key is the same execution."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fixtures.apis import Api
from psycopg import Connection

from dsl.testing import make_command
from telemetry.ids import new_id
from workers.errors import IdempotencyConflict
from workers.idempotency import Idempotency, Mark
from workers.submissions import Submission
from workers.testing import World


def submission(world: World, **fields: Any) -> Submission:  # noqa: ANN401 - of any field
    given = {"inputs": {}, "user": "ada", "space": "default", "request_source": "api", **fields}
    return Submission(command=make_command(), correlation_id=new_id(world.clock.unix_us()), **given)


def mark(key: str, **said: object) -> Mark:
    user = str(said.get("user", "ada"))
    return Mark.of(key, user, make_command().slug, said)


def accepted(connection: Connection[Any]) -> int:
    (found,) = connection.execute("select count(*) from command_executions").fetchone() or (0,)
    return int(found)


@pytest.mark.req("D-01")
def test_of_a_thousand_at_once_one_is_accepted(world: World, connection: Connection[Any]) -> None:
    idempotency = Idempotency(world.pool, world.executions)

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: idempotency.submit(submission(world), mark("once")), range(1000)))

    assert accepted(connection) == 1
    assert len({execution_id for execution_id, _ in answers}) == 1
    assert sum(not is_replay for _, is_replay in answers) == 1
    assert world.recorder.types == ["command.execution.queued"]


def test_a_key_is_that_of_one_user_and_one_submission(world: World, connection: Connection[Any]) -> None:
    idempotency = Idempotency(world.pool, world.executions)
    idempotency.submit(submission(world), mark("key"))

    idempotency.submit(submission(world, user="grace"), mark("key", user="grace"))
    idempotency.submit(submission(world), mark("another key"))
    with pytest.raises(IdempotencyConflict):
        idempotency.submit(submission(world, priority=1), mark("key", priority=1))

    assert accepted(connection) == 3


def test_a_key_is_anybodys_again_after_a_day(world: World, connection: Connection[Any]) -> None:
    idempotency = Idempotency(world.pool, world.executions)
    first, _ = idempotency.submit(submission(world), mark("key"))
    connection.execute("update idempotency_keys set created_at = now() - interval '25 hours'")

    second, is_replay = idempotency.submit(submission(world, priority=1), mark("key", priority=1))

    assert (second == first, is_replay) == (False, False)
    connection.execute("update idempotency_keys set created_at = now() - interval '25 hours'")
    assert idempotency.forget() == 1


@pytest.mark.req("D-01")
def test_over_rest_a_key_that_is_sent_again_gets_the_same_execution(api: Api) -> None:
    path, body = "/api/commands/todo.add/executions", {"inputs": {"body": "once"}}

    first = api.post(path, body, Idempotency_Key="abc")
    again = api.post(path, body, Idempotency_Key="abc")
    other = api.post(path, {"inputs": {"body": "twice"}}, Idempotency_Key="abc")
    refused = api.post(path, body, Idempotency_Key="x" * 256)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json["id"] == again.json["id"]
    assert ("Idempotent-Replay" in first.headers, again.headers["Idempotent-Replay"]) == (False, "true")
    assert (other.status_code, other.json["code"]) == (409, "execution.key_reused")
    assert refused.status_code == 422
    assert api.run() == 1


@pytest.mark.req("D-01")
def test_a_replay_is_answered_whatever_became_of_the_command(api: Api) -> None:
    steps = "  - {id: say, type: respond, with: {value: done}}\n"
    api.write("passing", steps, "{name: {type: string, default: ada}}")
    path, bulk = "/api/commands/passing/executions", "/api/executions/bulk"
    said: dict[str, object] = {"command": "passing", "inputs": {"name": "eve"}, "idempotency_key": "item"}
    items = {"items": [said]}
    first = api.post(path, {}, Idempotency_Key="abc")
    (one,) = api.post(bulk, items).json["items"]

    api.write("passing", steps, "{surname: {type: string, required: true}}")
    edited, (item,) = api.post(path, {}, Idempotency_Key="abc"), api.post(bulk, items).json["items"]
    api.write("passing", "  - {id: say, type: no.such}\n")
    broken = api.post(path, {}, Idempotency_Key="abc")
    (api.commands / "passing.yaml").unlink()
    gone, (last,) = api.post(path, {}, Idempotency_Key="abc"), api.post(bulk, items).json["items"]
    other = api.post(path, {"priority": 1}, Idempotency_Key="abc")
    (refused,) = api.post(bulk, {"items": [said | {"priority": 1}]}).json["items"]

    for answer in (edited, broken, gone):
        assert (answer.status_code, answer.json["id"]) == (202, first.json["id"])
        assert answer.headers["Idempotent-Replay"] == "true"
    assert [(each["id"], each["verdict"]) for each in (item, last)] == [(one["id"], "replayed")] * 2
    assert (other.status_code, refused["status"]) == (409, 409)
    assert api.post(path, {}, Idempotency_Key="new").status_code == 404
    assert api.post("/api/commands/%00/executions", {}, Idempotency_Key="abc").status_code == 422


def test_what_is_left_out_is_the_same_as_what_the_api_takes_it_for(api: Api) -> None:
    path = "/api/commands/todo.add/executions"

    first = api.post(path, {"inputs": {"body": "once"}}, Idempotency_Key="abc")
    again = api.post(path, {"priority": 5, "dry_run": False, "inputs": {"body": "once"}}, Idempotency_Key="abc")

    assert (again.json["id"], again.headers["Idempotent-Replay"]) == (first.json["id"], "true")
