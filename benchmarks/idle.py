"""The whole stack of `weir up`, doing nothing, and answering one request at a time.

- `idle_pss_mb`: PSS of the supervisor and every process below it, servers included, 10 s after it was ready, in
  megabytes of 10^6 bytes. Reference: as many Python processes, each having imported by itself what the services import.
- `idle_cpu_percent`: CPU time of all of them over the next 25 s, as a share of one core. Reference: one bare Dramatiq
  worker (`benchmarks.bare_worker`) with nothing to do, over the same seconds.
- `idle_latency_ms_p50`, `_p95`: from sending `POST /api/commands/<slug>/executions` for a command of 5 light steps to
  the first time another connection sees its row in a final state; it looks twice a millisecond. One request at a time
  on a kept connection, 50 to 150 ms after the last. Reference: `GET /readyz` (one query, one PING) in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from random import uniform
from statistics import median
from time import monotonic, perf_counter_ns, sleep
from urllib.parse import urlsplit

from psycopg import Connection

from benchmarks.commands import INPUTS, light_command
from benchmarks.figures import Measured
from benchmarks.processes import cpu_seconds, family, is_python, pss_bytes, rss_bytes
from benchmarks.rounds import percentile
from benchmarks.servers import BenchmarkFailed, Servers, running_process
from benchmarks.stacks import running_stack
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.ids import new_id
from workers.stack.status import StackStatus

_MEGABYTE = 1_000_000
#: Seconds between two looks at a row, and until a request is given up.
_LOOK_S, _GIVE_UP_S = 0.0005, 10
#: A process that has imported what all services import, and waits.
_IMPORTED = (
    "from api.cli.services import preload; preload(); print('imported', flush=True); import time; time.sleep(600)"
)


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module; `servers` are for the references only."""
    settle_s, window_s, requests = (2, 3, 10) if quick else (10, 25, 120)
    command = light_command(5)
    with running_stack({f"{command.slug}.yaml": command.source}) as stack:
        footprint = _footprint(stack, servers, settle_s, window_s)
        latency = _latencies(stack, command.slug, requests)
    return {**footprint, **latency}


def _footprint(stack: StackStatus, servers: Servers, settle_s: float, window_s: float) -> dict[str, Measured]:
    root = stack.pid or 0
    arguments = ["-m", "benchmarks.bare_worker", servers.database_url, servers.logical_redis(3), "4"]
    with ExitStack() as references:
        imported = references.enter_context(running_process(servers.home, "imported", ["-c", _IMPORTED], {}))
        bare = references.enter_context(running_process(servers.home, "bare-idle", arguments, {}))
        sleep(settle_s)
        pids = family(root)
        pss, pythons = pss_bytes(pids), sum(map(is_python, pids))
        unshared = pythons * rss_bytes(imported.pid)
        begun, used, used_bare = monotonic(), cpu_seconds(root), cpu_seconds(bare.pid)
        sleep(window_s)
        percent_per_s = 100 / (monotonic() - begun)
        used, used_bare = cpu_seconds(root) - used, cpu_seconds(bare.pid) - used_bare
    return {
        "idle_pss_mb": Measured(pss / _MEGABYTE, unshared / _MEGABYTE),
        "idle_cpu_percent": Measured(used * percent_per_s, used_bare * percent_per_s),
    }


@dataclass(frozen=True, slots=True)
class _Caller:
    """Talks to the API on one kept connection, and looks at rows on another."""

    http: HTTPConnection
    database: Connection
    slug: str

    def post(self) -> float:
        """Milliseconds until the execution was seen to be final."""
        correlation_id = new_id(SystemClock().unix_us())
        headers = {"Content-Type": "application/json", "X-Correlation-ID": str(correlation_id)}
        body = json.dumps({"inputs": INPUTS})
        begun = perf_counter_ns()
        self.http.request("POST", f"/api/commands/{self.slug}/executions", body, headers)
        final = (
            "select state = 'succeeded' from command_executions where correlation_id = %s and finished_at is not null"
        )
        while (row := self.database.execute(final, [correlation_id]).fetchone()) is None:
            if perf_counter_ns() - begun > _GIVE_UP_S * 1e9:
                raise BenchmarkFailed("an execution was not final in time")
            sleep(_LOOK_S)
        ended = perf_counter_ns()
        self._finish(HTTPStatus.ACCEPTED)
        if row != (True,):
            raise BenchmarkFailed("an execution failed")
        return (ended - begun) / 1e6

    def get(self) -> float:
        """Milliseconds of a request that asks both servers one thing."""
        begun = perf_counter_ns()
        self.http.request("GET", "/readyz")
        self._finish(HTTPStatus.OK)
        return (perf_counter_ns() - begun) / 1e6

    def _finish(self, expected: HTTPStatus) -> None:
        answer = self.http.getresponse()
        answer.read()
        if answer.status != expected:
            raise BenchmarkFailed(f"the API answered {answer.status}")


def _latencies(stack: StackStatus, slug: str, requests: int) -> dict[str, Measured]:
    address = urlsplit(stack.urls["api"])
    posts, gets = [], []
    with (
        closing(HTTPConnection(address.hostname or "", address.port, timeout=_GIVE_UP_S)) as http,
        closing(connect(stack.urls["database"], name="weir benchmarks", autocommit=True)) as database,
    ):
        caller = _Caller(http, database, slug)
        for _ in range(requests // 4):
            caller.post()
            caller.get()
        for _ in range(requests):
            sleep(uniform(0.05, 0.15))
            posts.append(caller.post())
            sleep(uniform(0.05, 0.15))
            gets.append(caller.get())
    return {
        "idle_latency_ms_p50": Measured(median(posts), median(gets)),
        "idle_latency_ms_p95": Measured(percentile(posts, 95), percentile(gets, 95)),
    }
