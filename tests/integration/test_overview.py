"""What went on, and how long it took: counted, timed and put in order by what events say, over REST and in lines."""

from __future__ import annotations

import random
from statistics import quantiles
from typing import Any

import pytest
from fixtures.apis import Api, Weir
from fixtures.samples import ERROR, make_scope, make_step, now_us

from telemetry.events import (
    CommandValidationFailed,
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionQueued,
    ExecutionStarted,
    HttpRequestCompleted,
    StepFailed,
)
from telemetry.ids import mint

MINUTE_US = 60_000_000
OVERVIEW, PERFORMANCE = "/api/telemetry/overview", "/api/telemetry/performance"


def record(api: Api, *events: Event) -> None:
    for event in events:
        api.resources.recorder.record(event)


def ended(slug: str, duration_us: int, *, failed: bool = False, minutes_ago: int = 1, **scope: Any) -> list[Event]:  # noqa: ANN401 - fields of Scope
    """An execution from its acceptance to its end."""
    at_us = now_us() - minutes_ago * MINUTE_US
    own = make_scope(command_slug=slug, **scope)
    head = (mint(at_us), at_us, own)
    counts = (duration_us, 100, duration_us + 100, 1, 1, 0, 0, 0)
    last = ExecutionFailed(*head, *counts, "failed", ERROR) if failed else ExecutionCompleted(*head, *counts)
    queued, started = ExecutionQueued(mint(at_us), at_us, own, 5), ExecutionStarted(mint(at_us), at_us, own, 100)
    return [queued, started, last]


def lines(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {item["name"]: item for item in answer.json["items"]}


@pytest.mark.req("S-10", "C-16")
def test_percentiles_of_commands_are_as_near_as_is_said_and_all_else_is_exact(api: Api) -> None:
    chance = random.Random(7)
    durations = [chance.randrange(1, 10**7) for _ in range(101)]
    for number, duration_us in enumerate(durations):
        record(api, *ended("digest", duration_us, failed=number % 10 == 0))
    record(api, *ended("quick", 1000))

    from_roll_ups = api.get(PERFORMANCE, type="command")
    # Roll-ups do not know which attempt it was.
    from_events = api.get(PERFORMANCE, type="command", filter="attempt:1")
    hundredths = [cut / 1000 for cut in quantiles(durations, n=100, method="inclusive")]

    for answer, error_percent in ((from_roll_ups, 1.1), (from_events, 0)):
        assert answer.json["percentile_error_percent"] == error_percent
        digest = lines(answer)["digest"]
        assert (digest["count"], digest["failures"], digest["success_percent"]) == (101, 11, 89.109)
        assert [digest[f"p{share}_ms"] for share in (50, 95, 99)] == pytest.approx(
            [hundredths[49], hundredths[94], hundredths[98]], rel=error_percent / 100
        )
        assert (digest["max_ms"], digest["total_ms"]) == (max(durations) / 1000, sum(durations) / 1000)
        assert [item["name"] for item in answer.json["items"]] == ["digest", "quick"]
        assert sum(item["share_percent"] for item in answer.json["items"]) == pytest.approx(100, abs=0.01)


@pytest.mark.req("S-10", "S-05")
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("command", {"todo.add", "team.chat.reply"}),
        ("chat", {"team.chat.reply", "todo.add"}),
        ("step", {"tool.call", "ai.generate", "fragment.create"}),
        ("tool_telemetry", {"tool.call"}),
        ("llm", {"ai.generate"}),
        ("http", {"POST /api/commands/<slug>/executions"}),
    ],
)
def test_each_type_has_its_own_lines(api: Api, kind: str, names: set[str]) -> None:
    record(api, *ended("todo.add", 10, request_source="chat"), *ended("team.chat.reply", 10))
    record(api, *(make_step(step_type=each) for each in ("tool.call", "ai.generate", "fragment.create")))
    at_us = now_us()
    route = "/api/commands/<slug>/executions"
    record(api, HttpRequestCompleted(mint(at_us), at_us, make_scope(), route, "POST", 202, 1800, "succeeded"))

    assert set(lines(api.get(PERFORMANCE, type=kind))) == names


@pytest.mark.req("S-10")
def test_performance_can_be_put_in_order_filtered_and_cut(api: Api) -> None:
    for slug, duration_us, often in (("a", 30, 1), ("b", 20, 2), ("c", 10, 7)):
        for _ in range(often):
            record(api, *ended(slug, duration_us, failed=slug == "b"))

    def names(**query: object) -> list[str]:
        return [item["name"] for item in api.get(PERFORMANCE, type="command", **query).json["items"]]

    assert names() == ["c", "b", "a"]
    assert names(sort="p95") == ["a", "b", "c"]
    assert names(sort="failures") == ["b", "c", "a"]
    assert names(sort="name", limit=2) == ["a", "b"]
    assert names(filter="-command:b", sort="count") == ["c", "a"]
    assert names(command="nobody") == []
    assert api.get(PERFORMANCE, type="toool").status_code == 422
    assert api.get(PERFORMANCE, filter="tpye:x").status_code == 422


@pytest.mark.req("C-16")
def test_dry_runs_count_only_where_they_are_asked_for(api: Api) -> None:
    record(api, *ended("todo.add", 10), *ended("todo.add", 10, dry_run=True))

    assert lines(api.get(PERFORMANCE))["todo.add"]["count"] == 1
    assert api.get(OVERVIEW).json["executions"]["succeeded"] == 1
    assert lines(api.get(PERFORMANCE, filter="dry_run:true,false"))["todo.add"]["count"] == 2


@pytest.mark.req("S-10", "C-16")
def test_the_overview_adds_up(api: Api) -> None:
    for minutes_ago in (1, 1, 20, 59):
        record(api, *ended("todo.add", 1500, minutes_ago=minutes_ago))
    record(api, *ended("digest", 9000, failed=True), *ended("digest", 9000, minutes_ago=61))
    at_us = now_us()
    record(api, StepFailed(mint(at_us), at_us, make_scope(), "write", "ai.generate", 10, ERROR))
    record(api, CommandValidationFailed(mint(at_us), at_us, make_scope(), 1))

    told = api.get(OVERVIEW).json
    counts = told["executions"]

    assert (counts["queued"], counts["started"], counts["ended"], counts["refused"]) == (5, 5, 5, 1)
    assert (counts["succeeded"], counts["failed"], counts["success_percent"]) == (4, 1, 80)
    assert counts["took"]["p50_ms"] == 1.5
    assert [line["name"] for line in told["commands"]] == ["digest", "todo.add"]
    assert [line["name"] for line in told["models"]] == ["ai.generate"]
    assert told["tools"] == []
    assert (told["events"], told["errors"]) == (17, 2)
    assert {each["component"]: each["events"] for each in told["components"]} == {"command": 16, "dsl": 1}
    assert told["spread"]["step_s"] == 120
    assert all(len(told["spread"][name]) in {31, 32} for name in ("executions", "failures", "events", "errors"))
    assert told["spread"]["start"] <= told["start"]
    assert [sum(told["spread"][name]) for name in ("executions", "failures", "events", "errors")] == [5, 1, 17, 2]
    assert told["minutes"] == pytest.approx(60, abs=1.1)
    assert [error["count"] for error in told["newest_errors"]] == [2]


@pytest.mark.req("S-10")
def test_what_is_now_is_told_of_everybody_or_not_at_all(api: Api) -> None:
    api.submit("todo.add", {"body": "milk"})

    assert api.get(OVERVIEW).json["now"]["queued"] == 1
    assert api.get(OVERVIEW, command="todo.add").json["now"] is None
    assert api.get(OVERVIEW, end="2026-01-01T00:00:00Z", start="2025-01-01T00:00:00Z").json["now"] is None
    api.run()
    # The answer about events may be one that is kept; this never is.
    assert api.get(OVERVIEW).json["now"]["queued"] == 0


@pytest.mark.req("S-10")
def test_an_overview_of_nothing_says_so(weir: Weir) -> None:
    shown = weir("telemetry", "overview", "--last", "1s", "-f", "command:nobody")

    assert shown.code == 0
    assert "No events here" in shown.out
    assert "health      no check-up is stored yet" in shown.out
    assert weir("telemetry", "performance", "--command", "nobody").out.startswith("Nothing of it ended here")


@pytest.mark.req("S-10", "S-12")
def test_health_is_of_this_moment_whatever_time_is_asked_about(weir: Weir, busy_api: Api) -> None:
    with busy_api.resources.pool.connection() as connection:
        connection.execute(
            "insert into telemetry_health_checks (id, window_at, checked_at, name, component, status)"
            " select gen_random_uuid(), at, at, name, component, 'warning'"
            " from (values ('processes', 'processes'), ('lag', 'sink')) as found (name, component),"
            " (select now() - interval '3 hours' as at) as before"
        )
    record(busy_api, *ended("todo.add", 10))

    for asked in ("--last=1h", "--start=2999-01-01"):
        shown = weir("telemetry", "overview", asked, "--format", "table").out
        assert "processes: warning" in shown
        assert "lag of sink: warning" in shown
        assert "of processes" not in shown
        assert "3 h 0 min ago" in shown


@pytest.mark.req("S-10")
def test_overview_and_performance_are_shown_as_lines_json_and_csv(weir: Weir, busy_api: Api) -> None:
    record(busy_api, *ended("todo.add", 1_500_000), *ended("digest", 20_000, failed=True))

    screen = weir("telemetry", "overview", "--last", "1h").out
    table = weir("telemetry", "performance", "--type", "command", "--sort", "name").out.splitlines()
    rows = weir("telemetry", "performance", "--type=command", "--format", "csv").out.splitlines()

    assert "2 queued   2 started   1 succeeded   1 failed" in screen
    assert "50.0 % succeeded" in screen
    assert "p50 20 ms   p95 1.5 s" in screen
    assert table[0].split()[:5] == ["COMMAND", "COUNT", "FAILED", "SUCCESS", "P50"]
    assert [line.split()[:3] for line in table[1:]] == [["digest", "1", "1"], ["todo.add", "1", "0"]]
    assert "percentiles are within 1.1 %" in weir("telemetry", "performance", "--type", "command").err
    assert rows[0].startswith("type,name,count,failures,success_percent,p50_ms")
    assert rows[1].startswith("command,todo.add,1,0,100.0,1500.0")
    assert weir("telemetry", "overview", "--format", "json").json["executions"]["ended"] == 2


@pytest.mark.req("S-10")
def test_options_that_are_none_are_refused_where_they_are(weir: Weir) -> None:
    wrong = weir("telemetry", "overview", "-f", "tpye:x")
    assert (wrong.code, "did you mean: type" in wrong.err) == (2, True)
    assert weir("telemetry", "performance", "--start", "yesterdayish").code == 2
    refused = weir("telemetry", "performance", "--type", "toool")
    assert (refused.code, "there is no type 'toool'" in refused.err) == (2, True)
    assert weir("telemetry", "stats", "--last", "1 fortnight").code == 2


@pytest.mark.req("S-03")
def test_stats_are_a_command_too(weir: Weir, busy_api: Api) -> None:
    record(busy_api, *ended("todo.add", 1_500_000))

    shown = weir("telemetry", "stats", "--format", "json").json

    assert [(line["command"], line["count"]) for line in shown["commands"]] == [("todo.add", 1)]
    assert "todo.add" in weir("telemetry", "stats").out
