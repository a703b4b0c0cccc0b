"""What an execution costs in a database that stores 1,000 of them, and in one that stores 100,000 or a million.

Each size has a database of its own (`benchmarks.seeding`) on the same durable servers; rounds alternate between them.
Everything is run in this process by the code that API, workers and scheduler run, telemetry on.

Figures are the time in the largest database divided by that in the smallest, which is the reference:

- `flat_execution`: one execution of 5 light steps, from its submission to its final commit, with up to 750 executions
  queued behind it.
- `flat_page`: a page of 10 executions, all of them, or by state, command or being slow: the one that grows most.
- `flat_tick`: what the scheduler does each second with nothing due: sweep, expiry, reaper, tick.

`python -m benchmarks.flat 1000000` takes another largest size (a million takes some minutes and 3 GB of disk), and
shows every part by itself.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from statistics import median
from time import perf_counter_ns
from typing import TypeVar

from benchmarks.__main__ import quiet
from benchmarks.commands import InlineWorker, inline_worker, light_command
from benchmarks.figures import Measured, shown
from benchmarks.rounds import interleave
from benchmarks.seeding import seed
from benchmarks.servers import Servers, running_servers
from dsl.command import Command
from telemetry.connections import connect
from workers.services.reaper import Reaper
from workers.services.sweeper import PATIENCE, Sweeper
from workers.services.ticker import Ticker
from workers.stops import Stops

R = TypeVar("R")

#: Executions stored in the smallest database, and in the largest unless told otherwise.
SMALLEST, LARGEST = 1_000, 100_000
#: A page must be full in the smallest as well.
_STEPS, _PAGE = 5, 10
#: Parts by the figure they belong to, whose value is their sum, or the worst of pages.
_EXECUTION, _TICK = ("submit", "claim", "run"), ("sweep", "expire", "reap", "tick")


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module."""
    sizes, rounds = ((SMALLEST, 5_000), 10) if quick else ((SMALLEST, LARGEST), 150)
    small, large = parts(servers, sizes, rounds)
    return {
        "flat_execution": Measured(_sum(large, _EXECUTION) / _sum(small, _EXECUTION), 1),
        "flat_page": Measured(max(large[name] / small[name] for name in small if name.startswith("page")), 1),
        "flat_tick": Measured(_sum(large, _TICK) / _sum(small, _TICK), 1),
    }


def parts(servers: Servers, sizes: Sequence[int], rounds: int) -> list[dict[str, float]]:
    """Milliseconds of each part, medians, for each size."""
    command = light_command(_STEPS)
    with ExitStack() as stack:
        measurements: dict[str, Callable[[], dict[str, float]]] = {}
        for number, size in enumerate(sizes):
            url = servers.new_database(f"flat_{size}")
            with closing(connect(url, name="weir benchmarks", autocommit=True)) as connection:
                seed(connection, size)
            worker = stack.enter_context(inline_worker(url, servers.logical_redis(number + 1)))
            measurements[str(size)] = partial(_once, worker, command, _periodic(worker))
        interleave(measurements, max(5, rounds // 10))
        found = interleave(measurements, rounds)
    return [{name: median(once[name] for once in found[str(size)]) for name in found[str(size)][0]} for size in sizes]


def _periodic(worker: InlineWorker) -> dict[str, Callable[[], object]]:
    """What the scheduler does each second."""
    resources = worker.resources
    stops = Stops(resources.pool, resources.executions, resources.clock, resources.recorder)
    reaper = Reaper(
        resources.pool,
        resources.executions,
        resources.clock,
        resources.recorder,
        None,
        lease=timedelta(),  # it waits for no lease to lapse
        max_deaths=3,
    )
    return {
        "sweep": Sweeper(resources.executions, resources.broker, resources.hints, PATIENCE).run_once,
        "expire": stops.expire,
        "reap": reaper.run_once,
        "tick": Ticker(resources.occurrences, resources.clock).run_once,
    }


def _once(worker: InlineWorker, command: Command, periodic: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of each part, once."""
    executions = worker.resources.executions
    page = partial(executions.page, limit=_PAGE)
    times = {"submit": _timed(lambda: worker.submit(command))[0]}
    times["claim"], claim = _timed(worker.claim)
    times["run"] = _timed(lambda: worker.runner.run(claim))[0]
    pages = {
        "page": page,
        "page by state": partial(page, state="failed"),
        "page by command": partial(page, command="seeded.3"),
        "page of slow": partial(page, slow=True),
    }
    others: dict[str, Callable[[], object]] = {**pages, **periodic}
    return times | {name: _timed(what)[0] for name, what in others.items()}


def _timed(what: Callable[[], R]) -> tuple[float, R]:
    begun = perf_counter_ns()
    result = what()
    return (perf_counter_ns() - begun) / 1e6, result


def _sum(times: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(times[name] for name in names)


def main(largest: int) -> None:
    """Show every part, at the smallest size, a hundred thousand, and the largest."""
    for number in (signal.SIGINT, signal.SIGTERM):  # nothing stays behind, whichever it is
        signal.signal(number, signal.default_int_handler)
    sizes = sorted({SMALLEST, min(LARGEST, largest), largest})
    with quiet(), running_servers() as servers:
        found = parts(servers, sizes, 200)
    print("milliseconds, medians".ljust(24), *(f"{size:>12,}" for size in sizes), f"{'largest / smallest':>20}")
    for name in found[0]:
        values = [times[name] for times in found]
        print(name.ljust(24), *(f"{shown(value):>12}" for value in values), f"{values[-1] / values[0]:>20.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGEST)
