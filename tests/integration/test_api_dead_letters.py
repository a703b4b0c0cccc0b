"""Dead letters over REST and on the command line."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from fixtures.apis import Api, Weir

from api.schemas.answers import ExecutionDetailShape, ProblemShape
from api.schemas.dead_letters import BatchShape, CausePage, DeadLetterPage, DeadLetterShape, PreviewShape

PATH = "/api/queues/dead"
FAILS = "  - {id: check, type: validate, with: {rules: [{value: 11, max: 10}]}}\n"
NOBODY = "01a1fa64-2221-741f-a676-2681ae902a06"


@pytest.fixture
def failing(api: Api) -> Api:
    """An API with two commands that fail."""
    api.write("fails", FAILS)
    api.write("breaks", "  - {id: read, type: transform, with: {template: \"{{ '[' | from_json }}\"}}\n")
    return api


def fail(api: Api, *slugs: str) -> list[str]:
    ids = [api.submit(slug).json["id"] for slug in slugs]
    api.run()
    return ids


def listed(api: Api, **query: object) -> list[str]:
    return [item["id"] for item in api.get(PATH, **query).json["items"]]


@pytest.mark.req("D-01")
def test_dead_letters_are_pages(failing: Api) -> None:
    ids = fail(failing, *["fails"] * 3)

    first = failing.get(PATH, state="failed", limit=2).json
    second = failing.get(PATH, state="failed", limit=2, cursor=first["next_cursor"]).json

    assert DeadLetterPage().validate(first) == {}
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert listed(failing) == []
    assert listed(failing, state="all", command="breaks") == []
    letter = first["items"][0]
    assert (letter["command"], letter["state"], letter["last_step"], letter["attempts"]) == (
        "fails",
        "failed",
        "check",
        1,
    )
    assert letter["error"]["category"] == "validation"


@pytest.mark.req("D-01")
def test_causes_are_lines(failing: Api) -> None:
    ids = fail(failing, "fails", "fails", "breaks")

    first = failing.get(f"{PATH}/causes", state="all", limit=1).json
    second = failing.get(f"{PATH}/causes", state="all", limit=1, cursor=first["next_cursor"]).json

    assert CausePage().validate(first) == {}
    assert [(each["command"], each["letters"], each["failed"]) for each in first["items"]] == [("breaks", 1, 1)]
    assert [(each["command"], each["letters"], each["newest_id"]) for each in second["items"]] == [("fails", 2, ids[1])]
    fingerprint = second["items"][0]["fingerprint"]
    assert listed(failing, state="all", fingerprint=fingerprint) == ids[1::-1]


@pytest.mark.req("D-01")
def test_one_is_shown_requeued_and_not_requeued_again(failing: Api) -> None:
    (failed,) = fail(failing, "fails")
    shown = failing.get(f"{PATH}/{failed}").json
    assert DeadLetterShape().validate(shown) == {}
    assert shown["handled"] is None

    answer = failing.post(f"{PATH}/{failed}/requeue", {"user": "anna"})

    assert answer.status_code == 202
    assert ExecutionDetailShape().validate(answer.json) == {}
    assert answer.headers["Location"] == f"/api/executions/{answer.json['id']}"
    assert (answer.json["link"], answer.json["parent_id"]) == ("resumed_from", failed)
    again = failing.post(f"{PATH}/{failed}/requeue", {})
    assert (again.status_code, again.json["code"]) == (409, "execution.dead_letter_handled")
    assert ProblemShape().validate(again.json) == {}
    assert answer.json["id"] in again.json["detail"]
    handled = failing.get(f"{PATH}/{failed}").json["handled"]
    assert (handled["action"], handled["user"], handled["execution_id"]) == ("requeued", "anna", answer.json["id"])
    assert failing.run() == 1


def test_one_is_dropped_with_who_did_it(failing: Api) -> None:
    (failed,) = fail(failing, "fails")

    answer = failing.post(f"{PATH}/{failed}/drop", {"user": "anna"})

    assert answer.status_code == 200
    assert DeadLetterShape().validate(answer.json) == {}
    assert (answer.json["handled"]["action"], answer.json["handled"]["user"]) == ("dropped", "anna")
    assert listed(failing, state="all") == []
    assert failing.get(f"/api/executions/{failed}").json["state"] == "failed"


@pytest.mark.req("D-01")
def test_many_are_counted_confirmed_and_requeued(failing: Api) -> None:
    ids = fail(failing, "fails", "fails", "breaks")
    which = {"state": "failed", "command": "fails"}

    preview = failing.post(f"{PATH}/preview", which).json
    assert PreviewShape().validate(preview) == {}
    assert (preview["count"], [each["id"] for each in preview["samples"]]) == (2, ids[:2])
    wrong = failing.post(f"{PATH}/requeue", {**which, "count": 3})
    assert (wrong.status_code, wrong.json["code"]) == (409, "execution.conflict")
    missing = failing.post(f"{PATH}/requeue", which)
    assert [fault["path"] for fault in missing.json["errors"]] == ["count"]

    answer = failing.post(f"{PATH}/requeue", {**which, "count": 2, "up_to": preview["up_to"], "from_start": True})

    assert answer.status_code == 200
    assert BatchShape().validate(answer.json) == {}
    assert [each["id"] for each in answer.json["done"]] == ids[:2]
    assert (answer.json["remaining"], answer.json["next_cursor"], answer.json["refused"]) == (0, None, [])
    new = failing.get(f"/api/executions/{answer.json['done'][0]['execution_id']}").json
    assert (new["link"], new["parent_id"]) == ("retry_of", ids[0])
    assert listed(failing, state="all") == [ids[2]]


def test_named_ones_are_dropped(failing: Api) -> None:
    ids = fail(failing, "fails", "fails", "breaks")

    answer = failing.post(f"{PATH}/drop", {"ids": ids[:2], "state": "all", "count": 2})

    assert [each["execution_id"] for each in answer.json["done"]] == [None, None]
    assert listed(failing, state="all") == [ids[2]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "where"),
    [
        ("POST", "/requeue", {"count": -1}, 422, "count"),
        ("POST", "/requeue", {"count": 1, "fingerprint": "xyz"}, 422, "fingerprint"),
        ("POST", "/drop", {"count": 1, "ids": []}, 422, "ids"),
        ("POST", "/drop", {"count": 1, "start": "2026-01-01"}, 422, "start"),
        ("POST", "/drop", {"count": 1, "comand": "x"}, 422, "comand"),
        ("POST", "/drop", {"cursor": "nonsense"}, 400, None),
        ("POST", f"/{NOBODY}/drop", {}, 404, None),
        ("GET", "?state=alive", None, 422, "state"),
        ("GET", f"/{NOBODY}", None, 404, None),
    ],
)
def test_what_makes_no_sense_is_refused(  # noqa: PLR0913 - what is sent, and what comes of it
    api: Api,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    where: str | None,
) -> None:
    answer = api.open(method, PATH + path, json=body) if body is not None else api.open(method, PATH + path)

    assert answer.status_code == status
    assert ProblemShape().validate(answer.json) == {}
    if where is not None:
        assert [fault["path"] for fault in answer.json["errors"]] == [where]


def test_what_did_not_fail_is_no_dead_letter(api: Api) -> None:
    fine = api.submit("todo.add", {"body": "x"}).json["id"]
    api.run()

    assert api.get(f"{PATH}/{fine}").status_code == 409


@pytest.mark.req("D-01")
def test_the_command_line_lists_shows_and_groups(weir: Weir, failing: Api) -> None:
    weir("run", "fails")
    typed = weir("run", "fails", "--format", "json")
    failed = typed.json["id"]

    assert "--state failed" in weir("queues", "dead", "list").out
    assert weir("queues", "dead", "list", "--state", "failed").out.count("fails") == 2
    assert len(weir("queues", "dead", "list", "--state", "all", "--since", "1h", "--format", "json").json["items"]) == 2
    assert weir("queues", "dead", "list", "--state", "all", "--until", "1h", "--format", "json").json["items"] == []
    lines = weir("queues", "dead", "list", "--state", "all", "--by", "fingerprint").out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["fails", "2", "0"]
    (_, cells, *_) = csv.reader(weir("queues", "dead", "list", "--state", "failed", "--format", "csv").out.splitlines())
    error = typed.json["error"]
    assert f"{error['type']}: {error['message']}" in cells
    shown = weir("queues", "dead", "show", failed).out
    assert "What it was given will not do" in shown
    assert "tries        1 try failed" in shown
    assert "tries        1 try failed" in weir("executions", "show", failed).out
    assert "check" in shown


@pytest.mark.req("D-01")
def test_the_command_line_asks_before_it_deals_with_many(weir: Weir, failing: Api) -> None:
    for _ in range(3):
        weir("run", "fails")
    which = ("--state", "failed", "--command", "fails")

    assert "Name some by ID or filter" in weir("queues", "dead", "requeue").err
    preview = weir("queues", "dead", "requeue", *which, "--dry-run")
    assert preview.out.startswith("3 dead letters would be requeued")
    unsure = weir("queues", "dead", "requeue", *which)
    assert unsure.code == 2
    assert "--count 3 or --yes" in unsure.err
    wrong = weir("queues", "dead", "requeue", *which, "--count", "2")
    assert wrong.code == 1
    assert "3 dead letters by now, not 2" in wrong.err
    done = weir("queues", "dead", "requeue", *which, "--count", "3", "--user", "anna")
    assert (done.code, done.out) == (0, "3 dead letters requeued\n")


def test_the_command_line_deals_with_named_ones(weir: Weir, failing: Api) -> None:
    first, second = (weir("run", "fails", "--format", "json").json["id"] for _ in range(2))

    assert "is dropped" in weir("queues", "dead", "drop", first).out
    miscounted = weir("queues", "dead", "requeue", first, second, "--count", "5")
    assert (miscounted.code, "Invalid value for --count: 5, and 2 IDs named" in miscounted.err) == (2, True)
    both = weir("queues", "dead", "requeue", first, second, "--count", "2")
    assert both.code == 1
    assert f"fails will run, in place of {second}" in both.out
    assert f"weir: {first}: it was dropped already" in both.err
    again = weir("queues", "dead", "requeue", second)
    assert again.code == 1
    assert "requeued already, as " in again.err


def test_the_command_line_goes_on_until_nothing_is_left(
    weir: Weir, failing: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dead_letters.AT_ONCE", 2)
    for _ in range(5):
        weir("run", "fails")

    typed = weir("queues", "dead", "drop", "--state", "failed", "--yes", "--format", "json")

    assert len(typed.json["done"]) == 5
    assert listed(failing, state="all") == []
    assert weir("queues", "dead", "drop", "--state", "failed", "--yes").out == "No dead letter fits.\n"
