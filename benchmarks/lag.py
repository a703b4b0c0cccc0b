"""How long an event takes from its moment to a row that others see, and what the sink takes of a core meanwhile.

A recorder in this process is given events at an even pace, and a sink in a process of its own stores them, both with
their default settings. A connection looks for the newest stored event 500 times a second; since one recorder's events
are stored in their order, that says of each event when it was there, within 2 ms.

- `lag_ms_p50`, `lag_ms_p99`: at 5,000 events a second. Reference: at 100 a second, in turn with it.
- `sink_cpu_percent`: CPU time of the sink's process at 5,000 events a second, of one core. Reference: at 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from statistics import median
from subprocess import Popen
from threading import Event, Thread
from time import monotonic, sleep
from typing import Self

from psycopg import Connection

from benchmarks.event_load import new_scope
from benchmarks.figures import Measured
from benchmarks.processes import cpu_seconds
from benchmarks.rounds import interleave, percentile
from benchmarks.servers import PSEUDONYM_KEY, BenchmarkFailed, Servers, running_service, wait_until
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.events import StepExecuted
from telemetry.ids import mint
from telemetry.pipeline import open_recorder
from telemetry.recorder import Recorder
from telemetry.settings import TelemetrySettings

_CLOCK = SystemClock()
_MANY, _FEW = 5000, 100
#: Turns of the pace-maker a second, and looks at the table.
_TURNS, _LOOKS = 100, 500
_NEWEST = (
    "select floor(extract(epoch from occurred_at) * 1000)::bigint from telemetry_events order by event_id desc limit 1"
)


@dataclass(frozen=True, slots=True)
class _Window:
    """Milliseconds of each event, and the sink's CPU, in percent of a core."""

    lags_ms: list[int]
    cpu_percent: float


class _Watch:
    """A thread that notes how far the stored events reach, and when it saw it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stop = Event()
        self._thread = Thread(target=self._run, name="bench-watch")
        self.seen: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        newest = 0
        while not self._stop.wait(1 / _LOOKS):
            row = self._connection.execute(_NEWEST).fetchone()
            if row is not None and row[0] > newest:
                newest = row[0]
                self.seen.append((newest, _CLOCK.unix_us() // 1000))


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module."""
    seconds, rounds = (1.0, 1) if quick else (5.0, 4)
    settings = {"WEIR_TELEMETRY_PSEUDONYM_KEY": PSEUDONYM_KEY}
    with ExitStack() as stack:
        sink = stack.enter_context(running_service(servers, "sink", "sink", settings))
        connection = stack.enter_context(
            closing(connect(servers.database_url, name="weir benchmarks", autocommit=True))
        )
        recorder = open_recorder(
            TelemetrySettings(),
            name="bench",
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            clock=_CLOCK,
        )
        stack.callback(recorder.close)
        run = partial(_run, recorder, connection, sink, seconds)
        run(_FEW)  # warms up
        found = interleave({"many": partial(run, _MANY), "few": partial(run, _FEW)}, rounds)
        if recorder.stats().dropped:
            raise BenchmarkFailed(f"the recorder dropped {recorder.stats().dropped}")
    lags = {name: list(chain.from_iterable(each.lags_ms for each in windows)) for name, windows in found.items()}
    cpu = {name: median(each.cpu_percent for each in windows) for name, windows in found.items()}
    return {
        "lag_ms_p50": Measured(median(lags["many"]), median(lags["few"])),
        "lag_ms_p99": Measured(percentile(lags["many"], 99), percentile(lags["few"], 99)),
        "sink_cpu_percent": Measured(cpu["many"], max(cpu["few"], 0.01)),
    }


def _run(recorder: Recorder, connection: Connection, sink: Popen[bytes], seconds: float, per_second: int) -> _Window:
    """Record at that pace for so long, and see when each event is there."""
    with _Watch(connection) as watch:
        used, begun = cpu_seconds(sink.pid), monotonic()
        stamps = _record(recorder, seconds, per_second)
        wait_until(lambda: watch.seen and watch.seen[-1][0] >= stamps[-1], "the last event is stored")
        percent = 100 * (cpu_seconds(sink.pid) - used) / (monotonic() - begun)
    lags: list[int] = []
    at = 0
    for stamp in stamps:
        while watch.seen[at][0] < stamp:
            at += 1
        lags.append(watch.seen[at][1] - stamp)
    return _Window(lags, percent)


def _record(recorder: Recorder, seconds: float, per_second: int) -> list[int]:
    """When each event occurred, in milliseconds; whatever is late is made up for at the next turn."""
    stamps: list[int] = []
    scope, begun = new_scope("todo.add"), monotonic()
    while (passed := monotonic() - begun) < seconds:
        for _ in range(int(passed * per_second) - len(stamps)):
            now_us = _CLOCK.unix_us()
            recorder.record(StepExecuted(mint(now_us), now_us, scope, "triage[17].note", "transform", 1234))
            stamps.append(now_us // 1000)
        sleep(1 / _TURNS)
    return stamps
