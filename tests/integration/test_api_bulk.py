"""Many submissions in one request: one transaction, and a verdict for each."""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures.apis import Api
from fixtures.installations import awaited
from psycopg import Connection
from psycopg.rows import scalar_row

from api.schemas.bulk import BulkAnswerShape
from dsl.command import DEFAULT_LANE
from workers import bulk, executions
from workers.broker import queue_of
from workers.bulk import MAX_HINTS
from workers.idempotency import hash_of_key

BULK = "/api/executions/bulk"


def todo(body: str, **fields: object) -> dict[str, Any]:
    return {"command": "todo.add", "inputs": {"body": body}, **fields}


def send(api: Api, *items: object, **headers: str) -> dict[str, Any]:
    answer = api.post(BULK, {"items": list(items)}, **headers)
    assert answer.status_code == 200, answer.text
    assert BulkAnswerShape().validate(answer.json) == {}
    body: dict[str, Any] = answer.json
    assert [item["index"] for item in body["items"]] == list(range(len(items)))
    return body


def one(connection: Connection[Any], statement: str) -> Any:  # noqa: ANN401 - any value
    return connection.cursor(row_factory=scalar_row).execute(statement).fetchone()


def events(connection: Connection[Any]) -> Counter[str]:
    return Counter(name for (name,) in connection.execute("select event_type from telemetry_events").fetchall())


def test_each_is_accepted_or_refused_by_itself(api: Api, connection: Connection[Any]) -> None:
    api.write("faulty", "  - nothing\n")
    given: list[object] = [
        todo("one"),
        todo("two", priority=12),
        {"command": "todo.ad"},
        {"command": "faulty"},
        {"inputs": {}},
        {"command": "todo.add", "inputs": {"bodi": "x"}},
        todo("a NUL \0"),
        todo("half \ud800"),
        {"command": "todo.add", "inputs": {"body": "x", "priority": 2**70}},
        todo("x", idempotency_key="two\nlines"),
        todo("x", correlation_id="no id"),
        todo("x", comand="y"),
        "text",
        None,
        ["list"],
        todo("last", dry_run=True, user="ada", space="attic", priority=1),
    ]

    body = send(api, *given)

    assert [item["verdict"] for item in body["items"]] == ["accepted", *["refused"] * 14, "accepted"]
    assert (body["accepted"], body["replayed"], body["refused"]) == (2, 0, 14)
    assert one(connection, "select count(*) from command_executions") == 2
    assert events(connection)["command.execution.queued"] == 2
    assert events(connection)["command.validation.failed"] == 1
    last = api.get(body["items"][-1]["location"]).json
    assert (last["user"], last["space"], last["priority"], last["dry_run"]) == ("ada", "attic", 1, True)
    assert api.run() == 2


@pytest.mark.parametrize(
    ("slug", "fields"),
    [
        ("todo.add", {"inputs": {"bodi": "x"}}),
        ("todo.ad", {}),
        ("todo.add", {"inputs": {"body": "a NUL \0"}}),
        ("todo.add", {"inputs": 1, "usr": "ada", "priority": 10}),
        ("secret", {}),
        ("faulty", {}),
        ("todo.add", {"inputs": {"body": json.loads("[" * 300 + "]" * 300)}}),
    ],
    ids=lambda given: str(given)[:60],
)
def test_a_refusal_is_that_of_a_single_submission(api: Api, slug: str, fields: dict[str, Any]) -> None:
    api.write("faulty", "  - nothing\n")
    api.write("secret", "  - id: a\n    type: respond\n    with: {value: 1}\n", "{}\nrequires:\n  secrets: [KEY]")

    single = api.post(f"/api/commands/{slug}/executions", fields)
    (verdict,) = send(api, {"command": slug, **fields})["items"]

    assert (verdict["verdict"], verdict["status"]) == ("refused", single.status_code)
    assert verdict["problem"] == single.json


def test_all_of_a_thousand_are_committed_together_and_run_in_their_order(api: Api, connection: Connection[Any]) -> None:
    body = send(api, *(todo(str(number), user=f"user {number % 7}") for number in range(1000)))

    assert body["accepted"] == 1000
    (transactions, marks) = connection.execute(
        "select count(distinct xmin::text), count(distinct run_at) from command_executions"
    ).fetchone() or (0, 0)
    assert (transactions, marks) == (1, 1000)
    due = connection.execute(
        "select inputs ->> 'body' from command_executions order by priority, run_at, id"
    ).fetchall()
    assert [int(text) for (text,) in due] == list(range(1000))
    assert events(connection)["command.execution.queued"] == 1000
    # One for each thread that could help, not one for each execution.
    assert api.resources.broker.depth(queue_of(DEFAULT_LANE)) == MAX_HINTS


def test_more_than_a_thousand_are_refused_with_a_code(api: Api, connection: Connection[Any]) -> None:
    answer = api.post(BULK, {"items": [todo("x")] * 1001})

    assert (answer.status_code, answer.json["errors"][0]["code"]) == (422, "request.too_many_items")
    assert one(connection, "select count(*) from command_executions") == 0


def test_a_body_that_is_too_large_is_refused_whole(api: Api, connection: Connection[Any]) -> None:
    answer = api.post(BULK, {"items": [todo("x" * 17_000_000)]})

    assert (answer.status_code, answer.json["code"]) == (413, "request.too_large")
    assert one(connection, "select count(*) from command_executions") == 0


def test_a_key_of_an_item_is_that_of_a_single_submission(api: Api, connection: Connection[Any]) -> None:
    path = "/api/commands/todo.add/executions"
    single = api.post(path, {"inputs": {"body": "before"}}, Idempotency_Key="a").json

    body = send(
        api,
        todo("before", idempotency_key="a"),
        todo("another", idempotency_key="a"),
        todo("new", idempotency_key="b"),
        todo("new", idempotency_key="b"),
        todo("other", idempotency_key="b"),
        todo("new", idempotency_key="b", user="ada"),
        todo("no key"),
    )
    after = api.post(path, {"inputs": {"body": "new"}}, Idempotency_Key="b")

    verdicts = [(item["verdict"], item["status"]) for item in body["items"]]
    accepted, replayed, refused = ("accepted", 202), ("replayed", 202), ("refused", 409)
    assert verdicts == [replayed, refused, accepted, replayed, refused, accepted, accepted]
    assert body["items"][0]["id"] == single["id"]
    assert body["items"][1]["problem"]["code"] == "execution.key_reused"
    assert body["items"][2]["id"] == body["items"][3]["id"] == after.json["id"]
    assert after.headers["Idempotent-Replay"] == "true"
    assert one(connection, "select count(*) from command_executions") == 4
    assert events(connection)["command.execution.queued"] == 4


def test_a_key_whose_day_is_over_is_anybodys(api: Api, connection: Connection[Any]) -> None:
    first = send(api, todo("x", idempotency_key="a"), Idempotency_Key="all")
    for table in ("idempotency_keys", "bulk_keys"):
        connection.execute(f"update {table} set created_at = now() - interval '25 hours'")  # noqa: S608 - our own

    again = send(api, todo("y", idempotency_key="a"), Idempotency_Key="all")

    assert (first["accepted"], again["accepted"]) == (1, 1)
    connection.execute("update bulk_keys set created_at = now() - interval '25 hours'")
    assert bulk.BulkKeys(api.resources.pool).forget() == 1


def test_all_of_it_sent_again_under_its_key_has_the_same_answer(api: Api, connection: Connection[Any]) -> None:
    items = [todo("one"), {"command": "none"}, todo("two")]
    first = api.post(BULK, {"items": items}, Idempotency_Key="all")
    again = api.post(BULK, {"items": items}, Idempotency_Key="all")
    other = api.post(BULK, {"items": items[:1]}, Idempotency_Key="all")
    refused = api.post(BULK, {"items": items}, Idempotency_Key="x" * 256)

    assert first.json == again.json
    assert ("Idempotent-Replay" in first.headers, again.headers["Idempotent-Replay"]) == (False, "true")
    assert (other.status_code, other.json["code"]) == (409, "execution.key_reused")
    assert refused.status_code == 422
    assert one(connection, "select count(*) from command_executions") == 2


def test_of_many_that_come_at_once_under_one_key_one_is_accepted(api: Api, connection: Connection[Any]) -> None:
    def post(_: int) -> Any:  # noqa: ANN401 - any JSON
        client = api.app.test_client()
        return client.post(BULK, json={"items": [todo(str(n)) for n in range(50)]}, headers={"Idempotency-Key": "all"})

    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(post, range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.data for answer in answers if "Idempotent-Replay" in answer.headers}) == 1
    assert sum("Idempotent-Replay" not in answer.headers for answer in answers) == 1
    assert one(connection, "select count(*) from command_executions") == 50


def test_two_that_share_keys_in_other_orders_do_not_wait_in_a_circle(api: Api, connection: Connection[Any]) -> None:
    names = sorted((f"key {number}" for number in range(21)), key=hash_of_key)
    keyed = [todo(name, idempotency_key=name) for name in names]
    other = api.submit("todo.add", {"body": "other"}).json["id"]

    def post(items: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - any JSON
        return api.app.test_client().post(BULK, json={"items": items}).json

    with ThreadPoolExecutor(2) as callers:
        with connection.transaction(force_rollback=True):
            # Both of them come as far as this key, one from either side.
            connection.execute(
                "insert into idempotency_keys values (%s, %s, %s, %s, %s)",
                ("local-default", "todo.add", hash_of_key(names[10]), b"", other),
            )
            posts = [callers.submit(post, items) for items in (keyed, keyed[::-1])]
            awaited(lambda: _waiting(api) == 2)
        answers = [each.result() for each in posts]

    assert sorted(answer.get("accepted") for answer in answers) == [0, 21]
    assert sorted(answer.get("replayed") for answer in answers) == [0, 21]


def _waiting(api: Api) -> int:
    """How many statements of this database wait for a lock."""
    with api.resources.pool.connection() as connection:
        return int(
            one(
                connection,
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
        )


def test_without_postgres_nothing_is_accepted(api: Api, database_url: str) -> None:
    send(api, todo("so that everything is open"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create function die() returns trigger language plpgsql as "
            "$$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
        )
        connection.execute(
            "create trigger dies before insert on command_executions for each row execute function die()"
        )

        answer = api.post(BULK, {"items": [todo("one", idempotency_key="a"), todo("two")]}, Idempotency_Key="all")

        assert (answer.status_code, answer.json["code"]) == (503, "store.unavailable")
        assert answer.headers["Retry-After"] == "2"
        assert one(connection, "select count(*) from command_executions") == 1
        assert one(connection, "select count(*) from idempotency_keys") == 0
        assert one(connection, "select count(*) from bulk_keys") == 0
        connection.execute("drop trigger dies on command_executions")

    again = api.post(BULK, {"items": [todo("one", idempotency_key="a"), todo("two")]}, Idempotency_Key="all")
    assert again.json["accepted"] == 2
    assert "Idempotent-Replay" not in again.headers


def test_without_redis_they_are_accepted_all_the_same(api_without_redis: Api) -> None:
    body = send(api_without_redis, *(todo(str(number)) for number in range(20)))

    assert body["accepted"] == 20


def test_when_it_is_due_and_how_long_it_may_wait_are_those_of_a_single_submission(
    api: Api, connection: Connection[Any]
) -> None:
    single = api.submit("todo.add", {"body": "single"}, expires_in="1h", run_at=_soon(api)).json

    body = send(api, todo("x", expires_in="1h", run_at=_soon(api)), todo("y", expires_in="90s"), todo("z"))

    assert body["accepted"] == 3, body
    states = [api.get(item["location"]).json["state"] for item in body["items"]]
    assert states == [api.get(f"/api/executions/{single['id']}").json["state"], "queued", "queued"]
    assert states[0] == "scheduled"
    spans = connection.execute(
        "select inputs ->> 'body', "
        "extract(epoch from date_trunc('second', expires_at - run_at + interval '1 ms'))::int "
        "from command_executions where expires_at is not null and inputs ->> 'body' in ('x', 'y')"
    ).fetchall()
    assert dict(spans) == {"x": 3600, "y": 90}
    assert one(connection, "select expires_at from command_executions where inputs ->> 'body' = 'z'") is None


def _soon(api: Api) -> str:
    return (api.resources.clock.now() + timedelta(hours=1)).isoformat()


def test_one_and_many_write_the_same_columns() -> None:
    def columns(name: str, path: Path) -> list[str]:
        text = re.sub("--.*", "", path.read_text(encoding="utf-8").partition(f"-- name: {name}\n")[2])
        found = re.search(r"insert into command_executions \((.*?)\)", text, re.DOTALL)
        assert found is not None
        return re.split(r",\s*", found[1].strip())

    assert columns("submit", bulk.SQL.path) == columns("submit", executions.SQL.path)
