"""Others' logs in the store: each line once, nothing of what they say; lines that are no events by their numbers."""

from __future__ import annotations

import gzip
import json
import os
import re
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.apis import Typed, Weir
from fixtures.ledgers import Bookkeeper
from psycopg import Connection

from telemetry.adapters.importing import BATCH_EVENTS, import_lines
from telemetry.adapters.lines import MAX_LINE_BYTES, Lines
from telemetry.adapters.mapping import parse
from telemetry.clock import SystemClock, to_unix_us
from telemetry.completeness import verify
from telemetry.errors import StoreUnavailable
from telemetry.foreign import remove
from telemetry.partitions import drop_partition, list_partitions, make_partitions, name_of
from telemetry.privacy import Pseudonyms
from telemetry.testing import NOON

MAPPING = """\
time: {field: at}
common:
  correlation_id: {field: trace, hash: true}
  user_id: who
events:
  - type: dsl.step.executed
    if: {event: step}
    fields:
      step_path: {field: step, names: [make]}
      step_type: {value: transform}
      duration_us: {field: ms, unit: ms}
ignore:
  - {event: noise}
"""
KEYS = Pseudonyms(b"a key for tests")
NOW = SystemClock().now()


def record(number: int = 0, **changes: Any) -> bytes:  # noqa: ANN401 - any field of a line
    at = NOW - timedelta(days=3, seconds=number)
    line = {"event": "step", "at": at.isoformat(), "step": "make", "ms": 2.5, "trace": f"t{number}", "who": "Ada"}
    return json.dumps({**line, **changes}).encode() + b"\n"


def lines() -> Lines:
    mapping, faults = parse(yaml.safe_load(MAPPING))
    assert mapping is not None, faults
    return Lines(mapping, KEYS)


def bring_in(connection: Connection[Any] | None, content: bytes, **more: Any) -> Any:  # noqa: ANN401 - Imported, opened
    now_us = int(NOW.timestamp() * 1_000_000)
    return import_lines(BytesIO(content), lines(), now_us, connection, **more)


def stored(connection: Connection[Any]) -> int:
    (found,) = connection.execute("select count(*) from telemetry_events").fetchone() or (0,)
    return int(found)


@pytest.mark.req("S-04")
def test_importing_twice_stores_once_and_a_file_that_has_grown_its_new_lines(connection: Connection[Any]) -> None:
    content = b"".join(record(number) for number in range(20)) + record(0)  # the same twice, at two places

    first = bring_in(connection, content)
    second = bring_in(connection, content)
    grown = bring_in(connection, content + record(99))

    assert (first.stored, first.known) == (21, 0)
    assert (second.stored, second.known) == (0, 21)
    assert (grown.stored, grown.known) == (1, 21)
    assert stored(connection) == 22
    assert len(list_partitions(connection)) >= 1  # three days ago: nobody had made that day


@pytest.mark.req("S-04")
def test_every_line_that_is_no_event_is_counted_with_its_number(connection: Connection[Any]) -> None:
    content = b"".join(
        [
            record(1),
            b"\n",
            b"not json\n",
            record(2, ms="soon"),
            record(3, event="noise"),
            record(4, at=(NOW + timedelta(hours=1)).isoformat()),
            record(5, at=(NOW - timedelta(days=500)).isoformat()),
            b"{" + b"x" * (2 * MAX_LINE_BYTES) + b"\n",
            record(6, step="something else"),
            record(7, ms="later"),
            b'{"cut off": ',
        ]
    )

    imported = bring_in(connection, content)

    assert (imported.lines, imported.ignored, imported.stored, imported.hidden_names) == (10, 1, 2, 1)
    assert {reason: each.lines for reason, each in imported.misfits.items()} == {
        "not JSON": [3, 11],
        "duration_us: not a number": [4, 10],
        "time: in the future": [6],
        "time: more than 400 days ago": [7],
        "the line is too long": [8],
    }


@pytest.mark.req("S-04", "C-15")
def test_a_day_whose_own_events_were_dropped_gets_none(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    drop_partition(connection, name_of(NOON))
    content = record(at=NOON.isoformat()) + record(at=(NOON - timedelta(days=2)).isoformat())

    imported = import_lines(BytesIO(content), lines(), to_unix_us(NOON + timedelta(days=1)), connection)

    assert (imported.stored, imported.types.total()) == (1, 2)
    assert imported.misfits["time: of a day whose own events are no longer kept"].lines == [1]


@pytest.mark.req("S-04")
def test_a_dry_run_stores_nothing_and_needs_no_database() -> None:
    imported = bring_in(None, record(1) + record(2))

    assert (imported.types.total(), imported.stored) == (2, 0)


@pytest.mark.req("S-04")
def test_whoever_is_stopped_half_way_goes_on_where_it_ended(connection: Connection[Any]) -> None:
    content = b"".join(record(number) for number in range(BATCH_EVENTS + 10))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_in(connection, content, after_batch=stop)
    half = stored(connection)
    rest = bring_in(connection, content)

    assert half == BATCH_EVENTS
    assert (rest.stored, rest.known) == (10, BATCH_EVENTS)


@pytest.mark.req("S-04")
def test_memory_is_flat_however_long_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.adapters.importing.BATCH_EVENTS", 200)
    bring_in(None, record(trace="one"))  # what is made once
    peaks = []
    for count in (400, 1600):
        content = BytesIO(b"".join(record(number, trace="one") for number in range(count)))
        tracemalloc.start()
        import_lines(content, lines(), int(NOW.timestamp() * 1_000_000), None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] * 1.3


@pytest.mark.req("S-04", "C-15")
def test_what_came_in_changes_nothing_about_completeness_and_can_be_removed(connection: Connection[Any]) -> None:
    make_partitions(connection, NOW, 1)
    bring_in(connection, record(1) + record(2))

    found = verify(connection, NOW - timedelta(days=4), NOW)

    assert found.is_complete
    assert found.ledger.checked.total() == 0
    assert remove(connection, "import") == 2


@pytest.mark.req("S-04")
def test_a_postgres_that_went_away_is_an_error_to_be_tried_again(connection: Connection[Any]) -> None:
    connection.close()

    with pytest.raises(StoreUnavailable):
        bring_in(connection, record())


@pytest.fixture
def import_command(offline_weir: Weir, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Typed]:
    """Types `weir telemetry import app.log --mapping mapping.yaml`; both are in the folder."""
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    monkeypatch.setenv("WEIR_TELEMETRY_PSEUDONYM_KEY", "a key for tests")
    Path("mapping.yaml").write_text(MAPPING, encoding="utf-8")
    return partial(offline_weir, "telemetry", "import", "app.log", "--mapping", "mapping.yaml")


@pytest.mark.req("S-04")
def test_the_command_says_what_came_of_every_line(
    import_command: Callable[..., Any], connection: Connection[Any]
) -> None:
    Path("app.log").write_bytes(record(1) + b"no json\n" + record(2, event="noise"))

    dry = import_command("--dry-run")
    done = import_command("--format", "json")

    assert dry.code == 0
    assert "app.log: 3 lines, 1 event; nothing stored: this was a dry run; 1 ignored" in dry.out
    assert "not JSON" in dry.out
    assert done.json == {
        "dry_run": False,
        "lines": 3,
        "events": 1,
        "stored": 1,
        "already_stored": 0,
        "ignored": 1,
        "hidden_names": 0,
        "event_types": {"dsl.step.executed": 1},
        "misfits": [{"reason": "not JSON", "count": 1, "lines": [2]}],
    }
    assert stored(connection) == 1


@pytest.mark.req("S-04")
def test_a_compressed_file_has_the_same_events(import_command: Callable[..., Any], connection: Connection[Any]) -> None:
    content = b"".join(record(number) for number in range(5))
    Path("app.log").write_bytes(gzip.compress(content))
    first = import_command("--format", "json").json
    Path("app.log").write_bytes(content)

    second = import_command("--format", "json").json

    assert (first["stored"], second["stored"], second["already_stored"]) == (5, 0, 5)
    Path("app.log").write_bytes(gzip.compress(content)[:-9])
    damaged = import_command()
    assert (damaged.code, "compressed and damaged" in damaged.err) == (1, True)
    assert stored(connection) == 5


@pytest.mark.req("S-04")
def test_lines_come_on_standard_input(
    import_command: Callable[..., Any], offline_weir: Weir, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(gzip.compress(record(1) + record(2)))
    with os.fdopen(reading) as typed_into:
        monkeypatch.setattr("sys.stdin", typed_into)
        done = offline_weir("telemetry", "import", "-", "--mapping", "mapping.yaml", "--format", "json")

    assert (done.code, done.json["stored"]) == (0, 2)
    assert stored(connection) == 2


@pytest.mark.req("S-04")
def test_what_was_brought_in_is_removed_at_once(
    import_command: Callable[..., Any], offline_weir: Weir, connection: Connection[Any]
) -> None:
    Path("app.log").write_bytes(record(1) + record(2))
    import_command()

    with_file = import_command("--remove-all")
    done = offline_weir("telemetry", "import", "--remove-all")
    again = offline_weir("telemetry", "import", "--remove-all", "--format", "json")
    without = offline_weir("telemetry", "import")

    assert (with_file.code, without.code) == (2, 2)
    assert "2 imported events removed" in done.out
    assert again.json == {"removed": 0}
    assert stored(connection) == 0


@pytest.mark.req("S-04", "C-14")
def test_no_text_of_a_log_is_stored_or_printed(import_command: Callable[..., Any], connection: Connection[Any]) -> None:
    secret = "canary-9f3b"  # of a form that would pass as a name
    spoiled = [record(number, **{key: secret}) for number, key in enumerate(("step", "trace", "who", "more", "event"))]
    spoiled += [record(8, at=secret), record(9, ms=secret), record(10, **{secret: secret}), secret.encode() + b"\n"]
    Path("app.log").write_bytes(b"".join(spoiled))

    typed = import_command()
    told = import_command("--format", "json")

    assert typed.code == told.code == 0
    rows = connection.execute("select row_to_json(e)::text from telemetry_events e").fetchall()
    quarantined = connection.execute("select count(*) from telemetry_quarantine").fetchone()
    assert len(rows) == 5
    for text in (typed.out, typed.err, told.out, told.err, str(rows)):
        assert secret not in text
        assert secret.encode().hex() not in text
    assert quarantined == (0,)


@pytest.mark.req("S-04")
def test_a_mapping_with_faults_is_shown_where_they_are(import_command: Callable[..., Any]) -> None:
    Path("app.log").write_bytes(record())
    Path("mapping.yaml").write_text(
        MAPPING.replace("dsl.step.executed", "dsl.step.execute").replace("user_id", "usr_id"), encoding="utf-8"
    )

    typed = import_command()

    assert (typed.code, typed.out) == (1, "")
    assert "mapping.yaml:4:3: common.usr_id: the event has no such field (mapping.unknown_field)" in typed.err
    assert "did you mean: user_id" in typed.err
    assert "mapping.yaml:6:5: events[0].type: there is no such event type (mapping.unknown_type)" in typed.err
    assert "did you mean: dsl.step.executed" in typed.err
    assert "mapping.yaml has 2 faults; nothing was imported" in typed.err


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ({"app.log": ""}, 0, "0 lines, 0 events"),
        ({"app.log": "nothing\n"}, 1, "not JSON"),
        ({}, 2, "app.log: No such file"),
        ({"app.log": "", "mapping.yaml": "a: *b"}, 1, "mapping.yaml has 1 fault"),
    ],
)
def test_what_goes_wrong_is_said(
    import_command: Callable[..., Any], files: dict[str, str], code: int, said: str
) -> None:
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")

    typed = import_command()

    assert typed.code == code
    assert said in typed.out + typed.err


def test_without_a_key_nobody_is_hidden_so_nothing_is_imported(
    import_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("app.log").write_bytes(record())
    monkeypatch.delenv("WEIR_TELEMETRY_PSEUDONYM_KEY")

    typed = import_command()

    assert typed.code == 2
    assert "there is no key to hide users with" in typed.err


@pytest.mark.req("S-04")
def test_the_worked_example_of_the_page_runs(import_command: Callable[..., Any], connection: Connection[Any]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "import-logs.md").read_text(encoding="utf-8")
    log, mapping = (
        re.search(rf"^```{info}\n(.*?)^```", page, re.MULTILINE | re.DOTALL) for info in ("json", "yaml mapping")
    )
    assert log is not None
    assert mapping is not None
    yesterday = (NOW - timedelta(days=1)).date().isoformat()
    Path("app.log").write_text(log[1].replace("2026-10-04", yesterday), encoding="utf-8")
    Path("mapping.yaml").write_text(mapping[1], encoding="utf-8")

    typed = import_command("--format", "json")

    assert (typed.code, typed.json["stored"], typed.json["ignored"]) == (0, 4, 1)
    assert typed.json["misfits"] == [{"reason": "no event of the mapping", "count": 1, "lines": [6]}]
    steps = connection.execute(
        "select step_type, step_path, duration_us, error_type, command_slug, request_source from telemetry_events"
        " where component = 'dsl' order by occurred_at"
    ).fetchall()
    assert steps == [
        ("database.update", "apply", 45_200, None, "fragment.update", "import"),
        ("notify", "tell", 3500, "RuntimeException", "fragment.update", "import"),
    ]
