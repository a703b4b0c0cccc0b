"""`stream_cut_command`: what a stream that says nothing costs a command.

Commands of 5 light steps run one after the other in this process, as for `command_overhead_us_p50`, with a Valkey of
their own for the telemetry stream. That one is stopped (SIGSTOP): connections to it are open and silent, the worst that
a network does. The figure is the median time of a command meanwhile over the median of the stretch before, and of those
ratios the median; nothing may fail. Stretches last 5 s, longer than a recorder's time-outs and pauses.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from subprocess import Popen
from time import monotonic, perf_counter_ns

from benchmarks.commands import InlineWorker, inline_worker, light_command
from benchmarks.figures import Measured
from benchmarks.servers import PSEUDONYM_KEY, BenchmarkFailed, Servers, running_valkey
from telemetry.settings import TelemetrySettings

_STEPS = 5


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """The figure of this module."""
    seconds, rounds = (0.5, 1) if quick else (5.0, 5)
    with running_valkey(servers, "stream") as (url, server):
        telemetry = TelemetrySettings(pseudonym_key=PSEUDONYM_KEY, redis_url=url)
        with inline_worker(servers.database_url, servers.redis_url, telemetry) as worker:
            _median_us(worker, seconds)  # warms up
            ratios = [_ratio(worker, server, seconds) for _ in range(rounds)]
    return {"stream_cut_command": Measured(median(ratios), 1.0)}


def _ratio(worker: InlineWorker, server: Popen[bytes], seconds: float) -> float:
    """Of a stretch without the stream to the one before."""
    before = _median_us(worker, seconds)
    failures = worker.resources.recorder.stats().failures
    with _silent(server):
        without = _median_us(worker, seconds)
    if worker.resources.recorder.stats().failures == failures:
        raise BenchmarkFailed("the recorder did not notice that its stream was gone")
    return without / before


def _median_us(worker: InlineWorker, seconds: float) -> float:
    """Microseconds of the median command, from its claim to its end, of as many as there is time for."""
    command, times, until = light_command(_STEPS), [], monotonic() + seconds
    while monotonic() < until:
        worker.submit(command)
        begun = perf_counter_ns()
        worker.run()
        times.append((perf_counter_ns() - begun) / 1000)
    worker.resources.recorder.flush()
    return median(times)


@contextmanager
def _silent(server: Popen[bytes]) -> Iterator[None]:
    """The server stands still meanwhile."""
    server.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)
