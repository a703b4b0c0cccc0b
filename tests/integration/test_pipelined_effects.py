"""What steps may do with the connection of their effect, and what fails there: no effect without its row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures.stacks import eventually
from psycopg import Connection

from dsl.errors import FenceLost, LedgerUnavailable
from dsl.executor import Outcome
from dsl.instrumentation import StepMeter, Totals
from dsl.library import Library
from dsl.step import StepResult, StepRow
from dsl.steps import REGISTRY
from dsl.testing import make_spec
from telemetry.connections import open_pool
from telemetry.ids import new_id
from telemetry.testing import ManualClock
from workers.children import ChildSubmitter
from workers.executions import Claim
from workers.failures import Failures
from workers.ledger import WriteBehindLedger
from workers.runner import _info
from workers.testing import World

MAKE = "insert into spaces (id, name) values (gen_random_uuid(), 'made')"

LIMITED = """
slug: limited
concurrency: {max: 2, on_full: reject}
steps: [{id: say, type: respond, with: {value: 1}}]
"""

#: Uses of a statement on one connection before it is prepared there (psycopg's default).
UNPREPARED = 5


@pytest.fixture
def lonely(database_url: str, clock: ManualClock) -> Iterator[World]:
    """Executions that share one connection."""
    with open_pool(database_url, name="weir test", max_size=1, autocommit=True) as pool:
        yield World(pool, clock)


def _row(clock: ManualClock, claim: Claim, path: str = "only") -> StepRow:
    meter = StepMeter(
        clock,
        claim.attempt,
        Failures(),
        telemetry_on=True,
        dry_run=False,
        max_output_bytes=1000,
        max_total_bytes=10_000,
    )
    return meter.start(make_spec(path, "transform"), path).succeeded(StepResult(output=path))


def _take_away(connection: Connection[Any], claim: Claim) -> None:
    connection.execute("update command_executions set fence = fence + 1 where id = %s", [claim.id])


def _made(connection: Connection[Any]) -> bool:
    return connection.execute("select from spaces where name = 'made'").fetchone() is not None


def _rolled_back(connection: Connection[Any]) -> None:
    connection.execute(MAKE)
    connection.rollback()


def _nested(connection: Connection[Any]) -> None:
    with connection.transaction():
        connection.execute(MAKE)


def _nested_later(connection: Connection[Any]) -> None:
    connection.execute(MAKE)
    with connection.transaction():
        connection.execute("select 1")


def _piped(connection: Connection[Any]) -> None:
    connection.execute(MAKE)
    with connection.pipeline():
        connection.execute("select 1")


def _read_only(connection: Connection[Any]) -> None:
    connection.execute(MAKE)
    connection.read_only = True


@pytest.mark.parametrize("use", [_rolled_back, _nested, _nested_later, _piped, _read_only])
def test_whatever_a_pipelined_step_does_nothing_of_it_is_committed_before_its_row(
    world: World, clock: ManualClock, connection: Connection[Any], use: Callable[[Connection[Any]], None]
) -> None:
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    with pytest.raises((FenceLost, psycopg.Error)), ledger.effect(pipelined=True) as transaction:
        use(transaction.connection)
        _take_away(connection, claim)
        transaction.add(_row(clock, claim))

    assert not _made(connection)


def test_a_begin_is_still_owed_when_the_first_statement_could_not_be_sent(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    with pytest.raises(FenceLost), ledger.effect() as transaction:
        with suppress(psycopg.ProgrammingError):
            transaction.connection.execute("select %s", [object()])
        transaction.connection.execute(MAKE)
        _take_away(connection, claim)
        transaction.add(_row(clock, claim))

    assert not _made(connection)


def test_the_first_statement_of_an_effect_may_be_several(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    with ledger.effect() as transaction:
        transaction.connection.execute(f"select 1; {MAKE}")
        transaction.add(_row(clock, claim))

    assert _made(connection)


def test_a_setting_of_the_connection_cannot_be_changed_before_the_first_statement(
    world: World, clock: ManualClock
) -> None:
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    with pytest.raises(psycopg.ProgrammingError), ledger.effect() as transaction:
        transaction.connection.autocommit = False


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_connection_on_which_rows_were_streamed_is_good_for_what_comes_next(
    world: World, clock: ManualClock, connection: Connection[Any], pipelined: bool
) -> None:
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    if pipelined:
        with ledger.reading() as reading:
            assert list(reading.cursor().stream("select 1"))
    with ledger.effect(pipelined=pipelined) as transaction:
        if not pipelined:
            assert list(transaction.connection.cursor().stream(f"{MAKE} returning 1"))
        transaction.add(_row(clock, claim))

    assert world.recorder.types[2:] == ["dsl.step.executed"]


def test_an_effect_that_is_refused_when_it_is_committed_is_the_fault_of_its_step(
    world: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    connection.execute("create table numbers (n int unique deferrable initially deferred)")
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    with pytest.raises(psycopg.errors.UniqueViolation), ledger.effect(pipelined=True) as transaction:
        for _ in range(2):
            transaction.connection.execute("insert into numbers values (1)")
        transaction.add(_row(clock, claim))


def test_a_pipelined_step_that_hides_an_error_of_postgres_is_not_taken_for_the_loss_of_postgres(
    world: World, clock: ManualClock
) -> None:
    claim = world.claim()
    ledger = WriteBehindLedger(world.fence(claim))

    with pytest.raises(Exception) as raised, ledger.effect(pipelined=True) as transaction:  # noqa: PT011
        with suppress(psycopg.DataError):
            transaction.connection.execute("select 1/0").fetchone()
        transaction.add(_row(clock, claim))

    assert not isinstance(raised.value, LedgerUnavailable)


def test_a_statement_that_was_to_be_prepared_after_one_that_failed_is_no_worse_for_it(
    lonely: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    claim = lonely.claim()
    ledger = WriteBehindLedger(lonely.fence(claim))
    for number in range(UNPREPARED):
        with ledger.effect(pipelined=True) as transaction:
            transaction.add(_row(clock, claim, f"{number}"))
    with pytest.raises(psycopg.errors.DivisionByZero), ledger.effect(pipelined=True) as transaction:
        transaction.connection.execute("select 1/0")
        transaction.add(_row(clock, claim, "fails"))

    with ledger.effect(pipelined=True) as transaction:
        transaction.connection.execute(MAKE)
        transaction.add(_row(clock, claim, "after"))

    assert _made(connection)


def test_who_lost_a_claim_spoils_no_end_that_is_written_on_the_same_connection(
    lonely: World, clock: ManualClock, connection: Connection[Any]
) -> None:
    for number in range(UNPREPARED + 2):
        claim = lonely.claim()
        ledger = WriteBehindLedger(lonely.fence(claim))
        ledger.add(_row(clock, claim))
        if number == UNPREPARED:
            _take_away(connection, claim)
            with pytest.raises(FenceLost):
                ledger.finish(_nothing())
        else:
            ledger.finish(_nothing())
            assert lonely.executions.get(claim.id).state == "succeeded"


def test_a_step_that_counts_a_key_and_the_end_of_a_child_with_that_key_do_not_wait_for_each_other(
    world: World, clock: ManualClock, connection: Connection[Any], tmp_path: Path
) -> None:
    (tmp_path / "limited.yaml").write_text(LIMITED, encoding="utf-8")
    library = Library([tmp_path], REGISTRY, world.settings, clock)
    submitter = ChildSubmitter(library, lambda: new_id(clock.unix_us()))
    parent = world.claim()
    child = world.claim(
        command=library.get("limited"), parent_id=parent.id, link="child", parent_path="ask", parent_try=1
    )
    ending = threading.Thread(target=WriteBehindLedger(world.fence(child)).finish, args=[_nothing()])

    with WriteBehindLedger(world.fence(parent)).effect() as transaction:
        submitter.prepare(transaction.connection, _info(parent), "limited", {}, link="follows", priority=5)
        ending.start()
        eventually(lambda: connection.execute("select from pg_locks where not granted").fetchone() is not None)
        transaction.add(_row(clock, parent, "more"))
    ending.join(5)

    assert world.executions.get(child.id).state == "succeeded"


def _nothing() -> Outcome:
    return Outcome(None, None, None, Totals())
