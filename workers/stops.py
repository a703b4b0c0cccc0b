"""Ending executions from outside their run: cancelled, expired, handed over, or about to lose their process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg
import structlog
from psycopg import Connection
from psycopg.rows import class_row, scalar_row
from psycopg_pool import ConnectionPool

from dsl.executor import Outcome
from telemetry.clock import Clock
from telemetry.errors import WeirError
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.errors import ExecutionConflict, ExecutionExpired, ExecutionNotFound
from workers.executions import FINAL_STATES, Claim, Executions, reaching_store
from workers.failures import Failures
from workers.fence import Fence, Release
from workers.hints import Hints
from workers.watch import Run

SQL = queries(__file__)

log = structlog.get_logger(__name__)

#: Executions that are ended in one sweep.
AT_ONCE = 500

#: States that an execution is in before and between its attempts.
_WAITING = frozenset({"scheduled", "queued", "waiting"})

#: How long what is stuck may hold a lock that the others need.
PATIENCE = "1s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Claim):
    """An execution whose row is locked."""

    state: str
    worker_id: UUID | None


class Stops:
    """Cancels and expires executions.

    Args:
        pool: In autocommit mode.
        executions: Scopes of events.
        clock: Stamps.
        recorder: Takes the events of what was committed.
        hints: Wakes lanes where something can go on because of it.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        executions: Executions,
        clock: Clock,
        recorder: Recorder,
        hints: Hints | None = None,
    ) -> None:
        self._pool = pool
        self._executions = executions
        self._clock = clock
        self._recorder = recorder
        self._hints = hints

    def cancel(self, execution_id: UUID) -> str:
        """Cancel an execution; its state now. One that runs is asked to stop, and is `running` until it has.

        Raises:
            ExecutionNotFound: There is none with this id.
            ExecutionConflict: It has ended already, and not by being cancelled.
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            # The request goes first and by itself: a run holds the lock of its row while it has an effect.
            state = self._state(connection, execution_id)
            if state == "cancelled":
                return state
            if state in FINAL_STATES:
                raise ExecutionConflict(f"the execution has {state} already", hint="`weir executions show` shows it.")
            return self._cancel(connection, execution_id, state)

    def _cancel(self, connection: Connection[Any], execution_id: UUID, state: str) -> str:
        """Cancel one that has not ended, then those that it waits for.

        A run that has not heard of it may still ask for another, or let go of its execution: `heed` finds both.
        """
        connection.execute(SQL["request"], {"id": execution_id})
        state = state if state == "running" else self._end(connection, execution_id, "cancelled")
        for child, its_state in connection.execute(SQL["children"], {"id": execution_id}).fetchall():
            self._cancel(connection, child, its_state)
        return state

    def heed(self) -> int:
        """Cancel what is to be stopped and is not run any more, with what it waits for; how many were found.

        Killed anywhere in it, the rest is found by the next look: a request stands until its execution has ended.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            forgotten = connection.execute(SQL["forgotten"], {"limit": AT_ONCE}).fetchall()
            for execution_id, state in forgotten:
                self._cancel(connection, execution_id, state)
            connection.execute(SQL["forget"])
            return len(forgotten)

    def expire(self) -> int:
        """End executions that waited longer than they may; how many.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            expired = cursor.execute(SQL["expired"], {"limit": AT_ONCE}).fetchall()
            return sum(self._end(connection, each, "expired") == "expired" for each in expired)

    def _state(self, connection: Connection[Any], execution_id: UUID) -> str:
        found = connection.execute(SQL["state"], {"id": execution_id}).fetchone()
        if found is None:
            raise ExecutionNotFound(f"there is no execution {execution_id}", hint="`weir executions list` shows them.")
        state: str = found[0]
        return state

    def _end(self, connection: Connection[Any], execution_id: UUID, ending: Literal["cancelled", "expired"]) -> str:
        """End one that does not run, if it still does not; its state then."""
        with connection.transaction():
            held = connection.cursor(row_factory=class_row(Held)).execute(SQL["hold"], {"id": execution_id}).fetchone()
            if held is None or held.state not in _WAITING:
                return "running" if held is None else held.state
            if ending == "expired" and held.attempt:
                # It was begun since it was looked for, and waits for a retry by now.
                return held.state
            fence = fence_of(held, self._pool, self._executions, self._clock, self._recorder, self._hints)
            error = ExecutionExpired("it was not begun in time") if ending == "expired" else None
            outcome = Outcome(None, error, None, fence.committed_in(connection), ending, "before_start")
            event = fence.settle(fence.finish(connection, outcome))
        fence.announce(event)
        return ending


def fence_of(  # noqa: PLR0913 - one collaborator each
    claim: Claim,
    pool: ConnectionPool,
    executions: Executions,
    clock: Clock,
    recorder: Recorder,
    hints: Hints | None = None,
    freed: set[tuple[str, str]] | None = None,
) -> Fence:
    """What writes for an execution whose row is locked by somebody who does not run it."""
    return Fence(
        pool=pool,
        claim=claim,
        scope=executions.scope(claim),
        recorder=recorder,
        clock=clock,
        errors=Failures(),
        claimed_us=clock.monotonic_us(),
        hints=hints,
        freed=freed,
    )


def give_back(runs: Iterable[Run]) -> None:
    """Let others go on with executions whose steps do not end here in time. Never raises: their lease ends soon."""
    for run in runs:
        fence = run.fence
        try:
            with fence.pool.connection() as connection, connection.transaction():
                connection.execute(SQL["patience"], {"timeout": PATIENCE})
                event = fence.settle(fence.release(connection, Release("worker_stopped")))
        except (psycopg.Error, WeirError) as error:
            log.warning("execution_not_given_back", execution_id=str(fence.claim.id), reason=type(error).__name__)
            continue
        fence.announce(event)


def mark_killed(run: Run) -> None:
    """Let the reaper know why this run's process goes. Never raises."""
    claim = run.fence.claim
    reason = "cancelled" if run.control.asked == "cancelled" else "timed_out"
    try:
        with run.fence.pool.connection() as connection:
            connection.execute(SQL["mark_killed"], {"id": claim.id, "attempt": claim.attempt, "reason": reason})
    except psycopg.Error as error:
        log.warning("kill_not_marked", execution_id=str(claim.id), reason=type(error).__name__)
