"""Weir, bare Dramatiq, DBOS and Celery in turn: rounds of all of them, and the medians; then OpenTelemetry.

All of them have 2 worker processes, the same Postgres and the same Valkey, durable and on disk; whoever is not measured
is idle. What each does:

- **Weir**: `benchmarks.throughput`, 4 threads a process, its sink storing every event meanwhile.
- **Bare Dramatiq**: `benchmarks.bare_worker`, 4 threads a process, as many commits as Weir has transactions. It resumes
  nothing and remembers no result.
- **DBOS**: 5 `@DBOS.step()` in a workflow, or 5 transactions of a data source, from a durable queue; polling and
  concurrency are set to what was fastest here (`dbos_worker`, `dbos_driver`). Its transactions insert into a table like
  Weir's `fragments`, with the same indexes. It writes no mutation records and no telemetry.
- **Celery**: its prefork pool; a chain of 5 tasks, and one task that calls 5 functions; `acks_late`. Not durable: what
  is lost with Redis is gone, and a chain cannot be resumed from a database. No results are kept.
- **OpenTelemetry**: its SDK records spans with the facts of Weir's event, and exports all of them (`otel_driver`).
  Weir's `record()` is measured in this process, as for `record_us_p50`, until the stream has every event.

Rates count from the moment when everything is there to be taken. Latencies are one at a time on idle workers, submitted
by each one's own Python client (no HTTP), until another connection sees the end; it looks twice a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from random import uniform
from statistics import median
from time import perf_counter_ns, sleep

from benchmarks.commands import database_command, inline_worker, light_command
from benchmarks.peers.drivers import running_celery, running_dbos, running_opentelemetry
from benchmarks.peers.figures import WEIR, Comparison
from benchmarks.rounds import interleave, percentile
from benchmarks.servers import BenchmarkFailed, Servers, running_service
from benchmarks.telemetry import record_steps, running_recorder
from benchmarks.throughput import AROUND, STEPS, WORKERS, BareWorkers, WeirWorkers
from telemetry.connections import connect
from telemetry.recorder import Recorder
from workers.settings import WorkerSettings

#: As they are shown.
BARE, DBOS, CHAIN, TASK = "bare Dramatiq", "DBOS", "Celery, chain", "Celery, one task"
OTEL = "OpenTelemetry"
_GIVE_UP_S = 10


def measure(servers: Servers, python: Path, *, quick: bool) -> list[Comparison]:
    """Everything that is compared.

    Args:
        servers: Of nobody else.
        python: Of the peers' environment.
        quick: Few rounds of little: whether it works.
    """
    return [*_compare_running(servers, python, quick=quick), *_compare_recording(servers, python, quick=quick)]


def _compare_recording(servers: Servers, python: Path, *, quick: bool) -> list[Comparison]:
    """What one event costs, and what one span."""
    count, rounds = (2000, 2) if quick else (20_000, 7)
    with ExitStack() as stack:
        driver = stack.enter_context(running_opentelemetry(servers, python))
        recorder = stack.enter_context(running_recorder(servers))
        ways: dict[str, Callable[[], tuple[float, float]]] = {
            WEIR: partial(_record, recorder, count),
            OTEL: partial(driver.costs, count),
        }
        interleave(ways, 1)  # warms up
        found = interleave(ways, rounds)
    names = ("record_us_p50", "record_us_cpu")
    return [
        Comparison(
            name,
            "us",
            {who: median(each[place] for each in costs) for who, costs in found.items()},
            more_is_better=False,
        )
        for place, name in enumerate(names)
    ]


def _record(recorder: Recorder, count: int) -> tuple[float, float]:
    cost = record_steps(recorder, count)
    return cost.caller_us, cost.cpu_us


def _compare_running(servers: Servers, python: Path, *, quick: bool) -> list[Comparison]:
    """Executions."""
    rounds, scale = (1, 10) if quick else (3, 1)
    threads = WorkerSettings().threads
    with ExitStack() as stack:
        for number in range(WORKERS):
            stack.enter_context(running_service(servers, f"worker-{number}", "worker"))
        stack.enter_context(running_service(servers, "sink", "sink"))
        dbos = stack.enter_context(running_dbos(servers, python))
        celery = stack.enter_context(running_celery(servers, python))
        bare = BareWorkers(stack, servers, threads)
        weir = WeirWorkers(
            stack.enter_context(inline_worker(servers.database_url, servers.redis_url)),
            stack.enter_context(connect(servers.database_url, name="weir benchmarks", autocommit=True)),
        )
        weir.warm_up()
        bare.run(100, commits=2)
        light: dict[str, Callable[[], float]] = {
            WEIR: partial(weir.run, light_command(STEPS), 1500 // scale, events=STEPS + AROUND),
            BARE: partial(bare.run, 3000 // scale, commits=2),
            DBOS: partial(dbos.rate, "light", 400 // scale),
            CHAIN: partial(celery.rate, "chain", 400 // scale),
            TASK: partial(celery.rate, "task", 3000 // scale),
        }
        database: dict[str, Callable[[], float]] = {
            WEIR: partial(weir.run, database_command(STEPS), 400 // scale, events=2 * STEPS + AROUND),
            BARE: partial(bare.run, 1500 // scale, commits=STEPS + 2),
            DBOS: partial(dbos.rate, "database", 150 // scale),
        }
        latency: dict[str, Callable[[], list[float]]] = {
            WEIR: partial(_latencies, weir, 30 // scale),
            DBOS: partial(dbos.latencies, 30 // scale),
            CHAIN: partial(celery.latencies, 30 // scale),
        }
        rates, rates_of_transactions = interleave(light, rounds), interleave(database, rounds)
        times = {who: list(chain.from_iterable(found)) for who, found in interleave(latency, rounds).items()}
    return [
        Comparison("light_per_s", "1/s", {who: median(found) for who, found in rates.items()}),
        Comparison("database_per_s", "1/s", {who: median(found) for who, found in rates_of_transactions.items()}),
        Comparison("idle_ms_p50", "ms", {who: median(found) for who, found in times.items()}, more_is_better=False),
        Comparison(
            "idle_ms_p95", "ms", {who: percentile(found, 95) for who, found in times.items()}, more_is_better=False
        ),
    ]


def _latencies(weir: WeirWorkers, count: int) -> list[float]:
    """Milliseconds each, of as many executions of light steps, one at a time."""
    command, final = (
        light_command(STEPS),
        "select state from command_executions where id = %s and finished_at is not null",
    )
    times = []
    for _ in range(count):
        sleep(uniform(0.05, 0.15))
        begun = perf_counter_ns()
        execution_id = weir.door.submit(command)
        weir.door.resources.hints.wake("default")
        while (row := weir.connection.execute(final, [execution_id]).fetchone()) is None:
            if perf_counter_ns() - begun > _GIVE_UP_S * 1e9:
                raise BenchmarkFailed("an execution was not final in time")
            sleep(0.0005)
        times.append((perf_counter_ns() - begun) / 1e6)
        if row[0] != "succeeded":
            raise BenchmarkFailed("an execution failed")
    return times
