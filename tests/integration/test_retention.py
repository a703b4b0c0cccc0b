"""Days of events go whole, what outlives them is kept, and nobody looks for what is gone.

Long, for the program that is killed at each of its lines is here too, beside what it must not leave behind.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from traceback import print_exc
from types import FrameType
from typing import Any
from uuid import UUID

import pytest
from fixtures.ledgers import Bookkeeper
from fixtures.samples import ERROR, make_scope, make_step
from fixtures.stacks import eventually
from psycopg import Connection

from telemetry.archive import Archive
from telemetry.chains import build_chains
from telemetry.clock import to_unix_us
from telemetry.completeness import verify
from telemetry.connections import connect, open_pool
from telemetry.errors import ArchiveFailed, CleanupRunning
from telemetry.events import Event, HttpRequestCompleted, Scope, StepFailed
from telemetry.ids import mint, new_id
from telemetry.partitions import list_partitions, make_partitions, name_of
from telemetry.query import EventFilters, events, trace
from telemetry.reading import reading
from telemetry.retention import Day, clear_component, days_to_drop, drop_day, list_days, pin, roll_up, unpin
from telemetry.rows import RowEncoder
from telemetry.settings import RetentionSettings
from telemetry.store import append_batch, insert_events
from telemetry.testing import NOON, ManualClock
from workers.services.cleaner import Cleaner, Request
from workers.services.reconciler import Reconciler

DAY = timedelta(days=1)
MINUTE_US = 60_000_000
CHECKOUT = Path(__file__).parents[2]
TODAY = datetime(2026, 3, 10, 12, tzinfo=UTC)
LONG_AGO = TODAY - 60 * DAY

Trace = tuple[UUID, list[Event]]


def make_days(connection: Connection[Any], number: int) -> None:
    """Partitions of so many days, today's the last."""
    for ago in range(number):
        make_partitions(connection, TODAY - ago * DAY, 0)


def a_trace(*days_ago: float, failed: int = 0, **scope: Any) -> Trace:  # noqa: ANN401 - any field of Scope
    """A step at each of these times; so many of the first ones failed."""
    correlation_id = new_id(to_unix_us(TODAY - days_ago[0] * DAY))
    of_trace = make_scope(correlation_id=correlation_id.bytes, **scope)
    made: list[Event] = []
    for number, ago in enumerate(days_ago):
        at_us = to_unix_us(TODAY - ago * DAY)
        made.append(failure(of_trace, at_us) if number < failed else make_step(of_trace, at_us))
    return correlation_id, made


def failure(scope: Scope, at_us: int) -> StepFailed:
    return StepFailed(mint(at_us), at_us, scope, "check", "validate", 50, ERROR)


def store(connection: Connection[Any], *traces: Trace) -> None:
    """As a sink does: whoever follows the store hears of it."""
    encode = RowEncoder().encode
    made = [event for _, of_trace in traces for event in of_trace]
    with connection.transaction():
        insert_events(connection, [encode(event) for event in made])
        minutes = sorted({event.occurred_at_us // MINUTE_US for event in made})
        append_batch(connection, events=len(made), duplicates=0, minutes=minutes)


def ids(made: Iterable[Event]) -> set[UUID]:
    return {UUID(bytes=event.event_id) for event in made}


def everything(connection: Connection[Any]) -> set[UUID]:
    """What a reader sees."""
    return {event.event_id for event in events(connection, EventFilters(), 10_000).items}


def drop_oldest(connection: Connection[Any], **changes: Any) -> bool:  # noqa: ANN401 - of drop_day
    given: dict[str, Any] = {"reason": "age", "errors_from": LONG_AGO, **changes}
    return drop_day(connection, list_days(connection)[0], **given)


@pytest.mark.req("S-08")
def test_days_go_by_age_by_number_and_by_bytes_whichever_is_first() -> None:
    days = [Day(name_of(TODAY - ago * DAY), 100, 1000) for ago in (4, 3, 2, 1, 0, -1)]

    def going(older_than: float = 100, rows: int | None = None, size: int | None = None) -> list[tuple[int, str]]:
        chosen = days_to_drop(days, TODAY, older_than=older_than * DAY, max_rows=rows, max_bytes=size)
        return [(days.index(day), reason) for day, reason in chosen]

    assert going() == []
    # The noon of today is half a day after the end of yesterday.
    assert going(older_than=2.5) == [(0, "age"), (1, "age")]
    assert going(older_than=2.6) == [(0, "age")]
    assert going(rows=450) == [(0, "rows"), (1, "rows")]
    assert going(size=5000) == [(0, "bytes")]
    assert going(older_than=3, rows=500, size=4000) == [(0, "age"), (1, "bytes")]
    assert going(older_than=0, rows=0, size=0) == [(0, "age"), (1, "age"), (2, "age"), (3, "age")]
    assert going(rows=0, size=0) == [(0, "bytes"), (1, "bytes"), (2, "bytes"), (3, "bytes")]


def size_of_database(connection: Connection[Any]) -> int:
    """In bytes, as its files are on disk."""
    (size,) = connection.execute("select pg_database_size(current_database())").fetchone() or (0,)
    return int(size)


@pytest.mark.req("S-08")
def test_a_day_goes_with_its_traces_and_its_place_on_disk(connection: Connection[Any]) -> None:
    make_days(connection, 3)
    old, new = a_trace(3, 2.9), a_trace(1, 0.9)
    store(connection, old, new)
    oldest, before = list_days(connection)[0], size_of_database(connection)

    assert drop_oldest(connection)

    # At once, but for a few pages of what was noted and made of it.
    assert before - size_of_database(connection) > oldest.bytes // 4 > 0
    assert everything(connection) == ids(new[1])
    assert name_of(TODAY - 3 * DAY) not in list_partitions(connection)
    assert connection.execute("select count(*) from telemetry_events_kept").fetchone() == (0,)


@pytest.mark.req("S-08")
def test_errors_pins_and_traces_that_go_on_outlive_their_day(connection: Connection[Any]) -> None:
    make_days(connection, 4)
    plain, failed, pinned = a_trace(4, 3.9), a_trace(4, 3.9, failed=1), a_trace(4, 3.9)
    goes_on, later = a_trace(4, 3, 2.9), a_trace(2)
    store(connection, plain, failed, pinned, goes_on, later)
    pin(connection, pinned[0])
    pin(connection, pinned[0])

    assert drop_oldest(connection)

    stay = ids(failed[1][:1]) | ids(pinned[1]) | ids(goes_on[1]) | ids(later[1])
    assert everything(connection) == stay
    assert [event.event_id for event in trace(connection, goes_on[0]).events] == [
        UUID(bytes=event.event_id) for event in goes_on[1]
    ]

    assert drop_oldest(connection)

    # The trace ended with this day: all of it is gone.
    assert everything(connection) == stay - ids(goes_on[1])

    assert unpin(connection, pinned[0])
    assert not unpin(connection, pinned[0])
    assert drop_oldest(connection)

    assert everything(connection) == ids(failed[1][:1])


@pytest.mark.req("S-08")
@pytest.mark.parametrize("steps", [0, 3, 1000], ids=["no chains", "some chains", "chains of half"])
def test_traces_are_whole_however_far_chains_are_built(connection: Connection[Any], steps: int) -> None:
    """Random traces that arrive in random order, some of them late for days that were chained already."""
    make_days(connection, 6)
    chosen = random.Random(steps)
    traces = [a_trace(*sorted((5.4 * chosen.random() for _ in range(4)), reverse=True)) for _ in range(60)]
    pieces: list[Trace] = [(key, [event]) for key, made in traces for event in made]
    chosen.shuffle(pieces)
    store(connection, *pieces[:120])
    for _ in range(steps):
        if build_chains(connection, patience=timedelta(0), slice_events=10).is_done:
            break
    store(connection, *pieces[120:])

    for _ in range(4):
        first = list_days(connection)[0]
        assert drop_oldest(connection)
        stored = everything(connection)
        for _, made in traces:
            goes_on = any(event.occurred_at_us >= to_unix_us(first.ends) for event in made)
            assert len(ids(made) & stored) == (4 if goes_on else 0)


@pytest.mark.req("S-08")
def test_no_trace_is_kept_whole_for_longer_than_a_week(connection: Connection[Any]) -> None:
    make_days(connection, 12)
    for_ever = a_trace(*(12 - number for number in range(12)))
    store(connection, for_ever)

    for _ in range(9):
        assert drop_oldest(connection)

    assert len(everything(connection)) == 3 + 7


@pytest.mark.req("S-08")
def test_errors_that_are_too_old_are_not_kept_and_bytes_cut_traces(connection: Connection[Any]) -> None:
    make_days(connection, 4)
    failed, goes_on = a_trace(4, failed=1), a_trace(4, 2)
    store(connection, failed, goes_on)
    roll_up(connection, list_days(connection)[0])

    with connection.transaction(force_rollback=True):
        assert drop_oldest(connection, errors_from=TODAY)
        assert everything(connection) == ids(goes_on[1])
    assert drop_oldest(connection, reason="bytes")

    assert everything(connection) == ids(failed[1]) | ids(goes_on[1][1:])


def test_a_day_that_somebody_holds_stays_as_it_is(
    connection: Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_days(connection, 2)
    store(connection, a_trace(2, failed=1))
    monkeypatch.setattr("telemetry.partitions.sleep", lambda _: None)
    with connect(database_url, name="test") as busy:
        busy.execute("select count(*) from telemetry_events")
        assert not drop_oldest(connection, tries=1)
        busy.rollback()
        insert_events(busy, [RowEncoder().encode(a_trace(2)[1][0])])
        assert not drop_oldest(connection, tries=1)

    assert connection.execute("select count(*) from telemetry_events_kept").fetchone() == (0,)
    assert connection.execute("select count(*) from telemetry_sealed").fetchone() == (0,)
    assert drop_oldest(connection)


def test_a_late_event_and_the_drop_of_its_day_do_not_wait_for_each_other(
    connection: Connection[Any], database_url: str
) -> None:
    """A sink has the table in hand when the drop begins, and then comes to the day that goes."""
    make_days(connection, 2)
    store(connection, a_trace(2))
    late, other = a_trace(2)[1][0], a_trace(1)[1][0]
    with (
        connect(database_url, name="test") as sink,
        connect(database_url, name="test", autocommit=True) as watch,
        ThreadPoolExecutor(1) as thread,
    ):
        insert_events(sink, [RowEncoder().encode(other)])  # of a later day
        dropping = thread.submit(drop_oldest, connection)
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and query like 'lock table only%'"
        eventually(lambda: watch.execute(waits).fetchone() is not None)

        insert_events(sink, [RowEncoder().encode(late)])
        append_batch(sink, events=2, duplicates=0, minutes=[late.occurred_at_us // 60_000_000])
        sink.commit()

        assert dropping.result(timeout=30)
    assert everything(connection) == ids([other])


def test_an_event_that_comes_after_the_archive_is_archived_too(
    connection: Connection[Any], database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_days(connection, 2)
    store(connection, a_trace(2))
    late = a_trace(2)
    write = Archive.write

    def write_slowly(archive: Archive, *arguments: Any) -> Path:  # noqa: ANN401 - as Archive.write
        written = write(archive, *arguments)
        with connect(database_url, name="test", autocommit=True) as sink:
            store(sink, late)
        monkeypatch.setattr(Archive, "write", write)
        return written

    monkeypatch.setattr(Archive, "write", write_slowly)
    with Archive(tmp_path) as archive:
        assert drop_oldest(connection, archive=archive)

    archived = [
        json.loads(line)["event_id"]
        for file in tmp_path.glob("*.gz")
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    assert ids(late[1]) <= {UUID(event_id) for event_id in archived}


@pytest.mark.req("S-08")
def test_a_component_loses_its_days_whole(connection: Connection[Any]) -> None:
    make_days(connection, 2)
    plain, failed, pinned = a_trace(2, 1.9), a_trace(2, 1.9, failed=1), a_trace(2)
    store(connection, plain, failed, pinned)
    pin(connection, pinned[0])
    day = list_days(connection)[0]

    assert clear_component(connection, day, "command", errors_from=LONG_AGO) == 0
    assert clear_component(connection, day, "dsl", errors_from=LONG_AGO) == 3
    assert clear_component(connection, day, "dsl", errors_from=LONG_AGO) == 0

    assert everything(connection) == ids(failed[1][:1]) | ids(pinned[1])
    sealed = connection.execute("select component, kinds from telemetry_sealed order by component").fetchall()
    assert sealed == [("command", ["queued", "claim", "retry", "final"]), ("dsl", ["step"])]


@pytest.mark.req("S-08", "C-15")
def test_what_is_cleaned_is_neither_missed_nor_made_again(
    bookkeeper: Bookkeeper, connection: Connection[Any], database_url: str
) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    reconciler = Reconciler(
        lambda: connect(database_url, name="test", autocommit=True), bookkeeper.world.pseudonyms.user, grace=-DAY
    )
    day = next(day for day in list_days(connection) if day.begins <= NOON < day.ends)

    gone = clear_component(connection, day, "dsl", errors_from=LONG_AGO)
    without_steps = verify(connection, NOON - DAY, NOON + DAY, grace=-3650 * DAY)
    made_again = reconciler.run_once().given_back
    left = bookkeeper.stored()

    assert gone > 0
    assert without_steps.is_complete
    assert without_steps.ledger.checked["step"] == 0
    assert without_steps.ledger.checked["final"] > 0
    assert made_again == 0
    assert {row["event_type"] for row in left.values() if row["component"] == "dsl"} <= {"dsl.step.failed"}

    # The whole day, and somebody makes its partition again.
    while list_days(connection)[0].begins <= NOON:
        assert drop_oldest(connection)
    make_partitions(connection, NOON, 0)
    again = verify(connection, NOON - DAY, NOON + DAY, grace=-3650 * DAY)
    connection.execute("delete from telemetry_comparison")

    assert again.is_complete
    assert reconciler.run_once().given_back == 0


def test_pages_go_on_from_the_days_to_what_was_kept(connection: Connection[Any]) -> None:
    make_days(connection, 3)
    failed, new = a_trace(*(3 - number / 1000 for number in range(7)), failed=7), a_trace(0.1, 0.05, 0.02)
    store(connection, failed, new)
    drop_oldest(connection)

    seen, cursor = [], None
    while True:
        page = events(connection, EventFilters(), 2, cursor)
        seen += [event.event_id for event in page.items]
        if (cursor := page.next_cursor) is None:
            break

    assert seen == sorted(ids(failed[1]) | ids(new[1]), reverse=True)
    assert len(events(connection, EventFilters(outcome="failed"), 100).items) == 7


@pytest.mark.req("S-08")
def test_what_is_dropped_is_archived_before(connection: Connection[Any], tmp_path: Path) -> None:
    make_days(connection, 2)
    gone = a_trace(2, 1.9, failed=1)
    store(connection, gone)

    with Archive(tmp_path / "archive") as archive:
        assert drop_oldest(connection, archive=archive)

    (file,) = (tmp_path / "archive").glob("*.jsonl.gz")
    assert file.name == "telemetry_events-2026-03-08.jsonl.gz"
    assert (file.stat().st_mode & 0o777) == 0o600
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert {UUID(row["event_id"]) for row in rows} == ids(gone[1])
    said = file.with_name(f"{file.name}.sha256").read_text().split()
    assert said == [hashlib.sha256(file.read_bytes()).hexdigest(), file.name]


def test_what_cannot_be_archived_stays(connection: Connection[Any], tmp_path: Path) -> None:
    make_days(connection, 2)
    store(connection, a_trace(2))
    archive = Archive(tmp_path)
    (tmp_path / "telemetry_events-2026-03-08.jsonl.gz.part").mkdir()

    with pytest.raises(ArchiveFailed, match="cannot be written"):
        drop_oldest(connection, archive=archive)

    assert len(everything(connection)) == 1
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveFailed):
        Archive(tmp_path / "file")


@pytest.mark.req("S-08")
def test_an_archive_ends_what_a_killed_process_has_left(tmp_path: Path) -> None:
    torn = Archive(tmp_path)
    torn.append("rows", ['{"a": 1}', '{"a": 2}'])
    torn.append("rows", ['{"a": 3}'])
    torn._open["rows"].close()
    partial = tmp_path / "rows.jsonl.gz.part"
    with partial.open("ab") as file:
        file.write(gzip.compress(b'{"a": 4}\n')[:-3])
    (tmp_path / "nothing.jsonl.gz.part").write_bytes(gzip.compress(b"x")[:5])

    with Archive(tmp_path) as heir:
        heir.append("rows", ['{"a": 5}'])

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("rows-2.jsonl.gz", "rows-2.jsonl.gz.sha256", "rows.jsonl.gz", "rows.jsonl.gz.sha256"),
    ]
    assert gzip.decompress((tmp_path / "rows.jsonl.gz").read_bytes()) == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    with Archive(tmp_path) as again:
        again.append("rows", ['{"a": 5}'])
    assert len(list(tmp_path.iterdir())) == 4  # it says the same as one that is there


@pytest.mark.req("S-08")
def test_what_an_archive_has_no_room_for_is_never_taken_for_whole(tmp_path: Path) -> None:
    rows = [json.dumps({"noise": os.urandom(50_000).hex()}) for _ in range(5)]
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(ArchiveFailed), Archive(tmp_path) as archive:
        archive.append("rows", ['{"a": 1}'])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))
        try:
            archive.append("rows", rows)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl.gz.part"]
    Archive(tmp_path)
    assert gzip.decompress((tmp_path / "rows.jsonl.gz").read_bytes()) == b'{"a": 1}\n'


class KillAtLine:
    """Kills this process at the n-th line of our code that it runs, or a moment after, while Postgres is at work."""

    def __init__(self, line: int, moment_s: float) -> None:
        self._left = line
        self._moment_s = moment_s
        self._folders = tuple(str(CHECKOUT / package) for package in ("telemetry", "workers"))

    def __call__(self, frame: FrameType, event: str, argument: object) -> KillAtLine | None:
        if not frame.f_code.co_filename.startswith(self._folders):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0 and not self._moment_s:
                os.kill(os.getpid(), signal.SIGKILL)
            elif self._left == 0:
                signal.setitimer(signal.ITIMER_REAL, self._moment_s)  # nobody handles it: the kernel ends the process
        return self


def in_child(work: Callable[[], object]) -> int:
    """Let another process do something; its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever went wrong: this is not the process that runs the tests
            print_exc()
        finally:
            os._exit(1)
    return child


def clean_until_killed(cleaner: Cleaner, archive: Path, kill: KillAtLine) -> None:
    """Clean everything that is due, unless killed; a server may still be at work for one that was killed before."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    sys.settrace(kill)
    while True:
        try:
            cleaner.run_once(Request(archive=archive), patience=None)
        except CleanupRunning:
            continue
        return


class Watcher:
    """Looks on from outside, as readers do, until nobody holds the other end of its pipe.

    Args:
        database_url: What it looks at, over connections of its own.
        parts: Sets of events that are there as a whole or not at all.
        stays: What is there all the time.
    """

    def __init__(self, database_url: str, parts: Sequence[set[UUID]], stays: set[UUID]) -> None:
        self._database_url = database_url
        self._parts = parts
        self._stays = stays

    def watch(self, stop: int, other_end: int) -> None:
        os.close(other_end)
        os.set_blocking(stop, False)
        looks = 0
        with open_pool(self._database_url, name="watcher", max_size=1, autocommit=True) as pool:
            while looks < 100 or not _is_closed(stop):
                with reading(pool, timedelta(seconds=10)) as connection:
                    self.look(connection)
                looks += 1

    def look(self, connection: Connection[Any]) -> None:
        """Fails if anything is there by half."""
        connection.execute("select 1 from telemetry_batches limit 1")  # its view is fixed before it comes to the events
        stored = everything(connection)
        halves = [len(part & stored) for part in self._parts if part & stored and not part <= stored]
        assert not halves, halves
        assert self._stays <= stored


def _is_closed(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


@pytest.mark.req("S-08")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # children touch nothing of the parent
def test_killed_at_fifty_points_no_trace_is_half_deleted(
    database_url: str, connection: Connection[Any], tmp_path: Path
) -> None:
    """The whole cleanup, killed again and again, between statements and in the middle of them, under readers' eyes."""
    make_days(connection, 7)
    chosen = random.Random(8)

    def in_day(ago: int, count: int = 3) -> list[float]:
        return sorted((ago - 0.4 + 0.8 * chosen.random() for _ in range(count)), reverse=True)

    plain = [a_trace(*in_day(ago)) for ago in (6, 5, 4) for _ in range(8)]
    over_midnight = [a_trace(*in_day(6), *in_day(5)) for _ in range(5)]
    failed = [a_trace(*in_day(ago), failed=1) for ago in (6, 5) for _ in range(3)]
    stay = [a_trace(*in_day(6), *in_day(2)) for _ in range(5)] + [a_trace(*in_day(5)) for _ in range(3)]
    requests = [(scope_id, [*steps, *calls]) for scope_id, steps, calls in (a_request(2) for _ in range(5))]
    store(connection, *plain, *over_midnight, *failed, *stay, *requests)
    for correlation_id, _ in stay[5:]:
        pin(connection, correlation_id)
    build_chains(connection)
    parts = [ids(made) for _, made in (*plain, *over_midnight)]
    parts += [ids(made[1:]) for _, made in failed]
    parts += [ids(made[2:]) for _, made in requests]
    stays = set().union(
        *(ids(made) for _, made in stay),
        *(ids(made[:1]) for _, made in failed),
        *(ids(made[:2]) for _, made in requests),
    )
    watcher = Watcher(database_url, parts, stays)
    keep = RetentionSettings(raw_events_days=3, components=("http=1",))
    cleaner = Cleaner(partial(connect, database_url, name="cleaner", autocommit=True), keep, ManualClock(TODAY))
    reader, writer = os.pipe()
    watching = in_child(partial(watcher.watch, reader, writer))
    os.close(reader)

    line, kills, ended = 1, 0, False
    while not ended:
        moment_s = 0.0 if kills % 2 else 0.003 * chosen.random()
        kill = KillAtLine(line, moment_s)
        child = in_child(partial(clean_until_killed, cleaner, tmp_path, kill))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in {0, -signal.SIGKILL, -signal.SIGALRM}
        ended, kills = code == 0, kills + (code != 0)
        watcher.look(connection)
        line += 33
    os.close(writer)

    assert os.waitstatus_to_exitcode(os.waitpid(watching, 0)[1]) == 0
    assert kills >= 50
    assert everything(connection) == stays
    # However often it was begun, each file is there once: it always said the same.
    assert len(list(tmp_path.glob("telemetry_events-*.jsonl.gz"))) == 5
    assert list(tmp_path.glob("*.part")) == []


def a_request(days_ago: float) -> tuple[UUID, list[Event], list[Event]]:
    """A trace of two steps and two requests."""
    at_us = to_unix_us(TODAY - days_ago * DAY)
    scope = make_scope(correlation_id=new_id(at_us).bytes)
    of_calls = make_scope(correlation_id=scope.correlation_id, execution_id=None, command_slug=None)
    steps: list[Event] = [make_step(scope, at_us + number) for number in range(2)]
    calls: list[Event] = [
        HttpRequestCompleted(mint(at_us + number), at_us + number, of_calls, "/api", "POST", 202, 5000, "succeeded")
        for number in range(2)
    ]
    return UUID(bytes=scope.correlation_id), steps, calls
