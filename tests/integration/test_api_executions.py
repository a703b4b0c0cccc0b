"""Submitting, showing and listing executions over REST: all of the resource, over one client."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from fixtures.apis import Answer, Api
from psycopg import sql

from api.resources import context
from api.resources.context import Context
from api.schemas.answers import ExecutionDetailShape, ExecutionPage, StepPage
from telemetry.ids import new_id

GIVEN = "0198a000-0000-7000-8000-0000000000aa"

FAILS = "  - {id: check, type: validate, with: {rules: [{value: 11, max: 10}]}}\n"


def events_of(api: Api, trace_id: str) -> list[dict[str, Any]]:
    return list(api.get(f"/api/telemetry/traces/{trace_id}").json["items"])


@pytest.mark.req("C-01", "C-05", "D-04")
def test_a_submission_is_accepted_run_and_traced_under_the_callers_correlation_id(api: Api) -> None:
    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, X_Correlation_ID=GIVEN)

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/executions/{answer.json['id']}"
    assert answer.headers["X-Correlation-ID"] == GIVEN
    assert ExecutionDetailShape().validate(answer.json) == {}
    assert (answer.json["state"], answer.json["correlation_id"], answer.json["request_source"]) == (
        "queued",
        GIVEN,
        "api",
    )

    assert api.run() == 1
    final = api.get(answer.headers["Location"]).json
    events = events_of(api, GIVEN)

    assert ExecutionDetailShape().validate(final) == {}
    assert (final["state"], final["error"]) == ("succeeded", None)
    assert final["steps_executed"] == final["steps_successful"] > 0
    assert {"entity": "fragment", "operation": "created", "rows": 1} in final["effects"]
    assert final["total_duration_ms"] > 0
    assert final["elapsed_ms"] >= final["queue_wait_ms"]
    types = [event["event_type"] for event in events]
    assert {event["correlation_id"] for event in events} == {GIVEN}
    assert {event["execution_id"] for event in events if event["component"] != "http"} == {final["id"]}
    assert types.count("http.request.completed") == 1
    assert types[-1] == "command.execution.completed"
    assert {"command.execution.queued", "command.execution.started", "dsl.step.executed", "fragment.created"} <= set(
        types
    )
    steps = api.get(final["links"]["steps"]).json
    assert StepPage().validate(steps) == {}
    assert len(steps["items"]) == sum(event["component"] == "dsl" for event in events)


def test_an_execution_id_finds_the_trace_too(api: Api) -> None:
    submitted = api.submit("todo.add", {"body": "x"}).json

    by_execution = api.get(submitted["links"]["trace"]).json

    by_itself = api.get(f"/api/telemetry/traces/{submitted['correlation_id']}").json
    assert by_execution == {**by_itself, "found_by": "execution"}
    assert by_execution["next_cursor"] is None


def test_the_request_itself_is_on_record_with_its_template_and_never_its_path(api: Api) -> None:
    submitted = api.submit("todo.add", {"body": "x"}).json

    [request] = [event for event in events_of(api, submitted["id"]) if event["component"] == "http"]

    assert request["operation"] == "/api/commands/<slug>/executions"
    assert request["measures"] == {"method": "POST", "status": 202}
    assert request["duration_ms"] > 0
    assert (request["command_slug"], request["execution_id"], request["outcome"]) == ("todo.add", None, "succeeded")
    assert len(request["user_id"]) == 32


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/api/telemetry/events", "/api/openapi.json", "/docs/problems"]
)
def test_looking_at_health_telemetry_and_documents_leaves_no_event(api: Api, path: str) -> None:
    api.get(path)

    assert api.get("/api/telemetry/events").json["items"] == []


def test_an_unmatched_path_is_recorded_without_itself(api: Api) -> None:
    api.open("BREW", "/secret-path")

    [event] = api.get("/api/telemetry/events").json["items"]
    assert (event["operation"], event["measures"]) == ("unmatched", {"method": "other", "status": 404})


@pytest.mark.parametrize("given", ["nonsense", "0" * 32, "", "' or 1=1"])
@pytest.mark.req("C-05")
def test_a_correlation_id_that_is_none_is_replaced_and_returned(api: Api, given: str) -> None:
    answer = api.open("GET", "/api/commands", headers={"X-Correlation-ID": given})

    assert str(UUID(answer.headers["X-Correlation-ID"])) == answer.headers["X-Correlation-ID"] != given


@pytest.mark.req("C-05")
def test_a_traceparent_names_the_trace(api: Api) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = api.open("GET", "/api/commands", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

    assert answer.headers["X-Correlation-ID"] == str(UUID(trace))


def test_our_own_client_is_told_apart(api: Api) -> None:
    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, X_Weir_Source="cli")

    assert answer.json["request_source"] == "cli"
    assert {event["request_source"] for event in events_of(api, answer.json["id"])} == {"cli"}


def test_a_caller_that_waits_gets_the_final_execution(busy_api: Api) -> None:
    answer = busy_api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer="wait=20")

    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.json["state"] == "succeeded"
    assert answer.json["effects"]


def test_a_wait_that_is_too_short_ends_in_202(api: Api) -> None:
    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer="respond-async, wait=1")

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    "prefer",
    [
        "wait",
        "wait=",
        "wait=x",
        "wait=-1",
        "wait=1.5",
        "wait=99999999999999999999",
        "wait=\u00b2",
        "return=minimal",
        "return=minimal; wait=20",
        'note="a, wait=20"',
        "wait=x, wait=20",
        ",;=",
    ],
)
def test_a_preference_that_makes_no_sense_is_ignored(busy_api: Api, prefer: str) -> None:
    answer = busy_api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer=prefer)

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    "prefer", ["wait=20", "WAIT = 20", 'wait="20"', "respond-async, wait=20", "wait=20; foo=bar", "wait=20, wait=0"]
)
def test_a_preference_may_be_written_in_any_way_that_is_sound(busy_api: Api, prefer: str) -> None:
    answer = busy_api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer=prefer)

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")


def test_nobody_waits_longer_than_the_settings_grant(busy_api: Api) -> None:
    given = context_of(busy_api)
    granted = replace(given.settings.api, max_wait=timedelta(seconds=20))
    context.give(busy_api.app, replace(given, settings=replace(given.settings, api=granted)))

    answer = busy_api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer="wait=86400")

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")


def test_a_wait_that_is_granted_in_part_ends_in_202_too(api: Api) -> None:
    given = context_of(api)
    granted = replace(given.settings.api, max_wait=timedelta(seconds=1))
    context.give(api.app, replace(given, settings=replace(given.settings, api=granted)))

    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer="wait=86400")

    assert (answer.status_code, answer.json["state"], answer.json["result"]) == (202, "queued", None)
    assert "Preference-Applied" not in answer.headers


def test_a_caller_that_waits_gets_the_whole_result(busy_api: Api) -> None:
    value = "x" * 50_000
    busy_api.write("large", f"  - {{id: a, type: respond, with: {{value: {{large: {value}}}}}}}\n")

    answer = busy_api.post("/api/commands/large/executions", {}, Prefer="wait=20")

    assert (answer.status_code, answer.json["result"]) == (200, {"large": value})
    assert ExecutionDetailShape().validate(answer.json) == {}
    assert answer.json == busy_api.get(answer.headers["Location"]).json


@pytest.mark.req("C-10")
def test_a_dry_run_says_what_it_would_have_changed_and_changes_nothing(busy_api: Api) -> None:
    answer = busy_api.post(
        "/api/commands/todo.add/executions", {"inputs": {"body": "x"}, "dry_run": True}, Prefer="wait=20"
    )

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")
    assert (answer.json["state"], answer.json["dry_run"]) == ("succeeded", True)
    assert {"entity": "fragment", "operation": "created", "rows": 1} in answer.json["effects"]
    assert busy_api.get("/api/fragments").json["items"] == []


def test_a_failed_execution_shows_its_owner_what_went_wrong(busy_api: Api) -> None:
    busy_api.write("fails", FAILS)

    answer = busy_api.post("/api/commands/fails/executions", {}, Prefer="wait=20")

    assert (answer.status_code, answer.json["state"]) == (200, "failed")
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.json["error"]["message"]
    assert answer.json["result"] is None


@pytest.mark.req("C-01", "C-06")
def test_refused_inputs_are_answered_with_every_fault_and_leave_an_event(api: Api) -> None:
    answer = api.submit("todo.add", {"priority": "urgent", "bdoy": "x"})

    assert (answer.status_code, answer.json["code"]) == (422, "inputs.invalid")
    assert {fault["path"] for fault in answer.json["errors"]} == {"inputs.body", "inputs.priority", "inputs.bdoy"}
    [refused] = api.get("/api/telemetry/events", event_type="command.validation.failed").json["items"]
    assert refused["command_slug"] == "todo.add"
    assert refused["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert refused["measures"] == {
        "faults_count": 3,
        "failed_fields": [
            {"field": "inputs.<unknown>", "rule": "unknown"},
            {"field": "inputs.priority", "rule": "enum"},
            {"field": "inputs.body", "rule": "required"},
        ],
    }
    assert api.get("/api/executions").json["items"] == []


@pytest.mark.req("C-06", "C-14")
def test_of_refused_inputs_telemetry_knows_declared_fields_and_rules_and_nothing_else(api: Api) -> None:
    api.write(
        "nested",
        "  - {id: a, type: respond, with: {value: hi}}\n",
        "{items: {type: array, items: {type: object, properties: {name: {type: string, pattern: '^[a-z]+$'}}}},"
        " free: {type: object, additionalProperties: {type: integer}}}",
    )

    refused = api.submit(
        "nested",
        {"items": [{"name": "kraken-1"}, {"name": "kraken-2"}], "free": {"kraken-3": "kraken-4"}, "kraken-5": 1},
    )

    assert refused.status_code == 422
    [event] = api.get("/api/telemetry/events", event_type="command.validation.failed").json["items"]
    assert sorted((fault["field"], fault["rule"]) for fault in event["measures"]["failed_fields"]) == [
        ("inputs.<unknown>", "unknown"),
        ("inputs.free.<unknown>", "type"),
        ("inputs.items[0].name", "pattern"),
        ("inputs.items[1].name", "pattern"),
    ]
    assert "kraken" not in json.dumps(event)


def test_fields_that_telemetry_is_told_of_are_bounded(api: Api) -> None:
    declared = ", ".join(f"f{number}: {{type: integer}}" for number in range(50))
    api.write("wide", "  - {id: a, type: respond, with: {value: hi}}\n", f"{{{declared}}}")

    api.submit("wide", {f"f{number}": "x" for number in range(50)})

    [event] = api.get("/api/telemetry/events", event_type="command.validation.failed").json["items"]
    assert (event["measures"]["faults_count"], len(event["measures"]["failed_fields"])) == (50, 20)


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"inptus": {}}, 422, "inptus"),
        ({"inputs": []}, 422, "inputs"),
        ({"dry_run": "true"}, 422, "dry_run"),
        ({"dry_run": 1}, 422, "dry_run"),
        ({"priority": True}, 422, "priority"),
        ({"priority": "5"}, 422, "priority"),
        ({"priority": 5.5}, 422, "priority"),
        ({"priority": 2.5e-42}, 422, "priority"),
        ({"priority": 10}, 422, "priority"),
        ({"user": ""}, 422, "user"),
        ({"space": "Not A Name"}, 422, "space"),
        ({"inputs": {"body": "a\x00b"}}, 422, "inputs.body"),
        ([], 422, ""),
    ],
)
def test_a_body_of_another_shape_is_refused_by_name(api: Api, body: object, status: int, path: str) -> None:
    answer = api.post("/api/commands/todo.add/executions", body)

    assert answer.status_code == status
    assert [fault["path"] for fault in answer.json["errors"]] == [path]


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"inputs": {"body": NaN}}', "application/json", 400),
        (b'{"inputs": {}, "inputs": {}}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"inputs": {"body": "\\ud800"}}', "application/json", 422),
        (b'{"inputs": {"body": 1e999}}', "application/json", 422),
        (b"inputs=x", "application/x-www-form-urlencoded", 415),
        (b"{}", None, 415),
        (b'"' + b"x" * 20_000_000 + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_not_sound_json_is_refused(api: Api, data: bytes, content_type: str | None, status: int) -> None:
    answer = api.open("POST", "/api/commands/todo.add/executions", data=data, content_type=content_type)

    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    assert api.submit("todo.add", {"body": "x"}, priority=7.0).json["priority"] == 7


def test_no_body_at_all_submits_without_inputs(api: Api) -> None:
    api.write("plain", "  - {id: a, type: respond, with: {value: hi}}\n")

    assert api.open("POST", "/api/commands/plain/executions").status_code == 202


def test_without_redis_a_submission_is_accepted_all_the_same(api_without_redis: Api) -> None:
    answer = api_without_redis.submit("todo.add", {"body": "x"})

    assert answer.status_code == 202
    assert api_without_redis.get(answer.headers["Location"]).json["state"] == "queued"


def test_without_postgres_nothing_is_accepted_and_the_caller_is_told_when_to_come_back(
    api: Api, admin: psycopg.Connection
) -> None:
    cut_off(api, admin)

    answer = api.submit("todo.add", {"body": "x"})

    assert (answer.status_code, answer.json["code"]) == (503, "store.unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_what_was_accepted_stays_accepted_though_postgres_goes_away_while_the_caller_waits(
    api: Api, admin: psycopg.Connection
) -> None:
    answers: list[Answer] = []

    def submit() -> None:
        body = {"inputs": {"body": "x"}}
        answers.append(api.post("/api/commands/todo.add/executions", body, Prefer="wait=30"))

    thread = Thread(target=submit)
    thread.start()
    while not (listed := api.get("/api/executions").json["items"]):
        pass
    cut_off(api, admin)
    thread.join()

    assert answers[0].status_code == 202
    assert answers[0].headers["Location"] == f"/api/executions/{listed[0]['id']}"


def cut_off(api: Api, admin: psycopg.Connection) -> None:
    """Postgres closes the API's connections and lets it make no others."""
    name = urlsplit(api.settings.servers.database_url or "").path.removeprefix("/")
    admin.execute(sql.SQL("alter database {} allow_connections false").format(sql.Identifier(name)))
    admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


def test_executions_are_listed_newest_first_in_pages_without_their_contents(api: Api) -> None:
    submitted = [api.submit("todo.add", {"body": str(number)}).json["id"] for number in range(5)]

    first = api.get("/api/executions", limit=3).json
    second = api.get("/api/executions", limit=3, cursor=first["next_cursor"]).json

    assert ExecutionPage().validate(first) == {}
    assert [item["id"] for item in first["items"] + second["items"]] == submitted[::-1]
    assert second["next_cursor"] is None


def test_executions_are_found_by_state_command_and_trace(api: Api) -> None:
    api.write("fails", FAILS)
    failed = api.submit("fails").json
    api.run()
    queued = api.submit("todo.add", {"body": "x"}).json

    def found(**query: str) -> list[str]:
        return [item["id"] for item in api.get("/api/executions", **query).json["items"]]

    assert found(state="failed") == found(command="fails") == [failed["id"]]
    assert found(correlation_id=queued["correlation_id"]) == [queued["id"]]
    assert found(state="dead") == []


def test_steps_are_listed_in_pages_and_from_an_ordinal_on(api: Api) -> None:
    api.write("many", "".join(f"  - {{id: s{n}, type: transform, with: {{template: x}}}}\n" for n in range(5)))
    steps = api.submit("many").json["links"]["steps"]
    api.run()

    first = api.get(steps, limit=2).json
    second = api.get(steps, limit=2, cursor=first["next_cursor"]).json
    rest = api.get(steps, after=4).json

    assert [step["path"] for step in first["items"] + second["items"] + rest["items"]] == ["s0", "s1", "s2", "s3", "s4"]
    assert rest["next_cursor"] is None
    assert api.get(steps, after=1, cursor=first["next_cursor"]).status_code == 422


def test_events_are_found_by_what_they_are_about(api: Api) -> None:
    submitted = api.post(
        "/api/commands/todo.add/executions", {"inputs": {"body": "x"}, "user": "ada", "space": "lab"}
    ).json
    api.run()

    def count(**query: object) -> int:
        return len(api.get("/api/telemetry/events", **query).json["items"])

    everything = count()
    assert count(execution_id=submitted["id"]) == everything - 1
    assert count(correlation_id=submitted["correlation_id"].replace("-", "")) == everything
    assert count(user="ada") == everything
    assert count(user="bob") == count(space="nowhere") == count(command="note.add") == 0
    assert count(space="lab") == everything - 1
    assert count(component="dsl") == count(event_type="dsl") == count(component="dsl_telemetry") > 0
    assert count(outcome="failed") == count(level="error") == 0
    assert count(time_range="1h") == everything
    assert count(end="2020-01-01T00:00:00Z") == 0
    first = api.get("/api/telemetry/events", limit=1).json
    assert count(cursor=first["next_cursor"]) == everything - 1


@pytest.mark.req("C-16")
def test_rates_of_success_of_commands_and_step_types_are_read_from_telemetry_alone(api: Api) -> None:
    api.write("fails", FAILS)
    for _ in range(3):
        api.submit("todo.add", {"body": "x"})
    for _ in range(2):
        api.submit("fails")
    api.run()
    with api.resources.pool.connection() as connection:
        connection.execute("delete from command_executions")

    def rate(event_type: str, **query: str) -> tuple[int, int]:
        counts = [
            len(api.get("/api/telemetry/events", event_type=event_type, outcome=outcome, **query).json["items"])
            for outcome in ("succeeded", "failed")
        ]
        return counts[0], counts[1]

    assert rate("command.execution", command="todo.add") == (3, 0)
    assert rate("command.execution", command="fails") == (0, 2)
    assert rate("dsl.step", step_type="validate") == (3, 2)
    assert rate("dsl.step", step_type="fragment.create") == (3, 0)


@pytest.mark.req("C-14")
def test_nothing_a_caller_writes_is_in_an_answer_of_the_telemetry_api(api: Api) -> None:
    secret = "kraken-7731"
    api.write(
        "fails",
        "  - {id: check, type: validate, with: {rules: [{value: '{{ inputs.x }}', in: [a]}]}}\n",
        "{x: {type: string}}",
    )
    api.submit("fails", {"x": secret}, user=secret, space=secret)
    api.submit("todo.add", {"body": secret, "priority": secret})
    api.submit(secret)
    api.get(f"/api/{secret}", q=secret)
    api.get("/api/fragments", q=secret)
    api.run()

    assert secret not in json.dumps(api.get("/api/telemetry/events", limit=1000).json)


def test_a_correlation_id_may_cover_several_executions(api: Api) -> None:
    trace = str(new_id(1))
    for _ in range(2):
        api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, X_Correlation_ID=trace)

    assert len({event["execution_id"] for event in events_of(api, trace)} - {None}) == 2


def test_a_body_in_chunks_has_the_same_limit(api: Api) -> None:
    stream = io.BytesIO(b'{"inputs": {"body": "' + b"x" * 17_000_000 + b'"}}')

    answer = api.open(
        "POST",
        "/api/commands/todo.add/executions",
        input_stream=stream,
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert (answer.status_code, answer.json["code"]) == (413, "request.too_large")


def test_a_caller_that_waits_for_steps_is_answered_when_one_has_ended(api: Api) -> None:
    steps = api.submit("todo.add", {"body": "x"}).json["links"]["steps"]
    answers: list[Answer] = []
    thread = Thread(target=lambda: answers.append(api.open("GET", steps, headers={"Prefer": "wait=20"})))
    thread.start()
    api.run()
    thread.join()

    assert answers[0].json["items"]
    after_all = api.open("GET", f"{steps}?after=100", headers={"Prefer": "wait=20"})
    assert after_all.json["items"] == []  # at once, for the execution is final


def test_only_half_of_the_threads_wait_and_the_others_answer(api: Api) -> None:
    places = context_of(api).waiters
    while places.acquire(blocking=False):
        pass

    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Prefer="wait=60")

    assert answer.status_code == 202


def context_of(api: Api) -> Context:
    found = api.app.extensions["weir"]
    assert isinstance(found, Context)
    return found


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://elsewhere.example"}],
)
def test_a_page_of_another_site_cannot_submit(api: Api, headers: dict[str, str]) -> None:
    answer = api.post("/api/commands/todo.add/executions", None, **headers)

    assert (answer.status_code, answer.json["code"]) == (403, "request.cross_site")


def test_a_page_of_the_same_address_can(api: Api) -> None:
    own = {"Sec_Fetch_Site": "same-origin", "Origin": "http://localhost"}

    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, **own)

    assert answer.status_code == 202


def test_a_name_that_somebody_points_at_this_machine_is_not_this_machine(api: Api) -> None:
    answer = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}, Host="evil.example:7420")

    assert (answer.status_code, answer.json["code"]) == (403, "request.cross_site")


def test_a_query_parameter_that_an_operation_does_not_take_is_refused(api: Api) -> None:
    answer = api.open("POST", "/api/commands/todo.add/executions?dry_run=true", json={"inputs": {"body": "x"}})

    assert (answer.status_code, answer.json["code"]) == (422, "request.invalid")
    assert answer.json["errors"][0]["path"] == "dry_run"


def test_faults_of_a_request_are_bounded(api: Api) -> None:
    many = {f"unknown-{number}": 1 for number in range(500)}

    answer = api.post("/api/commands/todo.add/executions", many)
    endless = api.post("/api/commands/todo.add/executions", {f"unknown-{number}": 1 for number in range(5000)})

    assert (answer.status_code, len(answer.json["errors"])) == (422, 100)
    assert (endless.status_code, endless.json["code"]) == (400, "request.malformed")
