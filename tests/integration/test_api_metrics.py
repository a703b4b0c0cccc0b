"""Metrics over REST: what requests did, now and over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from fixtures.apis import Api
from fixtures.samples import make_scope

from api.schemas.metrics import ALIASES
from telemetry.clock import SystemClock
from telemetry.collector import Collector
from telemetry.events import Event, ExecutionCompleted, ExecutionFailed
from telemetry.ids import mint
from telemetry.partitions import make_partitions
from telemetry.rollups import metrics
from telemetry.rollups.aggregator import Aggregator
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events
from telemetry.testing import ManualClock
from workers.testing import RememberingRecorder

CURRENT, HISTORICAL, BUCKETS = "/api/metrics/current", "/api/metrics/historical", "/api/telemetry/metrics"
NINE = (
    *("request_rate", "total_latency", "context_latency", "llm_latency", "prompt_tokens", "completion_tokens"),
    *("total_tokens", "error_rate", "cache_hit_rate"),
)


def store(connection: psycopg.Connection, events: Sequence[Event]) -> None:
    encode = RowEncoder().encode
    with connection.transaction():
        insert_events(connection, [encode(event) for event in events])
        minutes = {event.occurred_at_us // 60_000_000 for event in events}
        append_batch(connection, events=len(events), duplicates=0, minutes=minutes)


@pytest.fixture
def began() -> datetime:
    """Two whole hours ago."""
    return SystemClock().now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


@pytest.fixture
def stored(api: Api, connection: psycopg.Connection, began: datetime) -> None:
    """In the first hour four chat requests, one of which fails, and two executions, one of which expires; a dry run."""
    make_partitions(connection, SystemClock().now() - timedelta(days=1), 2)
    clock, recorder = ManualClock(began), RememberingRecorder()
    collector = Collector(recorder, clock, api.resources.pseudonyms, {"small"})
    for number in range(4):
        request = collector.start_request(user=["ada", "bob"][number % 2])
        clock.advance(timedelta(milliseconds=100 * (number + 1)))
        if number == 3:
            collector.record_error(request, "rate_limit")
            continue
        collector.complete_request(
            request,
            model="small",
            context_time=timedelta(milliseconds=10),
            model_time=timedelta(milliseconds=80),
            prompt_tokens=100,
            completion_tokens=10,
            cache="hit" if number == 0 else "miss",
        )
    at_us = clock.unix_us()
    counts = (300_000, 0, 400_000, 1, 1, 0, 0, 0)
    scope = make_scope(user_id=None, space_id=None)
    executions = [
        ExecutionCompleted(mint(at_us), at_us, scope, *counts),
        ExecutionFailed(mint(at_us), at_us, scope, *counts, "expired"),
        ExecutionCompleted(mint(at_us), at_us, make_scope(user_id=None, space_id=None, dry_run=True), *counts),
    ]
    store(connection, [*recorder.events, *executions])


def items(api: Api, began: datetime, **query: object) -> list[dict[str, Any]]:
    answer = api.get(HISTORICAL, start=began.isoformat(), end=(began + timedelta(hours=1)).isoformat(), **query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json["items"]
    return found


@pytest.mark.req("A-01", "A-08")
@pytest.mark.usefixtures("stored")
def test_every_metric_is_told_over_time(api: Api, began: datetime) -> None:
    values = {name: items(api, began, type=name, component="chat")[0]["value"] for name in NINE}

    assert values == {
        "request_rate": round(4 / 60, 6),
        "total_latency": 250.0,
        "context_latency": 10.0,
        "llm_latency": 80.0,
        "prompt_tokens": 300.0,
        "completion_tokens": 30.0,
        "total_tokens": 330.0,
        "error_rate": 25.0,
        "cache_hit_rate": round(100 / 3, 4),
    }


@pytest.mark.req("A-01")
@pytest.mark.usefixtures("stored")
def test_the_rate_of_a_time_that_is_cut_is_of_the_minutes_that_were_asked_for(api: Api, began: datetime) -> None:
    quarter = {"start": began.isoformat(), "end": (began + timedelta(minutes=15)).isoformat()}
    for aggregation in ("hour", "day", "month"):
        answer = api.get(HISTORICAL, type="request_rate", component="chat", aggregation=aggregation, **quarter)
        (item,) = answer.json["items"]
        assert item["value"] == round(item["metadata"]["requests"] / 15, 6) > 0, aggregation


@pytest.mark.req("A-02", "A-05")
@pytest.mark.usefixtures("stored")
def test_statistics_of_latency_tokens_errors_and_cache(api: Api, began: datetime) -> None:
    answer = api.get(CURRENT, window="3h", component="chat").json

    assert answer["latency"]["total"] == {
        "count": 4,
        "average": 250.0,
        "median": pytest.approx(200, rel=0.011),
        "p95": 400.0,
        "p99": 400.0,
        "min": 100.0,
        "max": 400.0,
    }
    assert answer["tokens"]["total"] == 330
    assert answer["tokens"]["average_per_request"] == 110.0
    assert sorted(answer["tokens"]["by_user"].values()) == [110, 220]
    assert answer["errors"]["count_by_type"] == {
        "network": 0,
        "timeout": 0,
        "rate_limit": 1,
        "server": 0,
        "validation": 0,
        "internal": 0,
    }
    assert answer["cache"] == {"hits": 1, "misses": 2, "rate_percent": round(100 / 3, 4)}
    assert answer["requests"]["in_window"] == 4
    assert answer["requests"]["last_day"] == 4
    assert answer["requests"]["last_minute"] == 0


@pytest.mark.req("A-05")
@pytest.mark.usefixtures("stored")
def test_requests_are_chats_and_executions_by_user_or_all(api: Api, began: datetime) -> None:
    def requests(**query: object) -> int:
        return int(items(api, began, type="request_rate", **query)[0]["metadata"]["requests"])

    assert requests() == 6
    assert requests(component="command") == 2
    assert requests(user="ada") == 2
    assert requests(user="nobody") == 0
    assert requests(space="nowhere") == 0
    assert items(api, began, type="errors", component="command")[0]["metadata"]["count_by_type"]["timeout"] == 1


@pytest.mark.req("A-06")
@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("name", ["minute", "hour", "day", "week", "month", "hourly", "daily"])
def test_history_has_an_item_for_each_stretch_with_requests_or_without(api: Api, began: datetime, name: str) -> None:
    found = items(api, began, type="requests", aggregation=name)

    assert sum(item["metadata"]["requests"] for item in found) == 6
    if name == "minute":
        starts = [datetime.fromisoformat(item["timestamp"]) for item in found]
        assert starts == [began + timedelta(minutes=number) for number in range(60)]
        assert found[30] == {"timestamp": found[30]["timestamp"], "value": 0.0, "metadata": {"requests": 0}}


@pytest.mark.req("A-08")
@pytest.mark.usefixtures("stored")
def test_the_same_is_told_from_buckets_and_with_its_tag_not_at_all(
    api: Api, database_url: str, began: datetime
) -> None:
    asked = {"type": "latency", "start": began.isoformat(), "end": (began + timedelta(hours=1)).isoformat()}
    before = api.get(HISTORICAL, **asked)
    with psycopg.connect(database_url, autocommit=True) as own:
        assert Aggregator(own, SystemClock()).run_once().hours > 0

    after = api.get(HISTORICAL, **asked)
    assert after.data == before.data
    assert after.headers["Cache-Control"] == "private, max-age=5"
    again = api.open("GET", HISTORICAL, query_string=asked, headers={"If-None-Match": after.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.req("A-08")
@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({}, "type"),
        ({"type": "latancy"}, "type"),
        ({"type": "latency", "aggregation": "year"}, "aggregation"),
        ({"type": "latency", "user": "ada", "space": "home"}, "space"),
        ({"type": "latency", "time_range": "400d", "aggregation": "minute"}, "aggregation"),
        ({"type": "latency", "time_range": "1h", "start": "2026-01-01T00:00:00Z"}, "time_range"),
        ({"type": "latency", "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
        ({"type": "latency", "start": "yesterday"}, "start"),
        ({"type": "latency", "user": ""}, "user"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(api: Api, query: dict[str, str], path: str) -> None:
    answer = api.get(HISTORICAL, **query)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path
    if query.get("type") == "latancy":
        assert answer.json["detail"].endswith("Did you mean latency?")


@pytest.mark.req("A-08")
@pytest.mark.usefixtures("stored")
def test_the_answer_is_of_one_shape_whatever_the_words(api: Api, began: datetime) -> None:
    asked = {"start": began.isoformat(), "end": (began + timedelta(hours=1)).isoformat(), "type": "latency"}
    for word in ("minute", "hour", "day", "week", "month", "minutely", "hourly", "daily", "weekly", "monthly"):
        told = api.get(HISTORICAL, aggregation=word, **asked).json
        assert list(told) == ["type", "unit", "aggregation", "items"]
        assert (told["type"], told["unit"], told["aggregation"]) == ("total_latency", "ms", ALIASES.get(word, word))
        assert {tuple(item) for item in told["items"]} == {("timestamp", "value", "metadata")}
    assert api.get(HISTORICAL, type="latency", start="2999-01-01T00:00:00Z").json["items"] == []


@pytest.mark.req("S-03", "A-02")
@pytest.mark.usefixtures("stored")
def test_buckets_are_listed_page_by_page(api: Api, began: datetime) -> None:
    asked: dict[str, object] = {"start": began.isoformat(), "component": "chat", "measure": "duration"}
    everything = api.get(BUCKETS, **asked).json
    assert (sum(item["events"] for item in everything["items"]), everything["next_cursor"]) == (8, None)
    found: list[dict[str, Any]] = []
    cursor: dict[str, object] = {}
    while len(found) < len(everything["items"]):
        page = api.get(BUCKETS, limit=1, **asked, **cursor).json
        found += page["items"]
        cursor = {"cursor": page["next_cursor"]}
    assert (found, cursor) == (everything["items"], {"cursor": None})
    (of_ada,) = api.get(BUCKETS, user="ada", width="day", event_type="chat.request.completed", **asked).json["items"]
    assert (of_ada["events"], of_ada["sum"], of_ada["unit"]) == (2, 400_000, "us")
    assert of_ada["user_id"] == api.resources.pseudonyms.user("ada").hex()
    assert api.get(BUCKETS, space="nowhere").json["items"] == []


@pytest.mark.req("S-03")
@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ({"user": "ada", "space": "home"}, "metrics.crossed", "space and user together"),
        ({"user": "ada", "by": "space"}, "metrics.crossed", "space and user together"),
        ({"width": "hours"}, "request.invalid", "Did you mean hour?"),
        ({"component": "toll"}, "request.invalid", "Did you mean tool?"),
        ({"event_type": "dsl.stop"}, "request.invalid", "Did you mean dsl.step?"),
        ({"cursor": "YnVja2V0Olsx"}, "request.cursor_invalid", "not made by this list"),
    ],
)
def test_buckets_that_there_cannot_be_are_refused(api: Api, query: dict[str, str], code: str, said: str) -> None:
    answer = api.get(BUCKETS, **query)

    assert (answer.json["code"], said in answer.json["detail"]) == (code, True), answer.text


@pytest.mark.req("A-08", "S-03")
@pytest.mark.usefixtures("stored")
def test_what_was_just_answered_is_not_read_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to now, which is never the same twice; a minute may end meanwhile, and no two will."""
    read = Mock(wraps=metrics.buckets)
    monkeypatch.setattr(metrics, "buckets", read)
    answers = [api.get(HISTORICAL, type="request_rate") for _ in range(4)]
    assert answers[0].json["items"]
    assert read.call_count <= 2
