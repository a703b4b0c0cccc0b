"""The two ends of the pipeline, put together from settings and addresses; for the processes' entry points."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial

from telemetry.clock import Clock
from telemetry.connections import connect, open_blocking_redis, open_redis
from telemetry.events import MEASURES, Measures
from telemetry.ids import mint
from telemetry.live.tail import StreamTail
from telemetry.recorder import BufferedRecorder, NullRecorder, Recorder
from telemetry.settings import TelemetrySettings
from telemetry.sink import Sink
from telemetry.stream import StreamReader, StreamWriter
from telemetry.synchronous import SynchronousRecorder


def open_recorder(  # noqa: PLR0913 - one keyword per thing a process decides
    settings: TelemetrySettings,
    *,
    name: str,
    database_url: str,
    redis_url: str,
    clock: Clock,
    measures: Measures = MEASURES,
) -> Recorder:
    """The recorder of a process, as `settings.enabled` and `settings.synchronous` ask. Connects when first needed.

    Args:
        settings: Sizes, intervals, and the stream's own `redis_url` if it has one.
        name: Kind of process (`api`, `worker`); with its process id it names the producer.
        database_url: Used in synchronous mode only.
        redis_url: Of the queue; the stream's, unless the settings give it one.
        clock: Stamps batches.
        measures: What steps may report of themselves; needed in synchronous mode only, for it is the store that checks.
    """
    if not settings.enabled:
        return NullRecorder()
    if settings.synchronous:
        connecting = partial(connect, database_url, name=f"weir {name} telemetry")
        return SynchronousRecorder(connecting, clock=clock, measures=measures)
    return BufferedRecorder(settings, partial(open_writer, settings, redis_url), name=name, clock=clock)


def open_writer(settings: TelemetrySettings, redis_url: str) -> StreamWriter:
    """The producers' side of the stream: gives up after `settings.stream_timeout`, tries once."""
    redis = open_redis(settings.redis_url or redis_url, timeout=settings.stream_timeout, retries=0)
    return StreamWriter(redis, settings.stream)


def open_reader(settings: TelemetrySettings, redis_url: str, *, clock: Clock) -> StreamReader:
    """The consumers' side of the stream, under a name nobody else has."""
    url = settings.redis_url or redis_url
    block = max(settings.sink_idle_block, settings.sink_flush_interval)
    consumer = f"sink-{os.getpid()}-{mint(clock.unix_us()).hex()}"
    return StreamReader(open_redis(url), open_blocking_redis(url, block=block), settings.stream, consumer=consumer)


def open_tail(settings: TelemetrySettings, redis_url: str) -> StreamTail:
    """The stream for somebody who only looks on; waits for at most a second at a time."""
    url = settings.redis_url or redis_url
    block = timedelta(seconds=1)
    commands = open_redis(url, timeout=block, retries=0)
    return StreamTail(commands, open_blocking_redis(url, block=block, patience=block), settings.stream)


def open_sink(
    settings: TelemetrySettings, *, database_url: str, redis_url: str, clock: Clock, measures: Measures = MEASURES
) -> Sink:
    """A sink; connects when it runs, and tells of itself as others do. `measures` is what steps may report."""
    reader = open_reader(settings, redis_url, clock=clock)
    connecting = partial(connect, database_url, name="weir sink")
    recorder = None
    if not settings.synchronous:
        recorder = open_recorder(settings, name="sink", database_url=database_url, redis_url=redis_url, clock=clock)
    return Sink(settings, reader, connecting, clock=clock, measures=measures, recorder=recorder)
