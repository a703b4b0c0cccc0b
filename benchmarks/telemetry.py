"""What recording an event costs, how fast the sink stores them, and how large they are stored.

- `record_us_p50`: building one `dsl.step.executed` and `record()`, while the recorder's thread hands over to a real
  stream. `record_us_cpu`: CPU of the whole process, that thread included, until the stream has every event. Reference
  of both: one line of plain structlog with the same facts, rendered as JSON and written to /dev/null.
- `sink_events_per_s`: a sink in this process takes a full stream to Postgres: reading, decoding, checking, COPY,
  commits that wait for the disk, acknowledging, trimming. Reference: COPY of the same rows, encoded beforehand, into
  the same table, in transactions of the same size. `sink_share_of_copy`: the median of the ratio, round by round.
- `bytes_per_event`: heap and indexes of the partitions, divided by rows. Reference: the event as the API shows it.

Events are those of executions as they are: per execution one HTTP request, queued, started, five steps, two fragments,
completed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns, process_time_ns
from typing import Any

import msgspec
import structlog
from psycopg import Connection

from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import BenchmarkFailed, Servers
from telemetry.batch import FORMAT, BatchHeader, encode_batch
from telemetry.clock import SystemClock
from telemetry.connections import connect
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
from telemetry.partitions import make_partitions
from telemetry.pipeline import open_recorder, open_sink, open_writer
from telemetry.query import EventFilters, event_json, events
from telemetry.recorder import Recorder
from telemetry.rows import RowEncoder
from telemetry.settings import TelemetrySettings
from telemetry.sink import Sink
from telemetry.store import insert_events, prepare_session

_CLOCK = SystemClock()
_SETTINGS = TelemetrySettings()
#: Events that are timed together, so that reading the clock does not count.
_BURST = 10
_SLUGS = ("todo.add", "note.add", "inbox.triage", "digest.daily")
_STEPS = (("create", "fragment.create"), ("find", "fragment.query"), ("text", "transform"), ("answer", "respond"))


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module."""
    return {**_measure_recording(servers, quick=quick), **_measure_storing(servers, quick=quick)}


@dataclass(frozen=True, slots=True)
class _Cost:
    """Microseconds an event: of the median burst on the caller, and of CPU in all threads."""

    caller_us: float
    cpu_us: float


def _measure_recording(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    count, rounds = (2000, 3) if quick else (20_000, 9)
    redis_url = servers.logical_redis(3)
    with ExitStack() as stack:
        recorder = open_recorder(
            _SETTINGS, name="bench", database_url=servers.database_url, redis_url=redis_url, clock=_CLOCK
        )
        stack.callback(recorder.close)
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        costs = {
            "record": partial(_record, recorder, count),
            "line": partial(_write_lines, structlog.WriteLogger(nowhere), count),
        }
        interleave(costs, 1)  # warms up
        found = interleave(costs, rounds)
        if recorder.stats().dropped:
            raise BenchmarkFailed(f"the recorder dropped {recorder.stats().dropped}")
    recording, lines = found["record"], found["line"]
    return {
        "record_us_p50": Measured(
            median(cost.caller_us for cost in recording), median(cost.caller_us for cost in lines)
        ),
        "record_us_cpu": Measured(median(cost.cpu_us for cost in recording), median(cost.cpu_us for cost in lines)),
    }


def _record(recorder: Recorder, count: int) -> _Cost:
    scope = _new_scope("todo.add")
    measures: dict[str, int | float | str] = {"rows": 3}
    bursts = []
    cpu_ns = process_time_ns()
    for _ in range(count // _BURST):
        begun = perf_counter_ns()
        for _ in range(_BURST):
            now_us = _CLOCK.unix_us()
            event = StepExecuted(
                mint(now_us), now_us, scope, "triage[17].note", "transform", 1234, 1, 0, None, measures
            )
            recorder.record(event)
        bursts.append(perf_counter_ns() - begun)
    if not recorder.flush():
        raise BenchmarkFailed("the recorder could not hand over its events")
    return _Cost(median(bursts) / _BURST / 1000, (process_time_ns() - cpu_ns) / count / 1000)


def _write_lines(logger: structlog.WriteLogger, count: int) -> _Cost:
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ]
    log = structlog.wrap_logger(logger, processors=processors, wrapper_class=structlog.BoundLogger)
    ids = {"correlation_id": "0" * 32, "execution_id": "1" * 32, "definition_hash": "2" * 32, "user_id": "3" * 32}
    log = log.bind(**ids, command_slug="todo.add", request_source="api", dry_run=False, attempt=1)
    bursts = []
    cpu_ns = process_time_ns()
    for _ in range(count // _BURST):
        begun = perf_counter_ns()
        for _ in range(_BURST):
            log.info("step_executed", path="triage[17].note", type="transform", duration_us=1234, tries=1, rows=3)
        bursts.append(perf_counter_ns() - begun)
    return _Cost(median(bursts) / _BURST / 1000, (process_time_ns() - cpu_ns) / count / 1000)


def _measure_storing(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    count, rounds = (10_000, 2) if quick else (100_000, 7)
    url, redis_url = servers.database_url, servers.logical_redis(4)
    with ExitStack() as stack:
        connection = stack.enter_context(closing(connect(url, name="weir benchmarks", autocommit=True)))
        prepare_session(connection)
        make_partitions(connection, _CLOCK.now(), 1)
        sink = open_sink(_SETTINGS, database_url=url, redis_url=redis_url, clock=_CLOCK)
        stack.callback(sink.run)  # stopped before it runs: closes everything
        stack.callback(sink.stop)
        ways = {
            "copy": partial(_copy, connection, count),
            "sink": partial(_drain, connection, sink, redis_url, count),
        }
        interleave(ways, 1)  # warms up
        found = interleave(ways, rounds)
        bytes_stored, bytes_shown = _sizes(connection, count)
    shares = [sink_rate / copy_rate for sink_rate, copy_rate in zip(found["sink"], found["copy"], strict=True)]
    return {
        "sink_events_per_s": Measured(median(found["sink"]), median(found["copy"])),
        "sink_share_of_copy": Measured(median(shares), 1.0),
        "bytes_per_event": Measured(bytes_stored, bytes_shown),
    }


def _copy(connection: Connection[Any], count: int) -> float:
    """Events a second: rows that are there already, into an empty table."""
    encode = RowEncoder().encode
    rows = [encode(event) for event in islice(_events(), count)]
    connection.execute("truncate telemetry_events")
    begun = perf_counter()
    for at in range(0, count, _SETTINGS.sink_batch_size):
        with connection.transaction():
            insert_events(connection, rows[at : at + _SETTINGS.sink_batch_size])
    return count / (perf_counter() - begun)


def _drain(connection: Connection[Any], sink: Sink, redis_url: str, count: int) -> float:
    """Events a second: from a stream that holds them all, into an empty table."""
    encode, writer = msgspec.msgpack.Encoder().encode, open_writer(_SETTINGS, redis_url)
    header = BatchHeader(FORMAT, "bench-1", bytes(16), 0, {})
    source = islice(_events(), count)
    while batch := [encode(event) for event in islice(source, _SETTINGS.batch_size)]:
        writer.append(encode_batch(header, batch))
    writer.close()
    connection.execute("truncate telemetry_events")
    stored = 0
    begun = perf_counter()
    while stored < count:
        result = sink.run_once()
        if not result.stored:
            raise BenchmarkFailed(f"the sink stored {stored} of {count} events, then {result}")
        stored += result.stored
    return count / (perf_counter() - begun)


def _sizes(connection: Connection[Any], count: int) -> tuple[float, float]:
    """Bytes of an event: stored, and as JSON."""
    on_disk = "select sum(pg_total_relation_size(relid)) from pg_partition_tree('telemetry_events')"
    (size,) = connection.execute(on_disk).fetchone() or (0,)
    shown = [len(json.dumps(event_json(event))) for event in events(connection, EventFilters(), limit=1000).items]
    return float(size) / count, sum(shown) / len(shown)


def _events() -> Iterator[Event]:
    """Events of one execution after the other, ten each, for ever."""
    number = 0
    while True:
        scope = _new_scope(_SLUGS[number % len(_SLUGS)])
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


def _new_scope(slug: str) -> Scope:
    now_us = _CLOCK.unix_us()
    return Scope(mint(now_us), "api", bytes(16), bytes(16), mint(now_us), None, slug, bytes(16), False, 1)
