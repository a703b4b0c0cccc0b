"""The ledger: rows behind the fence, events after the commit, and what happens when either fails."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fixtures.stacks import eventually
from fixtures.traps import refuse_rows
from psycopg import Connection
from psycopg_pool import ConnectionPool

from dsl.errors import FenceLost, LedgerBroken, LedgerUnavailable, StepFailed
from dsl.executor import Outcome
from dsl.instrumentation import StepMeter, Totals
from dsl.step import Mutation, StepResult, StepRow
from dsl.testing import make_spec
from telemetry.testing import ManualClock
from workers.dry_run import DryRunLedger
from workers.executions import Claim
from workers.failures import Failures
from workers.flusher import Flusher
from workers.ledger import WriteBehindLedger
from workers.ledger_rows import Batch
from workers.testing import World


def _meter(clock: ManualClock, claim: Claim) -> StepMeter:
    return StepMeter(
        clock,
        claim.attempt,
        Failures(),
        telemetry_on=True,
        dry_run=claim.dry_run,
        max_output_bytes=1000,
        max_total_bytes=10_000,
    )


def _row(meter: StepMeter, path: str, result: StepResult | None = None) -> StepRow:
    row = meter.start(make_spec(path, "transform"), path).succeeded(result or StepResult(output=path))
    meter.totals.add(row)
    return row


def _paths(connection: Connection[Any], execution_id: UUID) -> list[str]:
    rows = connection.execute(
        "select path from command_steps where execution_id = %s order by ordinal", [execution_id]
    ).fetchall()
    return [path for (path,) in rows]


def _take_away(connection: Connection[Any], claim: Claim) -> None:
    """What a later claim of the same execution does to this one."""
    connection.execute("update command_executions set fence = fence + 1 where id = %s", [claim.id])


@pytest.mark.req("C-02")
def test_a_row_without_effect_waits_and_commits_with_the_next_effect(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    ledger.add(_row(meter, "first"))
    assert _paths(connection, claim.id) == []
    assert world.recorder.types[2:] == []

    with ledger.effect() as transaction:
        transaction.add(_row(meter, "second"))

    assert _paths(connection, claim.id) == ["first", "second"]
    assert world.recorder.types[2:] == ["dsl.step.executed", "dsl.step.executed"]


def test_an_effect_that_fails_leaves_nothing_and_keeps_what_waited(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    ledger.add(_row(meter, "first"))

    with pytest.raises(StepFailed), ledger.effect() as transaction:
        transaction.connection.execute("insert into spaces (id, name) values (%s, 'half')", [claim.id])
        transaction.add(_row(meter, "second"))
        raise StepFailed("no")

    assert _paths(connection, claim.id) == []
    assert connection.execute("select from spaces where name = 'half'").fetchone() is None
    ledger.flush()
    assert _paths(connection, claim.id) == ["first"]


def test_a_run_that_lost_its_claim_writes_nothing_and_records_nothing(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    ledger.add(_row(meter, "first"))
    _take_away(connection, claim)

    with pytest.raises(FenceLost), ledger.effect() as transaction:
        transaction.add(_row(meter, "second"))
    with pytest.raises(FenceLost):
        ledger.finish(Outcome(None, None, None, meter.totals))

    assert _paths(connection, claim.id) == []
    assert world.recorder.types[2:] == []
    assert world.executions.get(claim.id).state == "running"


def test_a_claim_that_is_taken_in_the_middle_of_an_effect_undoes_it_and_waits_for_nothing(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)

    with pytest.raises(FenceLost), ledger.effect() as transaction:
        transaction.connection.execute("insert into spaces (id, name) values (%s, 'lost')", [claim.id])
        _take_away(connection, claim)
        transaction.add(_row(meter, "only"))

    assert _paths(connection, claim.id) == []
    assert connection.execute("select from spaces where name = 'lost'").fetchone() is None
    assert world.recorder.types[2:] == []


def test_an_effect_that_asked_the_database_for_nothing_is_kept_as_any_other(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)

    with ledger.effect() as transaction:
        transaction.add(_row(meter, "nothing"))

    assert _paths(connection, claim.id) == ["nothing"]


@pytest.mark.parametrize("pipelined", [False, True])
def test_whatever_way_an_effect_is_sent_it_commits_with_its_row_and_what_waited(
    world: World, clock: ManualClock, connection: Connection[Any], pipelined: bool
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    ledger.add(_row(meter, "first"))

    with ledger.effect(pipelined=pipelined) as transaction:
        transaction.connection.execute("insert into spaces (id, name) values (%s, 'made')", [claim.id])
        transaction.add(_row(meter, "second"))

    (effect,) = connection.execute("select xmin::text from spaces where name = 'made'").fetchall()
    rows = connection.execute("select xmin::text from command_steps").fetchall()
    assert rows == [effect, effect]


@pytest.mark.parametrize("pipelined", [False, True])
def test_an_effect_that_postgres_refuses_is_the_fault_of_its_step(
    world: World, clock: ManualClock, connection: Connection[Any], pipelined: bool
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    ledger.add(_row(meter, "first"))

    with pytest.raises(psycopg.errors.UniqueViolation), ledger.effect(pipelined=pipelined) as transaction:
        for _ in range(2):
            transaction.connection.execute("insert into spaces (id, name) values (%s, 'twice')", [claim.id])
        transaction.add(_row(meter, "second"))

    assert connection.execute("select from spaces where name = 'twice'").fetchone() is None
    ledger.flush()
    assert _paths(connection, claim.id) == ["first"]


def test_an_effect_sent_in_one_go_that_lost_its_claim_or_fails_after_a_look_leaves_nothing(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    made = "insert into spaces (id, name) values (%s, 'half') returning name"

    with pytest.raises(StepFailed), ledger.effect(pipelined=True) as transaction:
        assert transaction.connection.execute(made, [claim.id]).fetchone() == ("half",)
        raise StepFailed("what it found is not what it wants")
    _take_away(connection, claim)
    with pytest.raises(FenceLost), ledger.effect(pipelined=True) as transaction:
        transaction.connection.execute(made, [claim.id])
        transaction.add(_row(meter, "second"))

    assert connection.execute("select from spaces where name = 'half'").fetchone() is None
    assert _paths(connection, claim.id) == []


@pytest.mark.req("C-04")
def test_finishing_writes_what_waits_the_state_and_the_statistics_together(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    mutation = Mutation("fragment", "created", entity_id=claim.id)
    ledger.add(_row(meter, "one", StepResult(output=1, mutations=(mutation,), fragment_id=claim.id)))
    failed = meter.start(make_spec("two", "transform"), "two").failed(StepFailed("secret text"), {})
    meter.totals.add(failed)
    ledger.add(failed)
    clock.advance(timedelta(milliseconds=250))

    ledger.finish(Outcome(None, StepFailed("secret text"), "two", meter.totals))

    execution = world.executions.get(claim.id)
    assert (execution.state, execution.running_us) == ("failed", 250_000)
    assert (execution.steps_executed, execution.steps_successful, execution.steps_failed) == (2, 1, 1)
    assert execution.mutations_count == 1
    assert execution.error is not None
    assert (execution.error["step"], execution.error["message"]) == ("two", "secret text")
    assert world.recorder.types == [
        "command.execution.queued",
        "command.execution.started",
        "dsl.step.executed",
        "fragment.created",
        "dsl.step.failed",
        "command.execution.failed",
    ]
    assert "secret text" not in repr(world.recorder.events)
    (effect,) = world.executions.effects(claim.id)
    assert (effect.entity, effect.operation, effect.rows) == ("fragment", "created", 1)


def test_every_row_carries_the_id_of_its_event(world: World, clock: ManualClock, connection: Connection[Any]) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    mutation = Mutation("fragment", "created", entity_id=claim.id)
    with ledger.effect() as transaction:
        transaction.add(_row(meter, "one", StepResult(mutations=(mutation,))))
    ledger.finish(Outcome(None, None, None, meter.totals))

    ids = connection.execute(
        "select queued_event_id from command_executions union all select event_id from command_attempts"
        " union all select event_id from command_steps union all select event_id from mutations"
        " union all select finished_event_id from command_executions"
    ).fetchall()
    assert [UUID(bytes=event.event_id) for event in world.recorder.events] == [found for (found,) in ids]


def test_rows_written_while_telemetry_is_off_have_no_event_id(
    autocommit_pool: ConnectionPool[Any], clock: ManualClock, connection: Connection[Any]
) -> None:
    world = World(autocommit_pool, clock, telemetry=False)
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))
    meter = StepMeter(
        clock, 1, Failures(), telemetry_on=False, dry_run=False, max_output_bytes=100, max_total_bytes=100
    )
    ledger.add(_row(meter, "one", StepResult(mutations=(Mutation("fragment", "created"),))))
    ledger.finish(Outcome(None, None, None, meter.totals))

    assert world.recorder.events == []
    (row,) = connection.execute(
        "select e.queued_event_id, a.event_id, e.finished_event_id, s.event_id, m.event_id"
        " from command_executions e, command_attempts a, command_steps s, mutations m"
    ).fetchall()
    assert row == (None,) * 5


def test_the_flusher_commits_rows_while_their_run_does_something_slow(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    ledger.add(_row(meter, "light"))
    flusher = Flusher(timedelta(milliseconds=20))
    flusher.start()
    arrived = threading.Event()
    record = world.recorder.record
    world.recorder.record = lambda event: (record(event), arrived.set())  # type: ignore[assignment, func-returns-value]

    with flusher.watching(ledger):
        clock.advance(timedelta(milliseconds=50))
        assert arrived.wait(5)
    flusher.stop()

    assert _paths(connection, claim.id) == ["light"]


@pytest.mark.req("C-10")
def test_a_dry_run_keeps_its_ledger_and_nothing_else(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim(dry_run=True)
    ledger, meter = DryRunLedger(world.fence(claim), timedelta(seconds=1)), _meter(clock, claim)
    with ledger.effect() as transaction:
        transaction.connection.execute("insert into spaces (id, name) values (%s, 'tried')", [claim.id])
        transaction.add(_row(meter, "make", StepResult(mutations=(Mutation("fragment", "created"),))))
    with ledger.reading() as seen:
        assert seen.execute("select count(*) from spaces where name = 'tried'").fetchone() == (1,)
    with pytest.raises(StepFailed), ledger.effect() as transaction:
        transaction.connection.execute("delete from spaces where name = 'tried'")
        raise StepFailed("this step's savepoint goes, the steps before it stay")
    with ledger.reading() as seen:
        assert seen.execute("select count(*) from spaces where name = 'tried'").fetchone() == (1,)

    ledger.finish(Outcome(None, None, None, meter.totals))

    assert connection.execute("select count(*) from spaces where name = 'tried'").fetchone() == (0,)
    execution = world.executions.get(claim.id)
    assert (execution.state, execution.dry_run, execution.mutations_count) == ("succeeded", True, 1)
    assert [effect.rows for effect in world.executions.effects(claim.id)] == [1]
    assert world.recorder.types[2:] == ["dsl.step.executed", "command.execution.completed"]
    assert all(event.scope.dry_run for event in world.recorder.events)


def test_a_step_succeeds_once_in_an_execution_whoever_ran_it(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    with ledger.effect() as transaction:
        transaction.add(_row(meter, "once"))

    again = StepMeter(clock, 2, Failures(), telemetry_on=True, dry_run=False, max_output_bytes=100, max_total_bytes=100)
    with pytest.raises(LedgerBroken, match="UniqueViolation"), ledger.effect() as transaction:
        transaction.add(_row(again, "once"))


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_row_that_postgres_refuses_is_not_the_fault_of_the_step_that_takes_it_along(
    world: World, clock: ManualClock, connection: Connection[Any], pipelined: bool
) -> None:
    claim = world.claim()
    ledger, meter = WriteBehindLedger(world.fence(claim)), _meter(clock, claim)
    refuse_rows(connection, "command_steps", "path", "light")
    ledger.add(_row(meter, "light"))

    with pytest.raises(LedgerBroken), ledger.effect(pipelined=pipelined) as transaction:
        transaction.connection.execute("insert into spaces (id, name) values (%s, 'fine')", [claim.id])
        transaction.add(_row(meter, "heavy"))

    assert _paths(connection, claim.id) == []
    assert connection.execute("select from spaces where name = 'fine'").fetchone() is None


def test_a_flush_that_fails_stops_its_own_run_and_not_the_flusher(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    broken, healthy = world.claim(), world.claim()
    refuse_rows(connection, "command_steps", "path", "light")
    ledgers = [WriteBehindLedger(world.fence(claim)) for claim in (broken, healthy)]
    for ledger, claim, path in zip(ledgers, (broken, healthy), ("light", "fine"), strict=True):
        ledger.add(_row(_meter(clock, claim), path))
    clock.advance(timedelta(seconds=1))
    flusher = Flusher(timedelta(milliseconds=10))
    flusher.start()

    with flusher.watching(ledgers[0]):
        eventually(lambda: ledgers[0]._broken is not None)
    with flusher.watching(ledgers[1]):
        eventually(lambda: _paths(connection, healthy.id) == ["fine"])
    flusher.stop()

    with pytest.raises(LedgerBroken):
        ledgers[0].finish(Outcome(None, None, None, Totals()))


def test_rows_whose_commit_was_not_heard_of_are_written_once_and_told_once(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    fence, meter = world.fence(claim), _meter(clock, claim)
    row = _row(meter, "light")
    fence.store(Batch([row]))  # committed, but the answer is lost: the row still waits in the ledger
    ledger = WriteBehindLedger(fence)
    ledger.add(row)

    with ledger.effect() as transaction:
        transaction.add(_row(meter, "heavy"))

    assert _paths(connection, claim.id) == ["light", "heavy"]
    assert world.recorder.types[2:] == ["dsl.step.executed", "dsl.step.executed"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_losing_postgres_while_reading_stops_the_run_and_fails_no_step(
    world: World, connection: Connection[Any], dry_run: bool
) -> None:
    claim = world.claim(dry_run=dry_run)
    fence = world.fence(claim)
    ledger = DryRunLedger(fence, timedelta(seconds=1)) if dry_run else WriteBehindLedger(fence)

    with pytest.raises(LedgerUnavailable), ledger.reading() as reading:
        pid = reading.info.backend_pid
        connection.execute("select pg_terminate_backend(%s)", [pid])
        reading.execute("select 1")
    if isinstance(ledger, DryRunLedger):
        ledger.rollback()
