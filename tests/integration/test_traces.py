"""A trace by whatever id: its tree, why something has not ended, where the time went."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.apis import Api, Weir

from workers.boot import make_lease

FAMILY = """
  - {id: ask, type: command.run, with: {command: leaf, await: true}}
  - {id: keep, type: fragment.create, with: {type: note, title: kept}}
  - {id: say, type: respond, with: {value: done}}
"""
LEAF = "  - {id: only, type: respond, with: {value: leaf}}\n"


def trace_of(api: Api, wanted: object) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/api/telemetry/traces/{wanted}").json
    return found


def one_value(api: Api, statement: str) -> Any:  # noqa: ANN401 - any column
    with api.resources.pool.connection() as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def why_open(api: Api, wanted: str) -> set[str]:
    return {span["why_open"] for span in trace_of(api, wanted)["spans"] if span["is_open"]}


@pytest.fixture
def family(api: Api) -> dict[str, Any]:
    """An execution that has waited for another, and made a fragment."""
    api.write("leaf", LEAF)
    api.write("family", FAMILY)
    submitted: dict[str, Any] = api.submit("family").json
    api.run()
    return submitted


@pytest.mark.req("S-10")
def test_any_id_finds_its_trace(api: Api, family: dict[str, Any]) -> None:
    whole = trace_of(api, family["correlation_id"])
    fragment_id = one_value(api, "select entity_id from mutations where entity = 'fragment'")
    step = next(event for event in whole["items"] if event["step_path"] == "keep")

    ids = {"execution": family["id"], "event": step["event_id"], "fragment": str(fragment_id)}
    for found_by, wanted in ids.items():
        assert trace_of(api, wanted) == {**whole, "found_by": found_by}
    assert whole["found_by"] == "correlation_id"


@pytest.mark.req("S-10")
def test_spans_are_a_tree_with_children_and_their_wait(api: Api, family: dict[str, Any]) -> None:
    trace = trace_of(api, family["id"])

    spans = trace["spans"]
    names = [
        (span["depth"], span["kind"], span["name"]) for span in spans if span["kind"] not in {"request", "attempt"}
    ]
    assert ("execution", "family") in {(kind, name) for _, kind, name in names}
    parents = {span["name"]: spans[span["parent"]]["name"] for span in spans if span["parent"] is not None}
    assert (parents["leaf"], parents["fragment.created"]) == ("family", "keep")
    assert all(span["parent"] is None or span["parent"] < span["index"] for span in spans)
    assert {span["step_path"] for span in spans if span["kind"] == "step"} == {"ask", "keep", "say", "only"}
    assert not any(span["is_open"] for span in spans)
    assert {(each["command"], each["link"]) for each in trace["executions"]} == {("family", None), ("leaf", "child")}


@pytest.mark.req("S-10")
def test_the_critical_path_and_the_sums_are_of_the_whole_time(api: Api, family: dict[str, Any]) -> None:
    trace = trace_of(api, family["id"])

    path, whole = trace["critical_path"], trace["duration_ms"]
    on_path = sum(segment["duration_ms"] for segment in path)
    assert [segment["offset_ms"] for segment in path] == sorted(segment["offset_ms"] for segment in path)
    assert 0 < on_path <= whole + 0.001
    assert sum(sums["critical_ms"] for sums in trace["statistics"]) == pytest.approx(on_path)
    counted = {sums["type"]: sums["count"] for sums in trace["statistics"] if sums["kind"] == "step"}
    assert counted == {"command.run": 1, "fragment.create": 1, "respond": 2}


@pytest.mark.req("S-10")
def test_what_has_not_ended_says_why(api: Api) -> None:
    api.write("leaf", LEAF)
    submitted = api.submit("leaf").json
    assert why_open(api, submitted["id"]) == {"queued"}

    lease = make_lease(api.resources)
    lease.hold()
    assert api.resources.executions.claim("default", lease.worker_id) is not None
    assert why_open(api, submitted["id"]) == {"running"}
    with api.resources.pool.connection() as connection:
        connection.execute("update workers set lease_until = now() - interval '1 minute'")
    assert why_open(api, submitted["id"]) == {"worker_lost"}
    lease.leave()


@pytest.mark.req("S-10")
def test_a_span_whose_end_was_lost_says_so(api: Api) -> None:
    api.write(
        "mapped",
        "  - {id: each, type: list.map, with: {items: [1], do: [{id: one, type: respond, with: {value: 1}}]}}\n",
    )
    submitted = api.submit("mapped").json
    api.run()
    assert not any(span["is_open"] for span in trace_of(api, submitted["id"])["spans"])
    with api.resources.pool.connection() as connection:
        connection.execute("delete from telemetry_events where step_path = 'each'")

    opened = [span for span in trace_of(api, submitted["id"])["spans"] if span["is_open"]]

    assert [(span["name"], span["why_open"]) for span in opened] == [("each", "event_missing")]


@pytest.mark.req("S-10")
@pytest.mark.parametrize("form", ["table", "timeline"])
def test_a_trace_as_lines(weir: Weir, form: str) -> None:
    execution = weir("run", "todo.add", "-i", "body=x", "--format", "json").json

    shown = weir("telemetry", "trace", execution["id"], "--format", form, "--stats")

    lines = shown.out.splitlines()
    assert lines[0].startswith(f"trace {execution['correlation_id']}: 1 execution")
    first = "NAME" if form == "table" else "AFTER"
    assert any(line.lstrip().startswith(first) for line in lines)
    assert any("fragment.create" in line and "%" in line for line in lines)
    assert shown.code == 0
