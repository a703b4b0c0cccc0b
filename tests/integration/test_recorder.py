"""The recorder on a real stream: in batches, never in the way, every loss counted."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from fixtures.samples import make_scope, make_step, one_of_each
from fixtures.stacks import eventually
from redis import Redis

from telemetry.batch import BatchHeader, decode_batch
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.events import event_type
from telemetry.partitions import make_partitions
from telemetry.pipeline import open_recorder, open_writer
from telemetry.recorder import BufferedRecorder, NullRecorder, Recorder
from telemetry.settings import TelemetrySettings
from telemetry.synchronous import SynchronousRecorder

CLOCK = SystemClock()
#: Nothing is handed over for its age.
PATIENT = TelemetrySettings(flush_interval=timedelta(minutes=1), breaker_pause=timedelta(milliseconds=10))
AT_ONCE = timedelta(0)

MakeRecorder = Callable[[TelemetrySettings], BufferedRecorder]


@pytest.fixture
def make_recorder(redis_url: str) -> Iterator[MakeRecorder]:
    """Makes recorders on the stream of `redis_url`."""
    recorders: list[BufferedRecorder] = []

    def make(settings: TelemetrySettings) -> BufferedRecorder:
        recorder = BufferedRecorder(settings, partial(open_writer, settings, redis_url), name="test", clock=CLOCK)
        recorders.append(recorder)
        return recorder

    yield make
    for recorder in recorders:
        recorder.close()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[MakeRecorder]:
    """Makes recorders whose Redis is not there."""
    recorders: list[BufferedRecorder] = []

    def make(settings: TelemetrySettings) -> BufferedRecorder:
        open_stream = partial(open_writer, settings, f"unix://{tmp_path}/nobody.sock")
        recorders.append(BufferedRecorder(settings, open_stream, name="test", clock=CLOCK))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.close()


def batches(redis: Redis, key: str = TelemetrySettings().stream) -> list[tuple[BatchHeader, list[bytes]]]:
    """What is in the stream."""
    entries: Any = redis.xrange(key)
    return [decode_batch(fields[b"b"]) for _, fields in entries]


def wait_for_entry(redis: Redis, key: str = TelemetrySettings().stream) -> None:
    assert redis.xread({key: "0"}, block=4000), "nothing came"


@pytest.mark.req("S-02", "C-03")
def test_events_travel_many_an_entry_and_each_by_itself(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder, events = make_recorder(PATIENT), one_of_each()

    for event in events:
        recorder.record(event)
    assert recorder.flush()

    ((header, found),) = batches(redis)
    assert [msgspec.msgpack.decode(data)[0] for data in found] == [event_type(event) for event in events]
    assert [msgspec.msgpack.decode(data, type=type(event)) for data, event in zip(found, events, strict=True)] == events
    assert header.producer == f"test-{os.getpid()}"
    assert len(header.epoch) == 16
    assert header.dropped == {}
    assert recorder.stats().handed_over == len(events)
    assert recorder.stats().waiting == 0


@pytest.mark.req("S-02")
def test_what_is_prepared_travels_as_what_is_recorded_and_not_before(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder, events = make_recorder(replace(PATIENT, batch_size=5)), [make_step(make_scope()) for _ in range(5)]

    prepared = recorder.prepare(events)
    assert recorder.stats().waiting == 0
    recorder.record_prepared(prepared)
    wait_for_entry(redis)  # a full batch rings

    ((_, found),) = batches(redis)
    assert [msgspec.msgpack.decode(data, type=type(event)) for data, event in zip(found, events, strict=True)] == events


@pytest.mark.req("C-13")
def test_what_is_prepared_and_cannot_be_recorded_is_counted_one_by_one(lonely: MakeRecorder) -> None:
    scope = make_scope()
    broken: Any = make_step(scope, step_path=object())
    recorder = lonely(replace(PATIENT, buffer_max_events=100))

    recorder.record_prepared(recorder.prepare([make_step(scope), broken, make_step(scope)]))
    assert (recorder.stats().waiting, recorder.stats().dropped) == (2, {"dsl.step.executed": 1})
    recorder.record_prepared(recorder.prepare([make_step(scope) for _ in range(110)]))

    assert recorder.stats().dropped == {"dsl.step.executed": 1 + 12}
    eventually(lambda: recorder.stats().waiting == 100)


@pytest.mark.req("S-02")
def test_a_machine_without_threads_left_costs_nobody_an_error_and_no_event(
    make_recorder: MakeRecorder, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder(replace(PATIENT, flush_interval=timedelta(milliseconds=5)))
    scope = make_scope()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_thread)
        recorder.record(make_step(scope))
        recorder.record_prepared(recorder.prepare([make_step(scope), make_step(scope)]))
        assert not recorder.flush(AT_ONCE)
    assert (recorder.stats().waiting, recorder.stats().dropped) == (3, {})

    recorder.record(make_step(scope))
    assert recorder.flush()
    assert sum(len(events) for _, events in batches(redis)) == 4


def refuse_thread(_thread: threading.Thread) -> None:
    """As Python does where the machine, or the container, has no thread left to give."""
    raise RuntimeError("can't start new thread")


@pytest.mark.req("S-02")
def test_a_full_batch_goes_without_waiting_for_its_age(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder = make_recorder(replace(PATIENT, batch_size=10))
    scope = make_scope()

    for _ in range(10):
        recorder.record(make_step(scope))
    wait_for_entry(redis)

    assert len(batches(redis)[0][1]) == 10


@pytest.mark.req("S-02")
def test_a_lone_event_goes_when_it_is_old_enough(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder = make_recorder(TelemetrySettings(flush_interval=timedelta(milliseconds=20)))

    recorder.record(make_step())
    wait_for_entry(redis)

    assert len(batches(redis)) == 1


@pytest.mark.req("S-02")
def test_entries_are_limited_in_bytes(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder = make_recorder(replace(PATIENT, batch_size=10_000, batch_max_bytes=4096))
    scope = make_scope()

    for _ in range(100):
        recorder.record(make_step(scope))
    assert recorder.flush()

    sizes = [sum(map(len, events)) for _, events in batches(redis)]
    assert max(sizes) <= 4096
    assert min(sizes[:-1]) > 3500
    assert sum(len(events) for _, events in batches(redis)) == 100


@pytest.mark.req("S-02")
def test_many_threads_lose_and_double_nothing(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder, scope = make_recorder(TelemetrySettings(flush_interval=timedelta(milliseconds=1))), make_scope()
    events = [[make_step(scope) for _ in range(2000)] for _ in range(4)]

    def record(mine: list[Any]) -> None:
        for event in mine:
            recorder.record(event)

    threads = [threading.Thread(target=record, args=(mine,)) for mine in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush()

    stored = sorted(msgspec.msgpack.decode(data)[1] for _, found in batches(redis) for data in found)
    assert stored == sorted(event.event_id for mine in events for event in mine)


def test_a_header_says_what_is_still_held(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder = make_recorder(replace(PATIENT, batch_size=2))
    redis.set(PATIENT.stream, "in the way")
    now_us = CLOCK.unix_us()
    for age in (500, 400, 300, 200, 100):
        recorder.record(make_step(at_us=now_us - age))
    recorder.flush(AT_ONCE)
    redis.delete(PATIENT.stream)
    assert recorder.flush()

    found = batches(redis)
    for place, (header, _) in enumerate(found[:-1]):
        held = [msgspec.msgpack.decode(data)[2] for _, events in found[place + 1 :] for data in events]
        assert header.oldest_us == min(held)
    assert found[-1][0].oldest_us >= now_us


@pytest.mark.req("S-02")
def test_an_idle_recorder_sleeps_until_it_is_to_say_that_it_is_there(make_recorder: MakeRecorder) -> None:
    """Its thread looks at nothing meanwhile: not once a second, let alone twenty times."""
    recorder = make_recorder(
        TelemetrySettings(flush_interval=timedelta(milliseconds=1), alive_interval=timedelta(seconds=20))
    )
    recorder.record(make_step())
    assert recorder.flush()

    def sleeps_long() -> bool:
        frame = sys._current_frames().get(recorder._thread.ident or 0) if recorder._thread else None
        while frame is not None:
            if frame.f_code is threading.Event.wait.__code__ and frame.f_locals["self"] is recorder._bell:
                return bool(frame.f_locals["timeout"] > 15)
            frame = frame.f_back
        return False

    deadline = time.monotonic() + 10
    while not sleeps_long():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@pytest.mark.req("C-13")
def test_with_redis_away_recording_costs_the_same_and_every_loss_is_counted(lonely: MakeRecorder) -> None:
    recorder, scope = lonely(replace(PATIENT, buffer_max_events=1000)), make_scope()
    events = [make_step(scope) for _ in range(20_000)]

    began = time.perf_counter()
    for event in events:
        recorder.record(event)
    mean_us = (time.perf_counter() - began) / len(events) * 1e6

    assert mean_us < 50
    stats = recorder.stats()
    assert stats.dropped == {"dsl.step.executed": 19_000}
    assert not recorder.flush(AT_ONCE)
    eventually(lambda: recorder.stats().waiting == 1000)  # while the thread moves some, they are counted twice
    recorder.close()
    assert recorder.stats().dropped == {"dsl.step.executed": 20_000}
    assert recorder.stats().handed_over == 0
    assert not recorder.stats().is_reachable


@pytest.mark.req("C-13")
def test_when_the_stream_returns_what_was_kept_is_sent_and_losses_are_told(
    make_recorder: MakeRecorder, redis: Redis
) -> None:
    redis.set(PATIENT.stream, "in the way")
    recorder, scope = make_recorder(replace(PATIENT, buffer_max_events=150)), make_scope()
    events = [make_step(scope) for _ in range(200)]
    for event in events:
        recorder.record(event)
    assert not recorder.flush(timedelta(milliseconds=20))
    eventually(lambda: recorder.stats().failures > 0)

    redis.delete(PATIENT.stream)
    assert recorder.flush()

    found = [msgspec.msgpack.decode(data) for _, data_of in batches(redis) for data in data_of]
    steps = [event_id for kind, event_id, *_ in found if kind == "dsl.step.executed"]
    assert steps == [event.event_id for event in events[:150]]
    assert {kind for kind, *_ in found} == {"dsl.step.executed", "telemetry.recorder.state"}
    assert all(header.dropped == {"dsl.step.executed": 50} for header, _ in batches(redis))
    assert recorder.stats().is_reachable
    assert recorder.stats().failures > 0


@pytest.mark.req("C-13")
def test_a_stream_that_is_long_enough_is_left_alone(make_recorder: MakeRecorder, redis: Redis) -> None:
    redis.xadd(PATIENT.stream, {b"b": b"an entry"})
    recorder = make_recorder(replace(PATIENT, stream_max_entries=1))

    recorder.record(make_step())
    assert not recorder.flush(timedelta(milliseconds=50))
    assert redis.xlen(PATIENT.stream) == 1

    redis.delete(PATIENT.stream)
    assert recorder.flush()
    assert redis.xlen(PATIENT.stream) == 1


def test_closing_hands_over_what_waits_and_what_comes_later_is_counted(
    make_recorder: MakeRecorder, redis: Redis
) -> None:
    recorder = make_recorder(PATIENT)
    recorder.record(make_step())

    recorder.close()
    recorder.record(make_step())
    recorder.close()

    (header, events), (last, nothing) = batches(redis)
    assert (len(events), header.is_last, header.first) == (1, False, 1)
    assert (nothing, last.is_last, last.first) == ([], True, 2)
    assert recorder.stats().dropped == {"dsl.step.executed": 1}
    assert recorder.flush()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very thing that is tested
def test_after_a_fork_the_child_is_a_producer_of_its_own(make_recorder: MakeRecorder, redis: Redis) -> None:
    recorder = make_recorder(PATIENT)
    of_parent, of_child = make_step(), make_step()
    recorder.record(make_step())
    assert recorder.flush()
    recorder.record(of_parent)  # waits in the parent's buffer while it forks

    child = os.fork()
    if child == 0:
        recorder.record(of_child)
        os._exit(0 if recorder.flush() and recorder.stats().handed_over == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert recorder.flush()

    (first, _), (forked, childs), (again, parents) = batches(redis)
    assert first.epoch == again.epoch != forked.epoch
    assert (first.producer, forked.producer) == (f"test-{os.getpid()}", f"test-{child}")
    assert [msgspec.msgpack.decode(data)[1] for data in childs] == [of_child.event_id]
    assert [msgspec.msgpack.decode(data)[1] for data in parents] == [of_parent.event_id]


def open_as(settings: TelemetrySettings, database_url: str, redis_url: str) -> Recorder:
    return open_recorder(settings, name="test", database_url=database_url, redis_url=redis_url, clock=CLOCK)


@pytest.mark.req("S-02")
def test_settings_decide_which_recorder_there_is() -> None:
    nowhere = "postgresql://127.0.0.1:1/none", "redis://127.0.0.1:1"

    assert isinstance(open_as(TelemetrySettings(), *nowhere), BufferedRecorder)
    assert isinstance(open_as(TelemetrySettings(synchronous=True), *nowhere), SynchronousRecorder)
    assert isinstance(open_as(TelemetrySettings(enabled=False, synchronous=True), *nowhere), NullRecorder)


@pytest.mark.req("S-02")
def test_telemetry_that_is_off_does_nothing() -> None:
    recorder = NullRecorder()

    recorder.record(make_step())

    assert recorder.enabled is False
    assert recorder.flush()
    assert recorder.stats().handed_over == 0
    recorder.close()


@pytest.mark.req("S-02")
def test_in_synchronous_mode_an_event_is_stored_when_record_returns(
    database_url: str, connection: psycopg.Connection
) -> None:
    make_partitions(connection, CLOCK.now(), 1)
    recorder = SynchronousRecorder(partial(connect, database_url, name="test"), clock=CLOCK)

    events = one_of_each()
    for event in (*events, events[0]):
        recorder.record(event)

    stored = connection.execute("select event_type from telemetry_events order by occurred_at").fetchall()
    assert [name for (name,) in stored] == [event_type(event) for event in events]
    assert recorder.stats().dropped == {}
    recorder.close()


@pytest.mark.req("S-02", "C-13")
def test_in_synchronous_mode_a_store_that_is_away_is_counted_and_nothing_else() -> None:
    recorder = SynchronousRecorder(partial(connect, "postgresql://127.0.0.1:1/none", name="test"), clock=CLOCK)

    recorder.record(make_step())

    assert recorder.stats().dropped == {"dsl.step.executed": 1}
    assert not recorder.stats().is_reachable
    recorder.close()
