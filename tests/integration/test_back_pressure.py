"""Down the ladder and up again: what the stream does not take waits on disk, and what has room nowhere is counted.

One rung after the other, each in both directions, and every way to end on it; they share the stream that is blocked.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fixtures.samples import ERROR, make_scope, make_step, now_us
from fixtures.stacks import PATIENCE, eventually
from redis import Redis

from telemetry import spool
from telemetry.batch import BatchHeader, decode_batch
from telemetry.clock import SystemClock
from telemetry.events import Event, StepFailed, event_type
from telemetry.ids import mint
from telemetry.outbox import Outbox, Stream
from telemetry.pipeline import open_writer
from telemetry.recorder import BufferedRecorder
from telemetry.settings import TelemetrySettings
from telemetry.spool import Spool

CLOCK = SystemClock()
OWN = "telemetry.recorder.state"
NOT_AT_ALL = timedelta(0)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One entry of the stream."""

    header: BatchHeader
    events: list[Any]

    @property
    def numbers(self) -> range:
        return range(self.header.first, self.header.first + len(self.events))


class Way:
    """The stream of the tests, which can be blocked: something that is no stream is then in its place."""

    def __init__(self, redis: Redis, settings: TelemetrySettings) -> None:
        self._redis = redis
        self._key = settings.stream

    def block(self) -> None:
        """Take the stream away; what was in it is forgotten."""
        self._redis.set(self._key, "in the way")

    def open(self) -> None:
        self._redis.delete(self._key)

    def arrived(self) -> list[Arrived]:
        entries: Any = self._redis.xrange(self._key) if self._redis.type(self._key) == b"stream" else []
        found = [decode_batch(fields[b"b"]) for _, fields in entries]
        return [Arrived(header, [msgspec.msgpack.decode(data) for data in events]) for header, events in found]

    def ids(self) -> list[bytes]:
        """Of the events that were recorded, in the order of arrival."""
        return [event[1] for entry in self.arrived() for event in entry.events if event[0] != OWN]

    def told(self) -> list[Any]:
        """The events of recorders about themselves."""
        return [event for entry in self.arrived() for event in entry.events if event[0] == OWN]


MakeRecorder = Callable[..., BufferedRecorder]


@pytest.fixture
def settings(tmp_path: Path) -> TelemetrySettings:
    return TelemetrySettings(
        flush_interval=timedelta(milliseconds=5),
        breaker_pause=timedelta(milliseconds=20),
        spool_dir=tmp_path / "spool",
        alive_interval=timedelta(seconds=20),
    )


@pytest.fixture
def way(redis: Redis, settings: TelemetrySettings) -> Way:
    return Way(redis, settings)


@pytest.fixture
def make_recorder(redis_url: str, settings: TelemetrySettings) -> Iterator[MakeRecorder]:
    """Makes recorders with these settings, changed as a test likes."""
    recorders: list[BufferedRecorder] = []

    def make(stream: Callable[[], Stream] | None = None, **changes: Any) -> BufferedRecorder:  # noqa: ANN401 - any setting
        changed = replace(settings, **changes)
        open_stream = stream or partial(open_writer, changed, redis_url)
        recorders.append(BufferedRecorder(changed, open_stream, name="test", clock=CLOCK))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.close()


def record_steps(recorder: BufferedRecorder, count: int) -> list[bytes]:
    """Record so many steps; their ids."""
    scope = make_scope()
    events = [make_step(scope) for _ in range(count)]
    for event in events:
        recorder.record(event)
    return [event.event_id for event in events]


def spool_steps(recorder: BufferedRecorder, count: int) -> list[bytes]:
    """Record so many steps while the stream is blocked, until they are on disk; their ids."""
    ids = record_steps(recorder, count)
    eventually(lambda: recorder.stats().spooled >= count)
    return ids


def folder_of(settings: TelemetrySettings) -> Path:
    assert settings.spool_dir is not None
    return settings.spool_dir


def size_on_disk(settings: TelemetrySettings) -> int:
    return sum(path.stat().st_size for path in folder_of(settings).rglob("*.seg"))


def make_failure() -> StepFailed:
    at_us = now_us()
    return StepFailed(mint(at_us), at_us, make_scope(), "create", "fragment.create", 10, ERROR)


def require_numbers(arrived: list[Arrived]) -> None:
    """Every number once, from 1 on, in order."""
    assert [number for entry in arrived for number in entry.numbers] == list(
        range(1, 1 + sum(len(entry.events) for entry in arrived))
    )


@pytest.mark.req("C-13")
def test_events_are_numbered_from_one_on_over_all_batches(make_recorder: MakeRecorder, way: Way) -> None:
    recorder = make_recorder(batch_size=10)

    ids = record_steps(recorder, 35)
    assert recorder.flush()
    ids += record_steps(recorder, 5)
    recorder.close()

    arrived = way.arrived()
    require_numbers(arrived)
    assert way.ids() == ids
    assert len({entry.header.epoch for entry in arrived}) == 1
    assert [entry.header.is_last for entry in arrived] == [False] * (len(arrived) - 1) + [True]
    assert (arrived[-1].header.first, arrived[-1].events) == (41, [])
    assert {entry.header.rung for entry in arrived} == {"normal"}


@pytest.mark.req("C-13")
def test_what_the_stream_does_not_take_waits_on_disk_and_arrives_once_in_order(
    make_recorder: MakeRecorder, way: Way, settings: TelemetrySettings
) -> None:
    recorder = make_recorder(batch_size=10)
    ids = record_steps(recorder, 20)
    assert recorder.flush()
    before = [entry.header.epoch for entry in way.arrived()]
    way.block()

    for _ in range(10):
        ids += record_steps(recorder, 100)
        eventually(lambda: recorder.stats().waiting == 0)
    stats = recorder.stats()
    assert (stats.rung, stats.dropped, stats.is_reachable) == ("spooling", {}, False)
    assert stats.spooled >= 1000
    assert stats.spooled_bytes == size_on_disk(settings)
    assert not recorder.flush(NOT_AT_ALL)

    way.open()
    assert recorder.flush()
    ids += record_steps(recorder, 20)
    assert recorder.flush()
    eventually(lambda: recorder.stats().rung == "normal")

    arrived = way.arrived()
    assert way.ids() == ids[20:]  # the first 20 went away with the stream
    numbers = [number for entry in arrived for number in entry.numbers]
    assert numbers == list(range(21, 21 + len(numbers)))
    assert {entry.header.epoch for entry in arrived} == {before[0]}
    assert arrived[0].header.rung == "spooling"
    assert arrived[-1].header.rung == "normal"
    assert (recorder.stats().spooled, recorder.stats().spooled_bytes, recorder.stats().dropped) == (0, 0, {})
    assert size_on_disk(settings) == 0


@pytest.mark.req("C-13", "S-12")
def test_each_rung_is_told_as_an_event_and_as_a_log_line(
    make_recorder: MakeRecorder, way: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = make_recorder()
    way.block()
    record_steps(recorder, 10)
    eventually(lambda: recorder.stats().rung == "spooling")
    way.open()
    eventually(lambda: len(way.told()) == 2)
    recorder.close()

    told = way.told()
    assert [event[4] for event in told] == ["spooling", "normal"]
    assert {event[3][0] for event in told} == {way.arrived()[0].header.epoch}  # correlation id
    lines = [line for line in capsys.readouterr().out.splitlines() if "telemetry_rung_changed" in line]
    assert ["rung=spooling" in line for line in lines] == [True, False]


@pytest.mark.req("C-13")
def test_a_recorder_that_is_well_tells_nothing_of_itself(make_recorder: MakeRecorder, way: Way) -> None:
    recorder = make_recorder()
    record_steps(recorder, 200)
    recorder.close()

    assert {event[0] for entry in way.arrived() for event in entry.events} == {"dsl.step.executed"}


@pytest.mark.req("C-13", "A-12")
def test_with_spool_and_buffer_full_losses_are_counted_exactly_and_progress_goes_first(
    make_recorder: MakeRecorder, way: Way
) -> None:
    recorder = make_recorder(spool_max_bytes=65_536, buffer_max_events=400)
    way.block()
    recorded: Counter[str] = Counter()

    def record(event: Event) -> None:
        recorder.record(event)
        recorded[event_type(event)] += 1

    scope = make_scope()
    while recorder.stats().rung != "dropping":
        record(make_step(scope))
    failures = [make_failure() for _ in range(400)]
    for failure in failures:
        for _ in range(3):
            record(make_step(scope))
        record(failure)
        eventually(lambda: recorder.stats().waiting <= 425)

    stats = recorder.stats()
    assert 0 < stats.spooled_bytes <= 65_536
    assert stats.waiting <= 450
    way.open()
    assert recorder.flush()
    recorder.close()

    arrived = way.arrived()
    require_numbers(arrived)
    types = Counter(event[0] for entry in arrived for event in entry.events)
    dropped = Counter(recorder.stats().dropped)
    del types[OWN]
    assert types + dropped == recorded
    assert arrived[-1].header.dropped == dropped
    assert set(dropped) == {"dsl.step.executed"}
    assert {failure.event_id for failure in failures} <= set(way.ids())
    assert {entry.header.rung for entry in arrived} == {"spooling", "dropping"} | {arrived[-1].header.rung}


@pytest.mark.req("C-13")
def test_a_burst_with_nowhere_to_go_stays_within_bounds(
    make_recorder: MakeRecorder, way: Way, settings: TelemetrySettings
) -> None:
    recorder = make_recorder(spool_max_bytes=65_536, buffer_max_events=1000)
    way.block()
    most = 0
    for _ in range(20):
        record_steps(recorder, 1000)
        for _ in range(200):
            recorder.record(make_failure())
        most = max(most, recorder.stats().waiting)

    # 1,000 for all, an eighth for errors and ends, and a batch that has its numbers.
    assert most <= 1000 + 125 + 100
    assert size_on_disk(settings) <= 65_536


@pytest.mark.req("C-13")
def test_a_spool_that_cannot_be_written_is_the_next_rung_and_no_more(
    make_recorder: MakeRecorder, way: Way, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    recorder = make_recorder(spool_dir=tmp_path / "file" / "spool", buffer_max_events=100)
    way.block()

    ids = record_steps(recorder, 250)
    eventually(lambda: recorder.stats().rung == "dropping")
    way.open()
    assert recorder.flush()

    assert recorder.stats().dropped == {"dsl.step.executed": 250 - len(way.ids())}
    assert set(way.ids()) <= set(ids)
    require_numbers(way.arrived())
    eventually(lambda: recorder.stats().rung == "normal")


@pytest.mark.req("C-13", "A-12")
def test_the_first_failure_opens_the_breaker(make_recorder: MakeRecorder, way: Way) -> None:
    recorder = make_recorder(breaker_pause=timedelta(minutes=1))
    way.block()

    for number in range(1, 11):
        record_steps(recorder, 100)
        eventually(lambda number=number: recorder.stats().spooled >= 100 * number)  # type: ignore[misc]

    assert recorder.stats().failures == 1


class Forgetful:
    """A stream that takes an entry and then does not say so, now and then, as when a connection breaks."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._appended = 0

    def append(self, data: bytes) -> None:
        self._stream.append(data)
        self._appended += 1
        if self._appended % 3 == 0:
            raise ConnectionResetError

    def length(self) -> int:
        return self._stream.length()

    def close(self) -> None:
        self._stream.close()


@pytest.mark.req("C-13")
@pytest.mark.parametrize("has_spool", [True, False], ids=["spool", "memory"])
def test_what_is_sent_twice_has_the_same_numbers_both_times(
    make_recorder: MakeRecorder, way: Way, redis_url: str, settings: TelemetrySettings, has_spool: bool
) -> None:
    changes = {} if has_spool else {"spool_dir": None}
    recorder = make_recorder(lambda: Forgetful(open_writer(settings, redis_url)), batch_size=5, **changes)

    ids = record_steps(recorder, 100)
    assert recorder.flush()

    arrived = way.arrived()
    numbered: dict[int, bytes] = {}
    for entry in arrived:
        for number, event in zip(entry.numbers, entry.events, strict=True):
            assert numbered.setdefault(number, event[1]) == event[1]
    assert sum(len(entry.events) for entry in arrived) > len(numbered)
    assert sorted(numbered) == list(range(1, len(numbered) + 1))
    assert set(ids) <= set(numbered.values())


@pytest.mark.req("C-13", "C-15")
def test_an_idle_recorder_says_that_it_is_there_and_one_that_never_began_says_nothing(
    make_recorder: MakeRecorder, way: Way
) -> None:
    idle, unused = (make_recorder(alive_interval=timedelta(milliseconds=20)) for _ in range(2))
    threads = threading.active_count()
    record_steps(idle, 3)

    eventually(lambda: len(way.arrived()) >= 4)

    assert threading.active_count() == threads + 1
    first, *others = way.arrived()
    assert {entry.header.epoch for entry in others} == {first.header.epoch}
    assert {(entry.header.first, len(entry.events), entry.header.is_last) for entry in others} == {(4, 0, False)}
    instants = [entry.header.oldest_us for entry in others]
    assert instants == sorted(instants)
    assert instants[0] > first.header.oldest_us
    unused.close()
    idle.close()
    assert [entry.header.is_last for entry in way.arrived()].count(True) == 1


@pytest.mark.req("C-13")
def test_what_a_process_that_ended_could_not_hand_over_the_next_one_does_with_its_end(
    make_recorder: MakeRecorder, way: Way
) -> None:
    ended = make_recorder()
    way.block()
    ids = record_steps(ended, 250)
    ended.close()
    assert ended.stats().dropped == {}
    way.open()

    heir = make_recorder()
    eventually(lambda: heir.stats().adopted >= 250)

    arrived = way.arrived()
    assert way.ids() == ids
    require_numbers(arrived)
    assert len({entry.header.epoch for entry in arrived}) == 1
    assert [entry.header.is_last for entry in arrived] == [False] * (len(arrived) - 1) + [True]
    assert heir.stats().handed_over == 0


@pytest.mark.req("C-13")
def test_the_end_says_what_a_process_that_ended_had_no_room_for(make_recorder: MakeRecorder, way: Way) -> None:
    """A spool that is too full for a batch has room for the few bytes of the end."""
    ended = make_recorder(spool_max_bytes=65_536, buffer_max_events=400)
    way.block()
    scope = make_scope()
    while ended.stats().rung != "dropping":
        ended.record(make_step(scope))
    ended.close()
    assert ended.stats().waiting == 0
    way.open()

    heir = make_recorder()
    eventually(lambda: any(entry.header.is_last for entry in way.arrived()))
    heir.close()

    end = way.arrived()[-1]
    assert end.header.is_last
    assert end.header.dropped == ended.stats().dropped
    require_numbers(way.arrived())


#: Records until it is killed; says each time how many events are on disk.
SPOOLER = """
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from fixtures.samples import make_scope, make_step
from telemetry.clock import SystemClock
from telemetry.pipeline import open_writer
from telemetry.recorder import BufferedRecorder
from telemetry.settings import TelemetrySettings

settings = TelemetrySettings(flush_interval=timedelta(milliseconds=5), spool_dir=Path(sys.argv[2]))
recorder = BufferedRecorder(settings, partial(open_writer, settings, sys.argv[1]), name="test", clock=SystemClock())
scope = make_scope()
while True:
    recorder.record(make_step(scope))
    stats = recorder.stats()
    if stats.spooled:
        print(stats.spooled, flush=True)
"""


@pytest.mark.req("C-13")
def test_what_a_killed_process_had_on_disk_is_adopted_to_the_last_event(
    make_recorder: MakeRecorder, way: Way, settings: TelemetrySettings, redis_url: str
) -> None:
    way.block()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    command = [sys.executable, "-c", SPOOLER, redis_url, str(settings.spool_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        spooled = 0
        while spooled < 2000:
            line = process.stdout.readline()
            spooled = int(line) if line.strip().isdigit() else spooled
        process.send_signal(signal.SIGKILL)
    way.open()

    heir = make_recorder()
    eventually(lambda: heir.stats().adopted >= spooled)
    eventually(lambda: not list(folder_of(settings).iterdir()))

    arrived = way.arrived()
    require_numbers(arrived)
    assert len({entry.header.epoch for entry in arrived}) == 1
    assert {entry.header.producer for entry in arrived} == {f"test-{process.pid}"}
    assert not any(entry.header.is_last for entry in arrived)  # nobody was there to say so


@pytest.mark.req("S-02")
def test_what_cannot_be_read_just_now_is_looked_at_again_later(
    make_recorder: MakeRecorder, way: Way, settings: TelemetrySettings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has too many files open must not try without a pause."""
    dead = make_recorder()
    way.block()
    record_steps(dead, 10)
    dead.close()
    way.open()
    epoch = mint(now_us())
    spool = Spool(folder_of(settings), epoch, max_bytes=65_536, clock=CLOCK)
    stream = partial(open_writer, settings, redis_url)
    outbox = Outbox(settings, stream, spool, producer="test-1", epoch=epoch, clock=CLOCK, dropped=dict)

    def refuse(_path: Path) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert not outbox.adopt()
    due_in_us = outbox.due_in_us()
    outbox.close()

    assert due_in_us is not None
    assert due_in_us > 1_000_000


@pytest.mark.req("C-13")
def test_one_with_nothing_to_do_looks_again_at_what_the_living_may_leave(
    make_recorder: MakeRecorder, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_looked, lock = threading.Event(), spool._lock

    def try_to_lock(path: Path) -> int | None:
        descriptor = lock(path)
        if descriptor is None:
            has_looked.set()
        return descriptor

    monkeypatch.setattr(spool, "_LOOK_US", 50_000)
    living = make_recorder()
    way.block()
    ids = spool_steps(living, 100)

    monkeypatch.setattr(spool, "_lock", try_to_lock)
    heir = make_recorder()
    assert has_looked.wait(PATIENCE)
    living.close()
    way.open()
    eventually(lambda: heir.stats().adopted >= 100)

    assert way.ids() == ids


@pytest.mark.req("C-13")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very thing that is tested
def test_a_child_of_a_process_that_spools_has_a_spool_and_numbers_of_its_own(
    make_recorder: MakeRecorder, way: Way
) -> None:
    recorder = make_recorder()
    way.block()
    ids = spool_steps(recorder, 100)

    child = os.fork()
    if child == 0:
        record_steps(recorder, 50)
        recorder.close(timedelta(seconds=20))
        os._exit(0 if sum(recorder.stats().dropped.values()) == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ids += record_steps(recorder, 10)
    way.open()
    assert recorder.flush()
    recorder.close()
    make_recorder()  # adopts what the child left, if the parent has not
    eventually(lambda: len(way.ids()) == 160)

    by_producer: dict[str, list[Arrived]] = {}
    for entry in way.arrived():
        by_producer.setdefault(entry.header.producer, []).append(entry)
    assert set(by_producer) == {f"test-{os.getpid()}", f"test-{child}"}
    for entries in by_producer.values():
        require_numbers(entries)
        assert len({entry.header.epoch for entry in entries}) == 1
        assert entries[-1].header.is_last
    assert len({entry.header.epoch for entry in way.arrived()}) == 2


@pytest.mark.req("C-13")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very thing that is tested
def test_a_child_that_lives_on_does_not_keep_others_from_what_its_parent_left(
    make_recorder: MakeRecorder, way: Way
) -> None:
    recorder = make_recorder()
    way.block()
    ids = spool_steps(recorder, 100)
    (done_reading, done_writing), (ready_reading, ready_writing) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done_writing)
        os.write(ready_writing, b".")  # what is to begin anew after a fork has begun by now
        os.read(done_reading, 1)  # until the parent is done
        os._exit(0)
    for descriptor in (done_reading, ready_writing):
        os.close(descriptor)
    try:
        assert os.read(ready_reading, 1)
        recorder.close()
        way.open()
        heir = make_recorder()
        eventually(lambda: heir.stats().adopted >= 100)
    finally:
        for descriptor in (done_writing, ready_reading):
            os.close(descriptor)
        os.waitpid(child, 0)

    assert way.ids() == ids
