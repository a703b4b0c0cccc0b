"""The overview of the last hour while events arrive: `make bench-query ARGS='--arriving 5000'`.

A process appends so many events a second to the stream; a sink stores them, scheduler and maintenance roll them up as
they do in a stack. After as long as it takes that the minutes asked for are rolled up, the overview is asked for again
and again, another one each time: of the API, until the last byte is here; and in SQL, in this process. The minutes that
no bucket tells of yet are looked at event by event, so it takes longest just before one of them is rolled up.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from itertools import islice
from time import monotonic, perf_counter, sleep
from typing import Final
from urllib.parse import urlencode

import msgspec
from psycopg_pool import ConnectionPool

from benchmarks.asked_api import ask, running_api
from benchmarks.event_load import realistic_events
from benchmarks.processes import cpu_seconds
from benchmarks.rounds import percentile
from benchmarks.servers import BenchmarkFailed, Servers, running_process, running_service, wait_until
from telemetry.batch import FORMAT, BatchHeader, encode_batch
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.ids import mint
from telemetry.overview import look
from telemetry.performance import real
from telemetry.pipeline import open_writer
from telemetry.query import EventFilters
from telemetry.reading import reading
from telemetry.settings import TelemetrySettings

_CLOCK: Final = SystemClock()
_SETTINGS: Final = TelemetrySettings()
_HOUR: Final = timedelta(hours=1)
#: Appended together, so many times a second.
_TURNS: Final = 10
#: Between two questions, as a dashboard would.
_PAUSE_S: Final = 1.0
#: Which share of what is to arrive has to be stored.
_MOST: Final = 0.9
#: What people may wait for an overview meanwhile, and what is aimed at for roll-ups: milliseconds, percent of a core.
GOAL_MS, GOAL_PERCENT = 300, 10


def measure(servers: Servers, rate: int, seconds: float) -> None:
    """Measure, and print.

    Args:
        servers: With whatever is stored there already.
        rate: Events a second.
        seconds: For how long it is asked, after the first minutes were rolled up.

    Raises:
        BenchmarkFailed: Not as many events were stored as were to arrive.
    """
    with ExitStack() as stack:
        for service in ("sink", "scheduler"):
            stack.enter_context(running_service(servers, service, service))
        maintenance = stack.enter_context(running_service(servers, "maintenance", "maintenance"))
        api = stack.enter_context(running_api(servers))
        load = stack.enter_context(
            running_process(servers.home, "load", ["-m", "benchmarks.arriving", servers.redis_url, str(rate)], {})
        )
        connection = stack.enter_context(
            closing(connect(servers.database_url, name="weir benchmarks", autocommit=True))
        )
        began = _CLOCK.now()

        def rolled_up() -> object:
            if load.poll() is not None:
                raise BenchmarkFailed("the process that appends events has ended")
            rows = "select from telemetry_metrics where width = 'minute' and starts_at >= %s"
            return connection.execute(f"select exists ({rows})", (began,)).fetchone() == (True,)

        wait_until(rolled_up, "minutes are rolled up", 300.0, interval_s=1.0)
        pool = stack.enter_context(ConnectionPool(servers.database_url, kwargs={"autocommit": True}, open=True))
        used, begun = cpu_seconds(maintenance.pid), monotonic()
        over_rest, in_sql = [], []
        with api.connection() as asking:
            while monotonic() - begun < seconds:
                over_rest.append(ask(asking, _path()))
                in_sql.append(_look(pool))
                sleep(_PAUSE_S)
        percent = 100 * (cpu_seconds(maintenance.pid) - used) / (monotonic() - begun)
        (stored,) = connection.execute(
            "select sum(events) from telemetry_batches where stored_at >= %s", (began,)
        ).fetchone() or (0,)
        length = _CLOCK.now() - began
    passed_s = length.total_seconds()
    print(f"{stored:,} events stored in {passed_s:.0f} s, {stored / passed_s:,.0f} a second")
    for name, times in (("over REST", over_rest), ("in SQL", in_sql)):
        told = (
            f"p50 {percentile(times, 50):.0f} ms, p95 {percentile(times, 95):.0f} ms, the longest {max(times):.0f} ms"
        )
        print(f"overview of the last hour, {name}: {told}, of {len(times)} (goal: {GOAL_MS} ms)")
    print(f"maintenance took {percent:.1f} % of a core, without Postgres (goal, for roll-ups: {GOAL_PERCENT} %)")
    if stored < _MOST * rate * passed_s:
        raise BenchmarkFailed(f"fewer than {rate:,} events a second were stored")


def _path() -> str:
    until = _CLOCK.now()
    given = {"start": (until - _HOUR).isoformat(), "end": until.isoformat()}
    return f"/api/telemetry/overview?{urlencode(given)}"


def _look(pool: ConnectionPool) -> float:
    until = _CLOCK.now()
    begun = perf_counter()
    with reading(pool, timedelta(seconds=30)) as connection:
        look(connection, real(EventFilters(since=until - _HOUR, until=until).whole()), until - _HOUR, until)
    return (perf_counter() - begun) * 1000


def main(arguments: Sequence[str]) -> int:
    """Append events to a stream for ever, so many a second: what is late is made up for at the next turn."""
    redis_url, rate = arguments[0], int(arguments[1])
    writer, encode, source = open_writer(_SETTINGS, redis_url), msgspec.msgpack.Encoder().encode, realistic_events()
    epoch, done, begun = mint(_CLOCK.unix_us()), 0, monotonic()
    while True:
        wanted = int((monotonic() - begun) * rate) - done
        while wanted > 0:
            batch = [encode(event) for event in islice(source, min(wanted, _SETTINGS.batch_size))]
            writer.append(encode_batch(BatchHeader(FORMAT, "bench-1", epoch, _CLOCK.unix_us(), {}, done + 1), batch))
            done += len(batch)
            wanted -= len(batch)
        sleep(1 / _TURNS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
