"""Fragments made, changed and removed over REST: durable, told, and never by halves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from fixtures.apis import Answer, Api
from psycopg.rows import dict_row

from api.schemas.answers import FragmentDetailShape

NOBODY = "0198a000-0000-7000-8000-0000000000aa"

DRAFT = {"type": "note", "title": "Oven", "content": "Preheat.", "state": {"status": "open"}, "tags": ["kitchen"]}


def made(api: Api, **fields: Any) -> Answer:  # noqa: ANN401 - any JSON
    answer = api.post("/api/fragments", {**DRAFT, **fields})
    assert answer.status_code == 201, answer.text
    return answer


def patched(api: Api, fragment_id: str, body: object, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.open("PATCH", f"/api/fragments/{fragment_id}", json=body, headers=named)


def removed(api: Api, fragment_id: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.open("DELETE", f"/api/fragments/{fragment_id}", headers=named)


def mutations_of(api: Api, fragment_id: str) -> list[dict[str, Any]]:
    with api.resources.pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute("select * from mutations where entity_id = %s order by id", (fragment_id,)).fetchall()


@pytest.mark.req("D-04", "S-14")
def test_a_fragment_is_made_shown_changed_and_removed(api: Api) -> None:
    created = made(api, metadata={"deep": [1, {"x": None}]}, space="lab")
    path = created.headers["Location"]

    assert FragmentDetailShape().validate(created.json) == {}
    assert path == f"/api/fragments/{created.json['id']}"
    assert {**created.json, **DRAFT, "space": "lab", "source": None} == created.json
    shown = api.get(path)
    assert (shown.json, shown.headers["ETag"]) == (created.json, created.headers["ETag"])

    changed = patched(api, created.json["id"], {"title": "Stove", "state": {"status": None, "by": "ada"}})
    assert changed.status_code == 200
    assert (changed.json["title"], changed.json["state"]) == ("Stove", {"by": "ada"})
    assert changed.json["content"] == "Preheat."
    assert changed.json["updated_at"] > created.json["updated_at"]
    assert changed.headers["ETag"] != created.headers["ETag"]
    assert api.get(path).json == changed.json

    gone = removed(api, created.json["id"])
    assert (gone.status_code, gone.data) == (204, b"")
    assert api.get(path).status_code == 404
    assert removed(api, created.json["id"]).status_code == 404


@pytest.mark.req("C-05")
def test_every_edit_is_on_record_as_that_of_a_step_would_be(api: Api) -> None:
    created = made(api, user="ada")
    fragment_id = created.json["id"]
    changed = patched(api, fragment_id, {"title": "Stove", "add_tags": ["hot"], "user": "bob"})
    gone = api.open("DELETE", f"/api/fragments/{fragment_id}?user=eve")

    rows = mutations_of(api, fragment_id)

    assert [row["operation"] for row in rows] == ["created", "updated", "deleted"]
    assert [row["user_name"] for row in rows] == ["ada", "bob", "eve"]
    assert [str(row["correlation_id"]) for row in rows] == [
        answer.headers["X-Correlation-ID"] for answer in (created, changed, gone)
    ]
    assert {(row["entity"], row["request_source"], row["rows_count"], row["dry_run"]) for row in rows} == {
        ("fragment", "api", 1, False)
    }
    assert [set(row["changed_fields"]) for row in rows] == [
        {"type", "title", "content", "state", "tags"},
        {"title", "tags"},
        set(),
    ]
    first, second, third = rows
    assert (first["before_hash"], third["after_hash"]) == (None, None)
    assert (first["after_hash"], second["after_hash"]) == (second["before_hash"], third["before_hash"])
    assert first["after_hash"] != second["after_hash"]


@pytest.mark.req("C-05", "C-03")
def test_every_edit_leaves_its_event_and_that_of_its_request(api: Api) -> None:
    created = made(api, user="ada", space="lab")
    fragment_id = created.json["id"]
    answers = [created, patched(api, fragment_id, {"title": "Stove"}), removed(api, fragment_id)]

    for answer, kind in zip(answers, ("created", "updated", "deleted"), strict=True):
        told, request = api.get(f"/api/telemetry/traces/{answer.headers['X-Correlation-ID']}").json["items"]
        assert told["event_type"] == f"fragment.{kind}"
        assert (told["fragment_id"], told["execution_id"], told["step_path"]) == (fragment_id, None, None)
        assert (request["event_type"], request["measures"]["status"]) == ("http.request.completed", answer.status_code)
        assert told["space_id"] == request["space_id"] is not None
        assert told["user_id"] == request["user_id"] is not None
    with api.resources.pool.connection() as connection:
        kept = connection.execute("select event_id::text from mutations where event_id is not null").fetchall()
    events = api.get("/api/telemetry/events", component="fragment").json["items"]
    assert {event["event_id"] for event in events} == {event_id for (event_id,) in kept}


def test_a_change_that_changes_nothing_leaves_nothing(api: Api) -> None:
    created = made(api)

    same = patched(api, created.json["id"], {"title": DRAFT["title"], "add_tags": ["kitchen"], "state": {}})

    assert (same.status_code, same.json, same.headers["ETag"]) == (200, created.json, created.headers["ETag"])
    assert patched(api, created.json["id"], {}).json == created.json
    assert [row["operation"] for row in mutations_of(api, created.json["id"])] == ["created"]


def test_tags_are_replaced_then_added_then_taken_away(api: Api) -> None:
    fragment_id = made(api, tags=["a", "b"]).json["id"]

    changed = patched(api, fragment_id, {"tags": ["x", "y"], "add_tags": ["z"], "remove_tags": ["y"]})

    assert changed.json["tags"] == ["x", "z"]


def test_who_changes_what_somebody_else_changed_is_refused_and_nothing_happens(api: Api) -> None:
    created = made(api)
    fragment_id, seen = created.json["id"], created.headers["ETag"]

    fresh = patched(api, fragment_id, {"title": "Stove"}, If_Match=seen)
    stale = patched(api, fragment_id, {"title": "Fridge"}, If_Match=seen)
    stale_removal = removed(api, fragment_id, If_Match=seen)

    assert fresh.status_code == 200
    for refused in (stale, stale_removal):
        assert (refused.status_code, refused.mimetype) == (412, "application/problem+json")
        assert refused.json["code"] == "request.stale"
    assert api.get(f"/api/fragments/{fragment_id}").json == fresh.json
    assert [row["operation"] for row in mutations_of(api, fragment_id)] == ["created", "updated"]
    assert removed(api, fragment_id, If_Match=fresh.headers["ETag"]).status_code == 204


@pytest.mark.parametrize("given", ["nonsense", '"nonsense"', 'W/"weak"', "", "*, ", '"', "\xff"])
def test_an_if_match_that_names_no_state_of_it_matches_nothing(api: Api, given: str) -> None:
    fragment_id = made(api).json["id"]

    refused = patched(api, fragment_id, {"title": "Stove"}, If_Match=given)

    assert refused.status_code == 412


def test_any_of_several_states_or_any_at_all_may_be_named(api: Api) -> None:
    created = made(api)
    fragment_id = created.json["id"]

    first = patched(api, fragment_id, {"title": "1"}, If_Match=f'"other", {created.headers["ETag"]}')
    second = patched(api, fragment_id, {"title": "2"}, If_Match="*")

    assert (first.status_code, second.status_code) == (200, 200)
    assert patched(api, NOBODY, {}, If_Match="*").status_code == 404


def test_a_caller_that_has_a_fragment_already_is_not_sent_it_again(api: Api) -> None:
    created = made(api)
    path, tag = created.headers["Location"], created.headers["ETag"]

    same = api.open("GET", path, headers={"If-None-Match": f"W/{tag}"})
    patched(api, created.json["id"], {"title": "Stove"})
    other = api.open("GET", path, headers={"If-None-Match": tag})

    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", tag)
    assert (other.status_code, other.json["title"]) == (200, "Stove")


def test_of_many_changes_at_once_each_is_whole_or_refused(api: Api) -> None:
    created = made(api)
    fragment_id, seen = created.json["id"], created.headers["ETag"]

    def change(number: int) -> Answer:
        body = {"title": f"by {number}", "content": f"by {number}", "state": {"by": number}}
        return Api.open(api, "PATCH", f"/api/fragments/{fragment_id}", json=body, headers={"If-Match": seen})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(change, range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    [winner] = [answer for answer in answers if answer.status_code == 200]
    now = api.get(f"/api/fragments/{fragment_id}").json
    assert now == winner.json
    assert now["title"] == now["content"] == f"by {now['state']['by']}"


def test_of_many_unconditional_changes_none_is_lost(api: Api) -> None:
    fragment_id = made(api, state={}).json["id"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: patched(api, fragment_id, {"state": {f"k{number}": number}}), range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert api.get(f"/api/fragments/{fragment_id}").json["state"] == {f"k{number}": number for number in range(8)}
    assert len(mutations_of(api, fragment_id)) == 9


def test_a_fragment_that_is_removed_while_others_change_it_is_gone(api: Api) -> None:
    fragment_id = made(api).json["id"]

    with ThreadPoolExecutor(8) as pool:
        ways = [lambda: patched(api, fragment_id, {"title": "x"}), lambda: removed(api, fragment_id)] * 4
        answers = list(pool.map(lambda way: way(), ways))

    assert {answer.status_code for answer in answers} <= {200, 204, 404}
    assert [answer.status_code for answer in answers].count(204) == 1
    assert [row["operation"] for row in mutations_of(api, fragment_id)].count("deleted") == 1


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"type": "Not A Type"}, "type"),
        ({"type": "note\n"}, "type"),
        ({"type": None}, "type"),
        ({"title": "x" * 1001}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"title": 5}, "title"),
        ({"content": "x" * 1_048_577}, "content"),
        ({"content": None}, "content"),
        ({"state": []}, "state"),
        ({"state": {"a": {"b": "x\0"}}}, "state.a.b"),
        ({"state": {"a": 2**63}}, "state.a"),
        ({"state": {"a": "x" * 262_144}}, "state"),
        ({"metadata": {"a": ["x"] * 100_000}}, "metadata"),
        ({"tags": "kitchen"}, "tags"),
        ({"tags": ["ok", 5]}, "tags[1]"),
        ({"tags": ["ok", ""]}, "tags[1]"),
        ({"tags": [" "]}, "tags"),
        ({"tags": ["x" * 101]}, "tags[0]"),
        ({"tags": [str(number) for number in range(101)]}, "tags"),
        ({"user": ""}, "user"),
        ({"tpye": "note"}, "tpye"),
        ({"id": NOBODY}, "id"),
        ({"created_at": "2020-01-01T00:00:00Z"}, "created_at"),
    ],
)
def test_what_cannot_be_a_fragment_is_refused_by_the_field_that_is_wrong(
    api: Api, fields: dict[str, Any], path: str
) -> None:
    refused = api.post("/api/fragments", {**DRAFT, **fields})

    assert (refused.status_code, refused.json["code"]) == (422, "request.invalid")
    assert [fault["path"] for fault in refused.json["errors"]] == [path]
    assert api.get("/api/fragments").json["items"] == []

    fragment_id = made(api).json["id"]
    change = patched(api, fragment_id, fields)
    assert (change.status_code, [fault["path"] for fault in change.json["errors"]]) == (422, [path])
    assert len(mutations_of(api, fragment_id)) == 1


def test_a_draft_without_a_type_is_refused_by_that(api: Api) -> None:
    for body in ({}, {"title": "x"}):
        refused = api.post("/api/fragments", body)
        assert [(fault["code"], fault["path"]) for fault in refused.json["errors"]] == [
            ("request.missing_field", "type")
        ]
    assert api.post("/api/fragments", {**DRAFT, "space": "Not A Name"}).json["errors"][0]["path"] == "space"


def test_half_a_surrogate_pair_is_refused_by_its_place(api: Api) -> None:
    data = json.dumps({**DRAFT, "title": "\ud800"}).encode()

    refused = api.open("POST", "/api/fragments", data=data, content_type="application/json")

    assert (refused.status_code, refused.json["errors"][0]["path"]) == (422, "title")


@pytest.mark.parametrize(
    ("before", "change", "path"),
    [
        ({"tags": [str(number) for number in range(100)]}, {"add_tags": ["one", "more"]}, "tags"),
        ({"state": {"a": "x" * 200_000}}, {"state": {"b": "x" * 200_000}}, "state"),
    ],
)
def test_what_a_change_would_make_of_it_must_be_storable_too(
    api: Api, before: dict[str, Any], change: dict[str, Any], path: str
) -> None:
    created = made(api, **before)

    refused = patched(api, created.json["id"], change)

    assert (refused.status_code, refused.json["code"]) == (422, "record.invalid")
    assert [fault["path"] for fault in refused.json["errors"]] == [path]
    assert api.get(created.headers["Location"]).json == created.json


@pytest.mark.parametrize("number", [1e300, -1e300, 5e-324, 2**63 - 1, -(2**63), 0.1, -0.0, 1.0])
def test_any_number_that_is_taken_can_be_read_again(api: Api, number: float) -> None:
    created = made(api, state={"n": number})

    again = api.get(created.headers["Location"])

    assert float(again.json["state"]["n"]) == float(number)
    assert again.headers["ETag"] == created.headers["ETag"]


def test_a_fragment_that_nobody_has_is_not_found(api: Api) -> None:
    for answer in (patched(api, NOBODY, {"title": "x"}), removed(api, NOBODY)):
        assert (answer.status_code, answer.json["code"]) == (404, "fragment.not_found")


def test_a_refused_draft_leaves_no_space_behind(api: Api) -> None:
    api.post("/api/fragments", {**DRAFT, "space": "lab", "state": {"a": "x" * 262_144}})

    with api.resources.pool.connection() as connection:
        assert connection.execute("select count(*) from spaces where name = 'lab'").fetchone() == (0,)


def test_pages_of_a_filtered_list_join_without_gaps_though_it_changes_meanwhile(api: Api) -> None:
    ids = [made(api, tags=["a"] if number % 2 else ["b"]).json["id"] for number in range(10)]

    first = api.get("/api/fragments", tag="a", limit=2).json
    made(api, tags=["a"])
    removed(api, first["items"][-1]["id"])
    second = api.get("/api/fragments", tag="a", limit=10, cursor=first["next_cursor"]).json

    assert [item["id"] for item in first["items"] + second["items"]] == ids[1::2][::-1]
    assert [UUID(item["id"]).version for item in second["items"]] == [7] * 3


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"tgas": "a"}, "tgas"),
        ({"type": "Not A Type"}, "type"),
        ({"space": "Not A Name"}, "space"),
        ({"tag": "x" * 101}, "tag"),
        ({"q": "x" * 1001}, "q"),
        ({"contents": "half"}, "contents"),
        ({"limit": "-1"}, "limit"),
    ],
)
def test_a_filter_that_can_fit_nothing_is_refused_by_its_name(api: Api, query: dict[str, str], path: str) -> None:
    refused = api.get("/api/fragments", **query)

    assert (refused.status_code, refused.json["code"]) == (422, "request.invalid")
    assert [fault["path"] for fault in refused.json["errors"]] == [path]


@pytest.mark.parametrize("levels", [129, 500, 900])
@pytest.mark.parametrize("door", ["make", "change", "import"])
def test_what_could_not_be_read_again_is_not_stored(api: Api, door: str, levels: int) -> None:
    fragment_id = api.post("/api/fragments", {"type": "note", "title": "a", "content": "x"}).json["id"]
    deep = '{"a":' * levels + "1" + "}" * levels
    method, path, body = {
        "make": ("POST", "/api/fragments", f'{{"type": "note", "content": "x", "state": {deep}}}'),
        "change": ("PATCH", f"/api/fragments/{fragment_id}", f'{{"state": {deep}}}'),
        "import": (
            "POST",
            "/api/fragments/import",
            f'{{"notes": [{{"source": "a.md", "title": "a", "content": "x", "metadata": {deep}}}]}}',
        ),
    }[door]

    refused = api.open(method, path, data=body, content_type="application/json")

    assert refused.status_code == 422
    assert "nested deeper than 128 levels" in refused.json["detail"]
    assert api.get(f"/api/fragments/{fragment_id}").json["state"] == {}
    assert len(api.get("/api/fragments").json["items"]) == 1
