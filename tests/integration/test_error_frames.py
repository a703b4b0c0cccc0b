"""Where errors arose: noted from the rows of what failed, once for each fingerprint, and never a name nobody wrote."""

from __future__ import annotations

import psycopg
import pytest
from fixtures.apis import Api, Weir
from fixtures.samples import ERROR, make_scope, now_us

from telemetry.events import StepFailed
from telemetry.ids import mint
from telemetry.written_frames import UNKNOWN, written_frames
from workers.error_frames import note_frames

BREAKS = "  - {id: x, type: fragment.update, with: {id: 01a1fa64-2221-741f-a676-2681ae902a06}}\n"


@pytest.fixture
def connection_of(api: Api) -> psycopg.Connection:
    return psycopg.connect(api.settings.servers.database_url or "", autocommit=True)


def fail(api: Api) -> None:
    api.write("breaks", BREAKS)
    api.submit("breaks")
    api.run()


@pytest.mark.req("S-10")
def test_frames_are_noted_once_and_told_with_their_error(api: Api, connection_of: psycopg.Connection) -> None:
    fail(api)
    with connection_of as connection:
        before = (
            api.get("/api/telemetry/errors").json["items"] + api.get("/api/telemetry/overview").json["newest_errors"]
        )
        noted = [note_frames(connection, api.resources.clock) for _ in range(2)]
    # The same question, and no event since: the answer that is kept would be the one without frames.
    (error,) = api.get("/api/telemetry/errors").json["items"]

    assert [item["frames"] for item in before] == [None, None]
    assert noted == [1, 0]
    assert error["error_type"] == "FragmentNotFound"
    assert error["frames"][-1].startswith("dsl.fragments:_one:")
    assert any(frame.startswith("dsl.steps.fragment_update:FragmentUpdate.run:") for frame in error["frames"])
    assert UNKNOWN not in "".join(error["frames"])
    assert api.get("/api/telemetry/overview").json["newest_errors"][0]["frames"] == error["frames"]


@pytest.mark.req("C-14")
def test_names_that_are_made_of_a_text_are_not_noted(api: Api, connection_of: psycopg.Connection) -> None:
    fail(api)
    made = ["dsl.fragments:divorce:12", "dsl.papers:_one:3", "acme:x:1", "dsl.fragments:_one:333", "a title", 7]
    with connection_of as connection:
        frames = psycopg.types.json.Jsonb(made)
        connection.execute(
            "update command_steps set error = error || jsonb_build_object('frames', %s::jsonb)", [frames]
        )
        note_frames(connection, api.resources.clock)
    (error,) = api.get("/api/telemetry/errors").json["items"]

    assert error["frames"] == [
        "dsl.fragments:<unknown>:12", UNKNOWN, UNKNOWN, "dsl.fragments:_one:333", UNKNOWN, UNKNOWN
    ]  # fmt: skip


@pytest.mark.req("S-10")
def test_an_error_without_a_row_has_no_frames_and_costs_nothing_more(
    api: Api, connection_of: psycopg.Connection
) -> None:
    at_us = now_us()
    event = StepFailed(mint(at_us), at_us, make_scope(), "create", "fragment.create", 10, ERROR)
    api.resources.recorder.record(event)
    with connection_of as connection:
        assert note_frames(connection, api.resources.clock) == 0
    (error,) = api.get("/api/telemetry/errors").json["items"]
    assert error["frames"] is None


@pytest.mark.req("S-10")
def test_frames_are_shown_below_the_list(weir: Weir, busy_api: Api) -> None:
    busy_api.write("breaks", BREAKS)
    assert weir("run", "breaks").code == 1
    with psycopg.connect(busy_api.settings.servers.database_url or "", autocommit=True) as connection:
        note_frames(connection, busy_api.resources.clock)

    shown = weir("telemetry", "errors", "--frames").out

    assert "\n  dsl.fragments:_one:" in shown
    assert "FragmentNotFound" in shown
    assert weir("telemetry", "errors", "-f", "tpye:x").code == 2


def test_frames_of_lambdas_methods_and_nested_functions_are_written() -> None:
    frames = ["dsl.executor:Executor._run_step:226", "dsl.executor:Executor._perform.<locals>.<lambda>:1", "dsl:x:1"]

    assert written_frames(frames) == [*frames[:2], "dsl:<unknown>:1"]
