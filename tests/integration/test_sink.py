"""The sink on real servers: each event once, whatever happens to it, to the servers and to the sink.

All of one loop.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import psycopg
import pytest
from fixtures.samples import encoded, make_entry, make_scope, make_step, now_us, one_of_each
from fixtures.stacks import eventually
from psycopg import Connection
from redis import Redis
from structlog.testing import capture_logs

import telemetry
from telemetry.clock import SystemClock, from_unix_us
from telemetry.completeness import verify
from telemetry.connections import connect, open_redis
from telemetry.errors import StoreUnavailable, StreamUnavailable
from telemetry.events import CATALOGUE, Event
from telemetry.ids import mint
from telemetry.intake import Delivery, Intake
from telemetry.partitions import make_partitions
from telemetry.pipeline import open_reader, open_sink
from telemetry.settings import TelemetrySettings
from telemetry.sink import Sink
from telemetry.sink_figures import SinkResult
from telemetry.stream import StreamWriter
from telemetry.testing import ManualClock
from workers.health import is_well
from workers.readiness import look_at_stream

CLOCK = SystemClock()
SETTINGS = TelemetrySettings(sink_flush_interval=timedelta(milliseconds=1), partitions_ahead=1)
DAY_US = 86_400_000_000

#: Events of `one_of_each`.
EACH = len(CATALOGUE)

MakeSink = Callable[..., Sink]


@pytest.fixture
def make_sink(database_url: str, redis_url: str) -> Iterator[MakeSink]:
    """Makes sinks; `claim_idle` is how long a dead one's entries are left alone, `connect` opens connections."""
    sinks: list[Sink] = []
    open_connection = partial(connect, database_url, name="test sink")

    def make(
        claim_idle: timedelta = timedelta(minutes=1), connect: Callable[[], Connection[Any]] = open_connection
    ) -> Sink:
        reader = open_reader(SETTINGS, redis_url, clock=CLOCK)
        sinks.append(Sink(SETTINGS, reader, connect, clock=CLOCK, claim_idle=claim_idle))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink._leave()


@pytest.fixture
def writer(redis: Redis) -> StreamWriter:
    return StreamWriter(redis, SETTINGS.stream)


def stored(connection: psycopg.Connection) -> list[bytes]:
    return [event_id.bytes for (event_id,) in connection.execute("select event_id from telemetry_events order by 1")]


def ids_of(events: list[Event]) -> list[bytes]:
    return sorted(event.event_id for event in events)


def pending(redis: Redis) -> int:
    found: Any = redis.xpending(SETTINGS.stream, "sink")
    return int(found["pending"])


@pytest.mark.req("S-01", "S-02", "D-05")
def test_events_of_many_entries_are_stored_in_one_turn_and_then_acknowledged(
    make_sink: MakeSink, writer: StreamWriter, redis: Redis, connection: psycopg.Connection
) -> None:
    events = [event for _ in range(5) for event in one_of_each()]
    for event in events:
        writer.append(make_entry(event))
    sink = make_sink()

    assert sink.run_once() == SinkResult(entries=5 * EACH, events=5 * EACH, stored=5 * EACH)
    assert stored(connection) == ids_of(events)
    assert pending(redis) == 0
    assert connection.execute("select count(*) from telemetry_stream").fetchone() == (0,)
    assert sink.run_once() == SinkResult()
    assert redis.xlen(SETTINGS.stream) == 0
    assert connection.execute("select now() - looked_at < interval '1 minute' from telemetry_stream").fetchone() == (
        True,
    )


def test_an_idle_sink_takes_an_entry_that_comes_while_it_waits(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection
) -> None:
    sink, results = make_sink(), []
    waiting = threading.Thread(target=lambda: results.append(sink.run_once(timedelta(seconds=30))))
    waiting.start()
    writer.append(make_entry(make_step()))
    waiting.join(20)

    assert [result.stored for result in results] == [1]


@pytest.mark.req("S-02")
def test_what_was_stored_but_not_acknowledged_is_recognised(
    make_sink: MakeSink,
    writer: StreamWriter,
    redis: Redis,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = one_of_each()
    writer.append(make_entry(*events[:8]))
    sink = make_sink()

    def lose_the_answer(ids: object) -> int:
        raise StreamUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(sink._reader, "acknowledge", lose_the_answer)
        with pytest.raises(StreamUnavailable):
            sink.run_once()
    assert (len(stored(connection)), pending(redis)) == (8, 1)
    writer.append(make_entry(*events))

    assert sink.run_once() == SinkResult(entries=1, events=8, skipped=8)
    assert sink.run_once() == SinkResult(entries=1, events=EACH, stored=EACH - 8, duplicates=8)
    assert stored(connection) == ids_of(events)
    assert pending(redis) == 0


@pytest.mark.req("C-13", "C-14")
def test_what_is_no_event_is_counted_and_skipped_and_the_rest_is_stored(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, redis: Redis
) -> None:
    good = one_of_each()
    bad = [
        b"",
        b"\xc1",
        b"hunter2",
        encoded(make_step())[0][:-1],
        *encoded(make_step(step_path="hunter2 is my password")),
    ]
    writer.append(make_entry(*encoded(*good[:6]), *bad, *encoded(*good[6:])))
    writer.append(b"hunter2: not even a batch")
    redis.xadd(SETTINGS.stream, {b"another field": b"hunter2"})

    with capture_logs() as lines:
        result = make_sink().run_once()

    assert result == SinkResult(entries=3, events=EACH + 5, stored=EACH, malformed=7, quarantined=7)
    assert stored(connection) == ids_of(good)
    assert {line["event"] for line in lines} == {"telemetry_events_malformed", "telemetry_entries_malformed"}
    assert "hunter2" not in repr(lines)


@pytest.mark.req("S-01", "C-13")
def test_events_of_days_without_partition_are_counted_and_never_looped_on(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, redis: Redis
) -> None:
    now = now_us()
    inside = [make_step(at_us=now), make_step(at_us=now - DAY_US), make_step(at_us=now + DAY_US)]
    outside = [make_step(at_us=now - 40 * DAY_US), make_step(at_us=now + 40 * DAY_US), make_step(at_us=0)]
    writer.append(make_entry(*inside, *outside))

    assert make_sink().run_once() == SinkResult(entries=1, events=6, stored=3, too_old=2, too_new=1)
    assert stored(connection) == ids_of([*inside])
    assert pending(redis) == 0


def test_a_partition_that_goes_meanwhile_takes_nothing_with_it(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection
) -> None:
    now = now_us()
    make_partitions(connection, from_unix_us(now - 30 * DAY_US), 0)
    sink = make_sink()
    assert sink.run_once() == SinkResult()
    connection.execute(f"drop table telemetry_events_p{from_unix_us(now - 30 * DAY_US):%Y%m%d}".encode())
    writer.append(make_entry(make_step(at_us=now), make_step(at_us=now - 30 * DAY_US)))

    assert sink.run_once() == SinkResult(entries=1, events=2, stored=1, too_old=1)


def test_a_partition_that_goes_before_something_comes_again_refuses_nothing(
    connection: psycopg.Connection, database_url: str
) -> None:
    now = now_us()
    make_partitions(connection, from_unix_us(now - 30 * DAY_US), 0)
    known, old = make_step(at_us=now), make_step(at_us=now - 30 * DAY_US)
    intake = Intake(partial(connect, database_url, name="test sink"), clock=CLOCK, partitions_ahead=1)
    assert intake.store(Delivery(encoded(known))).stored == 1
    connection.execute(f"drop table telemetry_events_p{from_unix_us(now - 30 * DAY_US):%Y%m%d}".encode())

    tally = intake.store(Delivery(encoded(known, old), redelivered=True))
    intake.close()

    assert (tally.stored, tally.duplicates, tally.too_old, tally.misfits) == (0, 1, 1, {})


@pytest.mark.req("C-13")
def test_an_event_that_postgres_refuses_is_left_out_alone(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection
) -> None:
    connection.execute("alter table telemetry_events add constraint no_poison check (step_path <> 'poison')")
    scope = make_scope()
    good = [make_step(scope) for _ in range(5)]
    writer.append(make_entry(*good[:2], make_step(scope, step_path="poison"), *good[2:]))

    assert make_sink().run_once() == SinkResult(entries=1, events=6, stored=5, malformed=1, quarantined=1)
    assert stored(connection) == ids_of([*good])


@pytest.mark.req("C-13")
def test_with_postgres_away_nothing_is_read_and_nothing_lost(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, redis: Redis, database_url: str
) -> None:
    away = [True]

    def connect_sometimes() -> Connection[Any]:
        if away[0]:
            raise StoreUnavailable("gone")
        return connect(database_url, name="test sink")

    sink, event = make_sink(connect=connect_sometimes), make_step()
    writer.append(make_entry(event))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            sink.run_once()
    assert redis.xlen(SETTINGS.stream) == 1
    away[0] = False

    assert sink.run_once().stored == 1
    assert stored(connection) == [event.event_id]


@pytest.mark.req("C-13")
def test_a_connection_that_breaks_is_replaced_and_the_entries_come_again(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, redis: Redis
) -> None:
    sink, events = make_sink(), one_of_each()
    sink.run_once()
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'test sink' and datname = current_database()"
    )
    writer.append(make_entry(*events))

    with pytest.raises(StoreUnavailable):
        sink.run_once()
    assert pending(redis) == 1
    assert sink.run_once() == SinkResult(entries=1, events=EACH, stored=EACH)
    assert stored(connection) == ids_of(events)
    assert pending(redis) == 0


@pytest.mark.req("C-13")
def test_a_redis_that_was_emptied_is_no_end(make_sink: MakeSink, writer: StreamWriter, redis: Redis) -> None:
    sink = make_sink()
    writer.append(make_entry(make_step()))
    assert sink.run_once().stored == 1
    redis.flushdb()
    writer.append(make_entry(make_step()))

    results = [sink.run_once(), sink.run_once()]  # the first finds no group and makes one

    assert sum(result.stored for result in results) == 1


def test_two_sinks_share_the_work_and_double_nothing(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection
) -> None:
    scope = make_scope()
    events = [make_step(scope) for _ in range(2000)]
    for number in range(0, len(events), 10):
        writer.append(make_entry(*events[number : number + 10]))
    results: list[SinkResult] = []

    def drain(sink: Sink) -> None:
        while (result := sink.run_once()).entries:
            results.append(result)

    threads = [threading.Thread(target=drain, args=(make_sink(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(result.stored for result in results) == len(events)
    assert sum(result.duplicates for result in results) == 0
    assert stored(connection) == ids_of([*events])


def told(connection: psycopg.Connection) -> tuple[int, int]:
    """Numbers in the accounts, and events in the notes of transactions."""
    row = connection.execute(
        "select (select coalesce(sum(upper(part) - lower(part)), 0)"
        " from telemetry_producers, unnest(seen) as part)::bigint,"
        " (select coalesce(sum(events), 0) from telemetry_batches)::bigint"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def lose_answers(sink: Sink, chance: random.Random, share: float) -> None:
    """Have the sink acknowledge only some of what it stored, as if it had died in between."""
    acknowledge = sink._reader.acknowledge

    def sometimes(ids: Sequence[bytes]) -> int:
        return acknowledge([each for each in ids if chance.random() >= share])

    sink._reader.acknowledge = sometimes  # type: ignore[method-assign]


@pytest.mark.req("S-02", "C-13")
def test_uneven_sinks_and_a_fifth_of_it_delivered_again_make_no_difference(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, redis: Redis
) -> None:
    scope, epoch, chance = make_scope(), mint(now_us()), random.Random(7)
    events = [make_step(scope) for _ in range(3000)]
    for first in range(0, len(events), 10):
        writer.append(make_entry(*events[first : first + 10], epoch=epoch, first=first + 1))
    results: list[SinkResult] = []

    def drain(sink: Sink, at_once: int) -> None:
        sink._entries_at_once = at_once
        while (result := sink.run_once()).entries:
            results.append(result)

    for share in (0.2, 0.2, 0.0):
        # None of them is idle for longer than nothing, so they take each other's entries while they are at them.
        sinks = [make_sink(claim_idle=timedelta(0)) for _ in range(2)]
        for sink in sinks:
            lose_answers(sink, chance, share)
        threads = [Thread(target=drain, args=(sink, 3 + 20 * place)) for place, sink in enumerate(sinks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert pending(redis) == 0
    assert stored(connection) == ids_of([*events])
    assert sum(result.stored for result in results) == len(events)
    assert told(connection) == (3000, 3000)
    assert sum(result.skipped for result in results) > 0


@pytest.mark.req("S-02")
def test_entries_that_come_again_are_not_decoded_again(
    make_sink: MakeSink, writer: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append(make_entry(*one_of_each()))
    sink = make_sink()
    with monkeypatch.context() as patched:
        patched.setattr(sink._reader, "acknowledge", lambda _: 0)
        assert sink.run_once().stored == EACH
    sink._looks_back = True

    def fail(_: bytes) -> Event:
        raise AssertionError

    monkeypatch.setattr("telemetry.intake.decode_event", fail)
    assert sink.run_once() == SinkResult(entries=1, events=EACH, skipped=EACH)


@pytest.mark.req("S-12")
def test_a_sink_knows_what_it_did_and_what_waits(make_sink: MakeSink, writer: StreamWriter) -> None:
    sink = make_sink()
    writer.append(make_entry(*one_of_each(), b"\xc1"))
    sink.run_once()
    for _ in range(3):
        writer.append(make_entry(make_step(at_us=0)))
    sink._watch_due_us = 0
    sink._watch()

    shown = sink.figures.shown()
    assert (shown["stored"], shown["malformed"], shown["quarantined"], shown["too_old"]) == (EACH, 1, 1, 0)
    assert (shown["stream_entries"], shown["stream_waiting"]) == (3, 3)  # the first one is trimmed
    assert shown["stream_bytes"] > 0
    assert 0 <= shown["lag_ms"] < 60_000
    sink.run_once()
    assert sink.figures.shown()["too_old"] == 3


@pytest.mark.req("S-12")
@pytest.mark.parametrize("setting", [{"stream_warn_bytes": 1}, {"stream_max_entries": 2}])
def test_a_stream_that_grows_too_large_is_warned_of(
    make_sink: MakeSink, writer: StreamWriter, setting: dict[str, Any]
) -> None:
    sink = make_sink()
    sink._settings = replace(SETTINGS, **setting)
    for _ in range(2):
        writer.append(make_entry(make_step()))

    assert look_at_stream(sink.figures, sink._settings) == {"stream": "ok"}
    with capture_logs() as lines:
        sink._watch()
    assert [(line["event"], line["setting"]) for line in lines] == [("telemetry_stream_large", *setting)]
    checks = look_at_stream(sink.figures, sink._settings)
    assert checks["stream"].startswith("warning: it ")
    assert is_well(checks)


class KillAtLine:
    """Kills this process, as `kill -9` does, at the n-th line of telemetry code that it runs."""

    def __init__(self, line: int) -> None:
        self._left = line
        self._folder = str(Path(telemetry.__file__).parent)

    def __call__(self, frame: FrameType, event: str, argument: object) -> KillAtLine | None:
        if not frame.f_code.co_filename.startswith(self._folder):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def run_in_child_until_line(line: int, database_url: str, redis_url: str) -> bool:
    """Let another process do one turn; whether it got to the end before it was killed."""
    child = os.fork()
    if child == 0:
        try:
            sink = open_sink(SETTINGS, database_url=database_url, redis_url=redis_url, clock=CLOCK)
            sys.settrace(KillAtLine(line))
            sink.run_once()
            os._exit(0)
        finally:
            os._exit(1)  # whatever went wrong: this is not the process that runs the tests
    how_it_ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert how_it_ended in {0, -signal.SIGKILL}
    return how_it_ended == 0


@pytest.mark.req("S-02", "C-13")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the child touches nothing of the parent
def test_killed_at_any_line_a_sink_loses_nothing_and_doubles_nothing(
    make_sink: MakeSink, database_url: str, redis_url: str, connection: psycopg.Connection
) -> None:
    make_partitions(connection, CLOCK.now(), SETTINGS.partitions_ahead)
    scope, recorded, finished, line = make_scope(), [], False, 1
    while not finished:
        events = [make_step(scope) for _ in range(3)]
        recorded += events
        with open_redis(redis_url) as redis:
            writer = StreamWriter(redis, SETTINGS.stream)
            writer.append(make_entry(*events[:2]))
            writer.append(make_entry(events[2]))
        finished = run_in_child_until_line(line, database_url, redis_url)
        heir = make_sink(claim_idle=timedelta(0))
        while heir.run_once().entries:
            pass
        heir._leave()
        assert stored(connection) == ids_of([*recorded]), f"killed at line {line}"
        assert told(connection) == (len(recorded), len(recorded)), f"killed at line {line}"
        line += 5

    assert line > 200


@pytest.mark.req("S-02")
def test_a_waiting_sink_stops_at_once_and_only_once(
    database_url: str, redis_url: str, redis: Redis, connection: psycopg.Connection
) -> None:
    sink = open_sink(SETTINGS, database_url=database_url, redis_url=redis_url, clock=CLOCK)
    sink.start()
    sink.start()

    assert sink.stop(timedelta(seconds=4))  # it would wait for 5
    assert sink.stop()
    assert redis.xinfo_consumers(SETTINGS.stream, "sink") == []


@pytest.mark.req("S-02", "S-15")
def test_a_sink_tells_of_itself_once_a_minute_and_of_the_rest_when_it_ends(
    database_url: str, redis_url: str, redis: Redis, connection: psycopg.Connection
) -> None:
    clock = ManualClock(CLOCK.now())
    settings = replace(SETTINGS, sink_idle_block=timedelta(milliseconds=20), spool_dir=None)
    sink = open_sink(settings, database_url=database_url, redis_url=redis_url, clock=clock)

    def told() -> list[dict[str, int]]:
        rows = connection.execute(
            "select measures from telemetry_events where event_type = 'telemetry.sink.state' order by event_id"
        ).fetchall()
        return [measures for (measures,) in rows]

    make_partitions(connection, CLOCK.now(), 1)
    redis.xadd(SETTINGS.stream, {b"b": make_entry(*(make_step() for _ in range(30)), producer="worker-1")})
    sink.start()
    eventually(lambda: sink.figures.totals["stored"] >= 30)
    assert told() == []
    clock.advance(timedelta(minutes=1))
    eventually(lambda: len(told()) == 1)
    first = told()[0]
    assert (first["events_count"], first["stored_count"], first["waits_count"]) == (30, 30, 0)
    assert first["interval_us"] >= 60_000_000
    # What it does with that one is no reason for another.
    turns = sink.figures.totals["entries"]
    redis.xadd(SETTINGS.stream, {b"b": make_entry(make_step(), producer="worker-1")})
    eventually(lambda: sink.figures.totals["entries"] > turns)
    assert len(told()) == 1
    clock.advance(timedelta(minutes=5))
    eventually(lambda: len(told()) == 2)
    assert told()[1]["stored_count"] == 2
    clock.advance(timedelta(seconds=1))

    assert sink.stop()

    assert [each["stored_count"] for each in told()] == [30, 2, 1]
    found = verify(connection, CLOCK.now() - timedelta(hours=1), clock.now(), silence=timedelta(hours=1))
    (own,) = (epoch for epoch in found.epochs if epoch.producer.startswith("sink-"))
    assert (own.given, own.closed_at is not None, own.is_complete) == (3, True, True)


def test_a_sink_that_was_stopped_before_it_ran_does_not_run(database_url: str, redis_url: str, redis: Redis) -> None:
    sink = open_sink(SETTINGS, database_url=database_url, redis_url=redis_url, clock=CLOCK)
    redis.xadd(SETTINGS.stream, {b"b": make_entry(make_step())})

    assert not sink.stop()
    sink.run()

    assert sink.stop()
    assert redis.xlen(SETTINGS.stream) == 1


@pytest.mark.req("C-13")
def test_a_running_sink_waits_for_servers_that_are_away(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, database_url: str
) -> None:
    attempts: list[bool] = []

    def connect_at_last() -> Connection[Any]:
        attempts.append(True)
        if len(attempts) < 3:
            raise StoreUnavailable("gone")
        return connect(database_url, name="test sink")

    writer.append(make_entry(make_step()))
    sink = make_sink(connect=connect_at_last)
    sink.start()
    with connect(database_url, name="test", autocommit=True) as watching:
        deadline = threading.Event()
        for _ in range(500):
            if stored(watching):
                break
            deadline.wait(0.01)
    assert sink.stop()

    assert len(attempts) == 3
    assert len(stored(connection)) == 1


def test_a_dead_sinks_backlog_is_taken_over_at_once_and_whole(
    make_sink: MakeSink, writer: StreamWriter, connection: psycopg.Connection, redis: Redis
) -> None:
    dead = make_sink()
    at_once = dead._entries_at_once
    events = [make_step() for _ in range(3 * at_once)]
    for event in events:
        writer.append(make_entry(event))
    for _ in range(3):
        dead._reader.read_new(at_once)

    heir = make_sink(claim_idle=timedelta(0))
    for _ in range(3):
        heir.run_once()

    assert pending(redis) == 0
    assert stored(connection) == ids_of([*events])


def test_after_days_asleep_the_events_of_today_find_their_partition(
    database_url: str, connection: psycopg.Connection
) -> None:
    clock = ManualClock()
    intake = Intake(partial(connect, database_url, name="test intake"), clock=clock, partitions_ahead=1)
    intake.prepare()
    clock.set(clock.now() + timedelta(days=9))  # the wall clock moved on; the monotonic one stood still

    tally = intake.store(Delivery(encoded(make_step(at_us=clock.unix_us()))))

    intake.close()
    assert (tally.stored, tally.outside) == (1, 0)
