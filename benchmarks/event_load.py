"""Events as executions make them, and a stream full of them for a sink to empty.

Per execution one HTTP request, queued, started, five steps, two fragments, completed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import msgspec
from psycopg import Connection

from benchmarks.servers import BenchmarkFailed
from telemetry.batch import FORMAT, BatchHeader, encode_batch
from telemetry.clock import SystemClock
from telemetry.events import (
    Event,
    ExecutionCompleted,
    ExecutionQueued,
    ExecutionStarted,
    FragmentCreated,
    HttpRequestCompleted,
    Scope,
    StepExecuted,
)
from telemetry.ids import mint
from telemetry.pipeline import open_writer
from telemetry.settings import TelemetrySettings
from telemetry.sink import Sink

_CLOCK = SystemClock()
_SETTINGS = TelemetrySettings()
_SLUGS = ("todo.add", "note.add", "inbox.triage", "digest.daily")
_STEPS = (("create", "fragment.create"), ("find", "fragment.query"), ("text", "transform"), ("answer", "respond"))


def drain(connection: Connection[Any], sink: Sink, redis_url: str, count: int, *, spoiled_every: int = 0) -> float:
    """Events a second: from a stream that holds them all, into an empty table.

    Args:
        connection: In autocommit mode; the table is emptied by it.
        sink: Of the stream at `redis_url`.
        redis_url: Of the stream; nothing else may be in it.
        count: Events.
        spoiled_every: One of so many is malformed, in four ways by turns; 0 is none.

    Raises:
        BenchmarkFailed: The sink did not take everything, or did not store every event that is one.
    """
    spoiled = _fill(redis_url, count, spoiled_every)
    connection.execute("truncate telemetry_events")
    taken = stored = 0
    begun = perf_counter()
    while taken < count:
        result = sink.run_once()
        if not result.events:
            raise BenchmarkFailed(f"the sink took {taken} of {count} events, then {result}")
        taken += result.events
        stored += result.stored
    rate = count / (perf_counter() - begun)
    if stored != count - spoiled:
        raise BenchmarkFailed(f"the sink stored {stored} of {count - spoiled} events")
    return rate


def _fill(redis_url: str, count: int, spoiled_every: int) -> int:
    """Have the stream hold that many events, of a producer that nobody knows; how many of them are malformed."""
    encode, writer = msgspec.msgpack.Encoder().encode, open_writer(_SETTINGS, redis_url)
    epoch, first, spoiled = mint(_CLOCK.unix_us()), 1, 0
    source, kinds = islice(realistic_events(), count), cycle(_MALFORMED)
    while batch := [encode(event) for event in islice(source, _SETTINGS.batch_size)]:
        for place in range(len(batch)):
            if spoiled_every and (first + place) % spoiled_every == 0:
                batch[place] = next(kinds)
                spoiled += 1
        writer.append(encode_batch(BatchHeader(FORMAT, "bench-1", epoch, _CLOCK.unix_us(), {}, first), batch))
        first += len(batch)
    writer.close()
    return spoiled


def _malformed() -> tuple[bytes, ...]:
    """No msgpack; a type that nobody knows; an id of the wrong size; a name with a blank in it."""
    encode, scope = msgspec.msgpack.Encoder().encode, new_scope("todo.add")
    event_id, now_us, _ = _head(scope)
    return (
        b"\xc1",
        encode(["weather.changed", event_id, now_us, scope]),
        encode(StepExecuted(b"short", now_us, scope, "create", "fragment.create", 900)),
        encode(StepExecuted(event_id, now_us, scope, "what somebody wrote", "fragment.create", 900)),
    )


def realistic_events() -> Iterator[Event]:
    """Events of one execution after the other, eleven each, for ever."""
    number = 0
    while True:
        scope = new_scope(_SLUGS[number % len(_SLUGS)])
        number += 1
        yield HttpRequestCompleted(*_head(scope), "/api/commands/<slug>/executions", "POST", 202, 1800, "succeeded")
        yield ExecutionQueued(*_head(scope), 5)
        yield ExecutionStarted(*_head(scope), 2000 + number)
        for step_id, step_type in _STEPS:
            yield StepExecuted(*_head(scope), step_id, step_type, 900 + number, measures={"rows": number % 10})
        yield StepExecuted(*_head(scope), f"each[{number % 20}].note", "transform", 50 + number % 100)
        for _ in range(2):
            yield FragmentCreated(*_head(scope), mint(_CLOCK.unix_us()), "create")
        yield ExecutionCompleted(*_head(scope), 9000 + number, 2000, 12_000, 5, 5, 0, 0, 2)


def _head(scope: Scope) -> tuple[bytes, int, Scope]:
    now_us = _CLOCK.unix_us()
    return mint(now_us), now_us, scope


def new_scope(slug: str) -> Scope:
    """Who caused the events of one more execution."""
    now_us = _CLOCK.unix_us()
    return Scope(mint(now_us), "api", bytes(16), bytes(16), mint(now_us), None, slug, bytes(16), False, 1)


_MALFORMED = _malformed()
