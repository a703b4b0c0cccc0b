"""Executions are cancelled, run again and resumed over REST and from the command line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fixtures.apis import Api
from werkzeug.test import TestResponse

FAULTY = """
slug: faulty
steps:
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: check, type: validate, with: {rules: [{value: "", required: true}]}}
"""


LISTED = """
  - id: each
    type: list.map
    with:
      items: "{{ '[0]' | from_json }}"
      do: [{id: check, type: validate, with: {rules: [{value: "{{ item }}", min: 1}]}}]
"""


@pytest.fixture
def failed(api: Api) -> str:
    """Id of an execution that failed after its first step."""
    api.commands.joinpath("faulty.yaml").write_text(FAULTY, encoding="utf-8")
    execution_id: str = api.submit("faulty", {}).json["id"]
    api.run()
    assert api.get(f"/api/executions/{execution_id}").json["state"] == "failed"
    return execution_id


@pytest.mark.req("D-01")
def test_what_waits_is_cancelled(api: Api) -> None:
    execution_id = api.submit("todo.add", {"body": "never"}).json["id"]

    answer = api.post(f"/api/executions/{execution_id}/cancel", {})
    again = api.post(f"/api/executions/{execution_id}/cancel", {})

    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert again.status_code == 200
    assert api.run() == 0


def test_what_has_ended_is_not_cancelled(api: Api, failed: str) -> None:
    answer = api.post(f"/api/executions/{failed}/cancel", {})

    assert (answer.status_code, answer.json["code"]) == (409, "execution.conflict")


@pytest.mark.req("D-01")
def test_a_corrected_command_goes_on_where_the_faulty_one_failed(api: Api, failed: str) -> None:
    corrected = FAULTY.replace('value: "", required: true', "value: 1, required: true")

    answer = api.post(f"/api/executions/{failed}/resume", {"text": corrected})
    api.run()

    assert answer.status_code == 202
    resumed = api.get(answer.headers["Location"]).json
    assert (resumed["state"], resumed["link"], resumed["parent_id"]) == ("succeeded", "resumed_from", failed)
    assert (resumed["steps_executed"], resumed["mutations_count"]) == (1, 0)


def test_a_retry_is_a_new_execution(api: Api, failed: str) -> None:
    answer = api.post(f"/api/executions/{failed}/retry", {})
    api.run()

    retried = api.get(answer.headers["Location"]).json
    assert (retried["state"], retried["link"], retried["mutations_count"]) == ("failed", "retry_of", 1)


def test_refusals_say_what_to_do(api: Api, failed: str) -> None:
    unknown = api.post(f"/api/executions/{failed}/resume", {"from": "chek"})
    broken = api.post(f"/api/executions/{failed}/retry", {"text": "slug: [\n"})
    nobody = api.post("/api/executions/01a1fdc0-8e83-7d3a-8dee-6bc84f0a75d0/retry", {})

    assert (unknown.status_code, unknown.json["code"]) == (422, "execution.step_not_found")
    assert "check" in unknown.json["hint"]
    assert (broken.status_code, broken.json["code"]) == (422, "command.invalid")
    assert (nobody.status_code, nobody.json["code"]) == (404, "execution.not_found")


@pytest.mark.req("D-01")
@pytest.mark.parametrize("verb", ["retry", "resume"])
def test_what_is_sent_again_under_its_key_is_the_same_execution(api: Api, failed: str, verb: str) -> None:
    path, corrected = f"/api/executions/{failed}/{verb}", FAULTY.replace('value: ""', "value: 1")

    with ThreadPoolExecutor(4) as callers:
        posts = list(callers.map(lambda _: _post_alone(api, path, {"text": corrected}, "abc"), range(12)))
    other = api.post(path, {}, Idempotency_Key="abc")
    submitted = api.post("/api/commands/faulty/executions", {}, Idempotency_Key="abc")
    unsound = api.post(path, {}, Idempotency_Key="x" * 256)
    ran = api.run()
    late = api.post(path, {"text": corrected}, Idempotency_Key="abc")

    assert {post.status_code for post in posts} == {202}
    assert len({post.headers["Location"] for post in posts}) == 1
    assert sorted(post.headers.get("Idempotent-Replay", "") for post in posts) == ["", *["true"] * 11]
    assert (other.status_code, other.json["code"]) == (409, "execution.key_reused")
    assert (submitted.status_code, submitted.json["code"]) == (409, "execution.key_reused")
    assert unsound.status_code == 422
    assert ran == 1
    assert (late.headers["Location"], late.json["state"]) == (posts[0].headers["Location"], "succeeded")


def test_a_replay_says_again_what_runs_again(api: Api) -> None:
    api.write("listed", LISTED)
    execution_id = api.submit("listed", {}).json["id"]
    api.run()
    path = f"/api/executions/{execution_id}/resume"
    corrected = {"text": "slug: listed\nsteps:\n" + LISTED.replace("[0]", "[1]")}

    same = api.post(path, {}, Idempotency_Key="same")
    first = api.post(path, corrected, Idempotency_Key="corrected")
    (api.commands / "listed.yaml").unlink()
    again = api.post(path, corrected, Idempotency_Key="corrected")

    assert (same.json["runs_again"], first.json["runs_again"], again.json["runs_again"]) == ([], ["each"], ["each"])
    assert again.headers["Idempotent-Replay"] == "true"
    assert api.run() == 2


def _post_alone(api: Api, path: str, body: object, key: str) -> TestResponse:
    """With a client of one's own, for clients are of one thread."""
    return api.app.test_client().post(path, json=body, headers={"Idempotency-Key": key})
