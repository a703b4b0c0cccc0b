"""Chains are what the events of their traces say, whoever is killed, late, or at it twice."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from fixtures.samples import ERROR, make_scope, make_step, now_us
from fixtures.stacks import eventually
from psycopg import Connection

from telemetry import chains
from telemetry.chains import Chain, build_chains, forget_chains, is_wanted
from telemetry.clock import SystemClock
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
from telemetry.ids import mint
from telemetry.partitions import make_partitions
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


def chain_all(connection: Connection) -> None:
    """Build until every batch is read: transactions of other tests on the same server put some off."""
    unread = (
        "select count(*) from telemetry_batches as b, telemetry_chain_progress as p"
        " where (b.written_by, b.id) > (p.read_xid, p.read_batch)"
    )

    def is_read() -> bool:
        build_chains(connection)
        return connection.execute(unread).fetchone() == (0,)

    eventually(is_read)


def test_a_chain_tells_what_became_of_a_family(connection: Connection) -> None:
    at_us = now_us() - 10_000_000
    parent = make_scope()
    child = make_scope(correlation_id=parent.correlation_id, parent_id=parent.execution_id, command_slug="child")
    request = HttpRequestCompleted(*head(at_us, make_scope(**_request(parent))), "/api", "POST", 202, 5000, "succeeded")
    store(connection, [request, *run_of(parent, at_us + 1000, steps=2), *run_of(child, at_us + 9000, fails=True)])

    result = build_chains(connection)

    (chain,) = built(connection).values()
    assert (result.written, result.is_done) == (1, True)
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

    assert is_wanted(connection, timedelta(0))
    assert build_chains(connection).written == 1
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


def test_telemetrys_own_events_make_no_trace(connection: Connection) -> None:
    store(connection, [RecorderState(*head(now_us(), make_scope()), "spooling", 1, 1, 1, 1, 1, 1)])

    chain_all(connection)

    assert built(connection) == {}


def test_a_trace_without_end_is_counted_up_to_a_limit(connection: Connection) -> None:
    store(connection, run_of(make_scope(), now_us() - 10_000_000, steps=20))

    build_chains(connection, most_events=10)

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


def test_a_chain_goes_when_its_events_have_gone(connection: Connection) -> None:
    store(connection, run_of(make_scope(), now_us() - 1_000_000))
    chain_all(connection)
    assert forget_chains(connection) == 0

    connection.execute("update telemetry_correlation_chains set last_event_id = '01900000-0000-7000-8000-000000000000'")

    assert forget_chains(connection) == 1
    assert built(connection) == {}
