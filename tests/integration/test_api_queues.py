"""Lanes, pauses and limits over REST; what is refused, when to come back, and what is accepted all the same."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from fixtures.apis import Api

from api.schemas.answers import CommandDetailShape, ExecutionDetailShape
from api.schemas.queues import PausedCommandShape, QueuePage, QueueShape
from telemetry.clock import SystemClock

REJECTING = """
slug: picky
inputs: {key: {type: string, default: a}}
concurrency: {key: "{{ inputs.key }}", max: 1, on_full: reject}
steps: [{id: say, type: respond, with: {value: 1}}]
"""
SUBMIT = "/api/commands/picky/executions"


@pytest.fixture
def picky(api: Api) -> Api:
    (api.commands / "picky.yaml").write_text(REJECTING, encoding="utf-8")
    return api


def test_a_lane_is_paused_shown_and_resumed(api: Api) -> None:
    accepted = api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}})

    paused = api.post("/api/queues/default/pause", {"for": "1h", "user": "mina"})

    QueueShape().load(paused.json)
    assert paused.json["paused"]["by"] == "mina"
    assert paused.json["paused"]["until"] is not None
    assert (paused.json["queued"], paused.json["due"], paused.json["running"]) == (1, 1, 0)
    assert paused.json["oldest_age_ms"] >= 0
    assert api.run() == 0
    execution = api.get(f"/api/executions/{accepted.json['id']}")
    ExecutionDetailShape().load(execution.json)
    assert execution.json["waiting_for"]["reason"] == "lane_paused"
    listed = api.get("/api/queues")
    QueuePage().load(listed.json)
    assert [item["lane"] for item in listed.json["items"]] == ["default"]
    assert api.post("/api/queues/default/resume", {}).json["paused"] is None
    assert api.run() == 1
    assert api.get("/api/queues/default").json["oldest_age_ms"] is None


def test_a_pause_ends_at_the_first_of_two_times(api: Api) -> None:
    until = (SystemClock().now() + timedelta(days=30)).isoformat()
    answer = api.post("/api/queues/default/pause", {"for": "3650d", "until": until})

    assert datetime.fromisoformat(answer.json["paused"]["until"]) == datetime.fromisoformat(until)
    soon = api.post("/api/queues/default/pause", {"for": "1h", "until": until}).json["paused"]["until"]
    assert datetime.fromisoformat(soon) < datetime.fromisoformat(until)


@pytest.mark.parametrize("paused", ["/api/queues/default", "/api/commands/todo.add"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"until": "2020-01-01T00:00:00Z"}, {"until": "an instant to come"}),
        ({"until": "2999-01-01T00:00:00Z"}, {"until": "at most 3650 days ahead"}),
        ({"for": "0s"}, {"for": "more than nothing, at most 3650 days"}),
        ({"for": "3651d"}, {"for": "at most 3650 days"}),
        ({"for": "999999999d", "until": "2020-01-01T00:00:00Z"}, {"until": "to come", "for": "at most 3650 days"}),
    ],
)
def test_a_pause_that_would_be_over_or_too_long_is_refused_and_that_which_stood_stands(
    api: Api, paused: str, body: dict[str, str], expected: dict[str, str]
) -> None:
    stood = api.post(f"{paused}/pause", {"for": "1h"}).json["paused"]

    refused = api.post(f"{paused}/pause", body)

    assert (refused.status_code, refused.json["code"]) == (422, "request.invalid")
    faults = {fault["path"]: fault for fault in refused.json["errors"]}
    assert {fault["code"] for fault in faults.values()} == {"request.time_range"}
    assert faults.keys() == expected.keys()
    assert all(text in faults[path]["expected"] for path, text in expected.items())
    assert api.get(paused).json["paused"] == stood


def test_a_command_is_paused_and_resumed_and_its_submissions_are_accepted(api: Api) -> None:
    paused = api.post("/api/commands/todo.add/pause", {"user": "mina"})

    PausedCommandShape().load(paused.json)
    assert paused.json["paused"]["by"] == "mina"
    shown = api.get("/api/commands/todo.add")
    CommandDetailShape().load(shown.json)
    assert shown.json["paused"]["by"] == "mina"
    assert api.post("/api/commands/todo.add/executions", {"inputs": {"body": "x"}}).status_code == 202
    assert api.run() == 0
    assert api.post("/api/commands/todo.add/resume", {}).json["paused"] is None
    assert api.run() == 1


def test_limits_are_set_in_place_of_those_there_were(api: Api) -> None:
    api.open("PUT", "/api/queues/default/limits", json={"running": 2, "age": "5m"})

    limits = api.open("PUT", "/api/queues/default/limits", json={"queued": 3}).json["limits"]

    assert limits == {"running": None, "queued": 3, "age": None}


def test_a_full_lane_refuses_submissions_and_answers_replays(api: Api) -> None:
    api.open("PUT", "/api/queues/default/limits", json={"queued": 1})
    path, body = "/api/commands/todo.add/executions", {"inputs": {"body": "x"}}
    first = api.post(path, body, Idempotency_Key="one")

    refused = api.post(path, body, Idempotency_Key="two")
    again = api.post(path, body, Idempotency_Key="one")

    assert first.status_code == 202
    assert (refused.status_code, refused.json["code"]) == (429, "queue.full")
    assert int(refused.headers["Retry-After"]) > 0
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert again.headers["Idempotent-Replay"] == "true"


def test_one_too_many_of_a_key_is_refused_and_its_replay_answered(picky: Api) -> None:
    first = picky.post(SUBMIT, {"inputs": {"key": "a"}}, Idempotency_Key="one")

    refused = picky.post(SUBMIT, {"inputs": {"key": "a"}})
    again = picky.post(SUBMIT, {"inputs": {"key": "a"}}, Idempotency_Key="one")

    assert (refused.status_code, refused.json["code"]) == (409, "concurrency.full")
    assert int(refused.headers["Retry-After"]) > 0
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert picky.post(SUBMIT, {"inputs": {"key": "b"}}).status_code == 202
    assert picky.run() == 2
    assert picky.post(SUBMIT, {"inputs": {"key": "a"}}).status_code == 202


def test_a_key_that_is_too_long_is_refused(picky: Api) -> None:
    answer = picky.post(SUBMIT, {"inputs": {"key": 501 * "k"}})

    assert (answer.status_code, answer.json["code"]) == (422, "concurrency.key_invalid")
    assert "kkk" not in answer.json["detail"]


def test_a_lane_nobody_declared_is_a_fault_of_the_file(api: Api) -> None:
    text = "slug: slow\nlane: slwo\nsteps: [{id: a, type: respond, with: {value: 1}}]"
    (api.commands / "slow.yaml").write_text(text, encoding="utf-8")

    (fault,) = api.post("/api/commands/slow/executions", {}).json["errors"]

    assert (fault["code"], fault["path"], fault["line"]) == ("command.unknown_lane", "lane", 2)


def test_items_of_a_bulk_submission_are_refused_as_single_ones_are(picky: Api) -> None:
    picky.post(SUBMIT, {"inputs": {"key": "b"}}, Idempotency_Key="one")
    keys = [("a", None), ("a", None), ("b", "one"), ("b", None), (501 * "k", None), ("c", None)]
    items = [{"command": "picky", "inputs": {"key": key}, "idempotency_key": own} for key, own in keys]

    answered = picky.post("/api/executions/bulk", {"items": items}).json["items"]

    assert [item["verdict"] for item in answered] == [
        *("accepted", "refused", "replayed", "refused", "refused", "accepted")
    ]
    codes = [item["problem"] and item["problem"]["code"] for item in answered]
    assert codes == [None, "concurrency.full", None, "concurrency.full", "concurrency.key_invalid", None]


def test_a_lane_that_does_not_take_a_whole_bulk_submission_takes_nothing_of_it(api: Api) -> None:
    api.open("PUT", "/api/queues/default/limits", json={"queued": 2})
    item = {"command": "todo.add", "inputs": {"body": "x"}}
    known = item | {"idempotency_key": "one"}
    assert api.post("/api/executions/bulk", {"items": [known]}).json["accepted"] == 1

    answer = api.post("/api/executions/bulk", {"items": [known, item, item]})
    answered = answer.json

    assert int(answer.headers["Retry-After"]) > 0
    assert (answered["replayed"], answered["refused"]) == (1, 2)
    assert answered["items"][1]["problem"]["code"] == "queue.full"
    assert api.post("/api/executions/bulk", {"items": [item]}).json["accepted"] == 1


def test_a_schedule_does_not_run_what_its_command_rejects(picky: Api) -> None:
    picky.post("/api/schedules", {"name": "often", "command": "picky", "every": "1h"})
    picky.post(SUBMIT, {})

    answer = picky.post("/api/schedules/often/run", {})

    assert (answer.status_code, answer.json["code"]) == (409, "concurrency.full")
    (occurrence,) = picky.get("/api/schedules/often/occurrences").json["items"]
    assert (occurrence["state"], occurrence["reason"]) == ("skipped", "overlap")
