from __future__ import annotations

import json

import pytest
from fixtures.apis import Answer, Api
from openapi_spec_validator import validate

from api.problems import KINDS
from api.schemas.answers import CommandDetailShape, CommandListShape, ProblemShape
from dsl.library import PACKS

ID = "0198a000-0000-7000-8000-0000000000aa"


def problem(answer: Answer) -> dict[str, object]:
    """The problem of a refusal, which is one by its media type, its shape and its header."""
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["X-Correlation-ID"]
    body = json.loads(answer.data)
    assert ProblemShape().validate(body) == {}
    assert body["status"] == answer.status_code
    return dict(body)


@pytest.mark.req("D-04")
def test_commands_are_listed_with_what_a_caller_must_know(api: Api) -> None:
    body = api.get("/api/commands").json

    assert CommandListShape().validate(body) == {}
    assert body["faults"] == []
    assert body["next_cursor"] is None
    assert [item["slug"] for item in body["items"]] == sorted(path.stem for path in PACKS.glob("*.yaml"))
    [todo] = [item for item in body["items"] if item["slug"] == "todo.add"]
    assert todo["origin"] == "pack"
    assert todo["inputs"]["properties"]["body"]["type"] == "string"
    assert len(todo["definition_hash"]) == 32


def test_a_command_is_shown_with_its_text_and_its_document(api: Api) -> None:
    body = api.get("/api/commands/todo.add").json

    assert CommandDetailShape().validate(body) == {}
    assert body["source"].splitlines()[0]
    assert body["document"]["slug"] == "todo.add"


def test_a_new_file_is_a_command_without_a_restart(api: Api) -> None:
    assert api.get("/api/commands/late").status_code == 404

    api.write("late", "  - {id: a, type: respond, with: {value: hi}}\n")

    assert api.get("/api/commands/late").json["steps"] == 1


def test_steps_inside_of_steps_are_counted(api: Api) -> None:
    api.write(
        "nested",
        "  - id: each\n    type: list.map\n    with:\n      items: [1, 2]\n      as: n\n"
        "      do:\n        - {id: a, type: transform, with: {template: '{{ n }}'}}\n",
    )

    assert api.get("/api/commands/nested").json["steps"] == 2


def test_a_file_that_does_not_load_is_listed_with_every_fault_and_refused_with_them(api: Api) -> None:
    api.write("broken", "  - {id: a, type: respnd}\n  - {id: a, type: respond}\n")

    [faulty] = api.get("/api/commands").json["faults"]
    refused = problem(api.submit("broken"))

    assert faulty["source"].endswith("broken.yaml")
    assert {fault["code"] for fault in faulty["errors"]} >= {"command.unknown_step_type"}
    assert refused["code"] == "command.invalid"
    assert refused["errors"] == faulty["errors"]
    assert all(fault["line"] and fault["column"] for fault in faulty["errors"])


def test_an_unknown_command_is_answered_with_the_nearest(api: Api) -> None:
    refused = problem(api.submit("todo.ad", {"body": "x"}))

    assert (refused["status"], refused["code"]) == (404, "command.unknown")
    assert "todo.add" in str(refused["hint"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "route.not_found"),
        ("GET", "/api/executions/not-an-id", 404, "request.id_malformed"),
        ("GET", "/api/executions/not-an-id/steps", 404, "request.id_malformed"),
        ("GET", f"/api/executions/{ID.replace('-', '')}", 404, "request.id_malformed"),
        ("PATCH", "/api/fragments/%00", 404, "request.id_malformed"),
        ("GET", "/api/fragments/import", 405, "method.not_allowed"),
        ("DELETE", "/api/fragments/import", 405, "method.not_allowed"),
        ("DELETE", "/api/commands", 405, "method.not_allowed"),
        ("GET", f"/api/executions/{ID}", 404, "execution.not_found"),
        ("GET", f"/api/executions/{ID}/steps", 404, "execution.not_found"),
        ("GET", f"/api/fragments/{ID}", 404, "fragment.not_found"),
        ("GET", f"/api/telemetry/traces/{ID}", 404, "telemetry.trace_not_found"),
        ("GET", "/api/telemetry/traces/nonsense", 404, "telemetry.trace_not_found"),
        ("GET", "/api/executions?limt=1", 422, "request.invalid"),
        ("GET", "/api/executions?limit=x", 422, "request.invalid"),
        ("GET", "/api/executions?limit=0", 422, "request.invalid"),
        ("GET", "/api/executions?limit=10001", 422, "request.invalid"),
        ("GET", "/api/executions?limit=1&limit=2", 422, "request.invalid"),
        ("GET", "/api/executions?state=done", 422, "request.invalid"),
        ("GET", "/api/executions?cursor=nonsense", 400, "request.cursor_invalid"),
        ("GET", "/api/executions?cursor=%C3%BC", 400, "request.cursor_invalid"),
        ("GET", "/api/fragments?q=%00", 422, "request.invalid"),
        ("GET", "/api/fragments?type=%20", 422, "request.invalid"),
        ("GET", "/api/telemetry/events?component=nothing", 422, "request.invalid"),
        ("GET", "/api/telemetry/events?time_range=soon", 422, "request.invalid"),
        ("GET", "/api/telemetry/events?time_range=1h&start=2026-01-01T00:00:00Z", 422, "request.invalid"),
        ("GET", "/api/telemetry/events?start=2026-01-01", 422, "request.invalid"),
    ],
)
def test_what_cannot_be_served_is_a_problem_of_its_kind(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    refused = problem(api.open(method, path))

    assert (refused["status"], refused["code"]) == (status, code)


def test_an_address_that_holds_no_id_is_told_what_one_looks_like(api: Api) -> None:
    refused = problem(api.get("/api/executions/latest"))

    assert "'latest'" in str(refused["detail"])
    assert "UUID" in str(refused["hint"])


def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for _ in range(2):
        api.submit("todo.add", {"body": "x"})
    cursor = api.get("/api/executions", limit=1).json["next_cursor"]

    assert api.get("/api/executions", limit=1, cursor=cursor).status_code == 200
    assert problem(api.get("/api/fragments", cursor=cursor))["code"] == "request.cursor_invalid"


def test_a_method_that_is_not_allowed_names_those_that_are(api: Api) -> None:
    assert "GET" in api.open("DELETE", "/api/commands").headers["Allow"]


def test_an_unknown_query_parameter_is_answered_with_the_nearest(api: Api) -> None:
    [fault] = api.get("/api/executions", limt=1).json["errors"]

    assert (fault["path"], fault["nearest"]) == ("limt", "limit")


@pytest.mark.parametrize(
    "instant", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1960-01-01T00:00:00+00:00"]
)
def test_any_instant_may_be_asked_for(api: Api, instant: str) -> None:
    assert api.get("/api/telemetry/events", start=instant).status_code == 200
    assert api.get("/api/telemetry/events", end=instant).status_code == 200


def test_a_period_longer_than_time_itself_may_be_asked_for(api: Api) -> None:
    assert api.get("/api/telemetry/events", time_range="99999999d").status_code == 200


@pytest.mark.req("D-04")
def test_the_api_describes_itself(api: Api) -> None:
    document = api.get("/api/openapi.json").json

    validate(document)
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/api/commands",
        "/api/commands/validate",
        "/api/commands/{slug}",
        "/api/commands/{slug}/executions",
        "/api/executions",
        "/api/executions/{execution_id}",
        "/api/executions/{execution_id}/steps",
        *(f"/api/executions/{{execution_id}}/{action}" for action in ("cancel", "resume", "retry")),
        "/api/fragments",
        "/api/fragments/import",
        "/api/fragments/{fragment_id}",
        "/api/notifications",
        "/api/schedules",
        "/api/schedules/{name}",
        "/api/executions/bulk",
        "/api/executions/{execution_id}/events",
        "/api/queues",
        "/api/queues/dead",
        *(f"/api/queues/dead/{part}" for part in ("causes", "drop", "preview", "requeue")),
        "/api/queues/dead/{execution_id}",
        *(f"/api/queues/dead/{{execution_id}}/{part}" for part in ("drop", "requeue")),
        "/api/queues/{lane}",
        *(f"/api/queues/{{lane}}/{part}" for part in ("limits", "pause", "resume")),
        *(f"/api/commands/{{slug}}/{part}" for part in ("pause", "resume")),
        *(f"/api/schedules/{{name}}/{part}" for part in ("backfill", "next", "occurrences", "pause", "resume", "run")),
        *(f"/api/telemetry/{part}" for part in ("chains", "health-checks", "performance/snapshots")),
        *(f"/api/alerts{part}" for part in ("", "/{alert_id}", "/{alert_id}/ack")),
        *(f"/api/alerts/rules{part}" for part in ("", "/{name}")),
        *(f"/api/alerts/rules/{{name}}/{part}" for part in ("disable", "enable", "test")),
        *(f"/api/alerts/silences{part}" for part in ("", "/{silence_id}")),
        "/api/metrics/alerts",
        "/api/metrics/analytics",
        "/api/metrics/current",
        "/api/metrics/spikes",
        "/api/telemetry/metrics",
        "/api/metrics/live",
        "/api/metrics/historical",
        "/api/telemetry/completeness",
        "/api/telemetry/events",
        "/api/telemetry/health",
        "/api/telemetry/quarantine",
        *(f"/api/telemetry/quarantine/{part}" for part in ("drop", "preview", "replay")),
        "/api/telemetry/quarantine/{row_id}",
        "/api/telemetry/errors",
        *(
            f"/api/telemetry/exports{part}"
            for part in ("", "/{export_id}", "/{export_id}/file", "/{export_id}/files/{name}")
        ),
        "/api/telemetry/overview",
        "/api/telemetry/performance",
        "/api/telemetry/stats",
        "/api/telemetry/traces/{trace_id}",
        "/healthz",
        "/readyz",
    }
    refusals = document["components"]["responses"]["NOT_FOUND"]["content"]
    assert list(refusals) == ["application/problem+json"]


def test_every_type_uri_leads_to_a_section_of_the_page_of_problems(api: Api) -> None:
    page = api.get("/docs/problems")

    assert page.mimetype == "text/html"
    assert all(f"id='{kind.code}'" in page.text for kind in KINDS)


def test_no_answer_is_internal_though_a_view_crashes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("api.resources.commands.command_json", crash)

    refused = problem(api.get("/api/commands"))

    assert (refused["status"], refused["code"]) == (500, "internal")
    assert "secret" not in json.dumps(refused)


def test_health_is_only_about_the_process(api: Api) -> None:
    assert api.get("/healthz").json == {"status": "ok"}


def test_readiness_names_all_that_is_looked_at(api: Api) -> None:
    checks = {"postgres": "ok", "redis": "ok", "schema": "ok", "recorder": "ok"}
    assert api.get("/readyz").json == {"status": "ok", "checks": checks}


def test_an_api_without_redis_is_not_ready_and_says_so(api_without_redis: Api) -> None:
    refused = problem(api_without_redis.get("/readyz"))

    assert refused["status"] == 503
    assert refused["checks"] == {"postgres": "ok", "redis": "does not answer", "schema": "ok", "recorder": "ok"}


def test_an_api_on_another_schema_is_not_ready_and_says_so(api: Api) -> None:
    with api.resources.pool.connection() as connection:
        connection.execute("insert into schema_migrations (name, checksum) values ('9999_later', sha256(''))")

    assert "9999_later" in str(problem(api.get("/readyz"))["checks"])
