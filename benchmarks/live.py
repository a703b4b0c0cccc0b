"""`python -m benchmarks.live`: how late live figures are, and what it costs to collect them; `--viewers 0`: the latter.

Figures: a process reports 1,000 requests a second through the collector; a sink stores them; 50 viewers read the API's
stream `/api/metrics/live` under gunicorn, over HTTP. Late by is, for each request and viewer, from its end to the
moment when the viewer has read an event that counts it. Reference: from XADD to a blocked XREAD of another thread, at
the pace of the recorder's flushes.

Collection: a process of its own reports 1,000 requests a second, from `start_request` to `complete_request`; CPU time
is that of all its threads less that of the same loop without the collector, and memory what it has grown by, at the
most. All requests must be stored in the end, with none dropped.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import selectors
import socket
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from subprocess import Popen
from threading import Thread
from time import monotonic, process_time, sleep
from typing import Final

from benchmarks.__main__ import OtherPrograms, quiet
from benchmarks.processes import cpu_seconds, family, peak_rss_bytes, pss_bytes, rss_bytes
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
from telemetry.clock import SystemClock
from telemetry.collector import Collector
from telemetry.connections import connect, open_redis
from telemetry.pipeline import open_recorder
from telemetry.privacy import Pseudonyms
from telemetry.settings import TelemetrySettings

_CLOCK = SystemClock()
#: Turns of the pace-maker a second.
_TURNS: Final = 200
_COUNTED: Final = re.compile(rb'"request_rate":\{"value":[^,]*,"metadata":\{"requests":(\d+)\}\}')
_DATABASE, _REDIS, _PLAN = "BENCH_DATABASE_URL", "BENCH_REDIS_URL", "BENCH_PLAN"


def main(arguments: Sequence[str]) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two measurements")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--viewers", type=int, default=50, help="who look on; 0 measures collection only")
    parser.add_argument("--by", choices=["command", "user", "space"], help="what they have told apart")
    options = parser.parse_args(arguments)
    others = OtherPrograms()
    with quiet(), running_servers() as servers:
        if options.viewers:
            seen = _watch(servers, options.seconds, options.rate, options.viewers, options.by)
            _print_seen(seen, _bare_lags(servers.redis_url, 500))
        collected = _collect(servers, options.seconds, options.rate)
    _print_collected(collected, options.seconds)
    print(f"\nOther programs used {others.cores():.1f} cores meanwhile.")
    return 0


@dataclass(slots=True)
class _Seen:
    """What viewers saw; milliseconds, percents of a core, bytes."""

    lags_ms: list[float] = field(default_factory=list)
    api_cpu_percent: float = 0.0
    idle_cpu_percent: float = 0.0
    api_pss_bytes: int = 0
    idle_pss_bytes: int = 0
    told: int = 0


def _print_seen(seen: _Seen, bare: Sequence[float]) -> None:
    lags = f"p50 {median(seen.lags_ms):.1f} ms, p99 {percentile(seen.lags_ms, 99):.1f} ms"
    reference = f"p50 {median(bare):.2f} ms, p99 {percentile(bare, 99):.2f} ms"
    print(f"live: late by {lags} (of {len(seen.lags_ms):,}; goal: p99 < 100 ms); XADD to blocked XREAD: {reference}")
    print(
        f"live: CPU of the API {seen.api_cpu_percent:.1f} % of a core for {seen.told:,} events to all viewers"
        f" (before anybody looked on: {seen.idle_cpu_percent:.1f} %)"
    )
    print(
        f"live: memory (PSS) of the API {seen.api_pss_bytes / 1e6:.1f} MB (before: {seen.idle_pss_bytes / 1e6:.1f} MB)"
    )


def _print_collected(found: Mapping[str, float], seconds: float) -> None:
    print(
        f"collector: {found['requests']:,.0f} requests in {seconds:g} s, lost {found['lost']:.0f};"
        f" CPU {found['cpu_percent']:.2f} % of a core (goal: < 5 %; the loop alone: {found['loop_percent']:.2f} %);"
        f" memory grew by {found['grown_mb']:.1f} MB (goal: < 50 MB)"
    )


def _watch(servers: Servers, seconds: float, rate: int, viewers: int, by: str | None) -> _Seen:
    """Have that many look on while requests are reported."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        port = held.getsockname()[1]
    settings = {
        "WEIR_TELEMETRY_PSEUDONYM_KEY": PSEUDONYM_KEY,
        "WEIR_API_PORT": str(port),
        "WEIR_API_STREAMS": str(viewers + 2),
    }
    path = f"/api/metrics/live?window=60m{f'&by={by}' if by else ''}"
    seen = _Seen()
    with ExitStack() as stack:
        stack.enter_context(running_service(servers, "sink", "sink", settings))
        api = stack.enter_context(running_service(servers, "api", "api", settings))
        wait_until(lambda: _answers(port), "the API answers")
        sleep(3)  # what it does to start
        used, begun = cpu_seconds(api.pid), monotonic()
        sleep(3)
        seen.idle_cpu_percent = 100 * (cpu_seconds(api.pid) - used) / (monotonic() - begun)
        seen.idle_pss_bytes = pss_bytes(family(api.pid))
        audience = _Audience(stack, port, path, viewers)
        audience.read_until(lambda: all(audience.first))
        used, begun = cpu_seconds(api.pid), monotonic()
        with _reporting(servers, {"seconds": seconds, "rate": rate, "bare": False}) as (process, report):
            audience.read_until(lambda: process.poll() is not None)
            stamps = report()["stamps"]
            wanted = len(stamps)
            audience.read_until(lambda: all(reached[-1][0] >= wanted for reached in audience.reached))
        seen.api_cpu_percent = 100 * (cpu_seconds(api.pid) - used) / (monotonic() - begun)
        seen.api_pss_bytes = pss_bytes(family(api.pid))
        seen.told = audience.told
    for reached in audience.reached:
        counts = [count for count, _ in reached]
        for number, stamp_us in enumerate(stamps, 1):
            seen.lags_ms.append((reached[bisect_left(counts, number)][1] - stamp_us) / 1000)
    return seen


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class _Audience:
    """Viewers, and how many requests each of them knew of when."""

    def __init__(self, stack: ExitStack, port: int, path: str, count: int) -> None:
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._buffers = [b""] * count
        self.first: list[bool] = [False] * count
        self.reached: list[list[tuple[int, int]]] = [[(0, 0)] for _ in range(count)]
        self.told = 0
        for number in range(count):
            peer = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            self._selector.register(peer, selectors.EVENT_READ, number)

    def read_until(self, is_so: Callable[[], object]) -> None:
        """Take what comes until something is so.

        Raises:
            BenchmarkFailed: Somebody was cut off, or it took minutes.
        """
        deadline = monotonic() + 600
        while not is_so():
            if monotonic() > deadline:
                raise BenchmarkFailed("the viewers never saw all of it")
            for key, _ in self._selector.select(0.05):
                self._take(key.data, key.fileobj.recv(1 << 20))  # type: ignore[union-attr]

    def _take(self, number: int, data: bytes) -> None:
        if not data:
            raise BenchmarkFailed("a viewer was cut off")
        at_us = _CLOCK.unix_us()
        *blocks, self._buffers[number] = (self._buffers[number] + data).split(b"\n\n")
        for block in blocks:
            if b"\ndata: " in block:
                self.first[number] = True
                self.told += 1
                if found := _COUNTED.search(block):
                    self.reached[number].append((int(found[1]), at_us))


@contextmanager
def _reporting(servers: Servers, plan: Mapping[str, object]) -> Iterator[tuple[Popen[bytes], _Report]]:
    """A process that reports requests, and what it has to say in the end."""
    path = servers.home.root.parent / "reporter.json"
    environment = {
        _DATABASE: servers.database_url,
        _REDIS: servers.redis_url,
        _PLAN: json.dumps({**plan, "to": str(path)}),
    }
    with running_process(servers.home, "reporter", ["-m", "benchmarks.live"], environment) as process:
        yield process, _Report(process, path)


@dataclass(frozen=True, slots=True)
class _Report:
    process: Popen[bytes]
    path: Path

    def __call__(self) -> dict[str, list[int]]:
        """What it said.

        Raises:
            BenchmarkFailed: It did not end well.
        """
        if self.process.wait(timeout=600):
            raise BenchmarkFailed("the process that reports requests failed")
        found: dict[str, list[int]] = json.loads(self.path.read_text(encoding="utf-8"))
        return found


def _report(plan: Mapping[str, float | str]) -> None:
    """What that process does."""
    recorder = open_recorder(
        TelemetrySettings(),
        name="bench",
        database_url=os.environ[_DATABASE],
        redis_url=os.environ[_REDIS],
        clock=_CLOCK,
    )
    collector = None if plan["bare"] else Collector(recorder, _CLOCK, Pseudonyms(PSEUDONYM_KEY.encode()), ["small"])
    gc.collect()
    before, used = rss_bytes(os.getpid()), process_time()
    stamps = _report_requests(collector, float(plan["seconds"]), int(plan["rate"]))
    used = process_time() - used
    recorder.close()
    grown, dropped = peak_rss_bytes(os.getpid()) - before, sum(recorder.stats().dropped.values())
    told = {"stamps": stamps, "cpu_us": [int(used * 1e6)], "grown": [grown], "dropped": [dropped]}
    Path(str(plan["to"])).write_text(json.dumps(told), encoding="utf-8")


def _report_requests(collector: Collector | None, seconds: float, rate: int) -> list[int]:
    """When each request ended; whatever is late is made up for at the next turn."""
    stamps: list[int] = []
    begun = monotonic()
    context_time, model_time = timedelta(microseconds=1), timedelta(microseconds=2)
    while (passed := monotonic() - begun) < seconds:
        for number in range(int(passed * rate) - len(stamps)):
            if collector is not None:
                request = collector.start_request(user=f"user {number % 30}")
                collector.complete_request(
                    request,
                    model="small",
                    context_time=context_time,
                    model_time=model_time,
                    prompt_tokens=120,
                    completion_tokens=60,
                    cache="miss",
                )
            stamps.append(_CLOCK.unix_us())
        sleep(1 / _TURNS)
    return stamps


def _collect(servers: Servers, seconds: float, rate: int) -> dict[str, float]:
    """What collection costs, and whether all of it is stored."""
    with ExitStack() as stack:
        stack.enter_context(running_service(servers, "sink", "sink", {"WEIR_TELEMETRY_PSEUDONYM_KEY": PSEUDONYM_KEY}))
        connection = stack.enter_context(closing(connect(servers.database_url, name="weir bench", autocommit=True)))
        counting = "select count(*) from telemetry_events where event_type = 'chat.request.completed'"
        before = (connection.execute(counting).fetchone() or (0,))[0]
        found = {}
        for name in ("loop", "collector"):
            with _reporting(servers, {"seconds": seconds, "rate": rate, "bare": name == "loop"}) as (_, report):
                found[name] = report()
        wanted = len(found["collector"]["stamps"])

        def stored() -> int:
            return int((connection.execute(counting).fetchone() or (0,))[0]) - before

        wait_until(lambda: stored() >= wanted or found["collector"]["dropped"][0], "all requests are stored")
        lost = wanted - stored()
    spent = {name: each["cpu_us"][0] / 1e4 / seconds for name, each in found.items()}
    return {
        "requests": wanted,
        "lost": lost,
        "cpu_percent": spent["collector"] - spent["loop"],
        "loop_percent": spent["loop"],
        "grown_mb": found["collector"]["grown"][0] / 1e6,
    }


def _bare_lags(redis_url: str, count: int) -> list[float]:
    """Milliseconds from XADD to who waits for it."""
    lags: list[float] = []
    with open_redis(redis_url, timeout=timedelta(seconds=30)) as reading, open_redis(redis_url) as writing:
        last = b"0-0"

        def read() -> None:
            nonlocal last
            while len(lags) < count:
                for entry_id, fields in reading.xread({"bench:bare": last}, block=20_000)[0][1]:
                    last = entry_id
                    lags.append((_CLOCK.unix_us() - int(fields[b"at"])) / 1000)

        thread = Thread(target=read, name="bench-read")
        thread.start()
        for _ in range(count):
            writing.xadd("bench:bare", {b"at": b"%d" % _CLOCK.unix_us()})
            sleep(0.01)
        thread.join()
    return lags


if __name__ == "__main__":
    if _PLAN in os.environ:
        _report(json.loads(os.environ[_PLAN]))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
