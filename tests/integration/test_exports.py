"""Exports of events: the same rows in every form, the same bytes however often they were broken off.

One file, for all of them are of the same stored rows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fixtures.exports import digest_of, manifest_of, rows_of
from fixtures.samples import make_scope, make_step, now_us
from psycopg import Connection

from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.errors import ExportChanged, ExportExists, ExportInUse, ExportOther, ExportTooLarge
from telemetry.export.journal import Place
from telemetry.export.request import ExportRequest, request_for
from telemetry.export.writing import Export, Limit, Progress, open_reader
from telemetry.filters.parsing import parse
from telemetry.partitions import make_partitions
from telemetry.query import EventFilters
from telemetry.rows import RowEncoder
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.sampling import fill
from telemetry.store import insert_events, prepare_session
from telemetry.testing import NOON
from workers.export_sources import sources_of

SAMPLES = Samples(1, frozenset(COMPONENTS), [bytes([number]) * 16 for number in range(1, 13)])
#: More than two pages.
EVENTS = 4500


@pytest.fixture
def stored(connection: Connection[Any]) -> Connection[Any]:
    """Samples of three days."""
    prepare_session(connection)
    fill(connection, SAMPLES, EVENTS, timedelta(days=3), NOON)
    return connection


@pytest.fixture
def reader(database_url: str) -> Iterator[Connection[Any]]:
    with open_reader(database_url) as connection:
        yield connection


def export_to(target: Path, request: ExportRequest, limit: Limit = Limit(), asked: str = "this") -> Export:  # noqa: B008 - a value
    return Export(request, sources_of(request), target, asked=asked, limit=limit, clock=SystemClock())


def whole(reader: Connection[Any], target: Path, request: ExportRequest, limit: Limit = Limit()) -> dict[str, Any]:  # noqa: B008 - a value
    export = export_to(target, request, limit)
    with export.place.claimed():
        export.begin(reader, patience=timedelta(minutes=1))
        manifest = export.run(reader, lambda: True, lambda _: None)
    assert manifest is not None
    return manifest


@contextmanager
def pages(number: int) -> Iterator[Callable[[], bool]]:
    """Goes on for so many pages."""
    left = iter([True] * number + [False])
    yield lambda: next(left)


def broken_off(
    reader: Connection[Any],
    target: Path,
    request: ExportRequest,
    patience: timedelta = timedelta(minutes=1),
    after: int = 1,
) -> None:
    """Begun, and left after a page or so, with what a killed process leaves beyond its journal."""
    export = export_to(target, request)
    with export.place.claimed(), pages(after) as go_on:
        export.begin(reader, patience=patience)
        assert export.run(reader, go_on, lambda _: None) is None
    for partial in target.parent.glob("*.partial"):
        with partial.open("ab") as file:
            file.write(b'{"half a li')


def resumed(reader: Connection[Any], target: Path, request: ExportRequest) -> dict[str, Any]:
    export = export_to(target, request)
    with export.place.claimed():
        export.resume()
        manifest = export.run(reader, lambda: True, lambda _: None)
    assert manifest is not None
    return manifest


@pytest.mark.req("S-07")
def test_every_form_holds_the_same_rows(stored: Connection[Any], reader: Connection[Any], tmp_path: Path) -> None:
    filters = EventFilters(component="dsl", more=parse("duration:>1ms"))
    found = {}
    for form in ("json", "jsonl", "csv"):
        target = tmp_path / f"events.{form}"
        whole(reader, target, request_for(filters, form=form))
        found[form] = rows_of(target)

    (expected,) = stored.execute(
        "select count(*) from telemetry_events where component = 'dsl' and duration_us > 1000"
    ).fetchone() or (0,)
    assert found["json"] == found["jsonl"] == found["csv"]
    assert len(found["json"]) == expected > 500
    ids = [row["event_id"] for row in found["json"]]
    assert ids == sorted(set(ids))


@pytest.mark.req("S-07")
def test_what_is_kept_of_days_that_went_is_exported_too(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    stored.execute(
        "with gone as (delete from telemetry_events where component = 'http' returning *)"
        " insert into telemetry_events_kept select (r).* from ("
        "   select jsonb_populate_record(null::telemetry_events_kept, to_jsonb(gone)) as r from gone) as x"
    )

    whole(reader, tmp_path / "events.jsonl", request_for(EventFilters()))

    rows = rows_of(tmp_path / "events.jsonl")
    assert len(rows) == EVENTS
    assert {row["component"] for row in rows} >= {"http", "dsl"}


@pytest.mark.req("S-07")
@pytest.mark.parametrize(("form", "is_compressed"), [("json", False), ("jsonl", True), ("csv", True)])
def test_what_was_broken_off_goes_on_to_the_same_bytes(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path, form: str, is_compressed: bool
) -> None:
    request = request_for(EventFilters(), form=form, is_compressed=is_compressed)
    once, twice = (tmp_path / folder / f"events{request.suffix}" for folder in ("once", "twice"))
    once.parent.mkdir()
    twice.parent.mkdir()
    whole(reader, once, request)

    broken_off(reader, twice, request)
    assert not twice.exists()
    manifest = resumed(reader, twice, request)

    assert twice.read_bytes() == once.read_bytes()
    assert manifest["files"][0]["sha256"] == digest_of(twice)
    assert len(rows_of(twice)) == manifest["rows"] == EVENTS
    assert sorted(path.name for path in twice.parent.iterdir()) == [
        twice.name,
        f"{twice.name}.manifest.json",
        f"{twice.name}.sha256",
    ]
    subprocess.run([shutil.which("sha256sum") or "", "-c", f"{twice.name}.sha256"], cwd=twice.parent, check=True)  # noqa: S603


@pytest.mark.req("S-07")
def test_what_arrives_meanwhile_changes_nothing_however_old_it_is(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    request = request_for(EventFilters())
    whole(reader, tmp_path / "once.jsonl", request)
    broken_off(reader, tmp_path / "twice.jsonl", request)

    make_partitions(stored, SystemClock().now(), 0)
    old_us = int(NOON.timestamp() * 1_000_000) - 60_000_000
    late = [make_step(make_scope(), at_us) for at_us in (old_us, old_us + 1000, now_us())]
    insert_events(stored, map(RowEncoder().encode, late))
    resumed(reader, tmp_path / "twice.jsonl", request)

    assert digest_of(tmp_path / "once.jsonl") == digest_of(tmp_path / "twice.jsonl")
    whole(reader, tmp_path / "later.jsonl", request)
    assert len(rows_of(tmp_path / "later.jsonl")) == EVENTS + 3


@pytest.mark.req("S-07")
def test_what_is_being_stored_is_left_out_whole(
    stored: Connection[Any], reader: Connection[Any], database_url: str, tmp_path: Path
) -> None:
    """An event whose transaction is open when the export begins is not in it, whenever that commits."""
    request = request_for(EventFilters())
    at_us = int(NOON.timestamp() * 1_000_000) - 1
    step = make_step(make_scope(), at_us)
    with stored.transaction(), connect(database_url, name="another", autocommit=True) as another:
        insert_events(stored, map(RowEncoder().encode, [step]))
        another.execute("select pg_current_xact_id()")
        # Those of before may be left out with it: nobody waits for it here.
        broken_off(reader, tmp_path / "events.jsonl", request, patience=timedelta(0), after=0)

    manifest = resumed(reader, tmp_path / "events.jsonl", request)
    assert manifest["lacks_newest"]
    assert str(UUID(bytes=step.event_id)) not in (tmp_path / "events.jsonl").read_text()


@pytest.mark.req("S-07")
def test_what_is_deleted_meanwhile_is_noticed(stored: Connection[Any], reader: Connection[Any], tmp_path: Path) -> None:
    request = request_for(EventFilters())
    broken_off(reader, tmp_path / "events.jsonl", request)
    stored.execute(
        "delete from telemetry_events where event_id = (select max(event_id::text)::uuid from telemetry_events)"
    )

    with pytest.raises(ExportChanged, match="1 of 4500 rows"):
        resumed(reader, tmp_path / "events.jsonl", request)

    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.req("S-07")
def test_a_file_that_would_get_too_large_says_what_is_missing_and_goes_on_with_more_room(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    request, target = request_for(EventFilters()), tmp_path / "events.jsonl"
    whole(reader, tmp_path / "whole.jsonl", request)

    with pytest.raises(ExportTooLarge) as refused:
        whole(reader, target, request, Limit(2_000_000))

    assert "2000 of 4500 rows are written" in refused.value.detail
    assert refused.value.facts["missing"] == 2500
    assert str(refused.value.facts["written_until"]) in refused.value.detail
    assert not target.exists()
    assert Path(f"{target}.partial").stat().st_size <= 2_000_000
    resumed(reader, target, request)
    assert digest_of(target) == digest_of(tmp_path / "whole.jsonl")


@pytest.mark.req("S-07")
@pytest.mark.parametrize(
    ("split_by", "part"),
    [
        ("component", lambda row: row["component"]),
        ("event_type", lambda row: row["event_type"]),
        ("day", lambda row: row["occurred_at"][:10]),
    ],
)
def test_events_are_split_into_files_of_their_own(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path, split_by: str, part: Callable[[Any], str]
) -> None:
    request = request_for(EventFilters(), form="csv", is_compressed=True, split_by=split_by)
    target = tmp_path / "events.csv.gz"
    broken_off(reader, target, request)
    manifest = resumed(reader, target, request)

    seen = 0
    for file in manifest["files"]:
        path = tmp_path / file["name"]
        rows = rows_of(path)
        (word,) = {part(row) for row in rows}
        assert (path.name, len(rows)) == (f"events.{word}.csv.gz", file["rows"])
        assert file["sha256"] == digest_of(path)
        assert (file["first"], file["last"]) == (rows[0]["event_id"], rows[-1]["event_id"])
        seen += len(rows)
    assert seen == EVENTS == manifest["rows"]
    assert not list(tmp_path.glob("*.partial"))
    assert not target.exists()


@pytest.mark.req("S-07")
def test_records_beside_events_have_files_of_their_own(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    stored.execute(
        "insert into telemetry_health_checks values"
        " (gen_random_uuid(), %(now)s, %(now)s, 'disk', 'database', 'healthy', 12.5, 'bytes'),"
        " (gen_random_uuid(), %(old)s, %(old)s, 'disk', 'database', 'healthy', 12.5, 'bytes')",
        {"now": NOON, "old": NOON - timedelta(days=2)},
    )
    stored.execute(
        "insert into telemetry_performance_snapshots (id, window_at, window_us, subject, name, runs, p50_us, class)"
        " values (gen_random_uuid(), %s, 300000000, 'command', 'x', 3, 1500, 'fast')",
        (NOON,),
    )
    beside = ("metrics", "health", "performance")
    request = request_for(EventFilters(since=NOON - timedelta(days=1)), beside=beside)

    manifest = whole(reader, tmp_path / "events.jsonl", request)

    (check,) = rows_of(tmp_path / "events.health.jsonl")
    assert (check["name"], check["value"], check["checked_at"][:10]) == ("disk", 12.5, f"{NOON:%Y-%m-%d}")
    (snapshot,) = rows_of(tmp_path / "events.performance.jsonl")
    assert (snapshot["window_ms"], snapshot["p50_ms"], snapshot["class"]) == (300000, 1.5, "fast")
    assert [file["source"] for file in manifest["files"]] == ["health", "events", "metrics", "performance"]
    assert list(snapshot) == manifest["fields"]["performance"]
    assert list(check) == manifest["fields"]["health"]


@pytest.mark.req("S-07")
@pytest.mark.parametrize(("form", "empty"), [("json", "[]\n"), ("jsonl", ""), ("csv", "event_id,occurred_at,")])
def test_nothing_is_a_file_too(reader: Connection[Any], tmp_path: Path, form: str, empty: str) -> None:
    target = tmp_path / f"events.{form}"

    manifest = whole(reader, target, request_for(EventFilters(), form=form))

    assert target.read_text().startswith(empty)
    assert (manifest["rows"], rows_of(target)) == (0, [])


@pytest.mark.req("S-07")
def test_nothing_is_overwritten_unless_asked_and_nobody_writes_beside_another(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    request, target = request_for(EventFilters()), tmp_path / "events.jsonl"
    broken_off(reader, target, request)
    with pytest.raises(ExportExists, match="did not end"):
        whole(reader, target, request)
    with pytest.raises(ExportOther, match="another export"):
        export_to(target, request, asked="that").resume()
    with export_to(target, request).place.claimed(), pytest.raises(ExportInUse):
        whole(reader, target, request)
    resumed(reader, target, request)
    with pytest.raises(ExportOther, match="nothing to resume"):
        export_to(target, request).resume()
    with pytest.raises(ExportExists, match="is there already"):
        whole(reader, target, request)


def test_nothing_is_written_into_what_somebody_else_has_put_there(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    target, other = tmp_path / "events.jsonl", tmp_path / "other"
    other.write_text("not ours")
    target.with_name(f"{target.name}.partial").symlink_to(other)
    target.with_name(f"{target.name}.manifest.json.new").touch(mode=0o666)

    whole(reader, target, ExportRequest())

    assert other.read_text() == "not ours"
    files = [path for path in tmp_path.iterdir() if path != other]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not any(path.is_symlink() for path in files)


def test_no_word_leads_out_of_the_folder(tmp_path: Path) -> None:
    request = ExportRequest(split_by="event_type")

    name = Place(tmp_path / "events.jsonl", request).name("events", "../../etc/passwd")

    assert os.sep not in name
    assert name == "events...%2F..%2Fetc%2Fpasswd.jsonl"


def test_killed_while_files_get_their_names_it_goes_on(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, target = request_for(EventFilters(), split_by="component"), tmp_path / "events.jsonl"
    export = export_to(target, request)
    named: list[Path] = []

    def dies(partial: Path, final: Path) -> str:
        if len(named) == 2:
            raise KeyboardInterrupt
        named.append(partial.rename(final))
        (final.parent / f"{final.name}.sha256").touch()
        return ""

    with monkeypatch.context() as patched, export.place.claimed(), pytest.raises(KeyboardInterrupt):
        patched.setattr("telemetry.export.writing.publish", dies)
        export.begin(reader)
        export.run(reader, lambda: True, lambda _: None)

    manifest = resumed(reader, target, request)
    assert json.loads(json.dumps(manifest_of(target))) == manifest
    assert all(file["sha256"] == digest_of(tmp_path / file["name"]) for file in manifest["files"])


def test_progress_counts_to_the_end(stored: Connection[Any], reader: Connection[Any], tmp_path: Path) -> None:
    told: list[Progress] = []
    export = export_to(tmp_path / "events.jsonl", request_for(EventFilters()))
    export.begin(reader)
    export.run(reader, lambda: True, told.append)

    assert [each.rows for each in told] == [2000, 4000, 4500]
    assert {each.total for each in told} == {EVENTS}
    assert told[-1].bytes == (tmp_path / "events.jsonl").stat().st_size


@pytest.mark.req("S-07")
def test_memory_does_not_grow_with_the_number_of_rows(
    stored: Connection[Any], reader: Connection[Any], tmp_path: Path
) -> None:
    fill(stored, Samples(2, frozenset(COMPONENTS), [bytes(16)]), 2 * EVENTS, timedelta(days=3), NOON)
    request, peaks = request_for(EventFilters(), is_compressed=True), []
    for number, go_on in enumerate((iter([True, True, False]), iter([True] * 10))):
        export = export_to(tmp_path / f"{number}.jsonl.gz", request)
        export.begin(reader, patience=timedelta(minutes=1))
        tracemalloc.start()
        export.run(reader, lambda left=go_on: next(left), lambda _: None)  # type: ignore[misc]
        peaks.append((export.journal.rows, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()

    (few, small), (many, large) = peaks
    assert (few, many) == (4000, 3 * EVENTS)
    assert large < 1.2 * small
