"""`make bench-query`: how long people wait for an answer, over many stored events, and what memory that takes.

Samples of two weeks (`EVENTS=10000000 DAYS=14`) are stored in servers of their own by `weir telemetry test`, their
chains built, minutes, hours and days rolled up, and the tables looked at as autovacuum would. Then each question
(`benchmarks/questions.py`) is asked:

- of the API in a process of its own, under gunicorn as the stack runs it, until the last byte is here: `cold` with
  other parameters each time, so that no answer is one that was kept; `warm` the same again;
- in SQL, in this process over one connection: what of it is the database's.

Each is held against its limit (S-15), if it has one, and against our own goal. What is refused because a
statement takes too long counts by how long that took.

Memory is that of the API's processes: what each question adds at its peak, beyond what was resident before it was
first asked, and what the API has at the end of an hour more than when it had answered nothing yet. An hour is what a
dashboard asks in one: six panels every five seconds, 4,320 questions, by four clients at once and as fast as they are
answered; or, with `--minutes N`, so long and at that pace.

With `--arriving N`, it is the overview alone that is asked for, while N events a second arrive
(`benchmarks/arriving.py`).

What came out is written to a file, and beside each figure is what the run before had for as many events.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter
from typing import Any, Final

from psycopg import Connection
from psycopg_pool import ConnectionPool

from benchmarks import arriving
from benchmarks.__main__ import OtherPrograms, quiet
from benchmarks.asked_api import AskedApi, ask, running_api
from benchmarks.filling import fill
from benchmarks.query_results import Answered, Hour, Results, Times, read_before, table, write
from benchmarks.questions import REFRESH, Question, questions, size_of
from benchmarks.rounds import percentile
from benchmarks.servers import BenchmarkFailed, running_servers
from telemetry.chains import build_chains
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.keeping import forget
from telemetry.settings import RetentionSettings
from workers.rounds import buckets_kept

#: Where the figures go unless told otherwise; not kept under version control.
RESULTS: Final = Path(__file__).with_name("query-results.json")
#: What a dashboard asks in an hour: six panels every five seconds.
HOUR: Final = 6 * (timedelta(hours=1) // REFRESH)
_CLIENTS: Final = 4
#: Rounds of what takes this long, in milliseconds, and more are few.
_LONG_MS, _FEW = 1000, 5


def main(arguments: Sequence[str]) -> int:
    """Fill, ask, print. The exit code: 0; 1 when a limit is not held, or something went wrong."""
    parser = argparse.ArgumentParser(prog="make bench-query", description="How long answers take, over many events.")
    parser.add_argument("--events", type=int, default=10_000_000, help="how many")
    parser.add_argument("--days", type=int, default=14, help="over how many days")
    parser.add_argument("--rounds", type=int, default=30, help="how often each question is asked")
    parser.add_argument("--questions", type=int, default=HOUR, help="how many a dashboard asks in its hour")
    parser.add_argument("--minutes", type=float, help="ask them at a dashboard's pace, for so long")
    parser.add_argument("--arriving", metavar="N", type=int, help="ask for the overview while N events a second arrive")
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args(arguments)
    others = OtherPrograms()
    try:
        with quiet(), running_servers() as servers:
            fill(servers, options.events, options.days, SystemClock().now())
            with (
                connect(servers.database_url, name="weir benchmarks", autocommit=True) as connection,
                ConnectionPool(servers.database_url, kwargs={"autocommit": True}, min_size=1, open=True) as pool,
            ):
                _settle(connection)
                if options.arriving:
                    arriving.measure(servers, options.arriving, 60 * (options.minutes or 3.0))
                    return 0
                with running_api(servers) as api:
                    results = _measure(connection, pool, api, options)
    except BenchmarkFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(table(results, read_before(options.results, results)))
    write(results, options.results)
    print(
        f"\nOther programs used {others.cores():.1f} cores meanwhile. Limits are for a machine that does nothing else."
    )
    return int(not results.holds_limits)


def _settle(connection: Connection[Any]) -> None:
    """What maintenance would have done by now."""
    connection.execute("vacuum analyze telemetry_events")
    begun, written = perf_counter(), 0
    while not (done := build_chains(connection)).is_done:
        written += done.written
    connection.execute("vacuum analyze")
    print(f"{written + done.written:,} chains built in {perf_counter() - begun:.0f} s", flush=True)
    begun = perf_counter()
    forget(connection, buckets_kept(RetentionSettings()), SystemClock().now())
    rolled_up = Aggregator(connection, SystemClock()).run_once(timedelta(days=1))
    connection.execute("vacuum analyze telemetry_metrics")
    print(f"{rolled_up.buckets:,} buckets rolled up in {perf_counter() - begun:.0f} s", flush=True)
    size, stored = size_of(connection)
    print(f"{size / (1 << 20):,.0f} MB on disk, {size / max(stored, 1):.0f} bytes an event\n", flush=True)


def _measure(
    connection: Connection[Any], pool: ConnectionPool[Any], api: AskedApi, options: argparse.Namespace
) -> Results:
    at_first = api.memory()
    asked = questions(connection, pool, SystemClock().now())
    answers = [_answered(each, api, options.rounds) for each in asked]
    panels = [each for each in asked if each.is_panel]
    hour = _hour(api, panels, at_first, options.questions, options.minutes)
    return Results(options.events, options.days, tuple(answers), hour)


def _answered(question: Question, api: AskedApi, rounds: int) -> Answered:
    """Ask it in both ways, look at the times, and at the memory of one more."""
    run, path = question.run, question.path
    in_sql = _times(run, rounds) if run is not None else None
    with api.connection() as connection:

        def cold(number: int) -> None:
            ask(connection, path(number), may_refuse=question.may_refuse)

        def warm(_number: int) -> None:
            ask(connection, path(0), may_refuse=question.may_refuse)

        with api.watched() as peak:
            cold_times = _times(cold, rounds)
        warm_times = _times(warm, rounds)
    return Answered(question, in_sql, cold_times, warm_times, peak.bytes)


def _times(what: Callable[[int], object], rounds: int) -> Times:
    """Ask once for nothing, then as often as that: less often what takes long."""
    what(0)
    times: list[float] = []
    for number in range(1, rounds + 1):
        begun = perf_counter()
        what(number)
        times.append((perf_counter() - begun) * 1000)
        if len(times) >= _FEW and sum(times) > _FEW * _LONG_MS:
            break
    return Times(percentile(times, 50), percentile(times, 95))


def _hour(api: AskedApi, panels: Sequence[Question], at_first: int, total: int, minutes: float | None) -> Hour:
    """What a dashboard asks in an hour; or at its pace, for some minutes."""
    numbers, pause, begun = count(), Event(), monotonic()
    total = total if minutes is None else max(1, round(minutes * 60 * len(panels) / REFRESH.total_seconds()))

    def client(_number: int) -> None:
        with api.connection() as connection:
            while (number := next(numbers)) < total:
                if minutes is not None:
                    pause.wait(max(0.0, begun + number * REFRESH.total_seconds() / len(panels) - monotonic()))
                panel = panels[number % len(panels)]
                ask(connection, panel.path(1000 + number // len(panels)))

    with api.watched() as peak, ThreadPoolExecutor(_CLIENTS) as clients:
        list(clients.map(client, range(_CLIENTS)))
    return Hour(total, monotonic() - begun, api.memory() - at_first, peak.bytes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
