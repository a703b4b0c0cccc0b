"""Whatever is asked, the API answers: with what was asked for, or with a problem that is not its own."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from fixtures.apis import Api
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import describe
from api.schemas.answers import ProblemShape
from api.schemas.requests import (
    ChangeShape,
    DraftShape,
    EventQuery,
    ExecutionQuery,
    FragmentQuery,
    ImportShape,
    StepQuery,
    SubmissionShape,
    TextShape,
)
from api.schemas.schedules import NextQuery, OccurrenceQuery, ScheduleQuery, ScheduleWords

PATHS = (
    *("/api/executions", "/api/fragments", "/api/telemetry/events", "/api/executions/{id}/steps", "/api/commands"),
    *("/api/schedules", "/api/schedules/there/occurrences", "/api/schedules/there/next"),
)
QUERIES = (EventQuery, ExecutionQuery, FragmentQuery, StepQuery, ScheduleQuery, OccurrenceQuery, NextQuery)
NAMES = sorted({name for shape in QUERIES for name in shape().fields})
SHAPES = (SubmissionShape, ImportShape, DraftShape, ChangeShape, TextShape)
FIELDS = sorted({name for shape in SHAPES for name in shape().fields})
ID = "0198a000-0000-7000-8000-0000000000aa"

TEXTS = st.text(max_size=20) | st.sampled_from(
    [ID, "1h", "1", "2026-01-01T00:00:00Z", "%", "\\", "a:b", "ZXhlY3V0aW9uOg"]
)
ANY_TEXTS = TEXTS | st.text(st.characters(), max_size=5) | st.sampled_from(["\ud800", "\udc00\ud800", "a\0b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXTS, inner, max_size=3),
    max_leaves=8,
)

SOME = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def answered(api: Api, method: str, path: str, **options: Any) -> None:  # noqa: ANN401 - of werkzeug's EnvironBuilder
    answer = api.open(method, path, **options)
    if answer.status_code >= 400:
        assert answer.mimetype == "application/problem+json"
        assert ProblemShape().validate(answer.json) == {}
    assert answer.status_code < 500, answer.data


@SOME
@given(path=st.sampled_from(PATHS), query=st.dictionaries(st.sampled_from(NAMES) | TEXTS, TEXTS, max_size=4))
def test_any_query_is_answered(api: Api, path: str, query: dict[str, str]) -> None:
    answered(api, "GET", path.format(id=ID), query_string=query)


@SOME
@given(method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]), parts=st.lists(TEXTS, max_size=4))
def test_any_path_is_answered(api: Api, method: str, parts: list[str]) -> None:
    path = "/".join(quote(part, safe="", errors="replace") for part in parts)
    answered(api, method, f"/api/{path}")


#: All addresses with something of the caller's in them.
ROUTES = sorted(
    (method, re.sub(r"{[^}]+}", "{}", path)) for path, told in describe()["paths"].items() if "{" in path
    for method in told if method != "parameters"
)  # fmt: skip


@pytest.mark.parametrize("name", ["\0", "a\0b", "\ud800", "\x7f", "\u202e", " ", "\U0010ffff", "x" * 3000])
def test_any_name_in_any_path_is_answered(api: Api, name: str) -> None:
    segment = quote(name.encode("utf-8", "surrogatepass"), safe="")
    for method, path in ROUTES:
        body: dict[str, Any] | None = None if method in {"get", "delete"} else {}
        answered(api, method.upper(), path.replace("{}", segment), json=body)


@pytest.mark.parametrize("path", ["/api/queues/{}", "/api/schedules/{}", "/api/commands/{}", "/api/commands/{}/pause"])
def test_a_name_that_cannot_be_stored_is_refused_wherever_it_stands(api: Api, path: str) -> None:
    answer = api.open("POST" if path.endswith("pause") else "GET", path.format("a%00b"))

    assert (answer.status_code, answer.json["errors"][0]["code"]) == (422, "request.unstorable")


@SOME
@given(
    path=st.sampled_from(
        ["/api/commands/todo.add/executions", "/api/fragments/import", "/api/fragments", "/api/commands/validate"]
    ),
    body=VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
)
def test_any_body_is_answered(api: Api, path: str, body: object) -> None:
    answered(api, "POST", path, data=json.dumps(body).encode(), content_type="application/json")


#: Words of a schedule: what may be said of each, and anything else.
WORDS = {
    **dict.fromkeys(ScheduleWords().fields, VALUES),
    "cron": TEXTS | st.text("0123456789*/,-LW# @", max_size=20).map(lambda text: f"{text} * * * *"),
    "every": TEXTS | st.sampled_from(["1s", "365d", "1e9d", "-1s", "0s", "999999999d"]),
    "at": TEXTS | st.datetimes().map(str),
    "anchor": TEXTS | st.datetimes().map(str),
    "timezone": TEXTS | st.sampled_from(["Europe/Berlin", "Etc/GMT+12", "Africa", "UTC"]),
    "jitter": TEXTS,
    "window": TEXTS | st.just("365d"),
}


@SOME
@given(words=st.fixed_dictionaries({}, optional=WORDS), method=st.sampled_from(["POST", "PATCH"]))
def test_any_schedule_is_answered(api: Api, words: dict[str, Any], method: str) -> None:
    api.post("/api/schedules", {"name": "there", "command": "todo.add", "every": "1h", "inputs": {"body": "x"}})
    named = {"name": "new", "command": "todo.add", "inputs": {"body": "x"}} if method == "POST" else {}
    path = "/api/schedules" if method == "POST" else "/api/schedules/there"
    answered(api, method, path, data=json.dumps(named | words).encode(), content_type="application/json")
    answered(api, "GET", "/api/schedules")
    api.open("DELETE", "/api/schedules/new")


@SOME
@given(start=TEXTS | st.datetimes().map(lambda instant: f"{instant}Z"), end=TEXTS | st.datetimes().map(str))
def test_any_backfill_is_answered(api: Api, start: str, end: str) -> None:
    api.post("/api/schedules", {"name": "there", "command": "todo.add", "every": "365d", "inputs": {"body": "x"}})
    data = json.dumps({"start": start, "end": end, "preview": True}).encode()
    answered(api, "POST", "/api/schedules/there/backfill", data=data, content_type="application/json")


@SOME
@given(change=st.dictionaries(st.sampled_from(sorted(ChangeShape().fields)) | TEXTS, VALUES, max_size=4))
def test_any_change_is_answered(api: Api, change: dict[str, Any]) -> None:
    fragment_id = api.post("/api/fragments", {"type": "note"}).json["id"]
    data = json.dumps(change).encode()
    answered(api, "PATCH", f"/api/fragments/{fragment_id}", data=data, content_type="application/json")


@SOME
@given(text=st.binary(max_size=200))
def test_any_text_is_validated(api: Api, text: bytes) -> None:
    answered(api, "POST", "/api/commands/validate", data=text, content_type="application/yaml")


@SOME
@given(note=st.fixed_dictionaries({"source": ANY_TEXTS}, optional=dict.fromkeys(
    ("title", "content", "type", "tags", "metadata", "created_at", "updated_at"), VALUES)))  # fmt: skip
def test_any_note_is_answered(api: Api, note: dict[str, Any]) -> None:
    data = json.dumps({"notes": [note]}).encode()
    answered(api, "POST", "/api/fragments/import", data=data, content_type="application/json")


@SOME
@given(
    inputs=st.dictionaries(st.sampled_from(["body", "tags", "priority"]) | TEXTS, VALUES, max_size=3), user=ANY_TEXTS
)
def test_any_inputs_are_answered(api: Api, inputs: dict[str, Any], user: str) -> None:
    data = json.dumps({"inputs": inputs, "user": user}).encode()
    answered(api, "POST", "/api/commands/todo.add/executions", data=data, content_type="application/json")


@SOME
@given(headers=st.dictionaries(
    st.sampled_from(["X-Correlation-ID", "traceparent", "Prefer", "X-Weir-Source"]),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=40),
))  # fmt: skip
def test_any_headers_are_answered(api: Api, headers: dict[str, str]) -> None:
    answered(api, "GET", "/api/commands", headers=headers)
