from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from fixtures.apis import Api

from api.schemas.answers import FragmentDetailShape, FragmentPage, ImportedShape


def note(source: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"source": source, "title": source.title(), "content": f"About {source}.", **fields}


def test_notes_come_in_and_a_second_time_change_nothing(api: Api) -> None:
    notes = [note("one", tags=["a"], created_at="2020-02-03T04:05:06Z"), note("two", type="idea", metadata={"k": 1})]

    first = api.post("/api/fragments/import", {"notes": notes})
    second = api.post("/api/fragments/import", {"notes": notes})

    assert ImportedShape().validate(first.json) == {}
    assert first.json == {"created": 2, "updated": 0, "unchanged": 0}
    assert second.json == {"created": 0, "updated": 0, "unchanged": 2}


def test_an_import_is_on_record_under_the_requests_correlation_id(api: Api) -> None:
    api.post("/api/fragments/import", {"notes": [note("one"), note("two")], "user": "ada"})
    changed = api.post("/api/fragments/import", {"notes": [note("one", content="else"), note("three")], "user": "ada"})

    events = api.get(f"/api/telemetry/traces/{changed.headers['X-Correlation-ID']}").json["items"]
    with api.resources.pool.connection() as connection:
        rows = connection.execute(
            "select operation, entity_id::text, event_id::text from mutations"
            " where correlation_id = %s and execution_id is null",
            (changed.headers["X-Correlation-ID"],),
        ).fetchall()

    told = {
        (event["operation"], event["fragment_id"], event["event_id"])
        for event in events
        if event["component"] == "fragment"
    }
    assert {operation for operation, _, _ in told} == {"created", "updated"}
    assert set(rows) == told
    assert {event["user_id"] is not None and event["space_id"] is not None for event in events} == {True}
    assert [event["operation"] for event in events if event["component"] == "http"] == ["/api/fragments/import"]


def test_a_large_import_is_told_in_one_event_per_operation_and_kept_in_one_row_per_fragment(api: Api) -> None:
    answer = api.post("/api/fragments/import", {"notes": [note(f"n{number}") for number in range(150)]})

    [created] = api.get("/api/telemetry/events", event_type="fragment.created").json["items"]
    with api.resources.pool.connection() as connection:
        kept = connection.execute("select count(*), count(event_id) from mutations").fetchone()

    assert answer.json["created"] == created["mutations_count"] == 150
    assert created["fragment_id"] is None
    assert kept == (150, 1)


def test_one_bad_note_keeps_the_others_of_its_request_out(api: Api) -> None:
    answer = api.post("/api/fragments/import", {"notes": [note("good"), note("bad", tags=[" "])]})

    assert (answer.status_code, answer.json["code"]) == (422, "record.invalid")
    assert "bad" in answer.json["detail"]
    assert api.get("/api/fragments").json["items"] == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "notes"),
        ({"notes": [{}]}, "notes[0].source"),
        ({"notes": [note("a", created_at="2020-01-01")]}, "notes[0].created_at"),
        ({"notes": [note("a", created_at="0001-01-01T00:00:00+05:00")]}, "notes[0].created_at"),
        ({"notes": [note("a", updated_at="9999-12-31T23:59:59-05:00")]}, "notes[0].updated_at"),
        ({"notes": [note("a", tgas=[])]}, "notes[0].tgas"),
        ({"notes": [note("a", tags="x")]}, "notes[0].tags"),
        ({"notes": [note(str(number)) for number in range(501)]}, "notes"),
    ],
)
def test_an_import_of_another_shape_is_refused_by_name(api: Api, body: object, path: str) -> None:
    answer = api.post("/api/fragments/import", body)

    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json["errors"]] == [path]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2020-02-03T04:05:06+23:59", "2020-02-02T04:06:06Z"),
        ("2020-02-03T04:05:06-23:59", "2020-02-04T04:04:06Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_note_may_be_of_any_time_and_offset(api: Api, written: str, kept: str) -> None:
    answer = api.post("/api/fragments/import", {"notes": [note("a", created_at=written, updated_at=written)]})

    assert answer.json["created"] == 1
    [stored] = api.get("/api/fragments").json["items"]
    assert (stored["created_at"], stored["updated_at"]) == (kept, kept)


def test_fragments_are_listed_newest_first_in_pages_with_the_beginning_of_their_content(api: Api) -> None:
    api.post("/api/fragments/import", {"notes": [note(f"n{number}", content="x" * 1000) for number in range(5)]})

    first = api.get("/api/fragments", limit=3).json
    second = api.get("/api/fragments", limit=3, cursor=first["next_cursor"]).json

    assert FragmentPage().validate(first) == {}
    ids = [item["id"] for item in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 5
    assert {item["excerpt"] for item in first["items"]} == {"x" * 500}


def test_a_fragment_is_shown_in_full(api: Api) -> None:
    api.post("/api/fragments/import", {"notes": [note("one", content="x" * 1000)]})
    [listed] = api.get("/api/fragments").json["items"]

    shown = api.get(f"/api/fragments/{listed['id']}").json

    assert FragmentDetailShape().validate(shown) == {}
    assert shown["content"] == "x" * 1000


def test_fragments_are_found_by_type_tag_space_and_text(api: Api) -> None:
    api.post("/api/fragments/import", {"notes": [note("one", tags=["a", "b"]), note("two", type="idea", tags=["a"])]})
    api.post("/api/fragments/import", {"space": "lab", "notes": [note("three", content="100%_sure")]})

    def found(**query: str) -> set[str]:
        return {item["source"] for item in api.get("/api/fragments", **query).json["items"]}

    assert found(type="idea") == {"two"}
    assert found(tag="a") == {"one", "two"}
    assert found(tag="a, b") == {"one"}
    assert found(space="lab") == {"three"}
    assert found(q="%_") == {"three"}
    assert found(q="ABOUT one") == {"one"}
    assert found(space="nowhere") == set()


#: Each row that is changed takes a while, so that two changes of the same rows meet.
SLOWED = """
create function take_a_while() returns trigger language plpgsql as 'begin perform pg_sleep(0.2); return new; end';
create trigger slowed before update on fragments for each row execute function take_a_while();
"""


def test_two_imports_of_the_same_notes_in_another_order_do_not_end_each_other(
    api: Api, connection: psycopg.Connection
) -> None:
    sources = ["b", "a", "c"]
    api.post("/api/fragments/import", {"notes": [note(source) for source in sources]})
    connection.execute(SLOWED)

    def change(content: str, order: list[str]) -> int:
        client = api.app.test_client()
        notes = [note(source, content=content) for source in order]
        return client.post("/api/fragments/import", json={"notes": notes}).status_code

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(change, "1", sources), threads.submit(change, "2", sources[::-1])
        assert (first.result(), second.result()) == (200, 200)
    assert len({item["excerpt"] for item in api.get("/api/fragments").json["items"]}) == 1


def test_of_two_edits_that_wait_for_each_other_one_is_told_to_try_again(
    api: Api, connection: psycopg.Connection
) -> None:
    ids = [api.post("/api/fragments", {"type": "note", "content": name}).json["id"] for name in "ab"]
    connection.execute(
        "create function touch_other() returns trigger language plpgsql as 'begin perform pg_sleep(0.3);"
        " perform 1 from fragments where id <> new.id and source is null for update; return new; end'"
    )
    connection.execute("create trigger touching before update on fragments for each row execute function touch_other()")

    def change(fragment_id: str) -> tuple[int, str | None]:
        answer = api.app.test_client().patch(f"/api/fragments/{fragment_id}", json={"title": "new"})
        return answer.status_code, (answer.json or {}).get("code")

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(change, ids)) == [(200, None), (503, "store.too_slow")]
