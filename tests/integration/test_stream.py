"""The telemetry stream on a real server: delivered at least once, trimmed only when acknowledged."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from redis import Redis

from telemetry.connections import open_blocking_redis, open_redis
from telemetry.errors import StreamUnavailable
from telemetry.stream import Entry, StreamReader, StreamWriter

KEY = "test:telemetry"
LONG = timedelta(seconds=30)

MakeReader = Callable[[str], StreamReader]


@pytest.fixture
def writer(redis: Redis) -> StreamWriter:
    return StreamWriter(redis, KEY)


@pytest.fixture
def make_reader(redis_url: str) -> Iterator[MakeReader]:
    readers: list[StreamReader] = []

    def make(consumer: str) -> StreamReader:
        blocking = open_blocking_redis(redis_url, block=LONG)
        readers.append(StreamReader(open_redis(redis_url), blocking, KEY, consumer=consumer))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture
def reader(make_reader: MakeReader) -> StreamReader:
    reader = make_reader("one")
    reader.create_group()
    return reader


def append(writer: StreamWriter, *texts: bytes) -> None:
    for text in texts:
        writer.append(text)


def data_of(entries: list[Entry]) -> list[bytes | None]:
    return [entry.data for entry in entries]


def ids_of(entries: list[Entry]) -> list[bytes]:
    return [entry.id for entry in entries]


def test_entries_are_delivered_once_and_in_order(writer: StreamWriter, reader: StreamReader) -> None:
    append(writer, b"a", b"b", b"c")

    assert data_of(reader.read_new(2)) == [b"a", b"b"]
    assert data_of(reader.read_new(2)) == [b"c"]
    assert reader.read_new(2) == []
    assert writer.length() == reader.length() == 3


def test_what_was_appended_before_there_was_a_group_is_delivered(writer: StreamWriter, make_reader: MakeReader) -> None:
    append(writer, b"early")
    reader = make_reader("one")

    assert reader.read_new(10) == []  # makes the group
    assert data_of(reader.read_new(10)) == [b"early"]


def test_making_the_group_twice_changes_nothing(writer: StreamWriter, reader: StreamReader) -> None:
    append(writer, b"a")
    reader.read_new(1)

    reader.create_group()

    assert reader.read_new(1) == []


def test_an_entry_is_pending_until_it_is_acknowledged(writer: StreamWriter, reader: StreamReader) -> None:
    append(writer, b"a", b"b")
    delivered = reader.read_new(10)

    assert reader.read_pending(10) == delivered
    assert reader.acknowledge(ids_of(delivered[:1])) == 1
    assert data_of(reader.read_pending(10)) == [b"b"]
    assert reader.acknowledge(ids_of(delivered)) == 1
    assert reader.acknowledge([]) == 0
    assert reader.read_pending(10) == []


def test_entries_of_a_dead_reader_are_taken_over(
    writer: StreamWriter, reader: StreamReader, make_reader: MakeReader
) -> None:
    append(writer, b"a", b"b", b"c")
    reader.read_new(10)
    other = make_reader("two")

    assert other.claim(LONG, 10) == 0
    assert other.claim(timedelta(0), 2) == 2
    assert data_of(other.read_pending(10)) == [b"a", b"b"]
    assert data_of(reader.read_pending(10)) == [b"c"]


@pytest.mark.req("S-02")
def test_only_what_is_acknowledged_is_trimmed(writer: StreamWriter, reader: StreamReader, redis: Redis) -> None:
    assert reader.trim() == 0
    append(writer, b"a", b"b", b"c", b"d", b"undelivered")
    first, second, third, fourth = ids_of(reader.read_new(4))

    assert reader.trim() == 0
    reader.acknowledge([second, fourth])
    assert reader.trim() == 0  # the first is still pending
    reader.acknowledge([first])
    assert reader.trim() == 2
    reader.acknowledge([third])
    assert reader.trim() == 2
    left: Any = redis.xrange(KEY)
    assert [fields[b"b"] for _, fields in left] == [b"undelivered"]
    assert data_of(reader.read_new(10)) == [b"undelivered"]


@pytest.mark.req("S-02")
def test_uneven_readers_that_come_and_go_never_lose_what_is_not_acknowledged(
    writer: StreamWriter, make_reader: MakeReader, redis: Redis
) -> None:
    chance = random.Random(11)
    held = dict[StreamReader, list[bytes]]()
    make_reader("first").create_group()
    names = (f"reader {number}" for number in count())
    for _ in range(150):
        append(writer, *(b"entry" for _ in range(chance.randrange(4))))
        if len(held) < 3:
            held[make_reader(next(names))] = []
        reader = chance.choice(list(held))
        held[reader] += ids_of(reader.read_new(chance.randrange(1, 4)))
        done = [each for each in held[reader] if chance.random() < 0.5]
        reader.acknowledge(done)
        held[reader] = [each for each in held[reader] if each not in done]
        if chance.random() < 0.1:  # dies, and another one takes over
            dead = held.pop(reader)
            heir = make_reader(next(names))
            while heir.claim(timedelta(0), 100) == 100:
                pass
            held = {each: [] for each in held} | {heir: [entry for mine in held.values() for entry in mine] + dead}
        chance.choice(list(held)).trim()

        entries: Any = redis.xrange(KEY)
        left = {entry_id for entry_id, _ in entries}
        assert {each for mine in held.values() for each in mine} <= left

    backlog = make_reader("last").backlog()
    undelivered = len(make_reader("last").read_new(1000))
    assert backlog.waiting == sum(map(len, held.values())) + undelivered
    assert backlog.entries >= backlog.waiting


@pytest.mark.req("S-02")
def test_what_is_delivered_while_trimming_stays(
    writer: StreamWriter, reader: StreamReader, make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of the commands that make up `trim`, another reader is given an entry that it has not stored yet."""
    other = make_reader("two")
    append(writer, b"stored", *(b"given out meanwhile" for _ in range(10)))
    reader.acknowledge(ids_of(reader.read_new(1)))
    execute: Any = reader._commands.execute_command

    def execute_and_be_overtaken(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the client's
        answer = execute(*arguments, **options)
        assert other.read_new(1)
        return answer

    monkeypatch.setattr(reader._commands, "execute_command", execute_and_be_overtaken)

    assert reader.trim() == 1
    held = other.read_pending(10)
    assert len(held) >= 3
    assert set(data_of(held)) == {b"given out meanwhile"}


def test_an_entry_that_somebody_deleted_is_delivered_without_data(
    writer: StreamWriter, reader: StreamReader, redis: Redis
) -> None:
    append(writer, b"a")
    (entry,) = reader.read_new(1)
    redis.xdel(KEY, entry.id)

    assert reader.read_pending(1) == [Entry(entry.id, None)]


@pytest.mark.req("C-13")
def test_a_flushed_server_is_no_end(writer: StreamWriter, reader: StreamReader, redis: Redis) -> None:
    append(writer, b"lost")
    redis.flushdb()
    append(writer, b"after")

    assert reader.claim(timedelta(0), 1) == 0
    assert reader.trim() == 0
    assert reader.read_pending(1) == []
    assert data_of(reader.read_new(10)) == [b"after"]


def test_a_waiting_reader_gets_the_next_entry(writer: StreamWriter, reader: StreamReader) -> None:
    found: list[Entry] = []
    waiting = threading.Thread(target=lambda: found.extend(reader.read_new(1, LONG)))
    waiting.start()
    append(writer, b"a")
    waiting.join(10)

    assert data_of(found) == [b"a"]


def test_a_waiting_reader_can_be_woken(reader: StreamReader, redis: Redis) -> None:
    found: list[Entry] = []
    waiting = threading.Thread(target=lambda: found.extend(reader.read_new(1, LONG)))
    waiting.start()
    while waiting.is_alive():
        reader.unblock()
        waiting.join(0.01)

    assert found == []


def test_a_waiting_reader_survives_the_loss_of_the_stream(
    writer: StreamWriter, reader: StreamReader, redis: Redis
) -> None:
    found: list[list[Entry]] = []
    waiting = threading.Thread(target=lambda: found.append(reader.read_new(1, LONG)))
    waiting.start()
    while waiting.is_alive():
        redis.delete(KEY)
        reader.create_group()
        waiting.join(0.01)

    assert found == [[]]
    append(writer, b"after")
    assert data_of(reader.read_new(1)) == [b"after"]


def test_a_reader_leaves_the_group_only_with_empty_hands(
    writer: StreamWriter, reader: StreamReader, redis: Redis
) -> None:
    append(writer, b"a")
    (entry,) = reader.read_new(1)

    reader.leave()
    assert [consumer["name"] for consumer in redis.xinfo_consumers(KEY, "sink")] == [b"one"]
    reader.acknowledge([entry.id])
    reader.leave()
    assert redis.xinfo_consumers(KEY, "sink") == []


@pytest.mark.req("C-13")
def test_a_server_that_is_not_there_is_said_to_be_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"unix://{tmp_path_factory.mktemp('none')}/nobody.sock"
    client = open_redis(url, timeout=timedelta(milliseconds=50), retries=0)
    reader = StreamReader(client, open_blocking_redis(url, block=LONG), KEY, consumer="one")
    writer = StreamWriter(client, KEY)
    calls: list[Callable[[], object]] = [
        lambda: writer.append(b"a"),
        writer.length,
        reader.create_group,
        lambda: reader.read_new(1),
        lambda: reader.read_new(1, LONG),
        lambda: reader.read_pending(1),
        lambda: reader.claim(LONG, 1),
        lambda: reader.acknowledge([b"1-0"]),
        reader.trim,
        reader.length,
        reader.leave,
    ]

    for call in calls:
        with pytest.raises(StreamUnavailable):
            call()
    reader.unblock()
    reader.close()
    writer.close()


@pytest.mark.req("C-13")
def test_a_key_that_holds_something_else_is_said_to_be_unavailable(redis: Redis, reader: StreamReader) -> None:
    redis.delete(KEY)
    redis.set(KEY, "a text")

    with pytest.raises(StreamUnavailable):
        StreamWriter(redis, KEY).append(b"a")
    with pytest.raises(StreamUnavailable):
        reader.read_new(1)
