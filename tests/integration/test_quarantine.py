"""What cannot be stored: kept as its shape, whole where it may be, once, within bounds; and stored after all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from fixtures.apis import Api, Weir
from fixtures.samples import encoded, make_scope, make_step, now_us
from psycopg import sql

from api.schemas.quarantine import QuarantineBatchShape, QuarantinedShape, QuarantinePage, QuarantinePreviewShape
from telemetry.batch import FORMAT, BatchHeader
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.ids import mint
from telemetry.intake import Delivery, Garbage, Intake
from telemetry.misfits import Examiner
from telemetry.producers import Arrival
from telemetry.quarantine import Quarantine, Reject, Selection, matching, page
from telemetry.replay import replay
from telemetry.rows import decode_event
from telemetry.testing import ManualClock

PATH = "/api/telemetry/quarantine"
NOBODY = "01a1fa64-2221-741f-a676-2681ae902a06"
DAY_US = 86_400_000_000


@pytest.fixture
def intake(database_url: str) -> Iterator[Intake]:
    intake = Intake(partial(connect, database_url, name="test"), clock=SystemClock(), partitions_ahead=1)
    yield intake
    intake.close()


def arrival(*events: bytes, epoch: bytes | None = None, first: int = 1) -> Arrival:
    at_us = now_us()
    header = BatchHeader(FORMAT, "test-1", epoch or mint(at_us), at_us, {}, first)
    return Arrival(b"%d-0" % (at_us // 1000), header, list(events))


def delivery(*arrivals: Arrival, **more: Any) -> Delivery:  # noqa: ANN401 - of a Delivery
    return Delivery([event for each in arrivals for event in each.events], arrivals, **more)


def newer(at_us: int | None = None) -> bytes:
    """An event of a type that does not exist yet."""
    step = msgspec.to_builtins(make_step(at_us=at_us), builtin_types=(bytes,))
    return msgspec.msgpack.encode(["dsl.step.rewound", *step[1:4], "a-name"])


def ids_of(connection: psycopg.Connection, **which: Any) -> list[UUID]:  # noqa: ANN401 - of a Selection
    return matching(connection, Selection(**which), 1000)[0]


def count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.req("C-13", "C-14")
def test_what_cannot_be_stored_is_kept_with_where_it_came_from(intake: Intake, connection: psycopg.Connection) -> None:
    bad = encoded(make_step(step_path="hunter2 is my password"))[0]
    batch = arrival(*encoded(make_step()), bad, first=41)

    tally = intake.store(delivery(batch, garbage=[Garbage(b"5-1", b"hunter2, not a batch")]))

    assert (tally.stored, tally.quarantined) == (1, 2)
    event, entry = page(connection, Selection(), limit=10)
    assert (event.reason, event.event_type, event.number, event.is_kept) == (
        "malformed",
        "dsl.step.executed",
        42,
        False,
    )
    assert event.epoch is not None
    assert event.epoch.bytes == batch.header.epoch
    assert event.size_bytes == len(bad)
    assert (entry.reason, entry.epoch, entry.number) == ("entry_malformed", None, None)
    kept = connection.execute("select telemetry_quarantine::text from telemetry_quarantine").fetchall()
    assert "hunter2" not in repr(kept)
    assert b"hunter2".hex() not in repr(kept)


def test_each_knows_its_own_batch_among_many(intake: Intake, connection: psycopg.Connection) -> None:
    batches = [
        arrival(*encoded(make_step(), make_step()), first=5),
        arrival(first=9),
        arrival(*encoded(make_step()), b"\xc1", first=20),
        arrival(b"\xc1", *encoded(make_step()), first=30),
        arrival(first=40),
    ]
    intake.store(delivery(*batches))

    rows = {(row.epoch, row.number) for row in page(connection, Selection(), limit=10)}
    assert rows == {(UUID(bytes=batches[2].header.epoch), 21), (UUID(bytes=batches[3].header.epoch), 30)}


def test_what_comes_again_is_there_once(intake: Intake, connection: psycopg.Connection) -> None:
    batch, garbage = arrival(b"\xc1", newer()), [Garbage(b"5-1", b"no batch")]
    again = Arrival(b"9-9", batch.header, batch.events)  # appended twice: the answer was lost
    for each in (batch, batch, again):
        intake.store(delivery(each, garbage=garbage, redelivered=True))

    assert count(connection, "telemetry_quarantine") == 3


def test_with_the_transaction_goes_what_it_put_in(
    intake: Intake, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr("telemetry.intake.settle", fail)
    with pytest.raises(Exception, match="could not be stored"):
        intake.store(delivery(arrival(b"\xc1", *encoded(make_step()))))

    assert [count(connection, f"telemetry_{table}") for table in ("quarantine", "events", "batches")] == [0, 0, 0]


def test_it_is_bounded_and_room_that_was_made_is_used(connection: psycopg.Connection, clock: ManualClock) -> None:
    quarantine, examiner = Quarantine(clock, capacity=3), Examiner()
    rejects = [Reject(examiner.event(b"\xc1")) for _ in range(2)]

    assert [quarantine.keep(connection, rejects) for _ in range(3)] == [2, 1, 0]
    connection.execute("delete from telemetry_quarantine")
    assert quarantine.keep(connection, rejects) == 0  # not counted again yet
    clock.advance(timedelta(seconds=11))
    assert quarantine.keep(connection, rejects) == 2


@pytest.mark.req("C-13")
def test_what_postgres_refuses_is_found_by_halving_and_kept(intake: Intake, connection: psycopg.Connection) -> None:
    connection.execute("alter table telemetry_events add constraint no_poison check (step_path <> 'poison')")
    scope = make_scope()
    steps = [make_step(scope, step_path="poison" if place in {0, 77, 499} else "create") for place in range(500)]
    batch = arrival(*encoded(*steps[:300]), b"\xc1", *encoded(make_step(at_us=0), *steps[300:]))

    tally = intake.store(delivery(batch))

    assert (tally.stored, tally.duplicates, tally.outside, tally.malformed.total()) == (497, 0, 1, 4)
    refused = page(connection, Selection(reason="refused"), limit=10)
    assert sorted(row.number or 0 for row in refused) == [1, 78, 502]
    connection.execute("alter table telemetry_events drop constraint no_poison")
    replayed = replay(connection, intake, [row.id for row in refused])
    assert sorted(replayed.stored) == sorted(row.id for row in refused)
    assert count(connection, "telemetry_events") == 500
    assert ids_of(connection, reason="refused") == []


@pytest.mark.req("C-13")
def test_events_of_a_newer_version_are_stored_after_the_upgrade(
    intake: Intake, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step()
    longer = msgspec.msgpack.encode([*msgspec.to_builtins(step, builtin_types=(bytes,)), 7])
    intake.store(delivery(arrival(longer, newer())))
    rows = ids_of(connection, kept_only=True)

    before = replay(connection, intake, [*rows, UUID(NOBODY)])
    assert before.stored == []
    assert before.kept == {**dict.fromkeys(rows, "not_understood"), UUID(NOBODY): "not_kept"}
    assert count(connection, "telemetry_quarantine") == 2

    def upgraded(data: bytes) -> object:
        """Knows the field that this version does not."""
        return decode_event(msgspec.msgpack.encode(msgspec.msgpack.decode(data)[: len(step.__struct_fields__) + 1]))

    monkeypatch.setattr("telemetry.intake.decode_event", upgraded)
    for _ in range(2):
        replay(connection, intake, rows)
    assert count(connection, "telemetry_events") == 1
    assert [row.reason for row in page(connection, Selection(), limit=9)] == ["unknown_type"]


def test_killed_between_storing_and_taking_out_a_replay_is_repeated(
    intake: Intake, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("alter table telemetry_events add constraint no_poison check (step_path <> 'poison')")
    intake.store(delivery(arrival(*encoded(make_step(step_path="poison")))))
    connection.execute("alter table telemetry_events drop constraint no_poison")
    rows = ids_of(connection)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("telemetry.replay.drop", die)
        with pytest.raises(KeyboardInterrupt):
            replay(connection, intake, rows)
    assert ids_of(connection) == rows

    assert replay(connection, intake, rows).stored == rows
    assert (count(connection, "telemetry_events"), ids_of(connection)) == (1, [])


@pytest.fixture
def held(api: Api, intake: Intake, connection: psycopg.Connection) -> Api:
    """An API with five in quarantine: two kept, of an unknown type; three malformed."""
    intake.store(delivery(arrival(b"\xc1", newer(), b"\xc1", newer(), b"\xc0")))
    return api


@pytest.mark.req("C-13", "S-07")
def test_the_quarantine_is_pages(held: Api) -> None:
    first = held.get(PATH, limit=3).json
    second = held.get(PATH, limit=3, cursor=first["next_cursor"]).json

    assert QuarantinePage().validate(first) == {}
    assert (len(first["items"]), len(second["items"]), second["next_cursor"]) == (3, 2, None)
    assert {item["id"] for item in first["items"]}.isdisjoint(item["id"] for item in second["items"])
    assert len(held.get(PATH, reason="undecodable").json["items"]) == 2
    assert len(held.get(PATH, event_type="dsl.step.rewound", kept="true").json["items"]) == 2
    assert QuarantinedShape().validate(held.get(f"{PATH}/{first['items'][0]['id']}").json) == {}
    missing = held.get(f"{PATH}/{NOBODY}")
    assert (missing.status_code, missing.json["code"]) == (404, "telemetry.quarantined_not_found")


@pytest.mark.req("S-07")
def test_many_are_dealt_with_once_their_number_is_confirmed(held: Api) -> None:
    preview = held.post(f"{PATH}/preview", {"reason": "undecodable"}).json
    assert QuarantinePreviewShape().validate(preview) == {}
    assert (preview["count"], len(preview["samples"])) == (2, 2)

    assert held.post(f"{PATH}/drop", {"reason": "undecodable"}).json["code"] == "request.invalid"
    wrong = held.post(f"{PATH}/drop", {"reason": "undecodable", "count": 3})
    assert (wrong.status_code, wrong.json["code"]) == (409, "telemetry.quarantine_changed")
    dropped = held.post(f"{PATH}/drop", {"reason": "undecodable", "count": 2, "up_to": preview["up_to"]}).json
    assert QuarantineBatchShape().validate(dropped) == {}
    assert (len(dropped["done"]), dropped["remaining"], dropped["next_cursor"]) == (2, 0, None)
    assert len(held.get(PATH).json["items"]) == 3

    replayed = held.post(f"{PATH}/replay", {"kept": True, "count": 2}).json
    assert (replayed["done"], [each["code"] for each in replayed["refused"]]) == ([], ["not_understood"] * 2)


@pytest.mark.req("S-07")
def test_on_the_command_line(weir: Weir, intake: Intake, connection: psycopg.Connection) -> None:
    connection.execute("alter table telemetry_events add constraint no_poison check (step_path <> 'poison')")
    batch = arrival(b"\xc1", *encoded(make_step(step_path="poison"), make_step(step_path="poison")), b"\xc0")
    intake.store(delivery(batch))
    connection.execute("alter table telemetry_events drop constraint no_poison")
    command = ("telemetry", "quarantine")

    listed = weir(*command, "list", "--format", "json").json["items"]
    assert [item["reason"] for item in listed].count("refused") == 2
    assert "SINCE" in weir(*command, "list").out
    shown = weir(*command, "show", listed[0]["id"])
    assert (shown.code, listed[0]["reason"] in shown.out) == (0, True)
    assert weir(*command, "show", NOBODY).code == 1

    assert weir(*command, "replay").code == 2
    assert "2 rows would be stored" in weir(*command, "replay", "--all", "--dry-run").out
    assert "confirm with --count 2" in weir(*command, "replay", "--all").err
    assert weir(*command, "replay", "--all", "--yes").out == "2 rows stored\n"
    assert ids_of(connection, reason="refused") == []
    left = ids_of(connection)
    gone = weir(*command, "drop", str(left[0]), NOBODY)
    assert (gone.code, gone.out) == (1, "1 row dropped\n")
    assert f"{NOBODY}: not in quarantine" in gone.err
    assert weir(*command, "drop", "--reason", "undecodable", "--reason", "malformed", "--count", "7").code == 1
    assert weir(*command, "drop", "--all", "--yes", "--format", "json").json["refused"] == []
    assert ids_of(connection) == []
    assert "Nothing is in quarantine" in weir(*command, "list").out
