"""`python -m benchmarks.export --events 1000000`: exporting many events, beside what Postgres itself takes.

Samples of two weeks are stored in servers of their own by `weir telemetry test`. Then `weir telemetry export` writes
all of them as JSON lines, JSON lines compressed, and CSV, each in a process of its own, whose highest resident memory
is held against that of one that exports few of them; and the same rows go through `COPY ... TO STDOUT` in this process.
One more export is killed (SIGKILL) when half of its file is there, and resumed: its checksum is that of the one that
was not.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import msgspec

from benchmarks.__main__ import quiet
from benchmarks.servers import CHECKOUT, BenchmarkFailed, Servers, running_servers
from telemetry.connections import connect
from telemetry.query import SQL
from telemetry.whole_files import digest

_WEIR = (sys.executable, "-m", "api.cli", "telemetry")
#: Says its highest resident memory, in kB, as its last line.
_MEASURED = (
    "import resource, sys; from api.cli.main import main; code = main(sys.argv[1:]);"
    " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export took.

    Attributes:
        rows: Written.
        bytes: Of the file.
        seconds: Of wall time, starting Python included.
        peak_kb: Highest resident memory of its process.
    """

    rows: int
    bytes: int
    seconds: float
    peak_kb: int


def main() -> int:
    """Measure, print, and fail if a resumed export is another one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    quiet()
    with running_servers() as servers, tempfile.TemporaryDirectory(prefix="weir-export-") as folder:
        environ = {**os.environ, "WEIR_DATABASE_URL": servers.database_url, "WEIR_HOME": f"{folder}/home"}
        _run([*_WEIR, "test", "--count", str(events), "--days", "14"], environ)
        return _measure(servers, Path(folder), environ)


def _measure(servers: Servers, folder: Path, environ: Mapping[str, str]) -> int:
    rows, seconds = _copy(servers)
    print(f"COPY ... TO STDOUT   {rows:>9} rows {seconds:7.1f} s {rows / seconds:>9.0f} rows/s")
    small = _export(folder / "small.jsonl", environ, "--component", "http", "--last", "1d")
    print(f"export, small        {_said(small)}")
    for name in ("whole.jsonl", "whole.jsonl.gz", "whole.csv"):
        done = _export(folder / name, environ)
        more = (done.peak_kb - small.peak_kb) / 1024
        share = rows / seconds and (done.rows / done.seconds) / (rows / seconds)
        print(f"export, {name:<12} {_said(done)}, {more:+.1f} MB more than small, {share:.2f} of COPY")
    killed_at = _killed(folder / "killed.jsonl.gz", environ, folder / "whole.jsonl.gz")
    resumed = _export(folder / "killed.jsonl.gz", environ, "--resume")
    is_same = digest(folder / "killed.jsonl.gz") == digest(folder / "whole.jsonl.gz")
    print(f"killed at {killed_at} bytes, resumed {_said(resumed)}: {'the same' if is_same else 'ANOTHER'} checksum")
    return 0 if is_same else 1


def _said(done: Exported) -> str:
    pace = done.rows / done.seconds
    return f"{done.rows:>9} rows {done.seconds:7.1f} s {pace:>9.0f} rows/s, peak {done.peak_kb / 1024:.1f} MB"


def _copy(servers: Servers) -> tuple[int, float]:
    """The same rows by Postgres itself, in the same order."""
    statement = f"copy ({SQL['select_events']} order by event_id) to stdout".encode()
    with connect(servers.database_url, name="weir benchmark", autocommit=True) as connection:
        begun, rows = perf_counter(), 0
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for data in copy:
                rows += bytes(data).count(b"\n")
        return rows, perf_counter() - begun


def _export(target: Path, environ: Mapping[str, str], *options: str) -> Exported:
    begun = perf_counter()
    said = _run([sys.executable, "-c", _MEASURED, *_arguments(target, *options)], environ)
    seconds = perf_counter() - begun
    manifest: dict[str, Any] = msgspec.json.decode(target.with_name(f"{target.name}.manifest.json").read_bytes())
    return Exported(manifest["rows"], manifest["bytes"], seconds, int(said.splitlines()[-1]))


def _killed(target: Path, environ: Mapping[str, str], whole: Path) -> int:
    """Begin an export, and kill it when half of it is there; how much that was."""
    process = subprocess.Popen(  # noqa: S603 - ours
        [*_WEIR, *_arguments(target)[1:]], cwd=CHECKOUT, env=dict(environ), stdout=subprocess.DEVNULL
    )
    partial, half = target.with_name(f"{target.name}.partial"), whole.stat().st_size // 2
    while not partial.exists() or partial.stat().st_size < half:
        if process.poll() is not None:
            raise BenchmarkFailed("the export ended before it could be killed")
        sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return partial.stat().st_size


def _arguments(target: Path, *options: str) -> list[str]:
    return ["telemetry", "export", "--output", str(target), "--max-size", "100GB", *options]


def _run(command: list[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=CHECKOUT, env=dict(environ), capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        raise BenchmarkFailed(done.stderr)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
