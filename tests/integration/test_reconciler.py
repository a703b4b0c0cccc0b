"""Every event that has a row behind it is given back, once, as it was recorded; whoever is killed at it, whenever.

Every type that has a row, every reason to begin, and every place to be killed, on the rows of one and the same run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fixtures.ledgers import Bookkeeper
from psycopg import Connection
from psycopg.rows import dict_row

from telemetry.clock import SystemClock, to_unix_us
from telemetry.completeness import kept_stretches
from telemetry.connections import connect
from telemetry.events import Event, Scope, StepExecuted
from telemetry.ids import mint, new_id
from telemetry.partitions import make_partitions
from workers.ledger_events import make_events
from workers.services import reconciler
from workers.services.reconciler import Reconciler, ReconcileResult, is_wanted

MINUTE = timedelta(minutes=1)

MakeReconciler = Callable[..., Reconciler]


@pytest.fixture
def make_reconciler(bookkeeper: Bookkeeper, database_url: str) -> MakeReconciler:
    """A reconciler of the bookkeeper's ledger."""
    connecting = partial(connect, database_url, name="weir test reconciler", autocommit=True)
    return partial(Reconciler, connecting, bookkeeper.world.pseudonyms.user)


def ids_of(rows: Iterable[tuple[UUID]]) -> set[UUID]:
    return {event_id for (event_id,) in rows}


def reconciled(connection: Connection[Any]) -> set[UUID]:
    return ids_of(connection.execute("select event_id from telemetry_reconciled").fetchall())


def lose_some(bookkeeper: Bookkeeper, seed: int = 1) -> tuple[dict[UUID, dict[str, Any]], set[UUID]]:
    """Everything happens and is stored, and then a third of it was not: all of it, and the ids of the third."""
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    whole = bookkeeper.stored()
    lost = set(random.Random(seed).sample(sorted(whole), len(whole) // 3))
    bookkeeper.lose(lost)
    return whole, lost


@pytest.mark.req("C-13", "C-15")
@pytest.mark.parametrize("seed", range(3))
def test_what_is_lost_comes_back_field_by_field(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any], seed: int
) -> None:
    whole, lost = lose_some(bookkeeper, seed)

    result = make_reconciler().run_once()

    assert result == ReconcileResult(given_back=len(lost), is_done=True)
    assert bookkeeper.stored() == whole
    assert reconciled(connection) == lost


@pytest.mark.req("C-13")
def test_what_was_never_delivered_is_made_from_nothing_but_rows(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler
) -> None:
    bookkeeper.work()

    make_reconciler().run_once()

    made = bookkeeper.stored()
    bookkeeper.lose(made)
    bookkeeper.store(bookkeeper.events)
    assert bookkeeper.stored() == made


@pytest.mark.req("C-13")
def test_a_second_round_has_nothing_to_do(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, lost = lose_some(bookkeeper)
    make_reconciler().run_once()

    assert make_reconciler().run_once() == ReconcileResult(is_done=True)

    assert bookkeeper.stored() == whole
    assert reconciled(connection) == lost


@pytest.mark.req("C-13")
def test_an_event_that_arrives_after_all_is_stored_once(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler
) -> None:
    whole, _ = lose_some(bookkeeper)
    make_reconciler().run_once()

    bookkeeper.store(bookkeeper.events)

    assert bookkeeper.stored() == whole


@pytest.mark.req("C-13")
def test_an_event_that_comes_just_then_is_not_called_reconciled(
    bookkeeper: Bookkeeper,
    make_reconciler: MakeReconciler,
    connection: Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, lost = lose_some(bookkeeper)
    late = min(lost)

    def meanwhile(*args: Any) -> Iterator[Event]:  # noqa: ANN401 - as make_events
        bookkeeper.store(event for event in bookkeeper.events if event.event_id == late.bytes)
        yield from make_events(*args)

    monkeypatch.setattr(reconciler, "make_events", meanwhile)
    result = make_reconciler().run_once()

    assert result.given_back == len(lost) - 1
    assert reconciled(connection) == lost - {late}
    assert bookkeeper.stored() == whole


@pytest.mark.req("C-13")
def test_a_round_ends_although_time_goes_on(
    make_reconciler: MakeReconciler, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark moves while rows are compared: whoever ran after it would not arrive where steps take time."""
    make_partitions(connection, SystemClock().now(), 1)

    def slowly(connection: Connection[Any], *stretch: datetime) -> Any:  # noqa: ANN401 - as kept_stretches
        connection.execute("select pg_sleep(0.01)")
        return kept_stretches(connection, *stretch)

    monkeypatch.setattr(reconciler, "kept_stretches", slowly)
    assert make_reconciler().run_once(timedelta(seconds=2)) == ReconcileResult(is_done=True)


@pytest.mark.req("C-13")
def test_it_goes_on_in_small_steps(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, lost = lose_some(bookkeeper)
    small = make_reconciler(slice_rows=7, at_once=2)

    rounds = [small.run_once(timedelta(0))]
    while not rounds[-1].is_done:
        rounds.append(small.run_once(timedelta(0)))

    assert len(rounds) > len(lost) / 2
    assert max(each.given_back for each in rounds) == 2
    assert bookkeeper.stored() == whole
    assert reconciled(connection) == lost


@pytest.mark.req("C-13", "A-12")
@pytest.mark.parametrize("statement", ["begin", "lock_place", "missing", "mark", "append_batch", "advance", "finish"])
def test_killed_at_any_statement_it_leaves_nothing_half_done(
    bookkeeper: Bookkeeper,
    make_reconciler: MakeReconciler,
    connection: Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
) -> None:
    whole, lost = lose_some(bookkeeper)
    broken = {**reconciler.SQL, statement: f"{reconciler.SQL[statement].partition('where')[0]} and then killed"}

    with monkeypatch.context() as patch:
        patch.setattr(reconciler, "SQL", broken)
        with pytest.raises(psycopg.errors.SyntaxError):
            make_reconciler(at_once=3).run_once()
    assert reconciled(connection) == set(bookkeeper.stored()) - (set(whole) - lost)
    make_reconciler().run_once()

    assert bookkeeper.stored() == whole
    assert reconciled(connection) == lost


@pytest.mark.req("C-13")
def test_a_clock_that_was_set_back_leaves_no_row_uncompared(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    """The server's clock was a day ahead when it was compared last: up to then."""
    now, ahead = SystemClock().now(), timedelta(days=1)
    make_partitions(connection, now, 1)
    connection.execute(
        "insert into telemetry_comparison (compared_until, finished_at, looked_back_at) values (%s, %s, %s)",
        [new_id(to_unix_us(now + ahead)), now + ahead, now + ahead],
    )
    bookkeeper.clock.set(now - 10 * MINUTE)
    bookkeeper.world.submit()

    assert is_wanted(connection, MINUTE)
    assert make_reconciler().run_once() == ReconcileResult(given_back=1, is_done=True)
    assert not is_wanted(connection, MINUTE)


@pytest.mark.req("C-13")
def test_two_at_once_give_nothing_back_twice(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, lost = lose_some(bookkeeper)
    both = [make_reconciler(slice_rows=5, at_once=3) for _ in range(2)]

    with ThreadPoolExecutor() as threads:
        results = list(threads.map(Reconciler.run_once, both))

    assert sum(each.given_back for each in results) == len(lost)
    assert bookkeeper.stored() == whole
    assert reconciled(connection) == lost


@pytest.mark.req("C-13")
def test_what_follows_stored_events_hears_of_them(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    _, lost = lose_some(bookkeeper)

    make_reconciler().run_once()

    (batch,) = connection.execute("select events, reconciled, minutes from telemetry_batches").fetchall()
    assert batch[:2] == (len(lost), True)
    minutes = {row["occurred_at"].timestamp() // 60 for key, row in bookkeeper.stored().items() if key in lost}
    assert {minute for each in batch[2] for minute in range(each.lower, each.upper)} == minutes


@pytest.mark.req("C-13")
def test_a_row_that_was_never_committed_has_no_event(bookkeeper: Bookkeeper, make_reconciler: MakeReconciler) -> None:
    world = bookkeeper.world
    claim = world.claim(user="Ada")
    world.lose_worker()
    bookkeeper.connection.execute("update command_executions set fence = fence + 1 where id = %s", [claim.id])
    at_us = world.clock.unix_us()
    zombie = StepExecuted(mint(at_us), at_us, Scope(claim.correlation_id.bytes, "api"), "ghost", "transform", 1)

    make_reconciler().run_once()

    assert UUID(bytes=zombie.event_id) not in bookkeeper.stored()
    assert {row["event_type"] for row in bookkeeper.stored().values()} == {
        "command.execution.queued",
        "command.execution.started",
    }


def test_rows_written_while_telemetry_was_off_are_left_alone(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler
) -> None:
    bookkeeper.world.recorder.enabled = False
    bookkeeper.work()

    assert make_reconciler().run_once() == ReconcileResult(is_done=True)
    assert bookkeeper.stored() == {}


def test_what_is_in_quarantine_is_left_there(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    _, lost = lose_some(bookkeeper)
    kept = lost.pop()
    connection.execute(
        "insert into telemetry_quarantine (id, reason, event_id, shape, size_bytes)"
        " values (%s, 'refused', %s, '{}', 1)",
        [new_id(0), kept],
    )

    make_reconciler().run_once()

    assert reconciled(connection) == lost
    assert kept not in bookkeeper.stored()


def test_days_without_a_partition_are_passed_over(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    bookkeeper.work()
    days = connection.execute(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'telemetry_events'::regclass"
    ).fetchall()
    for (day,) in days:
        connection.execute(f"drop table {day}")

    assert make_reconciler().run_once() == ReconcileResult(is_done=True)


def test_a_row_whose_event_is_malformed_does_not_hold_up_the_others(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, lost = lose_some(bookkeeper)
    spoilt = next(
        row["event_id"] for key, row in whole.items() if key in lost and row["event_type"] == "dsl.step.executed"
    )
    connection.execute("update command_steps set path = 'has blanks in it' where event_id = %s", [spoilt])

    result = make_reconciler(at_once=1).run_once()

    assert result == ReconcileResult(given_back=len(lost) - 1, impossible=1, is_done=True)
    assert reconciled(connection) == lost - {spoilt}


def test_a_row_whose_event_postgres_refuses_does_not_hold_up_the_others(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, lost = lose_some(bookkeeper)
    refused = random.Random(1).choice(sorted(lost))
    connection.execute(f"alter table telemetry_events add constraint refuses check (event_id <> '{refused}')")

    result = make_reconciler().run_once()

    assert result == ReconcileResult(given_back=len(lost) - 1, impossible=1, is_done=True)
    assert set(bookkeeper.stored()) == set(whole) - {refused}


@pytest.mark.req("C-13")
def test_what_a_producer_still_holds_is_waited_for(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    """Rows of before it are given back, later ones not yet."""
    _, lost = lose_some(bookkeeper)
    holds = sorted(lost)[len(lost) // 2]
    bookkeeper.account()
    connection.execute("update telemetry_producers set waits_since = to_timestamp(%s / 1000.0)", [holds.int >> 80])

    make_reconciler().run_once()

    before = {each for each in lost if each.int >> 80 < holds.int >> 80}
    assert reconciled(connection) == before
    connection.execute("update telemetry_producers set waits_since = null")
    make_reconciler().run_once()
    assert reconciled(connection) == lost


def test_a_producer_that_fell_silent_is_not_waited_for(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    _, lost = lose_some(bookkeeper)
    bookkeeper.account(heard_ago=timedelta(hours=3), waits_ago=timedelta(days=400))
    bookkeeper.account()

    make_reconciler().run_once()

    assert reconciled(connection) == lost


def test_a_row_that_is_committed_late_is_found_by_the_next_round(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, lost = lose_some(bookkeeper)
    make_reconciler().run_once()
    # The place is set where the last rows are, as if these had just passed.
    last = max(whole)
    connection.execute("update telemetry_comparison set compared_until = %s", [UUID(int=last.int + 1)])
    bookkeeper.lose([last])

    make_reconciler().run_once()

    assert bookkeeper.stored() == whole
    assert reconciled(connection) == lost | {last}


def test_once_an_hour_it_looks_back_far(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    whole, _ = lose_some(bookkeeper)
    make_reconciler().run_once()
    late = min(each for each in whole if each.int >> 80 > (max(whole).int >> 80) - 60_000)
    bookkeeper.lose([late])
    an_hour_later = UUID(int=late.int + (3_600_000 << 80))
    back_there = "update telemetry_comparison set compared_until = %s, looked_back_at = now() - %s"

    connection.execute(back_there, [an_hour_later, 50 * MINUTE])
    make_reconciler().run_once()
    assert late not in bookkeeper.stored()
    connection.execute(back_there, [an_hour_later, 61 * MINUTE])
    make_reconciler().run_once()

    assert bookkeeper.stored() == whole


def producer(connection: Connection[Any], epoch: UUID) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select * from telemetry_producers where epoch = %s", [epoch]).fetchone()
    assert row is not None
    return row


FAULTS: dict[str, dict[str, Any]] = {
    "a gap": {"seen": "{[1,4),[6,11)}"},
    "a lost end": {"seen": "{[1,4)}"},
    "drops": {"dropped": '{"dsl.step.executed": 3}'},
    "no closing record": {"heard_ago": MINUTE},
}


@pytest.mark.req("C-13", "C-15")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_healed_once_the_ledger_is_compared_beyond_it(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any], fault: str
) -> None:
    bookkeeper.account(producer="other")
    epoch = bookkeeper.account(**FAULTS[fault])
    whole = bookkeeper.account()

    # It is seen now, and compared is what is older than the grace.
    assert make_reconciler().run_once().healed == 0
    assert producer(connection, epoch)["healed_at"] is None
    connection.execute("update telemetry_gaps set seen_at = seen_at - interval '31 s'")
    assert make_reconciler().run_once().healed == 1

    row = producer(connection, epoch)
    assert row["healed_at"] is not None
    assert (row["healed_given"], row["healed_dropped"]) == (10, row["dropped"])
    assert producer(connection, whole)["healed_at"] is None
    assert connection.execute("select * from telemetry_gaps").fetchall() == []
    if fault == "no closing record":
        return  # heard of before it was healed in this test's own time
    assert make_reconciler().run_once() == ReconcileResult(is_done=True)
    assert connection.execute("select * from telemetry_gaps").fetchall() == []


def test_it_is_wanted_when_something_is_missing_and_now_and_then(
    bookkeeper: Bookkeeper, make_reconciler: MakeReconciler, connection: Connection[Any]
) -> None:
    assert is_wanted(connection, MINUTE), "it never was"
    make_reconciler().run_once()
    assert not is_wanted(connection, MINUTE)
    connection.execute("update telemetry_comparison set finished_at = now() - interval '11 s'")
    assert not is_wanted(connection, MINUTE)
    bookkeeper.account(seen="{[2,11)}")
    assert is_wanted(connection, MINUTE), "a number is missing"
    connection.execute("delete from telemetry_producers")
    assert not is_wanted(connection, MINUTE)
    connection.execute("update telemetry_comparison set finished_at = now() - interval '61 s'")
    assert is_wanted(connection, MINUTE), "a minute is over"
    connection.execute("update telemetry_comparison set finished_at = null")
    assert is_wanted(connection, MINUTE), "it was not finished"
