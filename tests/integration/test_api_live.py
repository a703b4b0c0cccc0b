"""`GET /api/metrics/live` and `weir telemetry live`: told to many, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fixtures.apis import Api, Weir
from fixtures.installations import awaited
from fixtures.samples import make_entry, make_scope, now_us
from fixtures.streams import Reader, Said, serving
from redis import Redis

from api.app import close_app
from api.cli import live as cli
from api.resources import context
from api.settings import ApiSettings, Settings
from telemetry.events import ChatRequestCompleted
from telemetry.ids import mint
from telemetry.live.store import BYS
from telemetry.rollups.metrics import METRICS, REQUESTS
from telemetry.stream import FIELD

pytestmark = pytest.mark.req("A-03", "S-11")

PATH = "/api/metrics/live"


@pytest.fixture
def narrow_api(api_settings: Settings) -> Iterator[Api]:
    """An API that holds two streams open."""
    api = Api(replace(api_settings, api=ApiSettings(streams=2)), api_settings.servers.commands_dir)
    yield api
    close_app(api.app)


def chat(redis: Redis, api: Api, count: int = 1) -> None:
    """Requests that somebody reports, on their way."""
    at_us = now_us()
    events = [
        ChatRequestCompleted(mint(at_us), at_us, make_scope(), mint(at_us), "small", 2000, 500, 1000, 10, 20, "hit")
        for _ in range(count)
    ]
    redis.xadd(api.settings.telemetry.stream, {FIELD: make_entry(*events)})


def requests(said: Said) -> int:
    found: int = said.data["metrics"]["request_rate"]["metadata"]["requests"]
    return found


def test_a_snapshot_comes_first_and_then_what_has_changed(api: Api, redis: Redis) -> None:
    with serving(api.app) as address:
        reader = Reader(address, f"{PATH}?window=10m&by=user")
        events = reader.events()
        first = next(events)
        assert first.name == "snapshot"
        assert set(first.data["metrics"]) == set(first.data["units"]) == set(METRICS)
        assert (first.data["state"], first.data["reasons"], requests(first)) == ("live", [], 0)

        chat(redis, api, 3)
        delta = next(event for event in events if "metrics" in event.data)
        assert delta.name == "delta"
        assert requests(delta) == 3
        assert delta.data["metrics"]["total_tokens"]["value"] == 90
        assert delta.data["metrics"]["cache_hit_rate"]["value"] == 100
        assert list(delta.data["series"]) == [bytes(range(16)).hex()]
        reader.close()


def test_who_comes_back_goes_on_where_it_was(api: Api, redis: Redis) -> None:
    with serving(api.app) as address:
        reader = Reader(address, PATH)
        first = next(reader.events())
        chat(redis, api)
        awaited(lambda: requests(next(reader.events())) == 1)
        reader.close()

        again = Reader(address, PATH, **{"Last-Event-ID": first.id})
        assert next(again.events()).name == "delta"
        again.close()
        new = Reader(address, PATH, **{"Last-Event-ID": "of-another-process.7"})
        assert next(new.events()).name == "snapshot"
        new.close()


def test_who_is_one_too_many_is_refused_and_the_place_of_who_goes_is_free_again(narrow_api: Api) -> None:
    with serving(narrow_api.app) as address:
        readers = [Reader(address, PATH) for _ in range(2)]
        for reader in readers:
            assert next(reader.events()).name == "snapshot"
        refused = narrow_api.get(PATH)
        assert (refused.status_code, refused.json["code"]) == (503, "stream.too_many")
        readers.pop().close()
        awaited(lambda: free(narrow_api) == 1)
        context.end_streams(narrow_api.app)
        assert b"retry: 1000" in readers[0].rest()
        readers[0].close()


def free(api: Api) -> int:
    with api.app.app_context():
        return context.streams()._free


@pytest.mark.parametrize("query", ["window=0m", "window=90s", "window=61m", "window=x", "component=dsl", "by=tool"])
def test_what_cannot_be_asked_is_refused(api: Api, query: str) -> None:
    assert api.open("GET", f"{PATH}?{query}").status_code == 422


def test_the_command_line_takes_what_the_api_takes() -> None:
    assert set(cli.COMPONENTS) == set(REQUESTS)
    assert cli.BYS == BYS


def test_lines_of_json_are_a_snapshot_and_deltas(weir: Weir, api: Api, redis: Redis) -> None:
    chat(redis, api, 2)
    typed = weir("telemetry", "live", "--format", "json", "--for", "500ms", "--by", "space")
    assert typed.code == 0
    lines: list[Any] = [json.loads(line) for line in typed.out.splitlines()]
    assert lines[0]["event"] == "snapshot"
    assert lines[0]["metrics"]["request_rate"]["metadata"]["requests"] == 2
    assert {line["event"] for line in lines[1:]} <= {"delta"}


def test_where_nobody_looks_a_line_says_how_it_goes(weir: Weir, api: Api, redis: Redis) -> None:
    chat(redis, api, 2)
    typed = weir("telemetry", "live", "--for", "500ms")
    assert "live  2 requests" in typed.out
    assert "p50 2 ms" in typed.out


def test_a_window_that_cannot_be_is_refused_in_words(weir: Weir) -> None:
    typed = weir("telemetry", "live", "--window", "90s")
    assert (typed.code, "whole minutes" in typed.err) == (1, True)
    assert weir("telemetry", "live", "--for", "soon").code == 2
