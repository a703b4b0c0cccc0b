"""Questions to telemetry that would read for ever: given up in time, on the server too, and in nobody else's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from time import monotonic

import psycopg
import pytest
from fixtures.apis import Api
from fixtures.filtering import FILTERS
from fixtures.samples import make_scope, one_of_each
from fixtures.stacks import eventually
from hypothesis import given, settings
from structlog.testing import capture_logs

from api.app import close_app
from api.resources.context import READER_PATIENCE
from api.settings import Settings
from telemetry.connections import connect
from telemetry.filters.printing import show
from telemetry.filters.syntax import Filter
from telemetry.rows import RowEncoder
from telemetry.settings import TelemetrySettings
from telemetry.store import insert_events

EVENTS, STATS = "/api/telemetry/events", "/api/telemetry/stats"
PATIENCE = timedelta(milliseconds=20)
#: Every stored event this often again, under other ids.
_COPIES = """
    insert into telemetry_events
    select (jsonb_populate_record(e, jsonb_build_object(
        'event_id', substr(e.event_id::text, 1, 24) || lpad(to_hex(n), 12, '0')
    ))).*
    from telemetry_events as e cross join generate_series(1, %s) as n
"""
_ACTIVE = """
    select count(*) from pg_stat_activity
    where datname = current_database() and state = 'active' and pid <> pg_backend_pid()
"""
#: Filters that no index helps with, and that no event gets through: each looks at every row, and long at that.
_PREFIXES = ",".join(f"{number:05}zz*" for number in range(199))
SLOW = (
    f"operation:{_PREFIXES}"[:1990].rpartition(",")[0],
    f"-level:debug operation:{_PREFIXES}"[:1990].rpartition(",")[0],
)


def made(api_settings: Settings, telemetry: TelemetrySettings, pool: int) -> Api:
    workers = replace(api_settings.workers, dsl=replace(api_settings.dsl, telemetry=telemetry))
    servers = replace(api_settings.servers, database_pool=pool)
    return Api(replace(api_settings, workers=workers, servers=servers), servers.commands_dir)


@pytest.fixture
def hasty(api_settings: Settings) -> Iterator[Api]:
    """An API that reads for no time at all, whose events go nowhere."""
    with capture_logs():
        api = made(api_settings, replace(api_settings.telemetry, enabled=False, query_timeout=PATIENCE), pool=4)
        yield api
        close_app(api.app)


@pytest.fixture
def many(hasty: Api, connection: psycopg.Connection) -> int:
    """Events are stored, so many that reading all of them with a long filter takes longer than that."""
    each = one_of_each(make_scope())
    insert_events(connection, [RowEncoder().encode(event) for event in each])
    connection.execute(_COPIES, (2500,))
    return 2501 * len(each)


@pytest.mark.req("S-03", "S-15")
def test_a_filter_over_many_events_ends_in_time_and_its_statement_with_it_and_is_never_more_than_too_slow(
    hasty: Api, many: int, connection: psycopg.Connection
) -> None:
    for path in (EVENTS, STATS):
        for text in SLOW:
            began = monotonic()
            answer = hasty.get(path, filter=text)

            assert (answer.status_code, answer.json["code"]) == (503, "store.too_slow"), text[:40]
            assert answer.headers["Retry-After"] == "2"
            assert monotonic() - began < 10
            assert connection.execute(_ACTIVE).fetchone() == (0,)
    eventually(lambda: hasty.get(EVENTS, limit=1).status_code == 200)

    @settings(max_examples=15, deadline=None)
    @given(asked=FILTERS)
    def try_any(asked: Filter) -> None:
        answer = hasty.get(EVENTS, filter=show(asked))
        assert answer.status_code in {200, 422} or answer.json["code"] == "store.too_slow", answer.text

    try_any()


@pytest.mark.req("S-15", "C-13")
def test_a_burst_of_slow_questions_leaves_connections_for_those_who_work(
    api_settings: Settings, database_url: str
) -> None:
    telemetry = replace(api_settings.telemetry, enabled=False, query_timeout=2 * READER_PATIENCE)
    count = 12
    together = Barrier(count + 1)

    with capture_logs(), connect(database_url, name="test") as holder, ThreadPoolExecutor(count) as pool:
        api = made(api_settings, telemetry, pool=4)
        holder.execute("lock table telemetry_events in access exclusive mode")

        def ask(_number: int) -> str:
            client = api.app.test_client()
            together.wait()
            return str(json.loads(client.get(EVENTS).text)["code"])

        asked = pool.map(ask, range(count))
        together.wait()
        began = monotonic()
        accepted = [api.submit("todo.add", {"body": "x"}).status_code for _ in range(5)]
        took_s = monotonic() - began
        refused = list(asked)
        holder.rollback()

        assert accepted == 5 * [202]
        assert took_s < READER_PATIENCE.total_seconds()
        assert sorted(refused) == 2 * ["store.too_slow"] + (count - 2) * ["telemetry.busy"]
        assert api.get(EVENTS).status_code == 200
        close_app(api.app)
