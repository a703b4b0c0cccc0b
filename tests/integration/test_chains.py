"""Chains are what the events of their traces say, whoever is killed, late, or at it twice."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fixtures.chaining import chain_all
from fixtures.samples import ERROR, make_scope, make_step, now_us
from fixtures.stacks import eventually
from psycopg import Connection

from telemetry import chains
from telemetry.chains import Chain, build_chains, is_wanted
from telemetry.clock import SystemClock, from_unix_us
from telemetry.connections import connect
from telemetry.events import (
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionQueued,
    HttpRequestCompleted,
    RecorderState,
    Scope,
    StepFailed,
)
from telemetry.foreign import remove
from telemetry.ids import mint
from telemetry.partitions import make_partitions
from telemetry.retention import clear_component, drop_day, forget_chains, list_days, pin
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_new_events

pytestmark = pytest.mark.req("S-01")

COUNTS = (120_000, 3000, 130_000, 1, 1, 0, 0, 1)
MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def partitions(connection: Connection) -> None:
    make_partitions(connection, SystemClock().now(), 1)


def store(connection: Connection, events: Iterable[Event]) -> None:
    """As a sink does."""
    events = list(events)
    encode = RowEncoder().encode
    with connection.transaction():
        stored = insert_new_events(connection, [encode(event) for event in events])
        minutes = sorted({event.occurred_at_us // MINUTE_US for event in events})
        append_batch(connection, events=stored, duplicates=len(events) - stored, minutes=minutes)


def head(at_us: int, scope: Scope) -> tuple[bytes, int, Scope]:
    return mint(at_us), at_us, scope


def run_of(scope: Scope, at_us: int, *, fails: bool = False, steps: int = 1) -> list[Event]:
    """An execution, whole; a millisecond from event to event."""
    instants = iter(range(at_us, at_us + 1_000_000, 1000))
    last: Event
    events: list[Event] = [ExecutionQueued(*head(next(instants), scope), 5)]
    events += [make_step(scope, next(instants), step_path=f"step{number}") for number in range(steps)]
    if fails:
        events.append(StepFailed(*head(next(instants), scope), "check", "validate", 50, ERROR))
        last = ExecutionFailed(*head(next(instants), scope), *COUNTS, "failed", ERROR)
    else:
        last = ExecutionCompleted(*head(next(instants), scope), *COUNTS)
    return [*events, last]


def built(connection: Connection) -> dict[bytes, Chain]:
    return {chain.correlation_id.bytes: chain for chain in chains.page(connection, limit=10_000)}


def test_a_chain_tells_what_became_of_a_family(connection: Connection) -> None:
    at_us = now_us() - 10_000_000
    parent = make_scope()
    child = make_scope(correlation_id=parent.correlation_id, parent_id=parent.execution_id, command_slug="child")
    request = HttpRequestCompleted(*head(at_us, make_scope(**_request(parent))), "/api", "POST", 202, 5000, "succeeded")
    store(connection, [request, *run_of(parent, at_us + 1000, steps=2), *run_of(child, at_us + 9000, fails=True)])

    chain_all(connection)

    (chain,) = built(connection).values()
    assert (chain.status, chain.depth, chain.executions, chain.steps, chain.errors) == ("succeeded", 2, 2, 4, 2)
    assert chain.events == 9
    assert chain.root_execution_id is not None
    assert chain.root_execution_id.bytes == parent.execution_id
    assert (chain.command_slug, chain.components) == ("todo.add", ["command", "dsl", "http"])
    assert chain.duration_us == (chain.ended_at - chain.started_at) // timedelta(microseconds=1) > 0
    assert not chain.truncated


def _request(scope: Scope) -> dict[str, object]:
    return {"correlation_id": scope.correlation_id, "execution_id": None, "command_slug": None}


@pytest.mark.parametrize(("events", "status"), [(slice(0, 2), "running"), (slice(0, 9), "failed")])
def test_an_execution_without_an_end_runs(connection: Connection, events: slice, status: str) -> None:
    store(connection, run_of(make_scope(), now_us() - 10_000_000, fails=True)[events])

    chain_all(connection)

    assert [chain.status for chain in built(connection).values()] == [status]


def test_what_comes_late_builds_its_trace_anew(connection: Connection) -> None:
    scope = make_scope()
    first, *rest = run_of(scope, now_us() - 200_000_000)
    store(connection, rest)
    chain_all(connection)
    assert not is_wanted(connection, timedelta(0))

    store(connection, [first, make_step(scope, now_us(), step_path="late")])

    eventually(lambda: is_wanted(connection, timedelta(0)))
    eventually(lambda: build_chains(connection).written == 1)
    (chain,) = built(connection).values()
    assert (chain.events, chain.steps) == (4, 2)
    assert not is_wanted(connection, timedelta(0))


def test_what_is_stored_by_a_transaction_that_commits_late_is_not_missed(
    connection: Connection, database_url: str
) -> None:
    """The batch that commits last has the lesser number: a cursor that goes by what it sees would pass it over."""
    at_us = now_us() - 1_000_000
    with connect(database_url, name="weir slow sink") as slow:
        slow.execute("select 1")  # a transaction of its own, around the store's
        store(slow, run_of(make_scope(), at_us))
        store(connection, run_of(make_scope(), at_us))
        build_chains(connection)
        assert built(connection) == {}
        slow.commit()

        chain_all(connection)

    assert len(built(connection)) == 2


def test_a_database_restored_into_a_younger_server_goes_on(connection: Connection) -> None:
    first, unread, new = (run_of(make_scope(), now_us()) for _ in range(3))
    store(connection, first)
    chain_all(connection)
    store(connection, unread)
    # What a dump brings along: ids of transactions that are still to come here.
    connection.execute("update telemetry_batches set written_by = (10000000000 + id)::text::xid8")
    connection.execute(
        "update telemetry_chain_progress set read_batch = (select min(id) from telemetry_batches),"
        " read_xid = (select min(written_by) from telemetry_batches)"
    )
    store(connection, new)

    eventually(lambda: is_wanted(connection, timedelta(hours=1)))
    chain_all(connection)

    assert set(built(connection)) == {each[0].scope.correlation_id for each in (first, unread, new)}
    assert not is_wanted(connection, timedelta(0))
    store(connection, run_of(make_scope(), now_us()))
    chain_all(connection)
    assert len(built(connection)) == 4


def test_telemetrys_own_events_make_no_trace(connection: Connection) -> None:
    store(connection, [RecorderState(*head(now_us(), make_scope()), "spooling", 1, 1, 1, 1, 1, 1)])

    chain_all(connection)

    assert built(connection) == {}


def test_a_trace_without_end_is_counted_up_to_a_limit(connection: Connection) -> None:
    store(connection, run_of(make_scope(), now_us() - 10_000_000, steps=20))

    chain_all(connection, most_events=10)

    (chain,) = built(connection).values()
    assert (chain.events, chain.truncated) == (10, True)


class Killed(BaseException):
    """Where no handler of ours looks."""


def test_killed_at_any_statement_it_ends_as_if_never_killed(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random traces, rounds cut off at random statements, against a plain count of what was stored."""
    choose = random.Random(7)
    scopes = [make_scope() for _ in range(40)]
    begin_us = now_us() - 300_000_000
    expected = {scope.correlation_id: 0 for scope in scopes}
    kills = 0
    execute = psycopg.Cursor.execute

    def fragile(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as what it stands for
        if choose.random() < 0.05:
            raise Killed
        return execute(*arguments, **named)

    for _ in range(12):
        for scope in choose.sample(scopes, 10):
            steps = choose.randrange(1, 6)
            store(connection, run_of(scope, begin_us + choose.randrange(290_000_000), steps=steps))
            expected[scope.correlation_id] += steps + 2
        with connect(database_url, name="weir killed", autocommit=True) as victim, monkeypatch.context() as patch:
            patch.setattr(psycopg.Cursor, "execute", fragile)
            try:
                build_chains(victim, slice_events=15, batches=3)
            except Killed:
                kills += 1
    while not build_chains(connection, slice_events=15, batches=3).is_done:
        pass

    assert kills > 3
    assert {each: chain.events for each, chain in built(connection).items()} == {
        each: count for each, count in expected.items() if count
    }


def test_two_at_once_do_not_wait_for_each_other(connection: Connection, database_url: str) -> None:
    store(connection, run_of(make_scope(), now_us() - 1_000_000))
    with connect(database_url, name="weir other") as other:
        other.execute("select 1 from telemetry_chain_progress for update")
        result = build_chains(connection)

    assert (result.slices, result.is_done) == (0, False)
    assert build_chains(connection).written == 1


def test_a_page_is_newest_first_and_goes_on_where_it_ended(connection: Connection) -> None:
    begin_us = now_us() - 100_000_000
    for number in range(5):
        store(connection, run_of(make_scope(), begin_us + number * 1_000_000, fails=number == 2))
    chain_all(connection)

    first = chains.page(connection, limit=3)
    second = chains.page(connection, limit=3, before=first[-1].first_event_id)
    failed = chains.page(connection, limit=3, status="failed")

    found = [chain.first_event_id for chain in [*first, *second]]
    assert (len(found), found) == (5, sorted(found, reverse=True))
    assert [chain.first_event_id for chain in failed] == [found[2]]


def test_a_chain_goes_when_all_its_events_were_removed(connection: Connection) -> None:
    at_us = now_us() - 60 * MINUTE_US
    gone = make_scope(request_source="sample")
    store(connection, [*run_of(gone, at_us), *run_of(make_scope(), at_us)])
    chain_all(connection)

    assert remove(connection, "sample") == 3
    chain_all(connection)

    assert gone.correlation_id not in built(connection)
    assert len(built(connection)) == 1


def test_many_chains_go_in_slices(connection: Connection) -> None:
    at_us = now_us() - 20 * MINUTE_US
    for number in range(30):
        store(connection, run_of(make_scope(), at_us + number * 1_000_000))
    chain_all(connection)
    with connection.transaction():
        connection.execute("delete from telemetry_events")
        minutes = {(at_us + number * 1_000_000) // MINUTE_US for number in range(-5, 35)}
        append_batch(connection, events=0, duplicates=0, minutes=sorted(minutes))

    assert chain_all(connection, slice_events=10) == 3

    assert built(connection) == {}


def test_a_chain_of_which_some_events_are_gone_says_what_became_of_all(connection: Connection) -> None:
    at_us = now_us() - 20 * MINUTE_US
    scope = make_scope()
    store(connection, run_of(scope, at_us, steps=3, fails=True))
    chain_all(connection)
    (whole,) = built(connection).values()

    (day,) = [day for day in list_days(connection) if day.begins <= from_unix_us(at_us) < day.ends]
    clear_component(connection, day, "command", errors_from=day.ends)
    chain_all(connection)
    (cut,) = built(connection).values()

    assert (whole.status, whole.events, whole.cut) == ("failed", 6, False)
    assert cut == replace(whole, cut=True)

    store(connection, [make_step(scope, now_us(), step_path="late")])
    chain_all(connection)

    (more,) = built(connection).values()
    assert (more.status, more.cut, more.ended_at > whole.ended_at) == ("running", True, True)


def test_what_outlived_its_day_is_in_its_chain(connection: Connection) -> None:
    """A late event has the chain of a pinned trace made again, from kept events too."""
    old_us = now_us() - 5 * 24 * 20 * MINUTE_US
    make_partitions(connection, from_unix_us(old_us), 0)
    scope = make_scope()
    store(connection, run_of(scope, old_us, steps=4))
    chain_all(connection)
    (before,) = built(connection).values()
    pin(connection, UUID(bytes=scope.correlation_id))
    drop_until(connection, from_unix_us(old_us))

    connection.execute("update telemetry_chain_progress set read_xid = '0', read_batch = 0")
    store(connection, [make_step(scope, now_us() - 1000, step_path="late")])
    chain_all(connection)

    (after,) = built(connection).values()
    assert (before.events, after.events, after.steps, after.cut) == (6, 7, 5, False)
    assert (after.first_event_id, after.depth, after.status) == (before.first_event_id, 1, "succeeded")


@pytest.mark.parametrize("is_chained", [True, False], ids=["chained", "not chained"])
def test_chains_of_a_dropped_day_go_unless_something_of_them_is_kept(connection: Connection, is_chained: bool) -> None:
    old_us = now_us() - 5 * 24 * 20 * MINUTE_US
    make_partitions(connection, from_unix_us(old_us), 0)
    plain, failed, pinned, goes_on = (make_scope() for _ in range(4))
    for scope in (plain, failed, pinned, goes_on):
        store(connection, run_of(scope, old_us, fails=scope is failed))
    store(connection, run_of(goes_on, now_us() - 1_000_000))
    if is_chained:
        chain_all(connection)
    pin(connection, UUID(bytes=pinned.correlation_id))

    drop_until(connection, from_unix_us(old_us))
    chain_all(connection)

    chains_left = built(connection)
    assert set(chains_left) == {failed.correlation_id, pinned.correlation_id, goes_on.correlation_id}
    assert [chains_left[scope.correlation_id].events for scope in (pinned, goes_on)] == [3, 6]
    assert not chains_left[pinned.correlation_id].cut
    assert not chains_left[goes_on.correlation_id].cut
    if is_chained:
        told = chains_left[failed.correlation_id]
        assert (told.status, told.events, told.cut) == ("failed", 4, True)


def drop_until(connection: Connection, instant: datetime) -> None:
    """Drop days up to that of an instant, which must be the oldest ones; errors are kept."""
    while (oldest := list_days(connection)[0]).begins <= instant:
        assert drop_day(connection, oldest, reason="age", errors_from=oldest.begins)
        forget_chains(connection, oldest)
