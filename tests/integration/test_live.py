"""Live figures are the stored ones: whoever was late, came twice, was away, or looked on too slowly.

One feed, all of its way from the stream to who looks on: what goes wrong in one place is seen in the next.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

import pytest
from fixtures.installations import awaited
from fixtures.samples import ERROR, make_entry, make_scope, make_step, now_us
from psycopg import Connection
from psycopg_pool import ConnectionPool
from redis import Redis

from telemetry.clock import SystemClock, from_unix_us
from telemetry.collector import Cache, Collector
from telemetry.connections import open_pool
from telemetry.events import (
    ChatRequestCompleted,
    ChatRequestFailed,
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
)
from telemetry.ids import mint
from telemetry.live.deltas import applied
from telemetry.live.feed import KEPT, Channel, LiveFeed
from telemetry.live.store import By
from telemetry.live.tail import PAGE
from telemetry.live.view import View
from telemetry.partitions import make_days
from telemetry.pipeline import open_recorder, open_sink, open_tail
from telemetry.privacy import Pseudonyms
from telemetry.reading import reading
from telemetry.rollups.metrics import METRICS, Asked, total
from telemetry.settings import LiveSettings, TelemetrySettings
from telemetry.sink import Sink
from telemetry.stream import FIELD, StreamWriter

pytestmark = pytest.mark.req("A-03", "S-11")

MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
SETTINGS = TelemetrySettings(stream="test:telemetry", sink_flush_interval=timedelta(milliseconds=1))
LIVE = LiveSettings(linger=timedelta(0))
MakeFeed = Callable[..., LiveFeed]
USERS = [bytes([number]) * 16 for number in range(4)]


@pytest.fixture
def live_pool(database_url: str) -> Iterator[ConnectionPool]:
    with open_pool(database_url, name="weir test live", max_size=2, autocommit=True) as pool:
        yield pool


@pytest.fixture
def make_feed(redis_url: str, live_pool: ConnectionPool) -> Iterator[MakeFeed]:
    feeds: list[LiveFeed] = []

    def make(*, kept: int = KEPT, **settings: Any) -> LiveFeed:  # noqa: ANN401 - of any setting
        tail, timeout = partial(open_tail, SETTINGS, redis_url), timedelta(seconds=5)
        feeds.append(LiveFeed(replace(LIVE, **settings), tail, live_pool, timeout, SystemClock(), kept=kept))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


@pytest.fixture
def sink(database_url: str, redis_url: str, connection: Connection) -> Iterator[Sink]:
    make_days(connection, [from_unix_us((now_us() // DAY_US + days) * DAY_US) for days in (-1, 0, 1)])
    made = open_sink(SETTINGS, database_url=database_url, redis_url=redis_url, clock=SystemClock())
    made.run_once()
    yield made
    made.stop()
    made.run()  # which closes it


@pytest.fixture
def writer(redis: Redis) -> StreamWriter:
    return StreamWriter(redis, SETTINGS.stream)


def some_request(chance: random.Random, at_us: int) -> Event:
    """How it ended, of one kind or another."""
    scope = make_scope(
        user_id=chance.choice([*USERS, None]), command_slug=chance.choice(["a.b", "todo.add", "x"]), space_id=None
    )
    duration_us = int(chance.lognormvariate(10, 2))
    counts = (duration_us, 300, duration_us + 300, 4, 3, 1, 1, 2)
    kind = chance.randrange(6)
    if kind == 0:
        parts = chance.choice([(None, None), (0, duration_us), (duration_us // 3, duration_us // 2)])
        tokens = chance.choice([(None, None), (120, 0), (7, 600)])
        cache: Cache = chance.choice(["hit", "miss", "none"])
        return ChatRequestCompleted(
            mint(at_us), at_us, scope, mint(at_us), "small", duration_us, *parts, *tokens, cache
        )
    if kind == 1:
        return ChatRequestFailed(mint(at_us), at_us, scope, mint(at_us), "small", duration_us, ERROR)
    if kind == 2:
        error = chance.choice([None, ERROR])
        outcome: Literal["failed", "expired", "dead"] = "failed" if error else chance.choice(["expired", "dead"])
        return ExecutionFailed(mint(at_us), at_us, scope, *counts, outcome, error)
    if kind == 3:
        return ExecutionCancelled(mint(at_us), at_us, scope, *counts, "interrupted")
    return ExecutionCompleted(mint(at_us), at_us, scope, *counts)


def store_all(sink: Sink) -> None:
    while sink.run_once().entries:
        pass


def cut_off(redis: Redis) -> None:
    """Close all other connections to this test's database: others on the server are not ours."""
    own = redis.client_info()
    for client in redis.client_list():
        if client["db"] == str(own["db"]) and client["id"] != str(own["id"]):
            redis.client_kill_filter(_id=client["id"])


class Reader:
    """Somebody who looks on, and puts together what is told."""

    def __init__(self, feed: LiveFeed, channel: Channel) -> None:
        self.channel = channel
        self.number: int | None = None
        self.names: list[str] = []
        self.said: dict[str, Any] = {}
        self.last_id = ""
        self._feed = feed

    def read(self) -> dict[str, Any]:
        """What is known after all that there is."""
        tellings, self.number = self._feed.wait(self.channel, self.number, 0.05)
        for telling in tellings:
            data = json.loads(telling.data)
            self.names.append(telling.name)
            self.last_id = telling.id
            self.said = data if telling.name == "snapshot" else applied(self.said, data)
        return self.said

    def until(self, is_so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        awaited(lambda: (said := self.read()) and is_so(said), 20)
        return self.said


def requests(said: dict[str, Any]) -> int:
    counted: int = said["metrics"]["request_rate"]["metadata"]["requests"]
    return counted


def has(count: int, said: dict[str, Any]) -> bool:
    return requests(said) >= count


def open_reader(feed: LiveFeed, view: View) -> Iterator[Reader]:
    with feed.watching(view) as channel:
        yield Reader(feed, channel)


look_on = contextmanager(open_reader)


def stored_tallies(pool: ConnectionPool, said: dict[str, Any], end: datetime) -> dict[str, Any]:
    """The metrics of the whole minutes of a window, as they are stored."""
    with reading(pool, timedelta(seconds=5)) as connection:
        bucket = total(connection, Asked(datetime.fromisoformat(said["start"]), end))
    found = {name: metric.point(bucket) for name, metric in METRICS.items() if name != "request_rate"}
    whole: dict[str, Any] = json.loads(json.dumps(found))
    return {"requests": bucket.of("duration").events, **whole}


def told_tallies(said: dict[str, Any]) -> dict[str, Any]:
    found = {
        name: [each["value"], each["metadata"]] for name, each in said["metrics"].items() if name != "request_rate"
    }
    return {"requests": requests(said), **found}


def is_equal(pool: ConnectionPool, said: dict[str, Any]) -> bool:
    """Whether what is told is what is stored, but for what is not rounded."""
    end = from_unix_us(now_us()) + timedelta(minutes=1)
    return told_tallies(said) == stored_tallies(pool, said, end)


def by_user(said: dict[str, Any]) -> dict[str, int]:
    counts = {name: each["request_rate"]["metadata"]["requests"] for name, each in said["series"].items()}
    return {**counts, "other": said["other"]["request_rate"]["metadata"]["requests"]}


def counted(events: Iterable[Event]) -> dict[str, int]:
    named = Counter(event.scope.user_id.hex() if event.scope.user_id else "other" for event in events)
    return {**named, "other": named["other"]}


@pytest.mark.req("A-01", "A-05")
def test_what_was_stored_and_what_comes_are_told_together_each_once(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter, live_pool: ConnectionPool
) -> None:
    chance = random.Random(1)
    past = [some_request(chance, now_us() - chance.randrange(5 * MINUTE_US)) for _ in range(300)]
    writer.append(before := make_entry(*past, epoch=mint(now_us())))
    store_all(sink)
    writer.append(before)  # stored, and in the stream all the same
    with look_on(make_feed(), View(10, None, "user")) as reader:
        first = reader.until(lambda said: said)
        # The first snapshot is right.
        assert reader.names == ["snapshot"]
        assert requests(first) == 300
        assert by_user(first) == counted(past)

        entry = make_entry(*(fresh := [some_request(chance, now_us()) for _ in range(50)]), epoch=mint(now_us()))
        for each in (entry, make_entry(make_step()), b"no batch", make_entry(b"no event"), entry):
            writer.append(each)
        reader.until(lambda said: said["counts"]["duplicates"] == 50)
        assert requests(reader.said) == 350
        assert by_user(reader.said) == counted([*past, *fresh])
        assert reader.said["counts"]["malformed"] == 2
        assert set(reader.names[1:]) == {"delta"}

        # What the sink stores meanwhile changes nothing.
        store_all(sink)
        assert reader.until(partial(is_equal, live_pool))["reasons"] == []


def test_an_event_that_was_long_on_its_way_counts_once_it_is_stored(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter, live_pool: ConnectionPool
) -> None:
    chance = random.Random(2)
    late = some_request(chance, now_us() - 3 * MINUTE_US)
    with look_on(make_feed(), View(10)) as reader:
        reader.until(lambda said: said)
        # The same event under two numbers: as it was lost on its way, and made again from its row.
        writer.append(make_entry(late))
        writer.append(make_entry(late, some_request(chance, now_us())))
        reader.until(lambda said: said["counts"]["late"] >= 2 and requests(said) == 1)
        assert reader.said["reasons"] == ["late"]

        store_all(sink)
        reader.until(lambda said: requests(said) == 2 and said["reasons"] == [])
        assert is_equal(live_pool, reader.said)


def test_what_was_trimmed_unread_is_noticed_and_read_from_what_is_stored(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter, redis: Redis, live_pool: ConnectionPool
) -> None:
    chance = random.Random(3)
    with look_on(make_feed(), View(10)) as reader:
        reader.until(lambda said: said)
        # Appended and trimmed in one moment, as by a sink that is quicker than who looks on.
        missed = make_entry(*(some_request(chance, now_us()) for _ in range(20)))
        pipeline = redis.pipeline(transaction=True)
        pipeline.xadd(SETTINGS.stream, {FIELD: missed})
        pipeline.xtrim(SETTINGS.stream, maxlen=0, approximate=False)
        pipeline.execute()
        kept_aside = make_entry(some_request(chance, now_us()))
        writer.append(kept_aside)
        reader.until(lambda said: said["counts"]["gaps"] == 1 and requests(said) == 1)

        # It was in the store before it was trimmed: so it is when the store is read again.
        writer.append(missed)
        store_all(sink)
        reader.until(lambda said: requests(said) == 21)
        assert is_equal(live_pool, reader.said)


def test_viewers_are_told_that_the_stream_is_away_and_lose_nothing_when_it_is_back(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter, redis: Redis, live_pool: ConnectionPool
) -> None:
    chance = random.Random(4)
    with look_on(make_feed(), View(10)) as reader:
        reader.until(lambda said: said)
        writer.append(make_entry(*(some_request(chance, now_us()) for _ in range(10))))
        reader.until(lambda said: requests(said) == 10)

        cut_off(redis)
        # Not what is no stream: it cannot be read.
        redis.rename(SETTINGS.stream, "aside")
        redis.set(SETTINGS.stream, "no stream")
        reader.until(lambda said: said["state"] == "stale")
        assert reader.said["reasons"] == ["stream_away"]
        assert requests(reader.said) == 10

        redis.rename("aside", SETTINGS.stream)
        writer.append(make_entry(*(some_request(chance, now_us()) for _ in range(10))))
        reader.until(lambda said: said["state"] == "live" and requests(said) == 20)
        assert reader.said["counts"]["gaps"] >= 1
        store_all(sink)
        # And when all of it was emptied: what is stored stays.
        redis.delete(SETTINGS.stream)
        reader.until(lambda said: said["counts"]["gaps"] >= 2 and said["reasons"] == [])
        assert requests(reader.said) == 20
        assert is_equal(live_pool, reader.said)


def test_random_streams_end_in_what_is_stored(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter, redis: Redis, live_pool: ConnectionPool
) -> None:
    chance = random.Random(5)
    epoch, number = mint(now_us()), 1
    with look_on(make_feed(reread=timedelta(seconds=1)), View(15, None, "command")) as reader:
        reader.until(lambda said: said)
        for _ in range(60):
            size = chance.randrange(1, 20)
            late_us = chance.choice([0] * 9 + [MINUTE_US]) * chance.randrange(1, 12)
            entry = make_entry(
                *(some_request(chance, now_us() - late_us) for _ in range(size)), epoch=epoch, first=number
            )
            number += size
            for _ in range(chance.choice([1, 1, 2])):
                writer.append(entry)
            if chance.random() < 0.3:
                sink.run_once()
            if chance.random() < 0.05:
                cut_off(redis)
            reader.read()
        store_all(sink)
        reader.until(lambda said: said["reasons"] == [] and is_equal(live_pool, said))
        assert requests(reader.said) == number - 1


def test_who_is_too_slow_is_told_everything_anew_and_holds_up_nobody(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter
) -> None:
    chance = random.Random(6)
    feed = make_feed(kept=4)
    with look_on(feed, View(5)) as quick, look_on(feed, View(5)) as slow:
        slow.until(lambda said: said)
        quick.until(lambda said: said)
        for count in range(1, 7):
            writer.append(make_entry(some_request(chance, now_us())))
            quick.until(partial(has, count))
        assert quick.names.count("snapshot") == 1

        slow.until(lambda said: requests(said) == 6)
        assert slow.names == ["snapshot", "snapshot"]
        assert told_tallies(slow.said) == told_tallies(quick.said)


def test_who_comes_back_with_the_last_id_is_told_what_has_changed(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter
) -> None:
    chance = random.Random(7)
    feed = make_feed(linger=timedelta(seconds=30))
    with look_on(feed, View(5)) as reader:
        reader.until(lambda said: said)
        last_id, said = reader.last_id, reader.said
    with look_on(feed, View(5)) as other:
        writer.append(make_entry(some_request(chance, now_us())))
        other.until(lambda said: requests(said) == 1)
    with look_on(feed, View(5)) as again:
        again.number, again.said = again.channel.number_of(last_id), said
        again.until(lambda said: requests(said) == 1)
        assert set(again.names) == {"delta"}
    assert again.channel.number_of("of-another-process.3") is None
    assert again.channel.number_of(last_id + "0" * 5000) is None


def test_without_viewers_nothing_follows_the_stream(make_feed: MakeFeed, sink: Sink, redis: Redis) -> None:
    feed = make_feed()
    assert not feed.is_following()
    with look_on(feed, View(5)) as reader:
        reader.until(lambda said: said)
        assert feed.is_following()
    awaited(lambda: not feed.is_following())
    with look_on(feed, View(5)) as reader:
        reader.until(lambda said: said)
        feed.end()
        awaited(lambda: not feed.is_following())


def test_with_postgres_away_what_comes_is_told_and_what_is_not_certain(
    redis_url: str, writer: StreamWriter, make_feed: MakeFeed, live_pool: ConnectionPool
) -> None:
    live_pool.close()
    with look_on(make_feed(), View(5)) as reader:
        reader.until(lambda said: said)
        writer.append(make_entry(some_request(random.Random(8), now_us())))
        reader.until(lambda said: requests(said) == 1)
        assert (reader.said["state"], reader.said["reasons"]) == ("live", ["store_away"])


@pytest.mark.req("A-04", "A-14")
def test_requests_that_a_program_reports_are_told_and_stored_and_none_is_lost(
    make_feed: MakeFeed, sink: Sink, redis_url: str, database_url: str, live_pool: ConnectionPool
) -> None:
    recorder = open_recorder(SETTINGS, name="test", database_url=database_url, redis_url=redis_url, clock=SystemClock())
    collector = Collector(recorder, SystemClock(), Pseudonyms(b"a key"), ["small"])
    with look_on(make_feed(), View(5)) as reader:
        reader.until(lambda said: said)
        for number in range(2000):
            request = collector.start_request(user=f"user {number % 30}")
            if number % 10:
                collector.complete_request(request, model="small", prompt_tokens=3, completion_tokens=2)
            else:
                collector.record_error(request, TimeoutError())
        recorder.close()
        said = reader.until(lambda said: requests(said) == 2000)
        assert said["metrics"]["error_rate"]["metadata"]["count_by_type"]["timeout"] == 200
        store_all(sink)
        assert is_equal(live_pool, reader.said)
    assert (collector.faults, recorder.stats().dropped) == ({}, {})


@pytest.mark.req("S-15")
def test_nothing_waits_for_a_next_look(make_feed: MakeFeed, sink: Sink, writer: StreamWriter) -> None:
    """The quickest of several: what others on the machine do is not what is asked here."""
    chance = random.Random(9)
    feed, lags_ms = make_feed(), []
    with look_on(feed, View(5)) as reader:
        reader.until(lambda said: said)
        for count in range(1, 11):
            event = some_request(chance, now_us())
            writer.append(make_entry(event))
            while not has(count, reader.read()):
                assert now_us() - event.occurred_at_us < MINUTE_US
            lags_ms.append((now_us() - event.occurred_at_us) / 1000)
    assert min(lags_ms) < 50


def test_more_than_is_read_at_once_is_waited_for_until_it_is_stored(
    make_feed: MakeFeed, sink: Sink, redis: Redis, live_pool: ConnectionPool
) -> None:
    chance = random.Random(10)
    pipeline = redis.pipeline()
    for _ in range(PAGE + 1):
        pipeline.xadd(SETTINGS.stream, {FIELD: make_entry(some_request(chance, now_us()))})
    pipeline.execute()
    with look_on(make_feed(), View(5)) as reader:
        first = reader.until(lambda said: said)
        assert (requests(first), first["reasons"]) == (0, ["sink_behind"])
        # What comes is told all the same.
        redis.xadd(SETTINGS.stream, {FIELD: make_entry(some_request(chance, now_us()))})
        reader.until(lambda said: requests(said) == 1)

        store_all(sink)
        reader.until(lambda said: said["reasons"] == [])
        assert requests(reader.said) == PAGE + 2
        assert is_equal(live_pool, reader.said)


def test_who_asks_for_something_else_while_much_waits_to_be_stored_holds_up_nobody(
    make_feed: MakeFeed, sink: Sink, redis: Redis, writer: StreamWriter
) -> None:
    chance = random.Random(13)
    feed = make_feed()
    with look_on(feed, View(5)) as reader:
        reader.until(lambda said: said)
        pipeline = redis.pipeline()
        for _ in range(PAGE + 1):
            pipeline.xadd(SETTINGS.stream, {FIELD: make_entry(some_request(chance, now_us()))})
        pipeline.execute()
        reader.until(partial(has, PAGE + 1))
        with look_on(feed, View(5, None, "user")) as other:
            assert other.read() == {}
            for count in range(PAGE + 2, PAGE + 5):
                writer.append(make_entry(some_request(chance, now_us())))
                reader.until(partial(has, count))
            assert reader.said["reasons"] == []

            store_all(sink)
            assert sum(by_user(other.until(lambda said: said)).values()) == PAGE + 4


@pytest.mark.parametrize("by", ["user", "command"])
def test_of_more_than_may_be_told_apart_the_rest_is_told_together(
    by: By, make_feed: MakeFeed, sink: Sink, writer: StreamWriter
) -> None:
    chance = random.Random(11)
    past = [some_request(chance, now_us() - chance.randrange(2 * MINUTE_US)) for _ in range(100)]
    writer.append(make_entry(*past))
    store_all(sink)
    with look_on(make_feed(series=2), View(10, "command", by)) as reader:
        first = reader.until(lambda said: said)
        ended = [event for event in past if event.component == "command"]
        named = Counter(
            event.scope.command_slug if by == "command" else (event.scope.user_id or b"").hex() for event in ended
        )
        named.pop("", None)
        told = by_user(first)
        others = told.pop("other")
        assert len(told) == 2
        assert others + sum(told.values()) == len(ended)
        assert {name: named[name] for name in told} == told
        # And of all that comes, nobody is left out.
        writer.append(make_entry(*(some_request(chance, now_us()) for _ in range(50))))
        reader.until(lambda said: requests(said) > len(ended) and said["counts"]["requests"] == 50)
        assert sum(by_user(reader.said).values()) == requests(reader.said)


def test_who_comes_later_and_asks_for_something_else_is_told_right_from_the_first_snapshot_on(
    make_feed: MakeFeed, sink: Sink, writer: StreamWriter
) -> None:
    chance = random.Random(12)
    feed = make_feed(linger=timedelta(seconds=30))
    events = [some_request(chance, now_us()) for _ in range(30)]
    with look_on(feed, View(5)) as reader:
        writer.append(make_entry(*events[:20]))
        reader.until(partial(has, 20))
        with look_on(feed, View(5, None, "user")) as other:
            assert by_user(other.until(lambda said: said)) == counted(events[:20])
        writer.append(make_entry(*events[20:]))
        reader.until(partial(has, 30))
        # Nobody looked at this meanwhile.
        with look_on(feed, View(5, None, "user")) as again:
            assert by_user(again.until(lambda said: said)) == counted(events)
