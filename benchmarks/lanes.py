"""`lane_latency_ms_p50`: short executions in one lane while another lane has more long ones than it can run.

Each lane has a worker process of its own (4 threads, default settings). A short execution has 5 light steps; it is
submitted as the API does it, one at a time, 20 to 60 ms after the last, and measured until another connection sees its
final state. A long one maps over a list and takes some tenths of a second of CPU; enough of them are queued that some
still are when the short ones of a round are done, or the round is not counted. Reference: the same while the other lane
is idle. Both take turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from random import uniform
from statistics import median
from time import perf_counter_ns, sleep

from psycopg import Connection

from benchmarks.commands import InlineWorker, inline_worker, light_command, long_command
from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import BenchmarkFailed, Servers, running_service, wait_until
from dsl.command import Command
from telemetry.connections import connect

SHORT_LANE, LONG_LANE = "default", "long"
_LONG, _GIVE_UP_S = 40, 20
_FINAL = "select state from command_executions where id = %s and finished_at is not null"
_OPEN = "select count(*) from command_executions where lane = %s and finished_at is null"


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """The figure of this module."""
    rounds, requests = (1, 5) if quick else (3, 30)
    with ExitStack() as stack:
        for lane in (SHORT_LANE, LONG_LANE):
            environment = {"WEIR_WORKER_LANE": lane, "WEIR_DSL_LANES": f"{SHORT_LANE},{LONG_LANE}"}
            stack.enter_context(running_service(servers, f"worker-{lane}", "worker", environment))
        lanes = _Lanes(
            stack.enter_context(inline_worker(servers.database_url, servers.redis_url)),
            stack.enter_context(connect(servers.database_url, name="weir benchmarks", autocommit=True)),
        )
        lanes.warm_up()
        found = interleave(
            {"idle": partial(lanes.latencies, requests), "saturated": partial(lanes.saturated, requests)}, rounds
        )
    times = {name: list(chain.from_iterable(each)) for name, each in found.items()}
    return {"lane_latency_ms_p50": Measured(median(times["saturated"]), median(times["idle"]))}


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Submits to both lanes, and looks at what becomes of it."""

    door: InlineWorker
    connection: Connection

    def warm_up(self) -> None:
        """Until both workers have run something."""
        self._submit(long_command(), LONG_LANE)
        self.latencies(5)
        wait_until(lambda: not self._open(), "the warm-up ends")

    def latencies(self, requests: int) -> list[float]:
        """Milliseconds of each short execution."""
        return [self._latency() for _ in range(requests)]

    def saturated(self, requests: int) -> list[float]:
        """The same while the other lane has more than it can run."""
        command = long_command()
        for _ in range(_LONG):
            self._submit(command, LONG_LANE)
        times = self.latencies(requests)
        if not self._open():
            raise BenchmarkFailed("the long lane was done before the short one")
        wait_until(lambda: not self._open(), "the long lane is done", 120, interval_s=0.1)
        return times

    def _latency(self) -> float:
        sleep(uniform(0.02, 0.06))
        begun = perf_counter_ns()
        execution_id = self._submit(light_command(5), SHORT_LANE)
        while self.connection.execute(_FINAL, [execution_id]).fetchone() is None:
            if perf_counter_ns() - begun > _GIVE_UP_S * 1e9:
                raise BenchmarkFailed("a short execution was not final in time")
            sleep(0.0005)
        return (perf_counter_ns() - begun) / 1e6

    def _submit(self, command: Command, lane: str) -> object:
        execution_id = self.door.submit(command, lane)
        self.door.resources.hints.wake(lane)
        return execution_id

    def _open(self) -> int:
        row = self.connection.execute(_OPEN, [LONG_LANE]).fetchone()
        return 0 if row is None else int(row[0])
