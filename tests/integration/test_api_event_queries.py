"""Events and statistics over REST: the filter, what is stored from now on, answers that are kept."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from unittest.mock import ANY
from uuid import UUID

import psycopg
import pytest
from fixtures.apis import Api
from fixtures.filtering import FILTERS
from fixtures.samples import make_scope, make_step, now_us, one_of_each
from fixtures.stacks import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api.app import close_app
from api.resources import context
from api.settings import Settings
from telemetry.clock import SystemClock, from_unix_us
from telemetry.connections import connect
from telemetry.events import Event
from telemetry.filters.fields import BY_NAME
from telemetry.filters.printing import show
from telemetry.partitions import make_partitions
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events

EVENTS, STATS = "/api/telemetry/events", "/api/telemetry/stats"
SOME = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def store(connection: psycopg.Connection, *new: Event) -> None:
    """As the sink does: events and their batch in one transaction."""
    encode = RowEncoder().encode
    with connection.transaction():
        with connection.transaction():  # which writes under an id of its own
            insert_events(connection, [encode(event) for event in new])
        append_batch(
            connection, events=len(new), duplicates=0, minutes={event.occurred_at_us // 60_000_000 for event in new}
        )


@pytest.fixture
def stored(api: Api, connection: psycopg.Connection) -> tuple[Event, ...]:
    """An event of each type, stored."""
    each = tuple(one_of_each(make_scope(user_id=api.resources.pseudonyms.user("ada"))))
    store(connection, *each)
    return each


def types(api: Api, **query: object) -> list[str]:
    answer = api.get(EVENTS, **query)
    assert answer.status_code == 200, answer.text
    return [item["event_type"] for item in answer.json["items"]]


@pytest.mark.req("S-03")
def test_the_filter_and_the_parameters_hold_together(api: Api, stored: tuple[Event, ...]) -> None:
    assert sorted(types(api, filter="outcome:failed,dead duration:>10us -type:transform")) == [
        "chat.request.failed",
        "command.execution.failed",
        "dsl.step.failed",
    ]
    assert types(api, filter="outcome:failed,dead", component="dsl", user="ada") == ["dsl.step.failed"]
    assert types(api, filter="user:ada component:dsl", level="error") == ["dsl.step.failed"]
    assert types(api, filter="user:bob,eve") == []
    assert types(api, filter="space:nowhere") == []
    assert len(types(api, filter="-space:nowhere")) == len(stored)


@pytest.mark.req("S-03")
def test_names_that_other_systems_use_are_understood(api: Api, stored: tuple[Event, ...]) -> None:
    assert types(api, component="fragment_telemetry") == types(api, component="fragment") != []
    assert types(api, event_type="command_telemetry") == types(api, event_type="command") != []
    assert types(api, filter="event_type:Fragments") == types(api, filter="component:fragments") != []


@pytest.mark.parametrize(
    ("path", "query", "meant"),
    [
        (EVENTS, {"component": "fragmnt_telemetry"}, "Did you mean fragment?"),
        (EVENTS, {"event_type": "dsl.stp.failed"}, "Did you mean dsl.step.failed?"),
        ("/api/telemetry/health", {"component": "databse"}, "Did you mean database?"),
    ],
)
def test_what_is_no_name_is_refused_with_the_nearest(api: Api, path: str, query: dict[str, str], meant: str) -> None:
    answer = api.get(path, **query)

    assert (answer.status_code, meant in answer.text) == (422, True)


@pytest.mark.req("S-03")
def test_a_filter_that_is_none_is_refused_where_it_is_wrong(api: Api) -> None:
    for path in (EVENTS, STATS):
        answer = api.get(path, filter="command:x\noutcom:failed")

        assert (answer.status_code, answer.json["code"]) == (422, "filter.invalid")
        assert answer.json["errors"] == [
            {
                "code": "filter.invalid",
                "message": "there is no field 'outcom'",
                "path": "filter",
                "line": 2,
                "column": 1,
                "expected": ANY,
                "nearest": "outcome",
            }
        ]


@SOME
@given(
    text=st.lists(
        st.sampled_from([*BY_NAME, *':-*,"<>= ', "..", "failed", "2s", "\\", "a\0"]) | st.text(max_size=2), max_size=15
    ).map("".join)
    | FILTERS.map(show)
)
def test_no_filter_breaks_anything(api: Api, text: str) -> None:
    answer = api.get(EVENTS, filter=text)

    assert answer.status_code in {200, 422}, answer.text


@pytest.mark.parametrize("path", [EVENTS, STATS, f"/api/telemetry/traces/{UUID(int=1)}"])
def test_what_takes_too_long_to_read_is_given_up(api_settings: Settings, database_url: str, path: str) -> None:
    telemetry = replace(api_settings.telemetry, query_timeout=timedelta(milliseconds=50))
    workers = replace(api_settings.workers, dsl=replace(api_settings.dsl, telemetry=telemetry))
    with capture_logs(), connect(database_url, name="test") as holder:
        hasty = Api(replace(api_settings, workers=workers), api_settings.servers.commands_dir)
        holder.execute("lock table telemetry_events in access exclusive mode")
        answer = hasty.get(path)
        holder.rollback()
        assert (answer.status_code, answer.json["code"]) == (503, "store.too_slow")
        assert hasty.get(path).status_code in {200, 404}
        close_app(hasty.app)


@pytest.mark.req("S-03")
def test_events_are_counted_when_that_is_asked(api: Api, stored: tuple[Event, ...]) -> None:
    assert api.get(EVENTS, limit=1).json["count"] is None
    answer = api.get(EVENTS, limit=1, count="true", filter="component:dsl").json
    assert (len(answer["items"]), answer["count"]) == (1, 3)
    assert api.get(EVENTS, limit=1, count="true", cursor=answer["next_cursor"], component="dsl").json["count"] == 3


@pytest.mark.req("S-03")
def test_what_is_stored_from_now_on_is_found_even_if_it_occurred_before(
    api: Api, connection: psycopg.Connection, stored: tuple[Event, ...]
) -> None:
    # Transactions of other tests on the same server, too, hold a position back: then it tells a little twice.
    eventually(lambda: not api.get(EVENTS, after=api.get(EVENTS).json["position"]).json["items"])
    before = api.get(EVENTS, component="dsl").json
    early, now = make_step(at_us=now_us() - 120_000_000), make_step()
    make_partitions(connection, SystemClock().now() - timedelta(minutes=2), 1)

    store(connection, early, now)
    answer = api.get(EVENTS, after=before["position"], component="dsl").json

    found = [item["event_id"] for item in answer["items"]]
    assert [each for each in found if each in {str(_id(now)), str(_id(early))}] == [str(_id(now)), str(_id(early))]
    eventually(lambda: not api.get(EVENTS, after=api.get(EVENTS).json["position"]).json["items"])


@pytest.mark.req("S-03")
def test_what_is_stored_by_a_transaction_that_takes_its_time_is_not_missed(
    api: Api, connection: psycopg.Connection, database_url: str
) -> None:
    with connect(database_url, name="test") as slow:
        event = make_step()
        slow.execute("select 1")  # begins a transaction
        store(slow, event)
        store(connection, make_step())
        answer = api.get(EVENTS).json
        assert len(answer["items"]) == 1
        slow.commit()

    found = api.get(EVENTS, after=answer["position"]).json["items"]
    assert str(_id(event)) in {item["event_id"] for item in found}


@pytest.mark.req("S-03")
def test_what_is_stored_is_paged_like_anything_else(api: Api, connection: psycopg.Connection) -> None:
    position = api.get(EVENTS).json["position"]
    new = [make_step() for _ in range(5)]
    store(connection, *new)

    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(EVENTS, after=position, limit=2, **cursor).json
        found += [item["event_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert sorted(found) == sorted(str(_id(event)) for event in new)


@pytest.mark.req("S-15")
def test_a_large_page_holds_what_small_ones_do_and_never_all_at_once(api: Api, connection: psycopg.Connection) -> None:
    store(connection, *(make_step() for _ in range(600)))
    small: list[object] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        page = api.get(EVENTS, limit=150, **cursor).json
        small += page["items"]
        cursor = {"cursor": page["next_cursor"]}

    for limit, following in ((599, True), (600, False)):
        large = api.get(EVENTS, limit=limit)
        assert len(large.data) == int(large.headers["Content-Length"]) > 400_000
        assert large.json["items"] == small[:limit]
        assert (large.json["next_cursor"] is not None) is following
    begun = api.get(EVENTS, limit=599).json["next_cursor"]
    assert api.get(EVENTS, limit=599, cursor=begun).json["items"] == small[599:]

    def held(limit: int) -> int:
        """Bytes at the most, beyond what was there before."""
        gc.collect()
        tracemalloc.start()
        with api.app.test_request_context(EVENTS, query_string={"limit": limit}):
            api.app.dispatch_request()
            peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    held(600)
    assert held(600) < 1_000_000


@pytest.mark.parametrize("position", ["x", "cG9zaXRpb246LTE", "cG9zaXRpb246OTk5OTk5OTk5OTk5OTk5OTk5OTk5", ""])
def test_a_position_is_one_that_was_given(api: Api, position: str) -> None:
    answer = api.get(EVENTS, after=position)
    assert (answer.status_code, answer.json["code"]) == (400, "request.cursor_invalid")


@pytest.mark.req("S-03", "C-16")
def test_statistics_count_what_the_filter_lets_through(api: Api, stored: tuple[Event, ...]) -> None:
    told = api.get(STATS, time_range="1h").json

    assert told["events"] == len(stored)
    assert told["errors"] == sum(event.level == "error" for event in stored)
    assert told["components"][0] == {"component": "command", "events": 8, "errors": 1} | {
        name: told["components"][0][name] for name in ("events", "errors")
    }
    assert told["commands"] == [
        {
            "command": "todo.add",
            "count": 3,
            "outcomes": {"cancelled": 1, "dead": 1, "succeeded": 1},
            "average_ms": 120.0,
            "last_at": ANY,
        }
    ]
    assert told["tools"] == []
    assert (told["chat"]["events"], told["chat"]["errors"]) == (3, 1)
    assert [line["event_type"] for line in told["chat"]["types"]] == [
        "chat.request.completed",
        "chat.request.failed",
        "chat.request.started",
    ]
    (hour,) = told["chat"]["hours"]
    assert hour == {"hour": from_unix_us(stored[0].occurred_at_us).hour, "events": 3, "errors": 1}
    assert api.get(STATS, filter="outcome:dead").json["commands"][0]["outcomes"] == {"dead": 1}
    assert api.get(STATS, filter="user:bob").json["events"] == 0


@pytest.mark.req("S-03")
def test_an_answer_is_kept_until_something_is_stored(
    api: Api, connection: psycopg.Connection, stored: tuple[Event, ...]
) -> None:
    with api.app.app_context():
        kept = context.answers()

    def counted() -> tuple[int, int, int]:
        told: int = api.get(STATS, start="2026-01-01T00:00:00Z").json["events"]
        return told, kept.figures().hits, kept.figures().misses

    assert counted() == (len(stored), 0, 1)
    assert counted() == (len(stored), 1, 1)
    store(connection, make_step())
    assert counted() == (len(stored) + 1, 1, 2)
    assert counted() == (len(stored) + 1, 2, 2)


def _id(event: Event) -> UUID:
    return UUID(bytes=event.event_id)
