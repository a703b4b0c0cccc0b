"""Verify names exactly what is missing, of what was given and of the ledger, and nothing else."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from fixtures.ledgers import Bookkeeper
from psycopg import Connection, sql

from telemetry.clock import SystemClock
from telemetry.completeness import KINDS, Completeness, compare_again, verify
from telemetry.connections import connect
from telemetry.errors import StoreTooSlow
from telemetry.ids import new_id
from telemetry.intake import Intake
from telemetry.partitions import make_partitions
from telemetry.testing import NOON
from telemetry.transport import watermark
from workers.services.reconciler import Reconciler

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def look(connection: Connection[Any], since: datetime = NOON - DAY, until: datetime = NOON + DAY) -> Completeness:
    return verify(connection, since, until)


def kinds(connection: Connection[Any]) -> dict[UUID, str]:
    """What kind of row every event id is in."""
    return dict(connection.execute("select event_id, kind from ledger_events").fetchall())


@pytest.mark.req("C-13", "C-15")
def test_a_whole_ledger_is_complete(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    bookkeeper.account()

    found = look(connection)

    assert found.is_complete
    assert found.ledger.checked == Counter(kinds(connection).values())
    assert set(found.ledger.checked) == set(KINDS)
    assert not found.may_be_missing
    assert found.days_not_kept == ()


@pytest.mark.req("C-13", "C-15")
@pytest.mark.parametrize("seed", range(4))
def test_what_is_missing_is_named_exactly(bookkeeper: Bookkeeper, connection: Connection[Any], seed: int) -> None:
    bookkeeper.work()
    chosen = random.Random(seed)
    delivered = [event for event in bookkeeper.events if chosen.random() < 0.9]
    bookkeeper.store(delivered)
    bookkeeper.lose(chosen.sample(sorted(bookkeeper.stored()), 5))

    found = look(connection)

    missing = {key: kind for key, kind in kinds(connection).items() if key not in bookkeeper.stored()}
    assert not found.is_complete
    assert found.is_transported
    assert found.ledger.missing == Counter(missing.values())
    for kind in KINDS:
        named = [event_id for event_id, its in found.ledger.examples if its == kind]
        assert named == sorted(key for key, its in missing.items() if its == kind)[:5]


@pytest.mark.req("C-13")
def test_only_the_stretch_that_is_asked_about_counts(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()
    ordered = sorted(kinds(connection))
    middle = ordered[len(ordered) // 2]
    cut = NOON + timedelta(milliseconds=(middle.int >> 80) - int(NOON.timestamp() * 1000))

    before, after = look(connection, until=cut), look(connection, since=cut)

    assert before.ledger.checked.total() == sum(each.int >> 80 < middle.int >> 80 for each in ordered)
    assert before.ledger.checked + after.ledger.checked == Counter(kinds(connection).values())


def test_what_is_in_quarantine_is_told_apart(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()
    bookkeeper.store(bookkeeper.events)
    kept = next(key for key, kind in kinds(connection).items() if kind == "step")
    bookkeeper.lose([kept])
    connection.execute(
        "insert into telemetry_quarantine (id, reason, event_id, shape, size_bytes)"
        " values (%s, 'refused', %s, '{}', 1)",
        [new_id(0), kept],
    )

    found = look(connection)

    assert (found.ledger.missing, found.ledger.quarantined) == (Counter(), Counter(step=1))


@pytest.mark.req("C-13", "C-15")
def test_faults_of_producers_are_named(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    whole = bookkeeper.account(producer="whole")
    ended = bookkeeper.account(producer="ended", closed=True, heard_ago=MINUTE)
    gap = bookkeeper.account(producer="gap", seen="{[1,4),[6,8)}", closed=True)
    drops = bookkeeper.account(producer="drops", dropped='{"dsl.step.executed": 3}')
    tail = bookkeeper.account(producer="tail", heard_ago=31 * SECOND)
    nothing = bookkeeper.account(producer="nothing", seen="{}", given=0)

    found = look(connection)

    epochs = {epoch["epoch"]: epoch for epoch in found.public()["transport"]["epochs"]}
    states = {epoch["producer"]: epoch["state"] for epoch in epochs.values()}
    assert states == {
        "whole": "open",
        "ended": "closed",
        "gap": "closed",
        "drops": "open",
        "tail": "ended",
        "nothing": "open",
    }
    assert [epochs[str(each)]["complete"] for each in (whole, ended, gap, drops, tail, nothing)] == [
        *(True, True, False, False, False, True)
    ]
    assert (epochs[str(gap)]["missing"], epochs[str(gap)]["missing_count"]) == ([[4, 5], [8, 10]], 5)
    assert (epochs[str(gap)]["given"], epochs[str(gap)]["arrived"]) == (10, 5)
    assert epochs[str(drops)]["dropped"] == {"dsl.step.executed": 3}
    assert [epochs[str(each)]["tail_unknown_after"] for each in (whole, ended, tail)] == [None, None, 10]
    assert not found.is_transported
    assert found.ledger.is_complete
    assert found.may_be_missing


@pytest.mark.req("C-13")
def test_faults_that_are_healed_are_told_and_no_longer_count(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    bookkeeper.account(seen="{[1,4),[6,11)}", dropped='{"dsl.step.executed": 3}', closed=True, heard_ago=MINUTE)
    connection.execute("update telemetry_producers set healed_at = now(), healed_given = 10, healed_dropped = dropped")

    found = look(connection)

    (epoch,) = found.public()["transport"]["epochs"]
    assert (epoch["healed"], epoch["complete"], epoch["missing"]) == (True, True, [[4, 5]])
    assert found.is_complete
    assert found.may_be_missing


@pytest.mark.parametrize(
    "since_then",
    [
        "given = 20",
        """dropped = '{"dsl.step.executed": 4}'""",
        """dropped = '{"dsl.step.executed": 3, "fragment.created": 1}'""",
        "healed_at = heard_at - interval '1 s', closed_at = null",
    ],
)
def test_what_went_missing_since_it_was_healed_counts(
    bookkeeper: Bookkeeper, connection: Connection[Any], since_then: str
) -> None:
    bookkeeper.account()
    bookkeeper.account(seen="{[1,4),[6,11)}", dropped='{"dsl.step.executed": 3}', closed=True, heard_ago=MINUTE)
    connection.execute("update telemetry_producers set healed_at = now(), healed_given = 10, healed_dropped = dropped")
    of_it = sql.SQL("update telemetry_producers set {} where closed_at is not null")
    connection.execute(of_it.format(sql.SQL(since_then)))

    assert not look(connection).is_complete


def test_what_was_dropped_and_has_no_row_is_lost(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.account(dropped='{"http.request.completed": 2, "fragment.created": 1}')
    connection.execute("update telemetry_producers set healed_at = now(), healed_given = 10, healed_dropped = dropped")

    found = look(connection)

    assert found.epochs[0].is_healed
    assert found.epochs[0].lost == {"http.request.completed": 2}
    assert not found.is_complete


def test_numbers_on_their_way_are_no_gap_once_they_have_come(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    """Several sinks are not done in order; of whoever still runs a number is missing that was so at two looks."""
    epoch = bookkeeper.account(seen="{[6,11)}")

    class Meanwhile:
        """The connection, on which the numbers arrive while the ledger is compared."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a connection
            return getattr(connection, name)

        def execute(self, statement: str, *args: Any) -> Any:  # noqa: ANN401 - as a connection's
            if "pg_inherits" in statement:
                later = "update telemetry_producers set given = 20, seen = '{[1,11),[16,21)}' where epoch = %s"
                connection.execute(later, [epoch])
            return connection.execute(statement, *args)

    assert not look(connection).is_complete
    found = look(Meanwhile())  # type: ignore[arg-type]  # is one in all that counts

    assert found.is_complete


def test_verify_lets_the_reconciler_look_again(
    bookkeeper: Bookkeeper, connection: Connection[Any], database_url: str
) -> None:
    """A row that is committed hours after what it tells of has passed unseen."""
    bookkeeper.work()
    reconciler = Reconciler(
        lambda: connect(database_url, name="weir test", autocommit=True), bookkeeper.world.pseudonyms.user
    )
    reconciler.run_once()
    whole = bookkeeper.stored()
    bookkeeper.lose([min(whole)])
    connection.execute(
        "update telemetry_comparison set compared_until = %s", [new_id(int(1e6 * (NOON + DAY).timestamp()))]
    )
    reconciler.run_once()
    assert set(bookkeeper.stored()) == set(whole) - {min(whole)}

    compare_again(connection, look(connection))
    reconciler.run_once()

    assert bookkeeper.stored() == whole
    found = look(connection)
    assert (found.is_complete, found.reconciled) == (True, len(whole))


def test_days_that_are_not_kept_are_named_and_not_looked_at(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    bookkeeper.work()
    connection.execute("drop table telemetry_events_p20260113")

    found = look(connection, since=NOON - 40 * DAY)

    assert found.ledger.checked.total() == 0
    assert [f"{day:%m-%d}" for day in found.days_not_kept] == ["01-13"]


def test_it_gives_up_when_it_takes_too_long(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()

    with pytest.raises(StoreTooSlow):
        verify(connection, NOON - DAY, NOON + DAY, patience=-SECOND)


def test_its_json_is_what_is_documented(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.work()
    bookkeeper.account()

    found = json.loads(json.dumps(look(connection).public()))

    assert list(found) == ["complete", "current", "may_be_missing", "window", "transport", "ledger", "reconciled"]
    assert list(found["window"]) == [
        *("since", "until", "checked_until", "watermark", "held_by", "heard_at", "silent", "days_not_kept")
    ]
    assert list(found["transport"]["epochs"][0]) == [
        *("epoch", "producer", "state", "rung", "started_at", "heard_at", "complete", "given", "arrived", "missing"),
        *("missing_count", "dropped", "lost", "closed", "tail_unknown_after", "healed"),
    ]
    assert list(found["ledger"]) == ["complete", "checked", "missing", "quarantined", "examples"]
    assert list(found["ledger"]["examples"][0]) == ["event_id", "kind", "occurred_at"]


def clock_of(connection: Connection[Any]) -> datetime:
    row = connection.execute("select now()").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


@pytest.mark.req("C-13")
def test_without_producers_the_watermark_is_now(connection: Connection[Any]) -> None:
    before = clock_of(connection)
    found = watermark(connection)

    assert before <= found.at == found.transport_at <= clock_of(connection)
    assert (found.held_by, found.silent) == (None, [])


@pytest.mark.req("C-13")
def test_the_watermark_is_the_oldest_that_a_live_producer_holds(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    bookkeeper.account(producer="idle")
    bookkeeper.account(producer="spools", waits_ago=MINUTE)
    bookkeeper.account(producer="lags", waits_ago=SECOND)
    bookkeeper.account(producer="has ended", waits_ago=5 * MINUTE, closed=True)
    bookkeeper.account(producer="is silent", heard_ago=31 * SECOND, waits_ago=5 * MINUTE)

    found = watermark(connection)

    assert MINUTE <= clock_of(connection) - found.at < MINUTE + 10 * SECOND
    assert (found.held_by, found.silent) == ("spools", ["is silent"])


@pytest.mark.req("C-13")
def test_once_a_sink_finds_nothing_new_those_who_were_killed_are_silent(
    bookkeeper: Bookkeeper, connection: Connection[Any], database_url: str
) -> None:
    """All were killed, and started again, and have recorded nothing since."""
    bookkeeper.account(producer="was killed", heard_ago=10 * MINUTE)
    connecting = partial(connect, database_url, name="weir test")
    intake = Intake(connecting, clock=SystemClock(), partitions_ahead=1)

    intake.looked()
    intake.looked()
    intake.close()
    now = clock_of(connection)
    mark, found = watermark(connection), verify(connection, now - DAY, now)

    assert mark.silent == ["was killed"]
    assert now - mark.at < MINUTE
    assert [epoch.tail_unknown for epoch in found.epochs] == [True]


@pytest.mark.req("C-13")
def test_while_no_sink_runs_nobody_is_silent_and_nothing_is_compared(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    """Nobody is heard of then: that says nothing of any of them."""
    bookkeeper.account(heard_ago=10 * MINUTE)
    bookkeeper.account(heard_ago=10 * MINUTE + 5 * SECOND)
    now = clock_of(connection)

    found = watermark(connection)
    until = verify(connection, now - DAY, now).checked_until

    assert found.silent == []
    assert 10 * MINUTE <= now - found.transport_at + SECOND < 11 * MINUTE
    assert until <= now - 10 * MINUTE - 30 * SECOND + SECOND


@pytest.mark.req("C-13")
def test_a_clock_that_was_set_back_hides_no_producer_and_silences_none(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    """The server's clock was an hour ahead when one was last heard of; another one's own clock is."""
    now = clock_of(connection)
    bookkeeper.account(producer="heard too late", heard_ago=-HOUR, began=now - MINUTE)
    bookkeeper.account(producer="began too late", began=now + HOUR, dropped='{"http.request.completed": 3}')

    mark = watermark(connection)
    found = verify(connection, now - DAY, clock_of(connection))

    assert mark.at <= mark.transport_at <= clock_of(connection)
    assert mark.silent == []
    assert {epoch.producer: epoch.is_complete for epoch in found.epochs} == {
        "heard too late": True,
        "began too late": False,
    }
    assert not any(epoch.tail_unknown for epoch in found.epochs)


@pytest.mark.req("C-13")
def test_rows_that_cannot_be_compared_for_long_are_not_called_complete(
    bookkeeper: Bookkeeper, connection: Connection[Any]
) -> None:
    """Nothing was heard of for ten minutes, and rows were written since: nobody knows where their events are."""
    bookkeeper.account(heard_ago=10 * MINUTE)
    bookkeeper.clock.set(clock_of(connection) - 5 * MINUTE)
    make_partitions(connection, bookkeeper.clock.now(), 1)
    bookkeeper.world.submit()
    now = clock_of(connection)

    assert not verify(connection, now - DAY, now).is_complete
    assert verify(connection, now - DAY, now - 9 * MINUTE).is_complete


def test_once_all_have_ended_nobody_is_waited_for(bookkeeper: Bookkeeper, connection: Connection[Any]) -> None:
    bookkeeper.account(heard_ago=10 * MINUTE, closed=True, waits_ago=11 * MINUTE)
    before = clock_of(connection)

    assert watermark(connection).at >= before
