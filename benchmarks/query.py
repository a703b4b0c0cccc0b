"""`make bench-query`: how long people wait for an answer, over many stored events.

Samples of two weeks (`EVENTS=10000000 DAYS=14`) are stored in servers of their own by `weir telemetry test`, and the
tables looked at as autovacuum would. Then each query is asked again and again, with other parameters each time where
that makes a difference, in this process over one connection, as the API asks them; what is printed is the time until
the last row is here. Each is held against the seeds' limit (S-15) and against our own goal. What misses its
goal with raw events and could be answered from buckets is said to need roll-ups.

Memory is what the process has grown by, in resident pages, from before the first query to its highest during all.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from benchmarks.__main__ import OtherPrograms, quiet
from benchmarks.rounds import percentile
from benchmarks.servers import CHECKOUT, BenchmarkFailed, Servers, running_servers
from telemetry import query as stored
from telemetry.clock import SystemClock, to_unix_us
from telemetry.connections import connect
from telemetry.ids import least_id_at
from telemetry.sql import queries

SQL = queries(__file__)

_HOUR: Final = timedelta(hours=1)
#: Resident memory that answering may add, in bytes (S-15, and the task's own for one query).
MAX_GROWTH: Final = 15 << 20


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and how long its answer may take.

    Attributes:
        name: As it is printed.
        ask: Asks it once.
        limit_ms: What the seeds ask, at the most; none where they say nothing.
        goal_ms: What we aim at.
        rolls_up: Whether buckets could answer it.
    """

    name: str
    ask: Callable[[], object]
    limit_ms: float | None
    goal_ms: float
    rolls_up: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """How long a query took.

    Attributes:
        query: Which.
        p50_ms: Half of the times.
        p95_ms: Nineteen times in twenty.
    """

    query: Query
    p50_ms: float
    p95_ms: float

    @property
    def verdict(self) -> str:
        """In words: whether limit and goal are held, and what would help."""
        if self.query.limit_ms is not None and self.p95_ms > self.query.limit_ms:
            verdict = "OVER THE LIMIT"
        elif self.p50_ms > self.query.goal_ms:
            verdict = "over the goal"
        else:
            return "fine"
        return f"{verdict}: needs roll-ups" if self.query.rolls_up else verdict


def queries_of(connection: Connection[Any], now: datetime) -> tuple[Query, ...]:
    """Every query that is measured: a new one is a line here."""

    def run(name: str, back: timedelta) -> Callable[[], object]:
        return lambda: connection.execute(SQL[name], _window(now, back)).fetchall()

    def page(limit: int, back: timedelta, **filters: Any) -> Callable[[], object]:  # noqa: ANN401 - any filter
        return lambda: stored.events(connection, stored.EventFilters(since=now - back, until=now, **filters), limit)

    traces: Iterator[UUID] = cycle(_some_traces(connection, now))
    return (
        Query("events page, newest 100", page(100, 24 * _HOUR), None, 50),
        Query(
            "events page, one command, failed, 24 h",
            page(100, 24 * _HOUR, command=_COMMAND, outcome="failed"),
            None,
            50,
        ),
        Query("events page, level error, 7 d", page(100, 7 * 24 * _HOUR, level="error"), None, 50),
        Query("one trace", lambda: stored.trace(connection, next(traces)), 200, 10),
        Query("errors by fingerprint, 6 h", run("errors", 6 * _HOUR), 500, 50),
        Query("performance by command, 24 h", run("command_percentiles", 24 * _HOUR), 1000, 50, rolls_up=True),
        Query("performance by step type, 24 h", run("step_percentiles", 24 * _HOUR), 1000, 50, rolls_up=True),
        Query("overview counts, 1 h", run("overview", _HOUR), 500, 30, rolls_up=True),
        Query("overview counts, 24 h", run("overview", 24 * _HOUR), 500, 30, rolls_up=True),
    )


_COMMAND: Final = "sample.web.clip"


def measure(query: Query, rounds: int) -> Answered:
    """Ask once for nothing, then as often as that, and look at the times."""
    query.ask()
    times = []
    for _ in range(rounds):
        begun = perf_counter()
        query.ask()
        times.append((perf_counter() - begun) * 1000)
    return Answered(query, percentile(times, 50), percentile(times, 95))


def table(answers: Sequence[Answered]) -> str:
    """What is printed."""
    head = ("query", "p50 ms", "p95 ms", "limit", "goal", "")
    rows = [
        (
            each.query.name,
            f"{each.p50_ms:.1f}",
            f"{each.p95_ms:.1f}",
            "" if each.query.limit_ms is None else f"{each.query.limit_ms:g}",
            f"{each.query.goal_ms:g}",
            each.verdict,
        )
        for each in answers
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if number in {0, 5} else cell.rjust(width) for number, (cell, width) in cells)
        for cells in (enumerate(zip(row, widths, strict=True)) for row in (head, *rows))
    )


def main(arguments: Sequence[str]) -> int:
    """Fill, ask, print. The exit code: 0; 1 when a limit of the seeds is not held, or something went wrong."""
    parser = argparse.ArgumentParser(prog="make bench-query", description="How long answers take, over many events.")
    parser.add_argument("--events", type=int, default=10_000_000, help="how many")
    parser.add_argument("--days", type=int, default=14, help="over how many days")
    parser.add_argument("--rounds", type=int, default=30, help="how often each query is asked")
    options = parser.parse_args(arguments)
    others = OtherPrograms()
    try:
        with quiet(), running_servers() as servers:
            _fill(servers, options.events, options.days)
            with connect(servers.database_url, name="weir benchmarks", autocommit=True) as connection:
                answers, growth = _measure_all(connection, options.rounds)
    except BenchmarkFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(table(answers))
    print(f"\nmemory: {growth / (1 << 20):.1f} MB more at the most, of {MAX_GROWTH >> 20} MB allowed")
    print(f"Other programs used {others.cores():.1f} cores meanwhile. Limits are for a machine that does nothing else.")
    return int(any(each.verdict.startswith("OVER") for each in answers) or growth > MAX_GROWTH)


def _fill(servers: Servers, events: int, days: int) -> None:
    """Store samples, in a process of its own: what it needs of memory is not counted here."""
    samples = ("telemetry", "test", "--count", str(events), "--days", str(days), "--format", "json")
    environment = {"WEIR_HOME": str(servers.home.root), "WEIR_DATABASE_URL": servers.database_url}
    begun = perf_counter()
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "api.cli", *samples],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode or json.loads(done.stdout)["stored"] != events:
        raise BenchmarkFailed(f"weir telemetry test --count {events} did not store as many")
    seconds = perf_counter() - begun
    print(f"{events:,} events over {days} days stored in {seconds:.0f} s: {events / seconds:,.0f} a second", flush=True)


def _measure_all(connection: Connection[Any], rounds: int) -> tuple[list[Answered], int]:
    connection.execute("vacuum analyze telemetry_events")
    now = SystemClock().now()
    size, count = connection.execute(SQL["size"]).fetchone() or (0, 1)
    print(f"{size / (1 << 20):,.0f} MB on disk, {size / count:.0f} bytes an event\n", flush=True)
    asked = queries_of(connection, now)
    gc.collect()
    _forget_highest()
    before = _memory("VmRSS")
    answers = [measure(each, rounds) for each in asked]
    return answers, _memory("VmHWM") - before


def _some_traces(connection: Connection[Any], now: datetime, count: int = 50) -> list[UUID]:
    found = connection.execute(SQL["pick_traces"], {**_window(now, 24 * _HOUR), "count": count}).fetchall()
    if not found:
        raise BenchmarkFailed("there is no trace in the last day")
    return [correlation_id for (correlation_id,) in found]


def _window(now: datetime, back: timedelta) -> Mapping[str, Any]:
    return {"since_id": least_id_at(to_unix_us(now - back)), "until_id": least_id_at(to_unix_us(now))}


def _forget_highest() -> None:
    """Have the kernel count from here on how much memory this process has at the most (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory(line: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at the most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(each.split()[1]) * 1024 for each in status.splitlines() if each.startswith(line))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
