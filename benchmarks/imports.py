"""Importing a folder of notes: `weir fragments import`, as a person types it, into the stack of `weir up`.

- `import_notes_per_s`: notes of a folder of 10,000 (4 kB each on disk, 100 to a folder, with front matter), divided by
  the seconds of the whole command: starting it, reading, parsing, sending, storing fragments and what they changed,
  recording events. Reference: `executemany` of the same rows into the same table, parsed before, in one transaction.
- `import_peak_mb`: most memory (RSS) that the command ever held, in megabytes of 10^6 bytes. Reference: the same with a
  tenth of the notes; a ratio near 1 says that memory does not grow with the folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from benchmarks.figures import Measured
from benchmarks.processes import peak_rss_bytes
from benchmarks.rounds import interleave
from benchmarks.servers import BenchmarkFailed, Servers
from benchmarks.stacks import running_stack
from dsl import fragments
from dsl.notes import read_notes
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.ids import new_id

_MEGABYTE = 1_000_000
#: Seconds between two looks at the memory of the command.
_LOOK_S = 0.01
_FOLDER_NOTES = 100
_WORDS = ("milk", "bread", "invoice", "meeting", "garden", "river", "idea", "recipe", "travel", "budget", "latency")

_INSERT = """
insert into fragments (id, space_id, type, title, content, state, metadata, tags, source, created_at, updated_at)
values (%(id)s, %(space_id)s, %(type)s, %(title)s, %(content)s, '{}', %(metadata)s::jsonb, %(tags)s, %(source)s,
    %(created_at)s, %(created_at)s)
"""


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """Both figures of this module."""
    notes, rounds = (300, 1) if quick else (10_000, 3)
    with TemporaryDirectory(prefix="weir-notes-") as folder, running_stack({}) as stack:
        whole, tenth = Path(folder, "whole"), Path(folder, "tenth")
        _write_notes(whole, notes)
        _write_notes(tenth, notes // 10)
        results = interleave(
            {
                "import": lambda: _import(stack.urls["api"], whole, notes),
                "tenth": lambda: _import(stack.urls["api"], tenth, notes // 10),
                "insert": lambda: _insert(servers.database_url, whole),
            },
            rounds,
        )
    peaks = {name: max(peak for _, peak in results[name]) for name in ("import", "tenth")}
    per_s = {name: median(notes / seconds for seconds, _ in results[name]) for name in ("import", "insert")}
    return {
        "import_notes_per_s": Measured(per_s["import"], per_s["insert"]),
        "import_peak_mb": Measured(peaks["import"] / _MEGABYTE, peaks["tenth"] / _MEGABYTE),
    }


def _write_notes(root: Path, count: int) -> None:
    random = Random(count)
    for number in range(count):
        folder = root / f"{number // _FOLDER_NOTES:03}"
        folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(random.choices(_WORDS, k=random.randint(20, 400)))
        front = f"---\ntitle: Note {number}\ntags: [home, n{number % 7}]\ncreated: 2026-03-01\nmood: calm\n---\n"
        (folder / f"{number:05}.md").write_text(f"{front}# Note {number}\n\n{text} #tag{number % 5}\n", "utf-8")


def _import(url: str, folder: Path, expected: int) -> tuple[float, int]:
    """Seconds and bytes of `weir fragments import` into a space that is new."""
    space = f"bench-{new_id(SystemClock().unix_us())}"
    arguments = ["-m", "api.cli", "fragments", "import", str(folder), "--space", space, "--format", "json"]
    peak, begun = 0, perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *arguments], env={**os.environ, "WEIR_URL": url}, stdout=subprocess.PIPE
    ) as process:
        while process.poll() is None:
            peak = max(peak, peak_rss_bytes(process.pid))
            sleep(_LOOK_S)
        seconds = perf_counter() - begun
        answer, _ = process.communicate()
    if process.returncode != 0 or json.loads(answer)["created"] != expected:
        raise BenchmarkFailed(f"the import ended with {process.returncode}")
    return seconds, peak


def _insert(database_url: str, folder: Path) -> tuple[float, int]:
    """Seconds of inserting the notes with nothing around it."""
    now = SystemClock().now()
    with connect(database_url, name="weir benchmarks") as connection:
        space_id = fragments.space_id(connection, f"bench-{new_id(SystemClock().unix_us())}")
        rows = [
            {
                **asdict(note),
                "metadata": json.dumps(note.metadata),
                "tags": list(note.tags),
                "id": new_id(SystemClock().unix_us()),
                "space_id": space_id,
                "created_at": note.created or now,
            }
            for note in read_notes(folder, [])
        ]
        begun = perf_counter()
        connection.cursor().executemany(_INSERT, rows)
        connection.commit()
        return perf_counter() - begun, 0
