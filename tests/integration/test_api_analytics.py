"""Statistics, trends and spikes over REST and on the command line: what events say, told apart."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

import psycopg
import pytest
from fixtures.apis import Api, Weir
from fixtures.samples import ERROR, make_scope, make_step

from api.cli import analytics as cli
from telemetry.analytics.figures import FIGURES
from telemetry.analytics.groups import By
from telemetry.analytics.spikes import SpikesBy
from telemetry.clock import SystemClock, to_unix_us
from telemetry.events import (
    ChatRequestCompleted,
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    StepFailed,
)
from telemetry.foreign import open_days
from telemetry.ids import mint
from telemetry.rollups.aggregator import Aggregator
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events

ANALYTICS, SPIKES = "/api/metrics/analytics", "/api/metrics/spikes"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DAY_US, MINUTE_US = 86_400_000_000, 60_000_000


@pytest.fixture
def this_hour() -> datetime:
    return SystemClock().now().replace(minute=0, second=0, microsecond=0)


def store(connection: psycopg.Connection, events: Sequence[Event]) -> None:
    open_days(connection, {event.occurred_at_us // DAY_US for event in events})
    encode = RowEncoder().encode
    with connection.transaction():
        insert_events(connection, [encode(event) for event in events])
        minutes = sorted({event.occurred_at_us // MINUTE_US for event in events})
        append_batch(connection, events=len(events), duplicates=0, minutes=minutes)


def ended(at: datetime, slug: str, duration_ms: int = 100, outcome: str = "succeeded", **scope: Any) -> Event:  # noqa: ANN401 - fields of Scope
    at_us = to_unix_us(at)
    head = (mint(at_us), at_us, make_scope(command_slug=slug, **{"user_id": None, "space_id": None, **scope}))
    counts = (duration_ms * 1000, 0, duration_ms * 1000, 1, 1, 0, 0, 0)
    if outcome == "succeeded":
        return ExecutionCompleted(*head, *counts)
    if outcome == "cancelled":
        return ExecutionCancelled(*head, *counts, "cooperatively")
    return (
        ExecutionFailed(*head, *counts, "failed", ERROR)
        if outcome == "failed"
        else ExecutionFailed(*head, *counts, "expired")
    )


def step(at: datetime, step_type: str, *, failed: bool = False) -> Event:
    at_us = to_unix_us(at)
    if failed:
        return StepFailed(mint(at_us), at_us, make_scope(), "write", step_type, 10_000, ERROR)
    return make_step(make_scope(), at_us, step_type=step_type, duration_us=10_000)


def items(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - any answer
    assert answer.status_code == 200, answer.text
    return {item["name"]: item for item in answer.json["items"]}


@pytest.fixture
def some(api: Api, connection: psycopg.Connection, this_hour: datetime) -> None:
    """Two commands, steps, a conversation; of `digest` more and slower within the last day than on the day before."""
    noon = this_hour - 12 * HOUR
    user = api.resources.pseudonyms.user("ada")
    executions = [
        *(
            ended(this_hour - number * HOUR, "digest", 100 + 40 * (24 - number), user_id=user)
            for number in range(1, 25)
        ),
        *(ended(this_hour - number * HOUR + MINUTE, "digest", 1000) for number in range(1, 20)),
        *(ended(this_hour - (24 + number) * HOUR, "digest", 100) for number in range(1, 11)),
        *(ended(noon, "todo.add", 10, outcome) for outcome in ("succeeded", "failed", "expired", "cancelled")),
    ]
    at_us = to_unix_us(noon)
    chat = ChatRequestCompleted(
        mint(at_us), at_us, make_scope(user_id=user), mint(at_us), "small", 900_000, 20_000, 800_000, 120, 60, "hit"
    )
    steps = [step(noon, "tool.call"), step(noon, "tool.call", failed=True), step(noon, "ai.generate"), step(noon, "x")]
    store(connection, [*executions, chat, *steps])


@pytest.mark.req("A-02", "A-05", "C-16")
@pytest.mark.usefixtures("some")
def test_statistics_of_each_command(api: Api) -> None:
    answer = api.get(ANALYTICS, by="command", time_range="25h", limit=1)
    (digest,) = answer.json["items"]

    assert answer.json["members"] == 2
    assert (digest["name"], digest["component"], digest["requests"]["count"]) == ("digest", "command", 43)
    assert digest["requests"]["share_percent"] == round(100 * 43 / 47, 4)
    assert digest["requests"]["per_hour"] == pytest.approx(43 / 25, abs=1e-6)
    assert digest["latency"]["total"]["max"] == 1020.0
    assert answer.json["all"]["requests"]["count"] == 47
    assert answer.json["all"]["time"]["total_ms"] == digest["time"]["total_ms"] + 40

    todo = items(api.get(ANALYTICS, name="todo.add"))["todo.add"]
    assert todo["outcomes"] == {"cancelled": 1, "expired": 1, "failed": 1, "succeeded": 1}
    assert todo["success_percent"] == round(100 / 3, 4)
    assert (todo["errors"]["errors"], todo["errors"]["rate_percent"]) == (2, 50.0)
    assert (todo["errors"]["count_by_type"]["timeout"], todo["errors"]["count_by_type"]["validation"]) == (1, 1)


@pytest.mark.req("A-05")
@pytest.mark.usefixtures("some")
def test_what_has_changed_and_where_it_goes(api: Api, this_hour: datetime) -> None:
    since = this_hour - DAY
    asked = {
        "start": since.isoformat(),
        "end": this_hour.isoformat(),
        "name": "digest",
        "metric": "requests,p95,latency",
    }
    answer = api.get(ANALYTICS, **asked)
    trends = answer.json["items"][0]["trends"]

    assert (answer.json["trend_bucket"], answer.json["previous_start"]) == (
        "1h",
        (since - DAY).isoformat().replace("+00:00", "Z"),
    )
    assert list(trends) == ["request_rate", "p95", "total_latency"]
    assert trends["request_rate"]["change_percent"] == pytest.approx(330, abs=0.1)
    assert trends["request_rate"]["previous"] == round(10 / 1440, 6)
    assert (trends["total_latency"]["direction"], trends["total_latency"]["values"]) == ("rising", 24)
    assert trends["total_latency"]["slope"] > 0
    assert trends["p95"]["value"] == pytest.approx(1000, rel=0.02)


@pytest.mark.req("A-02", "A-05", "C-16")
@pytest.mark.usefixtures("some")
def test_steps_tools_models_users_and_components(api: Api) -> None:
    steps = items(api.get(ANALYTICS, by="step"))
    assert {name: item["success_percent"] for name, item in steps.items()} == {
        "tool.call": 50,
        "ai.generate": 100,
        "x": 100,
    }
    assert set(items(api.get(ANALYTICS, by="tool"))) == {"tool.call"}
    models = items(api.get(ANALYTICS, by="model"))
    assert {name: item["component"] for name, item in models.items()} == {"small": "chat", "ai.generate": "dsl"}
    assert models["small"]["tokens"] == {
        "prompt": 120,
        "completion": 60,
        "total": 180,
        "requests": 1,
        "average_per_request": 180,
    }
    assert (models["small"]["cache"]["rate_percent"], models["small"]["latency"]["llm"]["median"]) == (100, 800.0)

    ada = api.resources.pseudonyms.user("ada").hex()
    users = items(api.get(ANALYTICS, by="user", user="ada", time_range="25h", metric="tokens"))
    assert list(users) == [ada]
    assert (users[ada]["requests"]["count"], users[ada]["trends"]["total_tokens"]["value"]) == (25, 180)
    assert set(items(api.get(ANALYTICS, by="user"))) == {ada, None}
    assert items(api.get(ANALYTICS, by="component", user="ada"))["chat"]["requests"]["count"] == 1
    assert items(api.get(ANALYTICS, by="space", space="nowhere")) == {}
    assert list(items(api.get(ANALYTICS, by="step", order="error_rate"))) == ["tool.call", "ai.generate", "x"]
    assert list(items(api.get(ANALYTICS, by="step", order="name"))) == ["ai.generate", "tool.call", "x"]


@pytest.mark.req("A-05")
@pytest.mark.usefixtures("some")
def test_the_same_is_told_from_buckets_and_with_its_tag_not_at_all(
    api: Api, database_url: str, this_hour: datetime
) -> None:
    period = {"start": (this_hour - DAY).isoformat(), "end": this_hour.isoformat(), "metric": "p99,errors"}
    asked = [(path, {**period, **more}) for path, more in ((ANALYTICS, {"by": "step"}), (ANALYTICS, {"by": "user"}))]
    asked.append((SPIKES, {name: period[name] for name in ("start", "end")}))
    before = [api.get(path, **query) for path, query in asked]
    with psycopg.connect(database_url, autocommit=True) as own:
        assert Aggregator(own, SystemClock()).run_once().hours > 0

    after = [api.get(path, **query) for path, query in asked]
    assert [answer.data for answer in after] == [answer.data for answer in before]
    for answer, (path, query) in zip(after, asked, strict=True):
        assert answer.headers["Cache-Control"] == "private, max-age=5"
        again = api.open("GET", path, query_string=query, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def errors(slug: str, counts: Iterable[tuple[datetime, int]]) -> list[Event]:
    """So many of a command that fail, within a minute of each of these instants; and one that does not."""
    return [
        ended(at + number * timedelta(milliseconds=100), slug, 5, "failed" if number else "succeeded")
        for at, count in counts
        for number in range(count + 1)
    ]


@pytest.fixture
def outbreak(connection: psycopg.Connection, this_hour: datetime) -> datetime:
    """Eight days of two errors each noon or so; and one more, of 30 and 20 in a row: when it begins."""
    began = this_hour - 3 * HOUR
    usual = [(began - number * DAY, 2) for number in range(9)] + [(began - 10 * HOUR, 1)]
    store(
        connection,
        [
            *errors("often", usual),
            *errors("broken", [*usual[1:], (began, 30), (began + HOUR, 20)]),
            *errors("once", [(began, 1)]),
        ],
    )
    return began


@pytest.mark.req("A-05")
def test_what_is_more_than_usual_is_a_spike_and_nothing_else(api: Api, outbreak: datetime) -> None:
    answer = api.get(SPIKES, time_range="12h")
    (spike,) = answer.json["items"]

    assert (answer.json["bucket"], answer.json["series"]) == ("1h", 3)
    assert (spike["name"], spike["count"], spike["baseline"], spike["is_open"]) == ("broken", 50, "days", False)
    assert (spike["start"], spike["end"]) == (told(outbreak), told(outbreak + 2 * HOUR))
    assert (spike["peak"]["start"], spike["peak"]["count"]) == (told(outbreak), 30)
    assert (spike["events"], spike["error_percent"]) == (52, round(5000 / 52, 3))
    assert 2 < spike["peak"]["expected"] < 3
    assert api.get(SPIKES, time_range="12h", name="often").json["items"] == []
    assert api.get(SPIKES, by="step", time_range="12h").json["items"] == []


@pytest.mark.req("A-05")
def test_spikes_of_five_minutes_categories_and_components(api: Api, outbreak: datetime) -> None:
    fine = api.get(SPIKES, time_range="6h").json
    (category,) = api.get(SPIKES, by="category", time_range="12h").json["items"]
    (component,) = api.get(SPIKES, by="component", time_range="12h").json["items"]

    assert fine["bucket"] == "5m"
    assert [(spike["start"], spike["count"]) for spike in fine["items"]] == [
        (told(outbreak + HOUR), 20),
        (told(outbreak), 30),
    ]
    assert (category["name"], category["count"], category["events"]) == ("validation", 53, None)
    assert (component["name"], component["count"]) == ("command", 53)


@pytest.mark.req("A-05")
def test_on_the_first_day_it_is_the_hours_before(api: Api, connection: psycopg.Connection, this_hour: datetime) -> None:
    began = this_hour - 10 * HOUR
    store(connection, errors("new", [*((began + number * HOUR, 1) for number in range(9)), (this_hour - HOUR, 25)]))

    (spike,) = api.get(SPIKES, time_range="12h").json["items"]
    assert (spike["name"], spike["baseline"], spike["is_open"]) == ("new", "hours", True)
    assert api.get(SPIKES, end=(this_hour - HOUR).isoformat(), time_range="1h").json["items"] == []


def told(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


REFUSED = (
    (ANALYTICS, {"by": "colour"}, "by"),
    (ANALYTICS, {"metric": "p95,p96"}, "metric"),
    (ANALYTICS, {"metric": ","}, "metric"),
    (ANALYTICS, {"order": "p96"}, "order"),
    (ANALYTICS, {"limit": "101"}, "limit"),
    (ANALYTICS, {"user": "ada"}, "user"),
    (ANALYTICS, {"by": "user", "space": "home"}, "space"),
    (ANALYTICS, {"by": "component", "user": "ada", "space": "home"}, "space"),
    (ANALYTICS, {"by": "space", "name": "home"}, "name"),
    (ANALYTICS, {"time_range": "401d"}, "time_range"),
    (ANALYTICS, {"time_range": "999999999d"}, "time_range"),
    (ANALYTICS, {"start": "1999-01-01T00:00:00Z"}, "start"),
    (ANALYTICS, {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
    (SPIKES, {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
    (SPIKES, {"by": "user"}, "by"),
    (SPIKES, {"bucket": "1m"}, "bucket"),
    (SPIKES, {"time_range": "32d"}, "time_range"),
)


@pytest.mark.req("A-08")
def test_what_cannot_be_told_is_refused_by_name_and_what_never_was_is_nothing(api: Api) -> None:
    for path, query, fault in REFUSED:
        answer = api.get(path, **query)
        assert (answer.status_code, answer.json["errors"][0]["path"]) == (422, fault), query
    assert api.get(ANALYTICS).json["items"] == []
    assert api.get(SPIKES).json["items"] == []
    assert "did you mean p95?" in api.get(ANALYTICS, metric="latency,p951").json["detail"].lower()
    assert "did you mean command?" in api.get(SPIKES, by="comand").json["detail"].lower()


@pytest.mark.req("A-08")
def test_what_is_still_to_come_is_nothing_and_never_the_minute_that_is_now(
    api: Api, connection: psycopg.Connection
) -> None:
    store(connection, [ended(SystemClock().now(), "digest")])
    assert api.get(ANALYTICS, time_range="1m").json["all"]["requests"]["count"] == 1
    for start in ("2999-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"):
        coming = api.get(ANALYTICS, start=start).json
        assert coming["all"]["requests"]["count"] == 0
        assert coming["start"] >= "2999"
        assert api.get(SPIKES, start=start).json["items"] == []


@pytest.mark.req("A-05", "C-16")
@pytest.mark.usefixtures("some")
def test_the_command_line_tells_the_same(weir: Weir, connection: psycopg.Connection, this_hour: datetime) -> None:
    assert set(cli.FIGURES) == set(FIGURES)
    assert (set(cli.BYS), set(cli.SPIKES_BY)) == (set(get_args(By)), set(get_args(SpikesBy)))

    lines = weir("telemetry", "analytics", "--metric", "latency,p99", "--last", "25h", "--limit", "1")
    assert lines.code == 0, lines.err
    heading, digest = lines.out.splitlines()
    assert heading.split()[:5] == ["COMMAND", "COUNT", "SHARE", "SUCCESS", "ERRORS"]
    assert heading.split()[-3:] == ["TIME", "LATENCY", "P99"]
    assert digest.startswith("digest")
    assert digest.split()[-6].startswith("+")
    assert "1 of 2; more with --limit" in lines.err
    assert "LATENCY, P99 on the right: changed by, against the time before (from 2" in lines.err
    assert "TOKENS" in weir("telemetry", "analytics", "--by", "model").out

    (row, *_) = csv.DictReader(weir("telemetry", "analytics", "--last", "25h", "--format", "csv").out.splitlines())
    assert (row["name"], row["count"], row["total_latency_direction"]) == ("digest", "43", "rising")
    told = weir("telemetry", "analytics", "--by", "step", "--order", "errors", "--format", "json").json
    assert told["items"][0]["name"] == "tool.call"

    assert weir("telemetry", "spikes").out == "No more errors than usual here.\n"
    store(connection, errors("digest", [(this_hour - HOUR, 25)]))
    heading, spike = weir("telemetry", "spikes").out.splitlines()
    assert heading.split()[:4] == ["NAME", "FROM", "TO", "ERRORS"]
    assert spike.split()[0] == "digest"
    assert "going on" in spike
    assert weir("telemetry", "analytics", "--metric", "p98").code == 2
    assert weir("telemetry", "analytics", "--user", "ada").code == 1
