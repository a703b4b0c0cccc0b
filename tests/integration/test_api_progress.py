"""`GET /api/executions/{id}/events`: what is told is what the ledger has, whoever is cut off when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from fixtures.apis import Api, Weir
from fixtures.installations import awaited
from fixtures.streams import Reader, Said, parse, serving
from psycopg import Connection

from api import streaming
from api.app import close_app
from api.cli import follow
from api.client import ApiRefused, Client
from api.resources import context, execution_events
from api.schemas.answers import ExecutionDetailShape, StepShape
from api.settings import ApiSettings, Settings


def told(api: Api, execution_id: str, **headers: str) -> list[Said]:
    """All events of an execution that is final, or will be."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = api.open("GET", f"/api/executions/{execution_id}/events", headers=named)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "text/event-stream"
    return parse(answer.text)


NESTED = """
  - {id: first, type: transform, with: {template: one}}
  - id: each
    type: list.map
    with: {items: [1, 2, 3], as: n, do: [{id: inner, type: transform, with: {template: "{{ n }}"}}]}
  - {id: last, type: transform, with: {template: two}}
"""


def nested(api: Api) -> str:
    api.write("nested", NESTED)
    execution_id: str = api.submit("nested").json["id"]
    return execution_id


def test_steps_states_and_the_end_are_told_in_their_order(api: Api) -> None:
    execution_id = nested(api)
    assert api.run() == 1

    said = told(api, execution_id)

    path = f"/api/executions/{execution_id}"
    steps = [event.data for event in said if event.name == "step"]
    assert {step["ordinal"] for step in steps} == {step["ordinal"] for step in api.get(f"{path}/steps").json["items"]}
    assert [step["path"] for step in steps] == ["first", *(f"each[{n}].inner" for n in range(3)), "each", "last"]
    assert all(StepShape().validate(step) == {} for step in steps)
    assert said[-1].name == "final"
    assert ExecutionDetailShape().validate(said[-1].data) == {}
    assert said[-1].data == api.get(path).json


def test_after_any_event_the_rest_comes_and_after_the_last_there_is_nothing(api: Api) -> None:
    execution_id = nested(api)
    api.run()
    whole = told(api, execution_id)

    for index, event in enumerate(whole[:-1]):
        assert told(api, execution_id, Last_Event_ID=event.id) == whole[index + 1 :]
        again = api.get(f"/api/executions/{execution_id}/events", after=event.id)
        assert parse(again.text) == whole[index + 1 :]

    over = api.open("GET", f"/api/executions/{execution_id}/events", headers={"Last-Event-ID": whole[-1].id})
    assert (over.status_code, over.data) == (204, b"")


def test_a_plain_ordinal_means_what_it_means_for_the_list_of_steps(api: Api) -> None:
    execution_id = nested(api)
    api.run()

    said = parse(api.get(f"/api/executions/{execution_id}/events", after=4).text)

    listed = api.get(f"/api/executions/{execution_id}/steps", after=4).json["items"]
    assert [event.data for event in said if event.name == "step"] == listed


def test_the_header_counts_more_than_the_address_which_a_browser_repeats(api: Api) -> None:
    execution_id = nested(api)
    api.run()
    whole = told(api, execution_id)

    path = f"/api/executions/{execution_id}/events?after=0"
    again = api.open("GET", path, headers={"Last-Event-ID": whole[3].id})

    assert parse(again.text) == whole[4:]


def test_an_attempt_that_begins_a_step_again_leaves_nobody_waiting_for_the_one_before(
    api: Api, connection: Connection[Any]
) -> None:
    execution_id = nested(api)
    api.run()
    # As if the worker had died when the items were done: another began the map again, and ended it.
    connection.execute("update command_steps set attempt = 2, ordinal = ordinal + 4 where path = 'each'")
    connection.execute("update command_steps set attempt = 2, ordinal = ordinal + 1 where path = 'last'")

    said = told(api, execution_id)

    steps = [(event.data["path"], event.data["attempt"], event.id) for event in said if event.name == "step"]
    assert steps == [
        ("first", 1, "1"),
        ("each[0].inner", 1, "3!2"),
        ("each[1].inner", 1, "4!2"),
        ("each[2].inner", 1, "5!2"),
        ("each", 2, "6!2"),
        ("last", 2, "7!2"),
    ]
    assert said[-1].id == "7~succeeded.1"


def test_an_execution_is_told_while_it_goes_on(api: Api) -> None:
    execution_id = nested(api)
    with serving(api.app) as address:
        reader = Reader(address, f"/api/executions/{execution_id}/events")
        events = reader.events()
        first = next(events)
        assert (first.name, first.data["state"]) == ("state", "queued")

        api.run()
        said = [first, *events]
        reader.close()

    steps = [event.data["ordinal"] for event in said if event.name == "step"]
    assert sorted(steps) == [1, 2, 3, 4, 5, 6]
    assert (said[-1].name, said[-1].data["state"]) == ("final", "succeeded")


def test_many_readers_cost_one_look_and_a_place_each(api_settings: Settings) -> None:
    settings = replace(api_settings, api=ApiSettings(threads=2, streams=3))
    api = Api(settings, settings.servers.commands_dir)
    try:
        execution_id = nested(api)
        path = f"/api/executions/{execution_id}/events"
        with serving(api.app) as address:
            readers = [Reader(address, path) for _ in range(3)]
            streams = [reader.events() for reader in readers]
            assert [next(stream).data["state"] for stream in streams] == ["queued"] * 3

            refused = api.get(path)
            assert (refused.status_code, refused.json["code"]) == (503, "stream.too_many")
            assert refused.headers["Retry-After"] == "2"
            assert api.get(f"/api/executions/{execution_id}").status_code == 200

            readers[0].close()  # somebody goes: there is a place again
            awaited(lambda: _free(api) == 1)
            api.run()
            ends = [list(stream)[-1] for stream in streams[1:]]
            for reader in readers[1:]:
                reader.close()
            assert [end.name for end in ends] == ["final", "final"]
            awaited(lambda: _free(api) == 3)
    finally:
        close_app(api.app)


def _free(api: Api) -> int:
    with api.app.app_context():
        return context.streams()._free


def test_when_the_server_ends_its_streams_end_at_once_and_say_when_to_come_back(api: Api) -> None:
    execution_id = nested(api)
    with serving(api.app) as address:
        reader = Reader(address, f"/api/executions/{execution_id}/events")
        assert next(reader.events()).name == "state"

        context.end_streams(api.app)
        left = reader.rest()
        reader.close()

    assert b"retry: 1000" in left
    assert b"event:" not in left


def test_a_stream_with_nothing_to_say_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT", timedelta(milliseconds=10))
    monkeypatch.setattr(execution_events, "_LOOK_S", 0.01)
    execution_id = nested(api)
    with serving(api.app) as address:
        reader = Reader(address, f"/api/executions/{execution_id}/events")
        found = next(line for line in reader._file if line.startswith(b":"))
        reader.close()

    assert found == b": nothing new\n"


def test_when_postgres_goes_away_the_stream_says_so_and_ends(api: Api, database_url: str) -> None:
    execution_id = nested(api)
    with serving(api.app) as address:
        reader = Reader(address, f"/api/executions/{execution_id}/events")
        events = reader.events()
        first = next(events)
        with psycopg.connect(database_url, autocommit=True) as connection:
            with connection.transaction():  # as good as away, for what streams ask
                connection.execute("alter table command_executions rename to gone")
                connection.execute(
                    "create function gone() returns boolean language plpgsql as "
                    "$$ begin perform pg_terminate_backend(pg_backend_pid()); return true; end $$"
                )
                connection.execute("create view command_executions as select * from gone where gone()")
            said = list(events)
            with connection.transaction():
                connection.execute("drop view command_executions")
                connection.execute("alter table gone rename to command_executions")
        reader.close()
        api.run()

        assert [event.name for event in said] == ["problem"]
        assert (said[0].data["code"], said[0].id) == ("store.unavailable", first.id)
        assert told(api, execution_id, Last_Event_ID=said[0].id)[-1].name == "final"


def test_a_stream_that_crashes_says_so_and_nothing_of_why(api: Api, connection: Connection[Any]) -> None:
    execution_id = nested(api)
    with serving(api.app) as address:
        reader = Reader(address, f"/api/executions/{execution_id}/events")
        events = reader.events()
        next(events)
        connection.execute("alter table command_steps rename to gone")
        said = list(events)
        connection.execute("alter table gone rename to command_steps")
        reader.close()

    assert [(event.name, event.data["code"]) for event in said] == [("problem", "internal")]
    assert "command_steps" not in str(said)


def test_what_cannot_be_told_is_refused_before_the_first_event(api: Api) -> None:
    nobody = "01a1fa64-2221-741f-a676-2681ae902a06"

    assert api.get(f"/api/executions/{nobody}/events").json["code"] == "execution.not_found"
    assert api.get(f"/api/executions/{nobody}/events", after="x").status_code == 422
    execution_id = nested(api)
    header = api.open("GET", f"/api/executions/{execution_id}/events", headers={"Last-Event-ID": "x y"})
    assert (header.status_code, header.json["code"]) == (422, "request.invalid")
    empty = api.open("GET", f"/api/executions/{execution_id}/events", headers={"Last-Event-ID": ""})
    assert empty.status_code == 422
    head = api.open("HEAD", f"/api/executions/{execution_id}/events")
    assert (head.status_code, head.mimetype, head.data) == (200, "text/event-stream", b"")
    assert _free(api) == ApiSettings().streams


def test_nobody_looks_when_nobody_listens(api: Api) -> None:
    execution_id = nested(api)
    api.run()
    told(api, execution_id)

    with api.app.app_context():
        progress = context.progress()
    awaited(lambda: progress._thread is None)
    assert progress._watched == {}


def test_the_command_line_follows_by_the_stream(weir: Weir, busy_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    busy_api.write("nested", NESTED)
    monkeypatch.setattr(follow, "_poll", None)

    ran = weir("run", "nested")
    execution_id = busy_api.get("/api/executions").json["items"][0]["id"]
    followed = weir("executions", "follow", execution_id, "--format", "json")

    assert ran.code == 0, ran.err
    assert [line.split()[1] for line in ran.out.splitlines()[:6]] == [
        "first", "each[0].inner", "each[1].inner", "each[2].inner", "each", "last",
    ]  # fmt: skip
    assert (followed.code, followed.json["state"]) == (0, "succeeded")
    assert "each[2].inner" in followed.err


@pytest.mark.parametrize("code", ["stream.too_many", "route.not_found"])
def test_without_a_stream_it_asks_again_and_again(
    weir: Weir, busy_api: Api, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401 - never returns
        raise ApiRefused(503, {"code": code})

    monkeypatch.setattr(Client, "events", refuse)
    busy_api.write("nested", NESTED)

    ran = weir("run", "nested")

    assert ran.code == 0, ran.err
    assert [line.split()[1] for line in ran.out.splitlines()[:6]][-1] == "last"


def test_no_longer_than_wait_is_a_stream_read(weir: Weir, busy_api: Api) -> None:
    do = "{id: one, type: transform, with: {template: x}}"
    items = json.dumps(list(range(2000)))
    busy_api.write("long", f"  - {{id: each, type: list.map, with: {{items: {items}, as: n, do: [{do}]}}}}\n")

    typed = weir("run", "long", "--wait", "0.1")

    assert typed.code == 1
    assert "after 0.1 s" in typed.err
