"""What recording an event costs, how fast the sink stores them, and how large they are stored.

- `record_us_p50`: building one `dsl.step.executed` and `record()`, while the recorder's thread hands over to a real
  stream. `record_us_cpu`: CPU of the whole process, that thread included, until the stream has every event. Reference
  of both: one line of plain structlog with the same facts, rendered as JSON and written to /dev/null.
- `sink_events_per_s`: a sink in this process takes a full stream to Postgres: reading, decoding, checking, COPY,
  commits that wait for the disk, acknowledging, trimming. Reference: COPY of the same rows, encoded beforehand, into
  the same table, in transactions of the same size. `sink_share_of_copy`: the median of the ratio, round by round.
- `bytes_per_event`: heap and indexes of the partitions, divided by rows. Reference: the event as the API shows it.

What is stored is `benchmarks.event_load`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns, process_time_ns
from typing import Any

import structlog
from psycopg import Connection

from benchmarks.event_load import drain, new_scope, realistic_events
from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import BenchmarkFailed, Servers
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.events import (
    StepExecuted,
)
from telemetry.ids import mint
from telemetry.partitions import make_partitions
from telemetry.pipeline import open_recorder, open_sink
from telemetry.query import EventFilters, event_json, events
from telemetry.recorder import Recorder
from telemetry.rows import RowEncoder
from telemetry.settings import TelemetrySettings
from telemetry.store import insert_events, prepare_session

_CLOCK = SystemClock()
_SETTINGS = TelemetrySettings()
#: Events that are timed together, so that reading the clock does not count.
_BURST = 10


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module."""
    return {**_measure_recording(servers, quick=quick), **_measure_storing(servers, quick=quick)}


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds an event: of the median burst on the caller, and of CPU in all threads."""

    caller_us: float
    cpu_us: float


def _measure_recording(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    count, rounds = (2000, 3) if quick else (20_000, 9)
    with ExitStack() as stack:
        recorder = stack.enter_context(running_recorder(servers))
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        costs = {
            "record": partial(record_steps, recorder, count),
            "line": partial(_write_lines, structlog.WriteLogger(nowhere), count),
        }
        interleave(costs, 1)  # warms up
        found = interleave(costs, rounds)
    recording, lines = found["record"], found["line"]
    return {
        "record_us_p50": Measured(
            median(cost.caller_us for cost in recording), median(cost.caller_us for cost in lines)
        ),
        "record_us_cpu": Measured(median(cost.cpu_us for cost in recording), median(cost.cpu_us for cost in lines)),
    }


@contextmanager
def running_recorder(servers: Servers) -> Iterator[Recorder]:
    """A recorder of this process, on a stream that nobody reads.

    Raises:
        BenchmarkFailed: It dropped some of what it was given.
    """
    redis_url = servers.logical_redis(3)
    recorder = open_recorder(
        _SETTINGS, name="bench", database_url=servers.database_url, redis_url=redis_url, clock=_CLOCK
    )
    try:
        yield recorder
        if recorder.stats().dropped:
            raise BenchmarkFailed(f"the recorder dropped {recorder.stats().dropped}")
    finally:
        recorder.close()


def record_steps(recorder: Recorder, count: int) -> Cost:
    """Build and record so many events of steps, in bursts, and hand them over.

    Raises:
        BenchmarkFailed: They could not be handed over.
    """
    scope = new_scope("todo.add")
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
    return Cost(median(bursts) / _BURST / 1000, (process_time_ns() - cpu_ns) / count / 1000)


def _write_lines(logger: structlog.WriteLogger, count: int) -> Cost:
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
    return Cost(median(bursts) / _BURST / 1000, (process_time_ns() - cpu_ns) / count / 1000)


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
            "sink": partial(drain, connection, sink, redis_url, count),
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
    rows = [encode(event) for event in islice(realistic_events(), count)]
    connection.execute("truncate telemetry_events")
    begun = perf_counter()
    for at in range(0, count, _SETTINGS.sink_batch_size):
        with connection.transaction():
            insert_events(connection, rows[at : at + _SETTINGS.sink_batch_size])
    return count / (perf_counter() - begun)


def _sizes(connection: Connection[Any], count: int) -> tuple[float, float]:
    """Bytes of an event: stored, and as JSON."""
    on_disk = "select sum(pg_total_relation_size(relid)) from pg_partition_tree('telemetry_events')"
    (size,) = connection.execute(on_disk).fetchone() or (0,)
    shown = [len(json.dumps(event_json(event))) for event in events(connection, EventFilters(), limit=1000).items]
    return float(size) / count, sum(shown) / len(shown)
