"""`malformed_rate`: what one malformed event in 1,000 costs the sink.

A sink in this process takes full streams to Postgres, as for `sink_events_per_s`: in turn one in which every event is
good, and one in which one of 1,000 is not (no msgpack; an unknown type; an id of the wrong size; a name that cannot be
one). The figure is the median, round by round, of the second rate over the first. Every good event must be stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from statistics import median

from benchmarks.event_load import drain
from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import Servers
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.partitions import make_partitions
from telemetry.pipeline import open_sink
from telemetry.settings import TelemetrySettings

_ONE_IN = 1000


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """The figure of this module."""
    count, rounds = (10_000, 2) if quick else (100_000, 7)
    url, redis_url, clock = servers.database_url, servers.logical_redis(4), SystemClock()
    with ExitStack() as stack:
        connection = stack.enter_context(closing(connect(url, name="weir benchmarks", autocommit=True)))
        make_partitions(connection, clock.now(), 1)
        sink = open_sink(TelemetrySettings(), database_url=url, redis_url=redis_url, clock=clock)
        stack.callback(sink.run)  # stopped before it runs: closes everything
        stack.callback(sink.stop)
        ways = {
            "good": partial(drain, connection, sink, redis_url, count),
            "spoiled": partial(drain, connection, sink, redis_url, count, spoiled_every=_ONE_IN),
        }
        interleave(ways, 1)  # warms up
        found = interleave(ways, rounds)
    ratios = [spoiled / good for spoiled, good in zip(found["spoiled"], found["good"], strict=True)]
    return {"malformed_rate": Measured(median(ratios), 1.0)}
