"""`weir telemetry export` as a person types it, killed as the machine kills it, on a disk that is full."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.apis import Weir
from fixtures.exports import digest_of, manifest_of, rows_of
from fixtures.samples import make_scope, one_of_each
from psycopg import Connection

from telemetry.partitions import make_partitions
from telemetry.privacy import Pseudonyms
from telemetry.rows import RowEncoder
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.sampling import fill
from telemetry.store import insert_events, prepare_session
from telemetry.testing import NOON

ROOT = Path(__file__).parents[2]
EXPORT = ("telemetry", "export")
SAMPLES = Samples(1, frozenset(COMPONENTS), [bytes([number]) * 16 for number in range(1, 13)])
EVENTS = 4500

#: The command line, in a process that the kernel kills after its second page; everything is noted at once.
DIES = """
import os, signal, sys
from api.cli.export_progress import ProgressLine
from api.cli.main import main
from telemetry.export import writing

writing._NOTED_EVERY_US = 0
told = []
def tell(self, progress):
    told.append(progress)
    if len(told) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
ProgressLine.tell = tell
sys.exit(main(sys.argv[1:]))
"""

#: The command line on a disk that fills up, and again once there is room.
FULL = """
import hashlib, os, subprocess, sys
from pathlib import Path
from api.cli.main import main

arguments = [*sys.argv[1:], "--output", "disk/events.jsonl"]
print(main(arguments))
print(sorted(name for name in os.listdir("disk") if not name.endswith(".new")))
subprocess.run(["mount", "-o", "remount,size=50m", "disk"], check=True)
sys.stdout.flush()
with open("rest", "w") as rest:
    before, sys.stdout = sys.stdout, rest
    main([*arguments, "--resume"])
    sys.stdout = before
print(Path("rest").read_text().splitlines()[0])
print(hashlib.sha256(Path("disk/events.jsonl").read_bytes()).hexdigest())
"""


@pytest.fixture
def stored(
    connection: Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch, offline_weir: Weir
) -> Connection[Any]:
    """Samples of three days, and the command line told where."""
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    monkeypatch.setenv("WEIR_TELEMETRY_PSEUDONYM_KEY", "a key for tests")
    prepare_session(connection)
    fill(connection, SAMPLES, EVENTS, timedelta(days=3), NOON)
    return connection


@pytest.mark.req("S-07")
def test_without_options_everything_goes_to_a_file_here(stored: Connection[Any], offline_weir: Weir) -> None:
    done = offline_weir(*EXPORT)

    (name,) = [path.name for path in Path().glob("*.jsonl")]
    assert re.fullmatch(r"weir-telemetry-\d{8}T\d{6}Z\.jsonl", name)
    assert (done.code, done.err) == (0, "")
    assert f"{name}  4,500 rows" in done.out
    assert len(rows_of(Path(name))) == EVENTS


@pytest.mark.req("S-07", "S-03")
def test_options_are_those_of_queries(stored: Connection[Any], offline_weir: Weir) -> None:
    make_partitions(stored, NOON, 0)
    scope = make_scope(user_id=Pseudonyms(b"a key for tests").user("ada"))
    events = one_of_each(scope, int(NOON.timestamp() * 1_000_000))
    insert_events(stored, map(RowEncoder().encode, events))

    options = (
        "--user",
        "ada",
        "--component",
        "dsl",
        "--level",
        "error",
        "-f",
        "step:triage*",
        "--start",
        f"{NOON:%FT%T}Z",
    )
    done = offline_weir(*EXPORT, *options, "--output", "a.csv", "--compress", "--include-metrics")

    (row,) = rows_of(Path("a.csv.gz"))
    assert (done.code, row["event_type"], row["step_path"]) == (0, "dsl.step.failed", "triage[17].note")
    assert "a.metrics.csv.gz" in done.out
    # The plain name is in no file.
    assert manifest_of(Path("a.csv.gz"))["filter"].startswith("component:dsl level:error")
    assert not any(b"ada" in path.read_bytes() for path in Path().iterdir())


@pytest.mark.req("S-05")
def test_a_query_exports_through_the_same_code(stored: Connection[Any], offline_weir: Weir) -> None:
    done = offline_weir("telemetry", "query", "--component", "http", "--export", "found.csv.gz")
    assert (done.code, done.err) == (0, "")
    assert offline_weir(*EXPORT, "--component", "http", "--output", "same.csv.gz").code == 0

    assert digest_of(Path("found.csv.gz")) == digest_of(Path("same.csv.gz"))
    assert {row["component"] for row in rows_of(Path("found.csv.gz"))} == {"http"}
    refused = offline_weir("telemetry", "query", "--export", "x.csv", "--follow")
    assert (refused.code, "--export and --follow exclude each other" in refused.err) == (2, True)


@pytest.mark.req("S-07")
def test_killed_and_resumed_it_has_the_checksum_of_one_that_was_not(
    stored: Connection[Any], offline_weir: Weir
) -> None:
    name = "events.jsonl.gz"
    options = ("--last", "9000d", "--end", "now")
    assert offline_weir(*EXPORT, *options, "--output", f"once.{name}").code == 0

    arguments = (*EXPORT, *options, "--output", name)
    program = [sys.executable, "-c", DIES, *arguments]
    killed = subprocess.run(program, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)  # noqa: S603 - ours
    assert killed.returncode == -signal.SIGKILL
    assert Path(f"{name}.partial").exists()
    assert not Path(name).exists()
    assert "did not end" in offline_weir(*arguments).err
    assert "another export" in offline_weir(*arguments, "--resume", "--level", "error").err
    done = offline_weir(*arguments, "--resume")

    assert (done.code, done.err) == (0, "")
    assert digest_of(Path(name)) == digest_of(Path(f"once.{name}"))
    assert len(rows_of(Path(name))) == EVENTS
    assert not Path(f"{name}.partial").exists()


@pytest.mark.req("S-07")
def test_the_size_is_kept_and_what_to_do_is_said(stored: Connection[Any], offline_weir: Weir) -> None:
    small = (*EXPORT, "--output", "a.jsonl", "--max-size")

    refused = offline_weir(*small, "2MB")

    assert refused.code == 1
    assert "a.jsonl would get larger than 2 MB: 2000 of 4500 rows are written (events until " in refused.err
    assert "2500 are missing" in refused.err
    assert all(word in refused.err for word in ("shorter time", "compressed", "split", "larger size"))
    assert not Path("a.jsonl").exists()
    assert offline_weir(*small, "1GB", "--resume").code == 0
    assert len(rows_of(Path("a.jsonl"))) == EVENTS
    assert offline_weir(*EXPORT, "--output", "b.jsonl", "--max-size", "2MB", "--compress").code == 0
    assert offline_weir(*EXPORT, "--output", "c.jsonl", "--max-size", "2MB", "--split-by", "event_type").code == 0


@pytest.mark.req("S-07")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "parquet"), "DuckDB"),
        (("--output", "x.parquet"), "DuckDB"),
        (("--output", "-"), "cannot go through a pipe"),
        (("--max-size", "much"), "not a size such as 100MB"),
        (("--component", "kitchen"), "there is no component 'kitchen'"),
        (("--filter", "colour:red"), "colour"),
        (("--time-range", "1h", "--start", "2h"), "--last and --start exclude each other"),
        (("--format", "json", "--output", "x.csv.gz"), "--format is json, and the file's name ends with .csv"),
        (("--resume",), "--resume needs the --output"),
        (("--resume", "--force", "--output", "x"), "exclude each other"),
    ],
)
def test_what_cannot_be_is_said(
    stored: Connection[Any], offline_weir: Weir, options: tuple[str, ...], said: str
) -> None:
    refused = offline_weir(*EXPORT, *options)

    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert list(Path().iterdir()) == []


@pytest.mark.req("S-07")
def test_a_folder_that_is_not_there_is_named(stored: Connection[Any], offline_weir: Weir) -> None:
    refused = offline_weir(*EXPORT, "--output", "none/a.jsonl")

    assert refused.code == 1
    assert "there is no folder none" in refused.err
    assert ".lock" not in refused.err


@pytest.mark.req("S-07")
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/bin/unshare").exists(), reason="no disk of its own to fill")
def test_a_full_disk_is_said_and_leaves_no_half_file(stored: Connection[Any], offline_weir: Weir) -> None:
    Path("disk").mkdir()
    mounted = 'mount -t tmpfs -o size=2m tmpfs disk || exit 77; exec "$@"'
    done = subprocess.run(  # noqa: S603 - a mount of its own, gone with the process
        ["/usr/bin/unshare", "-m", "sh", "-c", mounted, "sh", sys.executable, "-c", FULL, *EXPORT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("no mounts here")

    assert "weir: disk cannot be written: No space left on device (export.unwritable)" in done.stderr
    refused, left, resumed, digest = done.stdout.splitlines()
    assert (refused, left) == ("1", "['events.jsonl.journal', 'events.jsonl.partial']")
    assert resumed.startswith("disk/events.jsonl  4,500 rows")
    assert offline_weir(*EXPORT, "--output", "same.jsonl").code == 0
    assert digest == digest_of(Path("same.jsonl"))
