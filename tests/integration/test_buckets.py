"""Buckets as records: equal to events at every moment, whole over pages, and the same of a position whenever asked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fixtures.exports import Row, digest_of, manifest_of, rows_of
from fixtures.samples import make_scope, make_step
from psycopg import Connection

from api.cli import metric_options
from api.cli.history_views import history_view
from api.cli.terminal import Terminal
from api.schemas.metrics import AGGREGATIONS, ALIASES, BucketShape
from telemetry.clock import SystemClock, to_unix_us
from telemetry.errors import ExportChanged
from telemetry.export.request import DIMENSIONS, WIDTHS, request_for
from telemetry.export.writing import Export, Limit, open_reader
from telemetry.query import EventFilters, end_position
from telemetry.reading import one_view
from telemetry.rollups import records
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.metrics import METRICS, SHORT
from telemetry.rollups.parts import Dimension, Width
from telemetry.rollups.records import FIELDS, UNITS, Place, Wanted
from telemetry.rows import RowEncoder
from telemetry.samples.generator import COMPONENTS, Samples
from telemetry.sampling import fill
from telemetry.store import append_batch, insert_events, prepare_session
from telemetry.testing import NOON, ManualClock
from workers.export_sources import sources_of

pytestmark = pytest.mark.req("S-03", "A-02")

SAMPLES = Samples(1, frozenset(COMPONENTS), [bytes([number]) * 16 for number in range(1, 13)])
HOUR = timedelta(hours=1)
PARTS = Path(records.__file__).with_name("parts.sql")


@pytest.fixture
def stored(connection: Connection[Any]) -> Connection[Any]:
    """Samples of two hours of a day, and of the last of the day before."""
    prepare_session(connection)
    fill(connection, SAMPLES, 900, 2 * HOUR, NOON)
    fill(connection, Samples(2, SAMPLES.components, SAMPLES.users), 300, HOUR, NOON - 12 * HOUR)
    return connection


@pytest.fixture
def reader(database_url: str) -> Iterator[Connection[Any]]:
    with open_reader(database_url) as connection:
        yield connection


def aggregate(database_url: str, until: datetime) -> None:
    with psycopg.connect(database_url, autocommit=True) as own:
        assert Aggregator(own, ManualClock(until), members_interval=timedelta(0)).run_once().buckets > 0


def store_late(connection: Connection[Any], at: datetime, count: int = 3) -> None:
    at_us, encode = to_unix_us(at), RowEncoder().encode
    with connection.transaction():
        insert_events(connection, [encode(make_step(make_scope(), at_us + number)) for number in range(count)])
        append_batch(connection, events=count, duplicates=0, minutes={at_us // 60_000_000})


def all_of(reader: Connection[Any], wanted: Wanted, limit: int = 10_000) -> list[tuple[Place, Mapping[str, Any]]]:
    """Every record, page by page, newest first and oldest first alike."""
    found: list[tuple[Place, Mapping[str, Any]]] = []
    for newest_first in (True, False):
        pages: list[tuple[Place, Mapping[str, Any]]] = []
        while True:
            with one_view(reader):
                after = pages[-1][0] if pages else None
                page = records.page(reader, wanted, limit, after, newest_first=newest_first)
            pages += page
            if len(page) < limit:
                break
        found = found or sorted(pages, key=lambda each: str(each[0].text()))
    assert found == sorted(pages, key=lambda each: str(each[0].text()))
    starts = [place.starts_at for place, _ in pages]
    assert starts == sorted(starts)
    with one_view(reader):
        assert records.count(reader, wanted) == len(pages)
    return pages


@pytest.mark.parametrize(("width", "dimension"), [("minute", "operation"), ("hour", "user"), ("day", "space")])
def test_records_are_the_same_before_buckets_are_made_and_after(
    stored: Connection[Any], reader: Connection[Any], database_url: str, width: Width, dimension: Dimension
) -> None:
    wanted = Wanted(NOON - 13 * HOUR, NOON, width, dimension)
    before = all_of(reader, wanted)
    aggregate(database_url, NOON - timedelta(minutes=50))
    assert all_of(reader, wanted) == before
    aggregate(database_url, NOON + 2 * HOUR)

    assert all_of(reader, wanted, limit=97 if width == "hour" else 10_000) == before
    assert len({place for place, _ in before}) == len(before) > 10
    durations = [record for _, record in before if record["measure"] == "duration"]
    assert sum(record["events"] for record in durations) == 1200
    assert all(tuple(record) == FIELDS and sum(record["counts"]) == record["measured"] for _, record in before)


def test_only_what_is_asked_for_is_told(stored: Connection[Any], reader: Connection[Any]) -> None:
    everything = [record for _, record in all_of(reader, Wanted())]
    some = next(record for record in everything if record["component"] == "dsl")
    only = {name: [some[name]] for name in ("component", "event_type", "operation", "measure")}

    found = [record for _, record in all_of(reader, Wanted(NOON - 13 * HOUR, NOON - HOUR, only=only))]

    expected = [each for each in everything if all(each[name] == some[name] for name in only)]
    bounds = [f"{NOON - number * HOUR:%FT%TZ}" for number in (13, 1)]
    assert found == [each for each in expected if bounds[0] <= each["starts_at"] < bounds[1]]
    assert all_of(reader, Wanted(NOON, NOON - HOUR)) == []


def test_of_a_position_they_stay_what_they_were(
    stored: Connection[Any], reader: Connection[Any], database_url: str
) -> None:
    aggregate(database_url, NOON + 2 * HOUR)
    before = all_of(reader, Wanted())
    position = end_position(reader)
    store_late(stored, NOON - timedelta(minutes=90))
    of_then = Wanted(stored_before=position)

    assert all_of(reader, of_then) == before != all_of(reader, Wanted())
    aggregate(database_url, NOON + 2 * HOUR)
    assert all_of(reader, of_then) == before
    seal(database_url)
    with pytest.raises(ExportChanged):
        all_of(reader, of_then)


def seal(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as own:
        own.execute(
            "insert into telemetry_sealed (day, component, first_id, end_id, kinds) values (%s, '', %s, %s, '{}')",
            (NOON.date(), UUID(int=0), UUID(int=1)),
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 1500,
        '["2026-01-13T12:00:00", []]',
        '["2026-01-13T12:00:00+00:00", ["\\u0000"]]',
        '["9999-01-13T12:00:00+00:00", []]',
        '["2026-01-13T12:00:00+00:00",[]]',
    ],
)
def test_a_place_is_only_what_was_told_as_one(text: str) -> None:
    with pytest.raises(ValueError, match="not a place"):
        Place.of(text)


def test_words_of_metrics_are_the_same_everywhere() -> None:
    text = PARTS.read_text()
    listed = " ".join(re.findall(r"array\[('[^\]]*)\]", text))
    named = {*re.findall(r"'(\w+)' as measure", text), *re.findall(r"'(\w+)'", listed)}
    assert named == set(UNITS) == set(metric_options.MEASURES)
    assert (metric_options.WIDTHS, metric_options.DIMENSIONS) == (WIDTHS, DIMENSIONS)
    assert set(metric_options.TYPES) == {*METRICS, *SHORT}
    assert (*AGGREGATIONS, *ALIASES) == metric_options.AGGREGATIONS
    assert tuple(BucketShape().fields) == tuple(history_view("metrics", Terminal.of_stdout()).fields) == FIELDS


# What follows knows of files only what docs/how-to/export-telemetry.md says.


def bounds(scale: int) -> list[int]:
    parts = 2**scale
    found = set()
    for power in range(47 * parts + 1):
        number = math.ceil(2 ** (power / parts))
        while number**parts < 2**power:
            number += 1
        while (number - 1) ** parts >= 2**power:
            number -= 1
        found.add(number)
    return sorted(found)


def merged(rows: list[Row]) -> dict[int, int]:
    """Values by the least value of their bin, of all rows together."""
    edges = bounds(min(row["scale"] for row in rows))
    counts: dict[int, int] = {}
    for row in rows:
        own = bounds(row["scale"])
        for bin_, count in zip(row["bins"], row["counts"], strict=True):
            least = own[bin_ - 1] if bin_ else 0
            edge = max((each for each in edges if each <= least), default=0)
            counts[edge] = counts.get(edge, 0) + count
    return counts


def quantile(counts: dict[int, int], share: float) -> int:
    """The least value of the bin that it is in."""
    rank, seen = math.ceil(share * sum(counts.values())), 0
    for least in sorted(counts):
        seen += counts[least]
        if seen >= rank:
            return least
    raise AssertionError(counts)


def export_of(target: Path, **how: Any) -> Export:  # noqa: ANN401 - fields of ExportRequest
    request = request_for(EventFilters(component="dsl"), beside=("metrics",), **how)
    return Export(request, sources_of(request), target, asked="this", limit=Limit(), clock=SystemClock())


def whole(reader: Connection[Any], target: Path, **how: Any) -> Path:  # noqa: ANN401 - likewise
    target.parent.mkdir(exist_ok=True)
    export = export_of(target, **how)
    with export.place.claimed():
        export.begin(reader, patience=timedelta(minutes=1))
        assert export.run(reader, lambda: True, lambda _: None)
    return metrics_of(target)


def metrics_of(target: Path) -> Path:
    stem, _, suffix = target.name.partition(".")
    return target.with_name(f"{stem}.metrics.{suffix}")


@pytest.mark.req("S-07")
def test_from_the_file_alone_figures_are_merged_and_quantiles_found(
    stored: Connection[Any], reader: Connection[Any], database_url: str, tmp_path: Path
) -> None:
    aggregate(database_url, NOON + 2 * HOUR)
    found = {form: rows_of(whole(reader, tmp_path / f"events.{form}", form=form)) for form in ("jsonl", "json", "csv")}

    numbers = ("events", "errors", "measured", "sum", "min", "max", "scale", "bins", "counts")
    as_csv = [{**row, **{name: row[name] and _number(row[name]) for name in numbers}} for row in found["csv"]]
    assert found["jsonl"] == found["json"] == as_csv
    rows = [row for row in found["json"] if row["measure"] == "duration" and row["measured"]]
    (durations,) = stored.execute(
        "select array_agg(duration_us order by duration_us) from telemetry_events where component = 'dsl'"
        " and duration_us is not null"
    ).fetchone() or ([],)
    counts = merged(rows)
    assert sum(counts.values()) == sum(row["measured"] for row in rows) == len(durations) > 300
    assert sum(row["sum"] for row in rows) == sum(durations)
    assert (min(row["min"] for row in rows), max(row["max"] for row in rows)) == (durations[0], durations[-1])
    for share in (0.5, 0.95, 0.99):
        exact = durations[math.ceil(share * len(durations)) - 1]
        assert quantile(counts, share) == max(each for each in (0, *bounds(5)) if each <= exact)
    manifest = manifest_of(tmp_path / "events.json")
    assert manifest["fields"]["metrics"] == list(FIELDS)
    assert (manifest["metrics_width"], manifest["metrics_by"]) == ("hour", None)


def _number(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


@contextmanager
def pages(number: int) -> Iterator[Any]:
    left = iter([True] * number + [False])
    yield lambda: next(left)


@pytest.mark.req("S-07")
@pytest.mark.parametrize("left_at", [2, 3])
def test_broken_off_and_resumed_while_buckets_change_it_has_the_same_bytes(  # noqa: PLR0913 - fixtures
    stored: Connection[Any],
    reader: Connection[Any],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left_at: int,
) -> None:
    monkeypatch.setattr("telemetry.export.writing.PAGE_ROWS", 250)
    how = {"is_compressed": True, "metrics_width": "minute"}
    aggregate(database_url, NOON - HOUR)
    once = whole(reader, tmp_path / "once" / "events.jsonl.gz", **how)
    target = tmp_path / "events.jsonl.gz"
    export = export_of(target, **how)
    with export.place.claimed(), pages(left_at) as go_on:
        export.begin(reader, patience=timedelta(minutes=1))
        assert export.run(reader, go_on, lambda _: None) is None

    for minutes in (5, 100, 740):
        store_late(stored, NOON - timedelta(minutes=minutes))
    aggregate(database_url, NOON + 2 * HOUR)
    export = export_of(target, **how)
    with export.place.claimed():
        export.resume()
        assert export.run(reader, lambda: True, lambda _: None)

    assert digest_of(metrics_of(target)) == digest_of(once)
    assert len(rows_of(once)) > 250
