"""The accounts of producers: what arrived, whatever came of it, in any order, any number of times, through any sink."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from fixtures.samples import encoded, make_scope, make_step, now_us, one_of_each
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from telemetry.batch import FORMAT, BatchHeader, BatchMalformed, Rung, encode_batch
from telemetry.clock import SystemClock, from_unix_us
from telemetry.connections import connect
from telemetry.ids import mint
from telemetry.intake import Delivery, Intake
from telemetry.producers import Arrival, accounts_of, read_arrival

CLOCK = SystemClock()
DAY_US = 86_400_000_000
NOW_US = now_us()


class Known(NamedTuple):
    """A row of `telemetry_producers`."""

    seen: list[tuple[int, int]]
    given: int
    dropped: dict[str, int]
    rung: str
    waits_since: Any
    is_closed: bool


@pytest.fixture
def intakes(database_url: str) -> Iterator[tuple[Intake, Intake]]:
    """Those of two sinks."""
    connecting = partial(connect, database_url, name="test intake")
    pair = (
        Intake(connecting, clock=CLOCK, partitions_ahead=1),
        Intake(connecting, clock=CLOCK, partitions_ahead=1),
    )
    yield pair
    for intake in pair:
        intake.close()


def arrival(epoch: bytes, events: list[bytes], *, entry_id: bytes = b"1-0", **header: Any) -> Arrival:  # noqa: ANN401
    told = {"format": FORMAT, "producer": "test-1", "oldest_us": NOW_US, "dropped": {}, **header}
    return Arrival(entry_id, BatchHeader(epoch=epoch, **told), events)


def delivery(*arrivals: Arrival, redelivered: bool = False) -> Delivery:
    return Delivery([event for each in arrivals for event in each.events], arrivals, redelivered=redelivered)


def known(connection: psycopg.Connection, epoch: bytes) -> Known:
    row = connection.execute(
        "select array(select array[lower(part), upper(part)] from unnest(seen) as part), given, dropped, rung,"
        " waits_since, closed_at is not null from telemetry_producers where epoch = encode(%s, 'hex')::uuid",
        (epoch,),
    ).fetchone()
    assert row is not None
    return Known([(first, end) for first, end in row[0]], *row[1:])


def test_every_number_that_arrived_is_in_the_account_whatever_came_of_its_event(
    intakes: tuple[Intake, Intake], connection: psycopg.Connection
) -> None:
    epoch, intake = mint(NOW_US), intakes[0]
    step = make_step()
    events = [*encoded(step, step, make_step(at_us=NOW_US - 40 * DAY_US)), b"\xc1", *encoded(make_step())]

    tally = intake.store(delivery(arrival(epoch, events, first=11)))

    assert (tally.stored, tally.duplicates, tally.too_old, len(tally.misfits)) == (2, 1, 1, 1)
    assert known(connection, epoch).seen == [(11, 16)]
    assert known(connection, epoch).given == 15


def test_headers_that_come_late_change_only_what_grows(
    intakes: tuple[Intake, Intake], connection: psycopg.Connection
) -> None:
    epoch, intake = mint(NOW_US), intakes[0]
    newer = arrival(
        epoch, encoded(make_step()), first=8, rung="spooling", oldest_us=NOW_US - 5, dropped={"a.b": 3, "a.c": 1}
    )
    older = arrival(epoch, encoded(make_step()), first=2, oldest_us=NOW_US, dropped={"a.b": 2, "a.d": 9})

    intake.store(delivery(newer))
    intake.store(delivery(older))

    found = known(connection, epoch)
    assert found.seen == [(2, 3), (8, 9)]
    assert (found.given, found.rung, found.waits_since) == (8, "spooling", from_unix_us(NOW_US - 5))
    assert found.dropped == {"a.b": 3, "a.c": 1, "a.d": 9}
    assert not found.is_closed


def test_a_batch_without_events_is_heard_and_ends_the_epoch(
    intakes: tuple[Intake, Intake], connection: psycopg.Connection
) -> None:
    epoch, intake = mint(NOW_US), intakes[0]
    intake.store(delivery(arrival(epoch, encoded(make_step()), first=1)))
    intake.store(delivery(arrival(epoch, [], first=2, is_last=True, oldest_us=NOW_US + 9)))

    found = known(connection, epoch)
    assert (found.seen, found.given, found.waits_since) == ([(1, 2)], 1, from_unix_us(NOW_US + 9))
    assert found.is_closed
    assert connection.execute("select count(*) from telemetry_batches").fetchone() == (1,)


def test_who_follows_the_store_learns_which_minutes_were_touched(
    intakes: tuple[Intake, Intake], connection: psycopg.Connection
) -> None:
    at_us = NOW_US - NOW_US % 60_000_000
    steps = [make_step(at_us=instant) for instant in (at_us, at_us - 1, at_us + 59_999_999)]
    intakes[0].store(delivery(arrival(mint(NOW_US), encoded(*steps))))

    minute = at_us // 60_000_000
    row = connection.execute("select events, duplicates, minutes::text, reconciled from telemetry_batches").fetchone()
    assert row == (3, 0, f"{{[{minute - 1},{minute + 1})}}", False)


def test_what_is_in_the_account_was_dealt_with(intakes: tuple[Intake, Intake]) -> None:
    epoch, intake = mint(NOW_US), intakes[0]
    batches = [arrival(epoch, encoded(make_step(), make_step()), first=first) for first in (1, 5)]
    intake.store(delivery(batches[0]))

    half = arrival(epoch, encoded(make_step(), make_step()), first=2)
    silent = arrival(epoch, [], first=3)
    stranger = arrival(mint(NOW_US), encoded(make_step()), first=1)

    assert intake.settled([batches[1], stranger, batches[0], half, silent]) == [False, False, True, False, False]


@pytest.mark.parametrize(
    "header",
    [
        {"epoch": b"short"},
        {"first": 0},
        {"first": 1 << 63},
        {"producer": "a\0b"},
        {"producer": ""},
        {"oldest_us": -1},
        {"oldest_us": 1 << 62},
        {"dropped": {"a b": 1}},
        {"dropped": {"a": -1}},
        {"dropped": {"a": 1 << 63}},
        {"dropped": {f"a{number}": 1 for number in range(1001)}},
    ],
)
def test_a_header_that_cannot_be_kept_is_no_header(header: dict[str, Any]) -> None:
    told = {"format": FORMAT, "producer": "test-1", "epoch": bytes(16), "oldest_us": 0, "dropped": {}, **header}

    with pytest.raises(BatchMalformed):
        read_arrival(b"1-0", encode_batch(BatchHeader(**told), [b"x"]))


@dataclass
class _Truth:
    """What the account of an epoch must be in the end."""

    epoch: bytes
    numbers: set[int] = field(default_factory=set)
    newest: tuple[int, int, Rung] = (0, 0, "normal")
    dropped: dict[str, int] = field(default_factory=dict)
    is_closed: bool = False


@st.composite
def epochs(draw: st.DrawFn) -> tuple[list[Arrival], _Truth]:
    """The batches of a producer as it sealed them, some of them lost on the way; and what the account must say."""
    epoch, batches = draw(st.uuids()).bytes, list[Arrival]()
    truth = _Truth(epoch)
    number, oldest_us, dropped = 1, NOW_US - 1000, dict[str, int]()
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    for place, size in enumerate(sizes):
        oldest_us += draw(st.integers(1, 50))
        kind = draw(st.sampled_from(["dsl.step.executed", "http.request.completed"]))
        dropped[kind] = dropped.get(kind, 0) + draw(st.integers(0, 3))
        rung: Rung = draw(st.sampled_from(["normal", "spooling", "dropping"]))
        is_last = place == len(sizes) - 1 and draw(st.booleans())
        events = [EVENTS[(number + each) % len(EVENTS)] for each in range(size)]
        told = {"first": number, "oldest_us": oldest_us, "dropped": dict(dropped), "rung": rung, "is_last": is_last}
        number += size
        if draw(st.integers(0, 4)) == 0:
            continue
        batches.append(arrival(epoch, events, entry_id=b"%d-%d" % (NOW_US // 1000, place), **told))
        truth.numbers |= set(range(number - size, number))
        truth.newest = (number - 1, oldest_us, rung)
        truth.dropped = dict(dropped)
        truth.is_closed = is_last
    return batches, truth


#: Some events, one that is none, one of a day without partition.
EVENTS = [*encoded(*one_of_each(make_scope(), NOW_US)), b"\xc1", *encoded(make_step(at_us=0))]


@pytest.mark.req("S-02", "C-13")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Not shrunk: each example is dozens of transactions.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(st.lists(epochs(), min_size=1, max_size=3, unique_by=lambda made: made[1].epoch), st.data())
def test_in_any_order_twice_and_through_two_sinks_the_account_is_the_same(
    intakes: tuple[Intake, Intake],
    connection: psycopg.Connection,
    producers: list[tuple[list[Arrival], _Truth]],
    data: st.DataObject,
) -> None:
    connection.execute(
        "truncate telemetry_events, telemetry_producers, telemetry_batches, telemetry_quarantine, telemetry_gaps"
    )
    batches = [batch for sealed, _ in producers for batch in sealed]
    for batch in data.draw(st.permutations(batches * 2)):
        intakes[data.draw(st.integers(0, 1))].store(delivery(batch, redelivered=data.draw(st.booleans())))

    for sealed, truth in producers:
        if not sealed:
            continue
        found = known(connection, sealed[0].header.epoch)
        assert {number for first, end in found.seen for number in range(first, end)} == truth.numbers
        assert (found.given, found.waits_since, found.rung) == (
            truth.newest[0],
            from_unix_us(truth.newest[1]),
            truth.newest[2],
        )
        assert found.dropped == truth.dropped
        assert found.is_closed == truth.is_closed
        # One haul or many, it is the same.
        (folded,) = accounts_of(data.draw(st.permutations(sealed))).values()
        assert (folded.given, folded.waits_since_us, folded.dropped) == (*truth.newest[:2], truth.dropped)
    stored = {bytes(event_id.bytes) for (event_id,) in connection.execute("select event_id from telemetry_events")}
    good = {msgspec.msgpack.decode(event)[1] for batch in batches for event in batch.events if event in EVENTS[:-2]}
    assert stored == good
    told = connection.execute("select coalesce(sum(events), 0) from telemetry_batches").fetchone()
    assert told == (len(good),)
