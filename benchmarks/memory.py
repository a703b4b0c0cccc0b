"""`memory_per_execution_bytes`: what the events of an execution weigh while they wait in their process.

Executions of 5 light steps are run in this process under `tracemalloc`, with a recorder that hands nothing over; what
Python's memory grew by, less what it grew by over as many executions without telemetry, is divided by their number.
Seven events each (started, five steps, completed). The reference is what seven events take in the stream, so the ratio
says what holding them costs beyond their content.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from benchmarks.commands import InlineWorker, inline_worker, light_command
from benchmarks.figures import Measured
from benchmarks.servers import PSEUDONYM_KEY, BenchmarkFailed, Servers
from telemetry.connections import open_redis
from telemetry.settings import TelemetrySettings

_STEPS = 5
_EVENTS = _STEPS + 2


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """The figure of this module."""
    count = 100 if quick else 1000
    patient = TelemetrySettings(
        pseudonym_key=PSEUDONYM_KEY,
        batch_size=10_000,
        batch_max_bytes=1 << 30,
        flush_interval=timedelta(minutes=1),
    )
    redis_url = servers.logical_redis(2)
    with inline_worker(servers.database_url, redis_url, patient) as on:
        with_telemetry = _growth(on, count)
        waiting = on.resources.recorder.stats().waiting
    if waiting < count * _EVENTS:
        raise BenchmarkFailed(f"only {waiting} events waited for {count} executions")
    with open_redis(redis_url) as redis:
        entries = redis.xrange(patient.stream)
    in_stream = sum(len(data) for _, fields in entries for data in fields.values())
    with inline_worker(servers.database_url, redis_url, replace(patient, enabled=False)) as off:
        without = _growth(off, count)
    return {"memory_per_execution_bytes": Measured((with_telemetry - without) / count, in_stream / waiting * _EVENTS)}


def _growth(worker: InlineWorker, count: int) -> int:
    """Bytes that Python holds after `count` executions and did not hold before."""
    command = light_command(_STEPS)
    for _ in range(20 + count):
        worker.submit(command)
    for _ in range(20):
        worker.run()
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(count):
            worker.run()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before
