"""`python -m benchmarks.aggregator`: whether roll-ups keep up with 5,000 events a second, and what that takes.

A recorder in a process of its own is given events at an even pace, of many commands, users and spaces; with `--late
0.1` one in ten of them is late, by up to 90 minutes. A sink stores them; and a process does what maintenance does about
roll-ups: every five seconds it looks whether there is something to make, and if so does one round over a connection of
its own. Before, so many minutes are stored and made as `--history` says, for late events to belong to.

Told are, from the first whole minute on:

- CPU time of the aggregator's process, and of the servers of its connections (Postgres' work on its behalf), each in
  percent of a core. Reference, in the same run: a server that, once a minute, counts and adds up the events of that
  minute, by type and operation, in one plain statement.
- How long rounds took that made minutes, in seconds.
- How far roll-ups are behind: every second, how long the oldest minute that is not clean has been over. Of late events
  that is how long they wait.
- Rows that were written, and memory of the process.

Hours by space and by user get their minutes every ten minutes, the first time when the history is made: whether that is
among what is measured, is told, too. With `--minutes 12` it is.

With `--downtime MINUTES` so many minutes of the history are to be made again, as if nobody had made roll-ups for so
long and all of their events had come at once; told is how long that takes, and how long a transaction as the sink's,
but without events, takes meanwhile, at the most.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import monotonic, perf_counter, process_time, sleep
from typing import Any, Final

from psycopg import Connection

from benchmarks.__main__ import OtherPrograms, quiet
from benchmarks.mixed_load import LATEST_MINUTES, MixedLoad
from benchmarks.processes import rss_bytes
from benchmarks.rounds import percentile
from benchmarks.servers import (
    PSEUDONYM_KEY,
    BenchmarkFailed,
    Servers,
    running_process,
    running_servers,
    running_service,
    wait_until,
)
from telemetry.clock import SystemClock, from_unix_us
from telemetry.connections import connect
from telemetry.ids import least_id_at
from telemetry.partitions import make_days
from telemetry.pipeline import open_recorder
from telemetry.rollups.aggregator import Aggregator, is_wanted, over
from telemetry.rows import RowEncoder
from telemetry.settings import TelemetrySettings
from telemetry.store import append_batch, insert_events, prepare_session
from workers.rounds import GAPS_INTERVAL

_CLOCK = SystemClock()
_MINUTE_US: Final = 60_000_000
#: Turns of the pace-maker a second.
_TURNS: Final = 100
_DATABASE, _REDIS, _PLAN = "BENCH_DATABASE_URL", "BENCH_REDIS_URL", "BENCH_PLAN"

#: The oldest minute that is over and not clean.
_OLDEST: Final = """
    select lower(minutes * int4multirange(int4range(null, %(over)s::int))) from (
        select p.minutes + coalesce(range_agg(b.minutes), '{}') as minutes
        from telemetry_rollup_progress as p
        left join telemetry_batches as b
            on b.written_by >= pg_snapshot_xmin(p.view) and not pg_visible_in_snapshot(b.written_by, p.view)
        group by p.minutes
    ) as dirty"""
_PLAIN: Final = (
    "select event_type, operation, count(*), sum(duration_us) from telemetry_events"
    " where event_id >= %s and event_id < %s group by event_type, operation"
)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.aggregator", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--minutes", type=int, default=3, help="that are measured; in ten there is a round of hours by user"
    )
    parser.add_argument("--late", type=float, default=0.0, help="share of events that are late, by up to 90 minutes")
    parser.add_argument("--rate", type=int, default=5000, help="events a second")
    parser.add_argument("--history", type=int, default=95, help="minutes that are stored and made before")
    parser.add_argument("--history-rate", type=int, default=100, help="events a second of those minutes")
    parser.add_argument("--downtime", type=int, default=0, help="minutes in which nobody made roll-ups")
    options = parser.parse_args(arguments)
    others = OtherPrograms()
    try:
        with quiet(), running_servers() as servers:
            found = _measure(servers, options)
    except BenchmarkFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    for line in found:
        print(line)
    print(f"\nOther programs used {others.cores():.1f} cores meanwhile (the sink, the load and Postgres among them).")
    return 0


def _measure(servers: Servers, options: argparse.Namespace) -> Iterator[str]:
    found: list[str] = []
    with ExitStack() as stack:
        connection = stack.enter_context(closing(connect(servers.database_url, name="weir bench", autocommit=True)))
        prepare_session(connection, timedelta(minutes=10))
        made_s = _fill(connection, options.history, options.history_rate)
        found.append(
            f"history: {options.history} minutes of {60 * options.history_rate:,} events made in {made_s:.0f} s"
        )
        if options.downtime:
            found.append(_catch_up(servers, connection, options))
        else:
            found.extend(_keep_up(stack, servers, connection, options))
    return iter(found)


def _fill(connection: Connection[Any], minutes: int, rate: int) -> float:
    """Store minutes up to this one, and make them; seconds that took. All but the first are made of it, in Postgres."""
    this = _CLOCK.unix_us() // _MINUTE_US
    first = this - minutes
    make_days(connection, [from_unix_us(at // 1440 * 1440 * _MINUTE_US) for at in (first - LATEST_MINUTES, this)])
    load, encode = MixedLoad(), RowEncoder().encode
    step_us = 1_000_000 // rate
    rows = [encode(load.event(first * _MINUTE_US + number * step_us)) for number in range(60 * rate)]
    insert_events(connection, rows)
    _multiply(connection, first, range(first + 1, this))
    append_batch(connection, events=0, duplicates=0, minutes=range(first, this))
    connection.execute("vacuum analyze telemetry_events")
    begun = perf_counter()
    while not Aggregator(connection, _CLOCK, members_interval=timedelta(0)).run_once().is_done:
        pass
    return perf_counter() - begun


def _multiply(connection: Connection[Any], model: int, minutes: range) -> None:
    """Store the events of a minute again, as those of others: ids of the same milliseconds within the minute."""
    bounds = {"first": least_id_at(model * _MINUTE_US), "end": least_id_at((model + 1) * _MINUTE_US)}
    for minute in minutes:
        connection.execute(
            "insert into telemetry_events (event_id, correlation_id, execution_id, space_id, fragment_id, occurred_at,"
            " duration_us, mutations_count, attempt, step_try, dry_run, event_type, component, operation, level,"
            " request_source, command_slug, step_path, step_type, outcome, error_type, error_category, user_id,"
            " definition_hash, error_fingerprint, measures)"
            " select (substr(shifted, 1, 8) || '-' || substr(shifted, 9, 4) || substr(event_id::text, 14))::uuid,"
            " correlation_id, execution_id, space_id, fragment_id, occurred_at + %(shift)s, duration_us,"
            " mutations_count, attempt, step_try, dry_run, event_type, component, operation, level, request_source,"
            " command_slug, step_path, step_type, outcome, error_type, error_category, user_id, definition_hash,"
            " error_fingerprint, measures"
            " from telemetry_events as e, lateral (select lpad(to_hex("
            "  floor(extract(epoch from e.occurred_at + %(shift)s) * 1000)::bigint), 12, '0') as shifted) as s"
            " where event_id >= %(first)s and event_id < %(end)s",
            {**bounds, "shift": timedelta(minutes=minute - model)},
        )


def _keep_up(
    stack: ExitStack, servers: Servers, connection: Connection[Any], options: argparse.Namespace
) -> Iterator[str]:
    settings = {"WEIR_TELEMETRY_PSEUDONYM_KEY": PSEUDONYM_KEY}
    seconds = 60.0 * options.minutes
    stack.enter_context(running_service(servers, "sink", "sink", settings))
    stack.enter_context(_own(servers, "load", {"seconds": seconds + 120, "rate": options.rate, "late": options.late}))
    watched = stack.enter_context(closing(connect(servers.database_url, name="weir bench", autocommit=True)))
    sleep(60 - _CLOCK.unix_us() % _MINUTE_US / 1e6 + 5)  # what has begun is a whole minute
    told = servers.home.root.parent / "aggregator.json"
    behind: list[float] = []
    plain: list[float] = []
    stored, begun = _stored(watched), monotonic()
    with _own(servers, "aggregator", {"seconds": seconds, "to": str(told)}) as process:
        last = over(_CLOCK.now())
        while process.poll() is None:
            behind.append(_behind_s(watched))
            if (end := over(_CLOCK.now())) > last:
                plain.append(_plain(connection, last))
                last = end
            sleep(1)
    if process.returncode or not told.exists():
        raise BenchmarkFailed("the process that makes roll-ups failed")
    arrived = (_stored(watched) - stored) / (monotonic() - begun)
    yield f"stored meanwhile: {arrived:,.0f} events a second"
    yield from _told(json.loads(told.read_text(encoding="utf-8")), seconds, behind, plain)


def _told(found: Mapping[str, Any], seconds: float, behind: Sequence[float], plain: Sequence[float]) -> Iterator[str]:
    server, own = 100 * found["server_s"] / seconds, 100 * found["cpu_s"] / seconds
    yield f"process: {own:.2f} % of a core, {found['rss_bytes'] / 1e6:.0f} MB"
    yield f"Postgres on its behalf: {server:.2f} % of a core"
    yield f"together: {own + server:.2f} % of a core (goal: 10 %)"
    if plain:
        cpu = sum(plain) / len(plain)
        yield f"reference: one plain statement a minute takes {100 * cpu / 60:.2f} % of a core ({cpu:.2f} s of CPU)"
    yield f"rounds: {found['rounds']}, which wrote {found['buckets']:,} rows"
    yield f"made: {found['minutes']} minutes, {found['member_minutes']} of them for hours by space and by user"
    if times := found["making"]:
        yield f"a round that made minutes: p50 {median(times):.2f} s, max {max(times):.2f} s"
    yield f"behind: p50 {median(behind):.0f} s, p95 {percentile(behind, 95):.0f} s, max {max(behind):.0f} s"


def _stored(connection: Connection[Any]) -> int:
    row = connection.execute("select coalesce(sum(events), 0)::bigint from telemetry_batches").fetchone()
    return int(row[0]) if row else 0


def _behind_s(connection: Connection[Any]) -> float:
    row = connection.execute(_OLDEST, {"over": over(_CLOCK.now())}).fetchone()
    oldest = row[0] if row else None
    return 0.0 if oldest is None else _CLOCK.unix_us() / 1e6 - 60 * (oldest + 1)


def _plain(connection: Connection[Any], minute: int) -> float:
    """CPU time of the plain statement for a minute, in seconds."""
    used = _server_seconds(connection)
    connection.execute("set max_parallel_workers_per_gather = 0")
    connection.execute(_PLAIN, (least_id_at(minute * _MINUTE_US), least_id_at((minute + 1) * _MINUTE_US))).fetchall()
    return _server_seconds(connection) - used


def _server_seconds(connection: Connection[Any]) -> float:
    """CPU time that the server of a connection has used: proc(5), schedstat."""
    told = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text(encoding="ascii")
    return int(told.split()[0]) / 1e9


@contextmanager
def _own(servers: Servers, name: str, plan: Mapping[str, object]) -> Iterator[Any]:
    """A process of this module, with that plan."""
    environment = {
        _DATABASE: servers.database_url,
        _REDIS: servers.redis_url,
        _PLAN: json.dumps({**plan, "name": name}),
    }
    with running_process(servers.home, name, ["-m", "benchmarks.aggregator"], environment) as process:
        yield process


def _record(plan: Mapping[str, Any]) -> None:
    """Give a recorder events at an even pace; whatever is late is made up for at the next turn."""
    url, redis = os.environ[_DATABASE], os.environ[_REDIS]
    recorder = open_recorder(TelemetrySettings(), name="bench", database_url=url, redis_url=redis, clock=_CLOCK)
    load, given, begun = MixedLoad(plan["late"]), 0, monotonic()
    while (passed := monotonic() - begun) < plan["seconds"]:
        due = int(passed * plan["rate"]) - given
        for event in load.events(due, _CLOCK.unix_us()):
            recorder.record(event)
        given += due
        sleep(1 / _TURNS)
    recorder.close()


def _aggregate(plan: Mapping[str, Any]) -> None:
    """What maintenance and the scheduler do about roll-ups, for so long."""
    url = os.environ[_DATABASE]
    told: dict[str, Any] = {"rounds": 0, "buckets": 0, "minutes": 0, "member_minutes": 0, "making": [], "server_s": 0.0}
    used, begun = process_time(), monotonic()
    with closing(connect(url, name="weir scheduler", autocommit=True)) as asking:
        while monotonic() - begun < plan["seconds"]:
            if is_wanted(asking, _CLOCK.now()):
                with closing(connect(url, name="weir roll-ups", autocommit=True)) as connection:
                    started = perf_counter()
                    result = Aggregator(connection, _CLOCK).run_once()
                    if result.minutes:
                        told["making"].append(perf_counter() - started)
                    told["server_s"] += _server_seconds(connection)
                told["rounds"] += 1
                told["buckets"] += result.buckets
                told["minutes"] += result.minutes
                told["member_minutes"] += result.member_minutes
            sleep(GAPS_INTERVAL.total_seconds())
        told["server_s"] += _server_seconds(asking)
    told["cpu_s"] = process_time() - used
    told["rss_bytes"] = rss_bytes(os.getpid())
    Path(plan["to"]).write_text(json.dumps(told), encoding="utf-8")


def _catch_up(servers: Servers, connection: Connection[Any], options: argparse.Namespace) -> str:
    """What was stored while nobody made roll-ups, made; and how long a sink waits meanwhile."""
    this = _CLOCK.unix_us() // _MINUTE_US
    minutes = range(this - options.downtime, this)
    append_batch(connection, events=0, duplicates=0, minutes=minutes)  # as if all of it had come just now
    waits: list[float] = []
    is_over = Event()

    def try_locks() -> None:
        """Do what a sink does, without events."""
        with closing(connect(servers.database_url, name="weir bench", autocommit=True)) as own:
            while not is_over.wait(0.2):
                begun = perf_counter()
                with own.transaction():
                    own.execute("lock table only telemetry_events in row exclusive mode")
                    append_batch(own, events=0, duplicates=0, minutes=())
                waits.append(perf_counter() - begun)

    thread = Thread(target=try_locks, name="bench-locks")
    thread.start()
    begun = perf_counter()
    try:
        aggregator = Aggregator(connection, _CLOCK, members_interval=timedelta(0))
        wait_until(lambda: aggregator.run_once().is_done, "all is made", 3600)
    finally:
        is_over.set()
        thread.join()
    seconds = perf_counter() - begun
    return (
        f"catch-up: {options.downtime} minutes made in {seconds:.0f} s;"
        f" a transaction of a sink, without events, took {max(waits):.3f} s meanwhile at the most"
    )


if __name__ == "__main__":
    if _PLAN in os.environ:
        given = json.loads(os.environ[_PLAN])
        with quiet():
            {"load": _record, "aggregator": _aggregate}[given["name"]](given)
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
