"""Samples in the store, made by `weir telemetry test` in a process of its own: what it needs is not counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from time import perf_counter

from benchmarks.servers import CHECKOUT, BenchmarkFailed, Servers


def fill(servers: Servers, events: int, days: int, until: datetime) -> None:
    """Store so many events of so many days up to an instant, and say how long it took.

    Raises:
        BenchmarkFailed: Not all of them are stored.
    """
    samples = ["telemetry", "test", "--count", str(events), "--days", str(days), "--format", "json"]
    environment = {"WEIR_HOME": str(servers.home.root), "WEIR_DATABASE_URL": servers.database_url}
    begun = perf_counter()
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "api.cli", *samples, "--until", until.isoformat()],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode or json.loads(done.stdout)["stored"] != events:
        raise BenchmarkFailed(f"weir telemetry test --count {events} did not store as many")
    seconds = perf_counter() - begun
    print(f"{events:,} events over {days} days stored in {seconds:.0f} s: {events / seconds:,.0f} a second", flush=True)
