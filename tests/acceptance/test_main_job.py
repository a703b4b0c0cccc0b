"""The main job as people meet it: declare a command, run it from the command line or over REST, read its trace."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from fixtures.installations import Answer, Installation, awaited

from telemetry.clock import SystemClock
from telemetry.ids import new_id

PROCESSES = ["postgres", "valkey", "api", "worker", "sink", "scheduler", "maintenance"]

TODO_STEPS = {
    "title": "dsl.step.executed",
    "check": "dsl.step.executed",
    "create": "dsl.step.executed",
    "tell": "dsl.step.skipped",
    "answer": "dsl.step.executed",
}

#: What a trace of `todo.add` holds, request included, without its order.
TODO_EVENTS = sorted(
    [
        "http.request.completed",
        "command.execution.queued",
        "command.execution.started",
        *TODO_STEPS.values(),
        "fragment.created",
        "command.execution.completed",
    ]
)

KEEPS_THEN_FAILS = """
slug: half-way
inputs: {amount: {type: integer, required: true}}
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: "before {{ inputs.amount }}"}}
  - {id: aside, type: transform, if: inputs.amount == 0, with: {template: zero}}
  - id: check
    type: validate
    with: {rules: [{value: "{{ inputs.amount }}", max: 10, message: too large}]}
  - {id: never, type: respond, with: {value: 1}}
"""

HELLO_EDITED = """
slug: hello
inputs: {who: {type: string, default: world}}
steps:
  - {id: answer, type: respond, with: {value: "Edited: {{ inputs.who }}"}}
"""


def fresh_id() -> str:
    """A correlation id of one's own."""
    return str(new_id(SystemClock().unix_us()))


def submit_todo(installation: Installation, body: object = None, **headers: str) -> Answer:
    """POST to todo.add."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = {"inputs": {"body": "x"}} if body is None else body
    return installation.request("POST", "/api/commands/todo.add/executions", request, given)


def trace_of(installation: Installation, trace_id: str, events: int) -> list[dict[str, Any]] | None:
    """The events of a trace, once there are that many."""
    answer = installation.request("GET", f"/api/telemetry/traces/{trace_id}")
    items: list[dict[str, Any]] = answer.json["items"] if answer.status == 200 else []
    return items if len(items) >= events else None


@pytest.mark.req("S-14", "D-04")
def test_the_five_lines_of_the_readme(empty_installation: Installation) -> None:
    weir = empty_installation.weir

    assert weir("up", "--detach", "--port", "0").returncode == 0

    status = weir("status", "--format", "json")
    assert status.returncode == 0
    shown = json.loads(status.stdout)
    assert [process["name"] for process in shown["processes"]] == PROCESSES
    for process in shown["processes"]:
        assert set(process) == {"name", "pid", "state", "since", "restarts"}
        assert process["state"] == "running"
        assert isinstance(process["pid"], int)
        assert process["restarts"] == 0
    assert shown["urls"]["api"].startswith("http://127.0.0.1:")
    assert {"database", "redis"} <= set(shown["urls"])

    ran = weir("run", "todo.add", "-i", "body=buy milk")
    assert ran.returncode == 0, ran.stderr
    assert "todo.add succeeded" in ran.stdout
    assert [line.split()[1] for line in ran.stdout.splitlines()[:5]] == list(TODO_STEPS)
    said = re.search(r"weir telemetry trace (\S+)", ran.stdout)
    assert said is not None

    trace = weir("telemetry", "trace", said[1])
    assert trace.returncode == 0, trace.stderr
    for step in TODO_STEPS:
        assert re.search(rf"\b{step}\b", trace.stdout), trace.stdout
    as_json = json.loads(weir("telemetry", "trace", said[1], "--format", "json").stdout)
    assert sorted(item["event_type"] for item in as_json["items"]) == TODO_EVENTS

    down = weir("down")
    assert (down.returncode, down.stdout) == (0, "Weir is down.\n")
    assert weir("status").returncode == 1
    log = empty_installation.log()
    assert " error " not in log
    assert "Traceback" not in log


@pytest.mark.req("D-04")
def test_a_command_of_ones_own_runs_without_a_restart_and_so_does_its_edit(installation: Installation) -> None:
    weir, before = installation.weir, restarts_of_api(installation)
    new = weir("commands", "new", "hello")
    assert new.returncode == 0, new.stderr
    path = installation.commands / "hello.yaml"
    assert path.exists()
    assert weir("commands", "validate", "hello").returncode == 0
    first = weir("run", "hello")
    assert first.returncode == 0, first.stderr
    assert "Hello world!" in first.stdout

    path.write_text(HELLO_EDITED.replace("inputs.who }}", "inputs.hwo }}"), encoding="utf-8")
    faulty = weir("commands", "validate", "hello")
    refused = weir("run", "hello")
    path.write_text(HELLO_EDITED, encoding="utf-8")
    sound = weir("commands", "validate", "hello")
    second = weir("run", "hello", "-i", "who=Ada")

    assert faulty.returncode == 1
    assert "hello.yaml:5" in faulty.stdout
    assert "who" in faulty.stdout
    assert refused.returncode == 1
    assert sound.returncode == 0
    assert second.returncode == 0, second.stderr
    assert "Edited: Ada" in second.stdout
    assert restarts_of_api(installation) == before


def restarts_of_api(installation: Installation) -> int:
    """How often it was begun again, by whichever test."""
    return next(process.restarts for process in installation.status.processes if process.name == "api")


@pytest.mark.req("C-01", "C-02", "C-03", "C-05", "D-01", "D-04")
def test_a_submission_over_rest_leaves_its_whole_trace_under_its_correlation_id(installation: Installation) -> None:
    correlation_id = fresh_id()

    accepted = submit_todo(installation, X_Correlation_ID=correlation_id)

    assert accepted.status == 202
    execution_id = accepted.json["id"]
    assert accepted.headers["location"] == f"/api/executions/{execution_id}"
    assert accepted.headers["x-correlation-id"] == correlation_id
    assert installation.request("GET", accepted.headers["location"]).status == 200
    items = awaited(lambda: trace_of(installation, correlation_id, len(TODO_EVENTS))) or []
    assert sorted(item["event_type"] for item in items) == TODO_EVENTS
    assert {item["correlation_id"] for item in items} == {correlation_id}
    assert {item["execution_id"] for item in items if item["component"] != "http"} == {execution_id}
    assert [item["execution_id"] for item in items if item["component"] == "http"] == [None]
    assert {item["step_id"]: item["event_type"] for item in items if item["component"] == "dsl"} == TODO_STEPS
    created = next(item for item in items if item["event_type"] == "fragment.created")
    assert installation.get(f"/api/fragments/{created['fragment_id']}")["content"] == "x"
    for item in items:
        assert (item["command_slug"], item["dry_run"], item["request_source"]) == ("todo.add", False, "api")
    users = {item["user_id"] for item in items}
    assert len(users) == 1
    assert "local-default" not in users
    by_execution = installation.get(f"/api/telemetry/traces/{execution_id}")
    assert by_execution["items"] == items


@pytest.mark.req("C-05", "S-02")
def test_a_trace_is_there_within_a_second(installation: Installation) -> None:
    """The best of three: the machine may be busy with other things."""
    seconds = []
    for _ in range(3):
        correlation_id = fresh_id()
        submit_todo(installation, X_Correlation_ID=correlation_id)
        began = time.monotonic()
        awaited(lambda wanted=correlation_id: trace_of(installation, wanted, len(TODO_EVENTS)))  # type: ignore[misc]
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 1.0


@pytest.mark.req("D-04")
def test_a_caller_that_prefers_to_wait_gets_the_result(installation: Installation) -> None:
    answer = submit_todo(installation, {"inputs": {"body": "wait for me"}}, Prefer="wait=10")

    assert answer.status == 200
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.json["state"] == "succeeded"
    assert answer.json["result"]["title"] == "wait for me"


@pytest.mark.req("C-10")
def test_a_dry_run_over_rest_changes_no_row_and_says_what_it_would_have(installation: Installation) -> None:
    tables = "select (select count(*) from fragments), (select count(*) from notifications)"
    before = installation.rows(tables)

    execution = installation.run("todo.add", {"body": "only thought of", "priority": "high"}, dry_run=True)

    assert installation.rows(tables) == before
    assert (execution["state"], execution["dry_run"]) == ("succeeded", True)
    assert {(effect["entity"], effect["operation"], effect["rows"]) for effect in execution["effects"]} == {
        ("fragment", "created", 1),
        ("notification", "created", 1),
    }
    events = installation.events_of(execution["id"])
    assert {event["dry_run"] for event in events} == {True}
    assert not [event for event in events if event["component"] == "fragment"]
    assert events[-1]["mutations_count"] == 2


@pytest.mark.req("C-04", "C-01")
def test_a_command_that_fails_half_way_is_counted_right(installation: Installation) -> None:
    (installation.commands / "half-way.yaml").write_text(KEEPS_THEN_FAILS, encoding="utf-8")

    execution = installation.run("half-way", {"amount": 11})

    counted = {"steps_executed": 2, "steps_successful": 1, "steps_failed": 1, "steps_skipped": 1}
    assert execution["state"] == "failed"
    assert counted.items() <= execution.items()
    assert execution["mutations_count"] == 1
    assert execution["error"]["step"] == "check"
    events = installation.events_of(execution["id"])
    assert [event["event_type"] for event in events if event["component"] == "dsl"] == [
        "dsl.step.executed",
        "dsl.step.skipped",
        "dsl.step.failed",
    ]
    failed = events[-1]
    assert (failed["event_type"], failed["outcome"]) == ("command.execution.failed", "failed")
    assert counted.items() <= failed["measures"].items()
    assert failed["measures"]["total_duration_ms"] == execution["total_duration_ms"] > 0
    assert (failed["error_type"], failed["error_category"]) == ("StepFailed", "validation")
    shown = installation.weir("run", "half-way", "-i", "amount=12")
    assert shown.returncode == 1


@pytest.mark.req("C-05")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ({"X_Correlation_ID": "not an id"}, None),
        ({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}, None),
        ({}, None),
    ],
    ids=["traceparent", "no id at all", "invalid traceparent", "nothing"],
)
def test_the_correlation_id_is_the_callers_if_it_is_one(
    installation: Installation, headers: dict[str, str], expected: str | None
) -> None:
    answer = submit_todo(installation, **headers)

    returned = answer.headers["x-correlation-id"]
    if expected is None:
        assert returned.replace("-", "") not in str(headers)
    else:
        assert returned.replace("-", "") == expected
    assert answer.json["correlation_id"] == returned
    installation.ended(answer.json["id"])
    events = installation.events_of(answer.json["id"])
    assert {event["correlation_id"] for event in events} == {returned}


@pytest.mark.req("C-05")
def test_the_correlation_id_is_in_the_message_and_on_the_workers_log_lines(installation: Installation) -> None:
    correlation_id = fresh_id()
    with installation.paused("worker"), installation.redis() as redis:
        accepted = submit_todo(installation, X_Correlation_ID=correlation_id)
        messages = [json.loads(message) for message in redis.hvals("weir:queue:lane.default.msgs")]
        options = [message["options"] for message in messages]
    execution_id = accepted.json["id"]
    installation.ended(execution_id)

    def worker_lines() -> list[dict[str, Any]]:
        return [line for line in installation.log_of("worker") if line.get("execution_id") == execution_id]

    lines = awaited(worker_lines)
    assert {(line["correlation_id"], line["event"]) for line in lines} == {(correlation_id, "execution_finished")}
    mine = [found for found in options if found.get("correlation_id") == correlation_id]
    assert [found["execution_id"] for found in mine] == [execution_id]


@pytest.mark.req("C-03")
def test_what_came_from_the_command_line_says_so(installation: Installation) -> None:
    ran = installation.weir("run", "todo.add", "-i", "body=from here", "--detach")

    execution = installation.ended(ran.stdout.strip())
    assert execution["request_source"] == "cli"
    events = installation.events_of(execution["id"])
    assert {event["request_source"] for event in events} == {"cli"}
    assert sorted(event["event_type"] for event in events) == TODO_EVENTS


@pytest.mark.req("D-04")
def test_json_has_standard_output_to_itself_and_steps_are_shown_beside_it(installation: Installation) -> None:
    ran = installation.weir("run", "todo.add", "-i", "body=as JSON", "--format", "json")

    assert json.loads(ran.stdout)["state"] == "succeeded"
    assert [line.split()[1] for line in ran.stderr.splitlines()] == list(TODO_STEPS)


def test_a_folder_of_notes_is_imported_and_triaged(installation: Installation) -> None:
    notes = installation.folder / "notes"
    notes.mkdir()
    for number in range(120):
        todo = "- [ ] do it" if number % 3 == 0 else "nothing to do"
        (notes / f"note-{number}.md").write_text(f"# Note {number}\n\n{todo}\n", encoding="utf-8")

    imported = installation.weir("fragments", "import", str(notes), "--space", "import-test", "--format", "json")
    execution = installation.run("inbox.triage", {"limit": 1000}, space="import-test")

    assert json.loads(imported.stdout)["created"] == 120, imported.stderr
    assert execution["result"] == {"found": 120, "triaged": 120, "failed": 0}
    tagged = installation.rows(
        "select count(*) filter (where 'action' = any(tags)), count(*) filter (where 'reference' = any(tags)) "
        "from fragments join spaces on spaces.id = space_id where spaces.name = 'import-test'"
    )
    assert tagged == [(40, 80)]
    installation.wait_stored([execution["id"]])
    assert installation.stored_events([execution["id"]]) == installation.ledger_events([execution["id"]])


def test_the_trace_of_an_id_that_nobody_has_is_not_found(installation: Installation) -> None:
    answer = installation.request("GET", f"/api/telemetry/traces/{fresh_id()}")

    assert answer.status == 404
    assert answer.json["code"] == "telemetry.trace_not_found"
