"""Everything that is stored has an end: executions with what is theirs, accounts, notifications; nothing too early.

Long, for there are many kinds of rows, and one cleaner in which they meet.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from fixtures.apis import Weir
from fixtures.ledgers import Bookkeeper
from fixtures.samples import ERROR, make_scope, make_step
from fixtures.stacks import eventually
from psycopg import Connection
from structlog.testing import capture_logs

from api.settings import Settings
from telemetry.clock import SystemClock, to_unix_us
from telemetry.connections import connect
from telemetry.errors import CleanupRunning
from telemetry.events import StepFailed
from telemetry.ids import least_id_at, mint, new_id
from telemetry.partitions import list_partitions, make_partitions
from telemetry.rows import RowEncoder
from telemetry.settings import RetentionSettings
from telemetry.slices import Kind, Limit, count_going, delete_slices
from telemetry.store import insert_events
from telemetry.testing import NOON, ManualClock
from workers.actors import CLEAN, declare_maintenance
from workers.broker import MAINTENANCE_QUEUE
from workers.resources import open_resources
from workers.rounds import ask_for_cleaning, clean, make_cleaner
from workers.services.cleaner import Cleaner, CleanResult, Request, is_wanted
from workers.services.retained import RETAINED

DAY = timedelta(days=1)
NOON_US = to_unix_us(NOON)

#: What belongs to executions.
OWN = ("command_executions", "command_steps", "command_attempts", "command_step_items")


@pytest.fixture
def make_cleaner_at(database_url: str) -> Callable[..., Cleaner]:
    """Makes cleaners at a time, with settings."""

    def make(now: datetime = NOON, **settings: Any) -> Cleaner:  # noqa: ANN401 - of RetentionSettings
        connecting = partial(connect, database_url, name="test cleaner", autocommit=True)
        return Cleaner(connecting, RetentionSettings(**settings), ManualClock(now))

    return make


MakeCleaner = Callable[..., Cleaner]


def count(connection: Connection[Any], table: str) -> int:
    found = connection.execute(f"select count(*) from {table}".encode()).fetchone()  # noqa: S608 - of this file
    assert found is not None
    return int(found[0])


def going(result: CleanResult) -> dict[str, int]:
    return {each.kind: each.going for each in result.removals if each.going}


def compared(connection: Connection[Any], until: datetime) -> None:
    """As if the reconciler had come up to there."""
    connection.execute(
        "insert into telemetry_comparison (compared_until, looked_back_at) values (%s, now())"
        " on conflict (id) do update set compared_until = excluded.compared_until",
        [least_id_at(to_unix_us(until))],
    )


def keep_days_from(connection: Connection[Any], first: datetime) -> None:
    """As if events reached back to there."""
    make_partitions(connection, first + DAY, 0)


@pytest.mark.req("S-08", "S-16")
def test_executions_go_with_all_that_is_theirs_once_they_are_old(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    bookkeeper.work()
    now = bookkeeper.clock.now()
    compared(connection, now + DAY)
    waiting = count(connection, "command_executions where finished_at is null")
    failed = count(connection, "command_executions where state in ('failed', 'dead')")

    assert make_cleaner_at(now + 29 * DAY).run_once(Request(dry_run=True)).removals[0].days
    early = make_cleaner_at(now + 29 * DAY).run_once()
    assert "executions" not in going(early)

    later = make_cleaner_at(now + 31 * DAY).run_once()
    kept = connection.execute("select distinct state from command_executions where finished_at is not null").fetchall()
    assert going(later)["executions"] > 0
    assert set(kept) == {("failed",)}
    # Whoever started one that stays does so too; here nobody did.
    assert count(connection, "command_executions") == waiting + failed

    last = make_cleaner_at(now + 91 * DAY).run_once()
    assert last.is_done
    assert count(connection, "command_executions") == waiting
    assert count(connection, "command_steps") == count(connection, "command_step_items") == 0
    assert count(connection, "command_attempts") == 0
    assert count(connection, "mutations where execution_id is not null") == 0
    assert count(connection, "mutations") == 0
    assert count(connection, "notifications") == 0


@pytest.mark.req("S-08", "C-15")
def test_nothing_goes_whose_event_may_still_be_missing(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    bookkeeper.work()
    before = {table: count(connection, table) for table in (*OWN, "mutations", "schedule_occurrences")}
    cleaner = make_cleaner_at(bookkeeper.clock.now() + 100 * DAY)

    cleaner.run_once()  # nobody has compared anything
    compared(connection, NOON - DAY)
    cleaner.run_once()

    assert {table: count(connection, table) for table in before} == before


@pytest.mark.req("S-08")
def test_executions_stay_for_as_long_as_events(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    bookkeeper.work()
    compared(connection, NOON + 100 * DAY)
    before = count(connection, "command_executions")

    # Too many, and too large; but their events are here.
    result = make_cleaner_at(NOON + DAY, executions_max_rows=1, executions_max_bytes=1).run_once()

    assert "executions" not in going(result)
    assert count(connection, "command_executions") == before


@pytest.mark.req("S-08")
@pytest.mark.parametrize("limit", [{"executions_max_rows": 3}, {"executions_max_bytes": 2500}], ids=str)
def test_too_many_executions_go_oldest_first(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner, limit: dict[str, int]
) -> None:
    for _ in range(10):
        bookkeeper.clock.advance(timedelta(seconds=1))
        bookkeeper.world.run("slug: one\nsteps: [{id: say, type: respond, with: {value: 1}}]\n")
    compared(connection, NOON + 100 * DAY)
    connection.execute("analyze")
    ids = [key for (key,) in connection.execute("select id from command_executions order by id")]

    result = make_cleaner_at(NOON + 16 * DAY, **limit).run_once()

    left = [key for (key,) in connection.execute("select id from command_executions order by id")]
    assert 0 < going(result)["executions"] < 10
    assert left == ids[going(result)["executions"] :]
    if "executions_max_rows" in limit:
        assert len(left) == 3


@pytest.mark.req("S-08")
def test_a_family_goes_from_its_children_on_and_stays_together(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    bookkeeper.work()
    compared(connection, NOON + 100 * DAY)
    parent = connection.execute("select distinct parent_id from command_executions where link = 'child'").fetchone()
    assert parent is not None
    # Its parent failed just now: nobody of it goes.
    connection.execute(
        "update command_executions set state = 'failed', finished_at = %s where id = %s", [NOON + 30 * DAY, parent[0]]
    )
    cleaner = make_cleaner_at(NOON + 50 * DAY)

    cleaner.run_once()

    assert count(connection, "command_executions where parent_id is not null") == 2


@pytest.mark.req("S-08")
def test_due_times_and_definitions_go_but_for_those_that_are_still_needed(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    bookkeeper.work()
    compared(connection, NOON + 100 * DAY)
    old = b"0123456789abcdef"
    connection.execute(
        "insert into command_definitions (hash, slug, source, first_used_at) values (%s, 'child', 'of before', %s)",
        [old, NOON - DAY],
    )
    connection.execute("update command_definitions set first_used_at = %s where hash <> %s", [NOON, old])
    told = "select schedule_id, origin, max(last_due_at) from schedule_occurrences group by 1, 2 order by 1, 2"
    last = connection.execute(told).fetchall()
    slugs = connection.execute("select distinct slug from command_definitions").fetchall()

    result = make_cleaner_at(NOON + 100 * DAY).run_once()

    assert going(result)["definitions"] == 1
    assert set(connection.execute("select slug from command_definitions").fetchall()) == set(slugs)
    assert going(result)["occurrences"] > 0
    assert connection.execute(told).fetchall() == last


@pytest.mark.req("S-08")
def test_a_clock_that_is_ahead_deletes_nothing(connection: Connection[Any], make_cleaner_at: MakeCleaner) -> None:
    now = SystemClock().now()
    make_partitions(connection, now, 2)
    days = list_partitions(connection)

    assert make_cleaner_at(now + 365 * DAY).run_once().is_done

    assert list_partitions(connection) == days


@pytest.mark.req("S-08")
@pytest.mark.parametrize("followers", [("chain", "rollup"), ("chain",), ("rollup",), ()])
def test_accounts_go_with_the_events_they_are_of(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner, followers: tuple[str, ...]
) -> None:
    now = SystemClock().now()
    keep_days_from(connection, now - 5 * DAY)
    closed = bookkeeper.account(closed=True, heard_ago=20 * DAY, began=now - 21 * DAY)
    bookkeeper.account(producer="unhealed", heard_ago=20 * DAY, began=now - 21 * DAY)
    bookkeeper.account(producer="new", closed=True)
    for ago in (20, 1):
        connection.execute("insert into telemetry_batches (stored_at, events) values (%s, 1)", [now - ago * DAY])
        connection.execute(
            "insert into telemetry_reconciled (event_id, reconciled_at) values (%s, %s)",
            [new_id(to_unix_us(now - ago * DAY)), now - ago * DAY],
        )
        connection.execute(
            "insert into telemetry_quarantine (id, quarantined_at, reason, shape, size_bytes)"
            " values (%s, %s, 'refused', '{}', 1)",
            [new_id(to_unix_us(now - 2 * ago * DAY)), now - 2 * ago * DAY],
        )
    followed = {
        "chain": "update telemetry_chain_progress set read_xid = pg_current_xact_id(), read_batch = 2",
        "rollup": "update telemetry_rollup_progress set view = pg_current_snapshot()",
    }
    for follower in followers:
        connection.execute(followed[follower])
    for name in list_partitions(connection)[:-3]:  # of the bookkeeper's time
        if "2026" in name and "202601" in name:
            connection.execute(f"drop table {name}".encode())

    result = make_cleaner_at(now).run_once()

    batches = {"batches": 1} if len(followers) == len(followed) else {}
    assert going(result) == {"reconciled": 1, "quarantine": 1, "producers": 1, **batches}
    assert closed not in {key for (key,) in connection.execute("select epoch from telemetry_producers")}


def a_notification(connection: Connection[Any], number: int, at: datetime) -> None:
    connection.execute(
        "insert into notifications (id, space_id, user_name, level, message, created_at)"
        " select %s, id, 'ada', 'info', repeat('x', 500), %s from spaces limit 1",
        [new_id(to_unix_us(at) + number), at],
    )


def a_misfit(connection: Connection[Any], number: int, at: datetime) -> None:
    connection.execute(
        "insert into telemetry_quarantine (id, quarantined_at, reason, shape, size_bytes, payload)"
        " values (%s, %s, 'refused', '{}', 1, decode(repeat('00', 500), 'hex'))",
        [new_id(to_unix_us(at) + number), at],
    )


@pytest.mark.req("S-08", "S-16")
@pytest.mark.parametrize(
    ("insert", "kind", "days"), [(a_notification, "notifications", 90), (a_misfit, "quarantine", 30)]
)
def test_age_number_and_bytes_bound_a_table_whichever_comes_first(
    connection: Connection[Any],
    make_cleaner_at: MakeCleaner,
    insert: Callable[[Connection[Any], int, datetime], None],
    kind: str,
    days: int,
) -> None:
    for number in range(10):
        insert(connection, number, NOON + number * DAY)
    connection.execute("analyze")

    def left(now: datetime, **settings: int) -> int:
        with connection.transaction(force_rollback=True):
            return 10 - going(make_cleaner_at(now, **settings).run_once(Request(dry_run=True))).get(kind, 0)

    assert left(NOON + days * DAY) == 10
    assert left(NOON + (days + 3) * DAY) == 7
    assert left(NOON + (days + 3) * DAY, **{f"{kind}_max_rows": 4}) == 4
    assert left(NOON + (days + 7) * DAY, **{f"{kind}_max_rows": 4}) == 3
    assert 2 <= left(NOON + (days + 3) * DAY, **{f"{kind}_max_bytes": 2500}) <= 5

    assert going(make_cleaner_at(NOON + (days + 3) * DAY, **{f"{kind}_max_rows": 4}).run_once())[kind] == 6


@pytest.mark.req("S-08", "S-16")
@pytest.mark.parametrize("what", ["old", "large"])
def test_kept_errors_go_by_age_and_by_bytes(
    connection: Connection[Any], make_cleaner_at: MakeCleaner, what: str
) -> None:
    make_partitions(connection, NOON, 0)
    failed = [
        StepFailed(mint(at), at, make_scope(), "check", "validate", 5, ERROR) for at in range(NOON_US, NOON_US + 9)
    ]
    insert_events(connection, [RowEncoder().encode(event) for event in failed])
    make_cleaner_at(NOON + 20 * DAY).run_once()
    assert count(connection, "telemetry_events_kept") == 9
    connection.execute("analyze telemetry_events_kept")

    if what == "old":
        make_cleaner_at(NOON + 89 * DAY).run_once()
        assert count(connection, "telemetry_events_kept") == 9
        make_cleaner_at(NOON + 91 * DAY).run_once()
        assert count(connection, "telemetry_events_kept") == 0
    else:
        make_cleaner_at(NOON + 20 * DAY, events_max_bytes=8 * 1000).run_once()
        assert 0 < count(connection, "telemetry_events_kept") < 9


@pytest.mark.req("S-08")
def test_rows_go_in_slices_and_what_stays_is_stepped_over(connection: Connection[Any]) -> None:
    for number in range(10):
        connection.execute(
            "insert into telemetry_batches (stored_at, events) values (%s, %s)", [NOON + number * DAY, number]
        )
    kind = Kind("batches", "telemetry_batches", "id", "stored_at", stays="t.events < 3")

    def run(limit: Limit, slices: int = 100) -> list[int]:
        asked = iter(range(slices))
        return list(delete_slices(connection, kind, limit, go_on=lambda: next(asked, None) is not None, rows=2))

    assert count_going(connection, kind, Limit(NOON + 6 * DAY)) == 3
    assert run(Limit(NOON + 6 * DAY), slices=2) == [0, 1]
    assert run(Limit(NOON + 6 * DAY)) == [0, 1, 1, 0]
    assert run(Limit(NOON, max_rows=2)) == [0, 1, 1, 0]
    left = connection.execute("select events from telemetry_batches order by id").fetchall()
    assert [events for (events,) in left] == [0, 1, 2, 8, 9]


def test_the_kinds_are_of_tables_that_are_there(connection: Connection[Any]) -> None:
    there = {name for (name,) in connection.execute("select relname from pg_class where relkind = 'r'")}
    names = [retained.kind.name for retained in RETAINED]

    assert len(set(names)) == len(names)
    for retained in RETAINED:
        if retained.kind.table in there:
            assert count_going(connection, retained.kind, Limit(NOON)) == 0


@pytest.mark.req("S-08")
def test_one_cleans_at_a_time_and_without_time_nothing_is_begun(
    connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    keep = RetentionSettings()
    make_partitions(connection, NOON, 0)
    cleaner = make_cleaner_at(NOON + 100 * DAY)
    assert is_wanted(connection, keep)

    assert not cleaner.run_once(patience=timedelta(0)).is_done
    assert len(list_partitions(connection)) == 2
    assert is_wanted(connection, keep)

    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [0x77656972636C6561])
        with pytest.raises(CleanupRunning):
            cleaner.run_once()
    assert cleaner.run_once().is_done
    assert list_partitions(connection) == []
    assert not is_wanted(connection, keep)
    connection.execute("update telemetry_cleaning set finished_at = now() - interval '2 hours'")
    assert not is_wanted(connection, keep)
    make_partitions(connection, NOON, 0)
    assert is_wanted(connection, RetentionSettings(events_max_bytes=1))
    connection.execute("update telemetry_cleaning set finished_at = now() - interval '25 hours'")
    assert is_wanted(connection, keep)


@pytest.mark.req("S-08")
def test_what_is_deleted_in_slices_is_archived(
    bookkeeper: Bookkeeper, connection: Connection[Any], make_cleaner_at: MakeCleaner, tmp_path: Path
) -> None:
    bookkeeper.work()
    compared(connection, NOON + 100 * DAY)
    ids = {str(key) for (key,) in connection.execute("select id from command_executions where finished_at is not null")}
    steps = count(connection, "command_steps")

    make_cleaner_at(NOON + 100 * DAY).run_once(Request(archive=tmp_path))

    (file,) = tmp_path.glob("command_executions-*.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert {row["id"] for row in rows} == ids
    assert sum(len(row["steps"] or ()) for row in rows) == steps
    assert list(tmp_path.glob("notifications-*.jsonl.gz"))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.req("S-13")
def test_the_scheduler_asks_for_it_daily_and_maintenance_does_it(
    api_settings: Settings, connection: Connection[Any]
) -> None:
    make_partitions(connection, NOON, 0)
    with open_resources(api_settings.servers, api_settings.workers, "test") as resources:
        cleaner = make_cleaner(resources)
        declare_maintenance(resources.broker, {CLEAN: partial(clean, cleaner)})
        worker = dramatiq.Worker(resources.broker, worker_timeout=100, worker_threads=1)
        ask_for_cleaning(resources)
        assert resources.broker.depth(MAINTENANCE_QUEUE) == 1
        worker.start()
        try:
            eventually(lambda: count(connection, "telemetry_cleaning") == 1)
        finally:
            worker.stop()
        ask_for_cleaning(resources)
        assert resources.broker.depth(MAINTENANCE_QUEUE) == 0
        with capture_logs() as lines, connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", [0x77656972636C6561])
            clean(cleaner)
    assert list_partitions(connection) == []
    assert [(line["event"], line["reason"]) for line in lines] == [("cleanup_failed", "telemetry.cleanup_running")]


@pytest.fixture
def cleanup(offline_weir: Weir, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Types `weir telemetry cleanup`."""
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    return partial(offline_weir, "telemetry", "cleanup")


@pytest.mark.req("S-08")
def test_a_person_sees_what_would_go_and_is_asked(cleanup: Callable[..., Any], connection: Connection[Any]) -> None:
    now = SystemClock().now()
    make_partitions(connection, now - 20 * DAY, 0)
    make_partitions(connection, now, 0)
    at = to_unix_us(now - 20 * DAY)
    insert_events(connection, [RowEncoder().encode(make_step(make_scope(), at))])
    connection.execute("analyze telemetry_events")

    seen = cleanup("--dry-run")
    unasked = cleanup()
    older = cleanup("--older-than", "30d", "--dry-run", "--format", "json")

    assert seen.code == 0
    assert "WOULD GO" in seen.out
    assert f"{now - 20 * DAY:%Y-%m-%d}: 1 events (too old)" in seen.out
    assert (unasked.code, "--force" in unasked.err) == (2, True)
    assert (older.json["dry_run"], older.json["going_rows"]) == (True, 0)
    assert len(list_partitions(connection)) == 4

    done = cleanup("--force", "--format", "json")
    nothing = cleanup("--format", "json")

    assert (done.code, done.json["dry_run"], done.json["done"]) == (0, False, True)
    assert len(done.json["kinds"][0]["days"]) == 2
    assert done.json["freed_bytes"] > 0
    assert done.json["log_files"] == {**done.json["log_files"], "files": 0, "bytes": 0, "days": 7}
    assert "0 log files in " in seen.out
    assert len(list_partitions(connection)) == 2
    assert (nothing.code, nothing.json["going_rows"]) == (0, 0)


@pytest.mark.req("S-08")
def test_a_component_is_cleaned_by_itself(
    cleanup: Callable[..., Any], connection: Connection[Any], tmp_path: Path
) -> None:
    now = SystemClock().now()
    make_partitions(connection, now - 3 * DAY, 0)
    insert_events(connection, [RowEncoder().encode(make_step(make_scope(), to_unix_us(now - 3 * DAY)))])
    typed = ("--component", "dsl_telemetry", "--older-than", "1d", "--format", "json")

    seen = cleanup(*typed, "--dry-run")
    done = cleanup(*typed, "--force", "--archive", str(tmp_path / "archive"))
    wrong = cleanup("--component", "nobody", "--dry-run")
    too_long = cleanup("--older-than", "99999999d", "--dry-run")

    assert seen.json["kinds"][0]["days"] == done.json["kinds"][0]["days"]
    assert [day["component"] for day in done.json["kinds"][0]["days"]] == ["dsl"]
    assert [kind["kind"] for kind in done.json["kinds"]] == ["events"]
    assert count(connection, "telemetry_events") == 0
    assert len(list((tmp_path / "archive").glob("*-dsl.jsonl.gz"))) == 1
    assert (wrong.code, too_long.code) == (2, 2)


@pytest.mark.req("S-08")
def test_a_trace_is_pinned_by_hand(
    offline_weir: Weir, database_url: str, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_DATABASE_URL", database_url)
    now = SystemClock().now()
    make_partitions(connection, now - 20 * DAY, 0)
    pinned = make_step(make_scope(), to_unix_us(now - 20 * DAY))
    insert_events(connection, [RowEncoder().encode(pinned)])
    of_trace = pinned.scope.correlation_id.hex()

    said = [offline_weir("telemetry", "pin", of_trace).out]
    offline_weir("telemetry", "cleanup", "--force")
    kept = count(connection, "telemetry_events_kept")
    said += [offline_weir("telemetry", "pin", of_trace, "--remove").out for _ in range(2)]
    unknown = offline_weir("telemetry", "pin", str(new_id(0)))

    assert [line.rpartition(": ")[2].strip() for line in said] == ["pinned", "no longer pinned", "was not pinned"]
    assert kept == 1
    assert unknown.code == 1


def test_a_day_that_somebody_holds_is_named_and_waited_for_no_longer(
    cleanup: Callable[..., Any], connection: Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.partitions.sleep", lambda _: None)
    monkeypatch.setattr("telemetry.partitions._DROP_TIMEOUT", "10ms")
    now = SystemClock().now()
    make_partitions(connection, now - 20 * DAY, 0)
    with connect(database_url, name="test") as busy:
        busy.execute("select count(*) from telemetry_events")
        held = cleanup("--force")

    assert held.code == 1
    assert f"In use all the time, and still there: {now - 21 * DAY:%Y-%m-%d}" in held.out
    assert len(list_partitions(connection)) == 2
    assert count(connection, "telemetry_cleaning") == 0


@pytest.mark.req("S-08")
def test_components_with_days_of_their_own_lose_them_daily(
    connection: Connection[Any], make_cleaner_at: MakeCleaner
) -> None:
    make_partitions(connection, NOON, 0)
    make_partitions(connection, NOON + 5 * DAY, 0)
    for ago in (0, 5):
        insert_events(connection, [RowEncoder().encode(make_step(make_scope(), to_unix_us(NOON + ago * DAY)))])
    cleaner = make_cleaner_at(NOON + 5 * DAY, components=("dsl=3",))

    seen = cleaner.run_once(Request(dry_run=True))
    done = cleaner.run_once()

    assert seen.removals[0].days == done.removals[0].days
    assert [(day["day"], day["component"], day["rows"]) for day in done.removals[0].days] == [("2026-01-13", "dsl", 1)]
    assert count(connection, "telemetry_events") == 1
    assert len(list_partitions(connection)) == 4
