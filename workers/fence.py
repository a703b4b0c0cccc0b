"""Writing for a claimed execution, as long as the claim holds.

Every transaction here locks the execution's row where id, fence and `running` still match, and commits under that
lock. Whoever lost the claim finds no such row, writes nothing, and records no event. Events are recorded only after the
commit of the rows they come from: killed in between, a committed row stands without its event, and holds all that is
needed to emit it later. All that a claim may write is here, so that this can be seen of each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Protocol, cast

import msgspec
import psycopg
from psycopg import Connection, Cursor
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from dsl.errors import FenceLost, LedgerBroken, LedgerUnavailable
from dsl.executor import Outcome
from dsl.instrumentation import DescribeError, SlowestStep, Totals
from telemetry.clock import Clock, from_unix_us, to_unix_us
from telemetry.connections import is_connection_loss
from telemetry.events import (
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRetried,
    RetryReason,
    Scope,
)
from telemetry.ids import mint
from telemetry.patience import PatientConnection
from telemetry.recorder import Recorder
from workers.alarm import Alarm
from workers.children import accept
from workers.executions import SQL, Claim
from workers.hints import Hints
from workers.ledger_rows import Batch, lists_of, rows_of
from workers.slots import wake_next
from workers.submissions import Acceptance
from workers.telling import Telling

#: What Postgres says to whoever writes for an execution that is not his any more (`fence_lost` in the schema).
FENCE_LOST = "WF001"

#: How long a connection's lock, which belongs to one thread at a time, may be taken before it counts as forgotten.
_LOCK_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Release:
    """Why an attempt ends without ending its execution.

    Attributes:
        delay: Until it is due again.
        path: The step that is tried again.
        error: What failed.
    """

    reason: RetryReason | Literal["waiting"]
    delay: timedelta = timedelta()
    path: str | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """What was written of how an attempt ended.

    Attributes:
        held: Has a row where the fence held.
        event: Makes what is to be recorded after the commit.
        woken: Lanes where something can go on.
    """

    held: Cursor[Any]
    event: Callable[[], Event] | None = None
    woken: Sequence[Cursor[Any]] = ()


class Companion(Protocol):
    """What else is asked for in the transaction that ends an attempt."""

    def ask(self, connection: Connection[Any]) -> None:
        """Send it; the answer is not there yet."""
        ...

    def hear(self) -> None:
        """Read the answer: the transaction is committed."""
        ...


@dataclass(frozen=True, slots=True)
class Fence:
    """Writes for one claimed execution, as long as the claim holds.

    Attributes:
        pool: Connections in autocommit mode.
        claim: Whose rows these are.
        scope: Shared by all its events.
        recorder: Takes events after their rows are committed.
        clock: Stamps and differences.
        errors: Describes what failed the execution.
        claimed_us: Monotonic instant of the claim.
        hints: Wakes the lane of what steps have run; without them the sweeper finds it.
        woken: Lanes where something can go on, once what was written is committed.
        freed: Where (slug, concurrency key) go of executions that have let go, for whoever lets go of several in one
            transaction, and then passes on all of their places as its last thing; else it is done with each.
        slow_us: An execution that ran longer is slow.
        alarm: Told of what is put off; without it the sweeper finds it.
        put_off: For how long, once what was written is committed.
    """

    pool: ConnectionPool
    claim: Claim
    scope: Scope
    recorder: Recorder
    clock: Clock
    errors: DescribeError
    claimed_us: int
    hints: Hints | None = None
    woken: set[str] = field(default_factory=set)
    freed: set[tuple[str, str]] | None = None
    slow_us: int = sys.maxsize
    alarm: Alarm | None = None
    put_off: list[timedelta] = field(default_factory=list)

    @contextmanager
    def effect(self, waiting: Batch, batch: Batch, *, pipelined: bool = False) -> Iterator[Connection[Any]]:
        """One transaction for the effect of one step; it begins with the first statement.

        The lock is its last statement but the commit: what is committed under it was done by its holder, and whoever
        takes the execution meanwhile waits for no effect (decision 0012).

        Args:
            waiting: Written with it.
            batch: What came of it; written and committed when the block ends well.
            pipelined: Whether all of it is sent in one go, with the commit; the effect's own errors are raised at the
                end of the block then, too.

        Raises:
            FenceLost: Somebody else's by now; nothing is written.
            LedgerUnavailable: Postgres went away; nothing is known to be written.
            LedgerBroken: Postgres refuses a row of the ledger; nobody's step is to blame.
        """
        with self._connection() as connection:
            effect = self._in_one_go if pipelined else self._begun
            with effect(connection, waiting, batch):
                yield connection

    @contextmanager
    def _begun(self, connection: PatientConnection, waiting: Batch, batch: Batch) -> Iterator[None]:
        connection.owes_begin = True
        yield
        connection.owes_begin = False
        is_begun = connection.pgconn.transaction_status != TransactionStatus.IDLE
        with own_statements(), connection.in_one_go():
            self._write(connection, waiting + batch)
            if is_begun:
                connection.control(b"commit")

    @contextmanager
    def _in_one_go(self, connection: PatientConnection, waiting: Batch, batch: Batch) -> Iterator[None]:
        theirs: set[object] = {None}  # nothing failed but the step itself, or its commit
        with own_statements(lambda: sent.failed not in theirs), connection.in_one_go() as sent:
            yield
            theirs |= sent.unanswered()
            theirs |= self._write(connection, waiting + batch)

    def store(self, batch: Batch) -> None:
        """Insert ledger rows and what belongs to them, in one transaction and one round trip.

        Raises:
            LedgerError: As `effect`.
        """
        theirs: set[object] = set()
        with (
            self._connection() as connection,
            done_again(),
            own_statements(lambda: sent.failed not in theirs),
            connection.in_one_go() as sent,
        ):
            theirs |= self._write(connection, batch)

    def end(
        self, batch: Batch, write: Callable[[Connection[Any]], Ending], companion: Companion | None = None
    ) -> Telling:
        """Insert ledger rows together with how an attempt ended, in one transaction and one round trip.

        Args:
            batch: Written before the end.
            write: Writes it.
            companion: Goes along; where it is what Postgres refuses, the end is written without it.

        Returns:
            What to `tell` of it.

        Raises:
            LedgerError: As `effect`.
        """
        try:
            return self._end(batch, write, companion)
        except LedgerBroken:
            if companion is None:
                raise
            return self._end(batch, write, None)

    def _end(self, batch: Batch, write: Callable[[Connection[Any]], Ending], companion: Companion | None) -> Telling:
        theirs: set[object] = set()
        telling = Telling(self.recorder, self.scope, batch)
        with self._connection() as connection, done_again(), own_statements(lambda: sent.failed not in theirs):
            with connection.in_one_go() as sent:
                if batch:
                    theirs |= self._write(connection, batch)
                ending = write(connection)
                telling.ending = ending.event
                if companion is not None:
                    companion.ask(connection)
                sent.meanwhile = telling.make_ready
            if companion is not None:
                companion.hear()
            # What is written for this execution asks for the fence by itself: where it did not hold, nothing was.
            # Others may have been woken, which is right at any time.
            self._require_written(ending)
        return telling

    def settle(self, ending: Ending) -> Event | None:
        """See that it was written; its event, to be announced after the commit.

        Raises:
            FenceLost: Somebody else's by now.
        """
        self._require_written(ending)
        return None if ending.event is None else ending.event()

    def _require_written(self, ending: Ending) -> None:
        if ending.held.fetchone() is None:
            raise self._lost()
        for woken in ending.woken:
            self.woken.update(lane for (lane,) in woken)

    @contextmanager
    def _connection(self) -> Iterator[PatientConnection]:
        """A connection of the pool, its transaction rolled back when the block fails."""
        with losing_postgres(), self.pool.connection() as pooled:
            connection = cast("PatientConnection", pooled)
            try:
                yield connection
            except BaseException as error:
                undo(connection)
                if getattr(error, "sqlstate", None) == FENCE_LOST:
                    raise self._lost() from None
                raise

    def _write(self, connection: Connection[Any], batch: Batch) -> set[object]:
        """Insert ledger rows and what belongs to them, in one go with the commit: it fails where the fence is lost.

        Returns:
            Cursors of what steps asked for.
        """
        theirs: set[object] = {
            connection.execute(statement.query, statement.parameters)
            for row in batch.rows
            for statement in row.statements
        }
        parameters = {"id": self.claim.id, "fence": self.claim.fence}
        connection.execute(SQL["write"], parameters | rows_of(batch, self.claim))
        if batch.frozen:
            connection.execute(SQL["freeze"], {"id": self.claim.id, "lists": lists_of(batch)})
        children = [accept(child, self.claim).row() for child in batch.accepted()]
        if children:
            with connection.cursor() as cursor:
                cursor.executemany(SQL["submit"], children)
        # A commit that is refused is a statement's that was checked no sooner: one of ours has nothing of the kind.
        return theirs | {None} if theirs else theirs

    def _require(self, held: Cursor[Any]) -> None:
        """Wait for the answer before a statement that does not ask for the fence by itself."""
        if held.fetchone() is None:
            raise self._lost()
        held.scroll(-1)

    def emit(self, batch: Batch) -> None:
        """Record the events of rows that are committed, and wake whoever runs what was accepted with them."""
        self._tell(Telling(self.recorder, self.scope, batch))

    def tell(self, telling: Telling) -> None:
        """The same of what `end` has committed, and wake who can go on."""
        self._tell(telling)
        self._wake()

    def _tell(self, telling: Telling) -> None:
        telling.tell()
        for child in telling.batch.accepted():
            self._announce(accept(child, self.claim))

    def finish(self, connection: Connection[Any], outcome: Outcome) -> Ending:
        """Write the final state."""
        now_us = self.clock.unix_us()
        running_us = self.clock.monotonic_us() - self.claimed_us
        event_id = mint(now_us) if self.recorder.enabled else None
        totals = outcome.totals
        succeeded, failed = totals.count("succeeded"), totals.count("failed")
        statistics = {
            "steps_executed": succeeded + failed,
            "steps_successful": succeeded,
            "steps_failed": failed,
            "steps_skipped": totals.count("skipped"),
            "mutations_count": totals.mutations,
        }
        total_us = self.claim.running_us + running_us
        if total_us > self.slow_us and self.claim.attempt > 1:
            # What earlier attempts took the time for.
            for step in connection.execute(SQL["slowest_step"], {"id": self.claim.id}):
                totals.time_step(SlowestStep(*step))
        mark = self._mark(total_us, totals)
        error = outcome.error
        held = connection.execute(
            SQL["finish"],
            {
                "id": self.claim.id,
                "fence": self.claim.fence,
                "state": outcome.state,
                "stopped": outcome.stopped,
                "result": msgspec.json.encode(outcome.result).decode() if outcome.state == "succeeded" else None,
                "error": None if error is None else Jsonb({**self.errors.details(error), "step": outcome.failed_path}),
                "finished_at": from_unix_us(now_us),
                "running_us": running_us,
                "event_id": event_id and event_id.hex(),
                **statistics,
                "slow": mark[0],
                "slowest_step": mark[1],
                "slowest_step_type": mark[2],
                "slowest_step_us": mark[3],
            },
        )
        if outcome.state != "succeeded":
            self._require(held)
            connection.execute(SQL["stop_children"], {"id": self.claim.id})
        woken: list[Cursor[Any]] = []
        if self.claim.link == "child":
            # Whoever else ends a sibling waits here, and then sees this one ended.
            connection.execute(SQL["lock_parent"], {"id": self.claim.parent_id})
            woken.append(connection.execute(SQL["wake_parent"], {"id": self.claim.parent_id}))
        woken += self._pass_on(connection)
        if event_id is None:
            return Ending(held, woken=woken)
        return Ending(held, partial(self._ended, event_id, now_us, total_us, statistics, mark, outcome), woken)

    def _ended(  # noqa: PLR0913 - what the row was written with
        self,
        event_id: bytes,
        now_us: int,
        total_us: int,
        statistics: Mapping[str, int],
        mark: tuple[bool, str | None, str | None, int | None],
        outcome: Outcome,
    ) -> Event:
        """The event of a final state."""
        measures = (
            total_us,
            self.claim.queue_wait_us,
            max(0, now_us - to_unix_us(self.claim.queued_at)),
            statistics["steps_executed"],
            statistics["steps_successful"],
            statistics["steps_failed"],
            statistics["steps_skipped"],
            statistics["mutations_count"],
        )
        if outcome.state == "succeeded":
            return ExecutionCompleted(event_id, now_us, self.scope, *measures, "succeeded", *mark)
        how = outcome.stopped
        if outcome.state == "cancelled":
            how = how or "cooperatively"
            return ExecutionCancelled(event_id, now_us, self.scope, *measures, how, "cancelled", *mark)
        facts = None if outcome.error is None else self.errors.facts(outcome.error)
        return ExecutionFailed(event_id, now_us, self.scope, *measures, outcome.state, facts, *mark, how)

    def release(self, connection: Connection[Any], release: Release) -> Ending:
        """Let go of the execution, which goes on later."""
        now_us = self.clock.unix_us()
        # To wait is not to be tried again: it is no event.
        event_id = mint(now_us) if self.recorder.enabled and release.reason != "waiting" else None
        facts = None if release.error is None else self.errors.facts(release.error)
        delay_us = release.delay // timedelta(microseconds=1)
        if release.reason == "waiting":
            # First, and by itself: a statement that waits for this lock sees the children as they were before it did,
            # and would go on waiting for one whose end has just found nobody waiting.
            connection.execute(SQL["lock"], {"id": self.claim.id, "fence": self.claim.fence})
        held = connection.execute(
            SQL["release"],
            {
                "id": self.claim.id,
                "fence": self.claim.fence,
                "waiting": release.reason == "waiting",
                "delay_us": delay_us,
                "running_us": self.clock.monotonic_us() - self.claimed_us,
                "failures": int(release.reason == "failed"),
                "released_at": from_unix_us(now_us),
                "reason": release.reason,
                "step_path": release.path,
                "error_type": None if facts is None else facts.error_type,
                "error_category": None if facts is None else facts.error_category,
                "error_fingerprint": None if facts is None else facts.error_fingerprint,
                "event_id": event_id and event_id.hex(),
            },
        )
        if not release.delay:
            self.woken.add(self.claim.lane)
        else:
            self.put_off.append(release.delay)
        if release.reason == "waiting":
            return Ending(held)
        woken = self._pass_on(connection)
        if event_id is None:
            return Ending(held, woken=woken)
        told = (event_id, now_us, self.scope, release.reason, delay_us, release.path, facts)
        return Ending(held, partial(ExecutionRetried, *told), woken)

    def announce(self, event: Event | None) -> None:
        """After the commit of how an attempt ended: record its event, and wake who can go on. Never raises."""
        if event is not None:
            self.recorder.record(event)
        self._wake()

    def _wake(self) -> None:
        if self.hints is not None:
            for lane in self.woken:
                self.hints.wake(lane, self.claim.correlation_id, self.claim.id)
        self.woken.clear()
        if self.alarm is not None:
            for delay in self.put_off:
                self.alarm.after(delay)
        self.put_off.clear()

    def fail(self, connection: Connection[Any], error: Mapping[str, Any]) -> Ending:
        """Keep the error that ends the execution; from now on only `on_failure` is left of it."""
        parameters = {"id": self.claim.id, "fence": self.claim.fence, "failing": Jsonb(error)}
        return Ending(connection.execute(SQL["fail"], parameters))

    def committed(self) -> Totals:
        """Statistics of what is committed, for a run that cannot say them itself."""
        with losing_postgres(), self.pool.connection() as connection:
            return self.committed_in(connection)

    def committed_in(self, connection: Connection[Any]) -> Totals:
        """The same, on a connection."""
        totals = Totals()
        for path, outcome, mutations in connection.execute(SQL["committed"], {"id": self.claim.id}):
            totals.count_path(path, outcome, mutations)
        for step in connection.execute(SQL["slowest_step"], {"id": self.claim.id}):
            totals.time_step(SlowestStep(*step))
        return totals

    def _mark(self, total_us: int, totals: Totals) -> tuple[bool, str | None, str | None, int | None]:
        """Whether it was slow, and if so its slowest step: path, type, duration."""
        if total_us <= self.slow_us:
            return False, None, None, None
        return True, *(totals.slowest or (None, None, None))

    def _pass_on(self, connection: Connection[Any]) -> list[Cursor[Any]]:
        """Let the next of its key of concurrency have the place that was given back; the lane to be told of it."""
        key = self.claim.concurrency_key
        if key is None:
            return []
        if self.freed is not None:
            self.freed.add((self.claim.slug, key))
            return []
        return [wake_next(connection, self.claim.slug, key)]

    def _lost(self) -> FenceLost:
        return FenceLost(f"execution {self.claim.id} is no longer held by attempt {self.claim.attempt}")

    def _announce(self, acceptance: Acceptance) -> None:
        event = acceptance.event(self.scope.user_id)
        if event is not None:
            self.recorder.record(event)
        if self.hints is not None:
            self.hints.wake(acceptance.submission.lane, self.claim.correlation_id, acceptance.id)


@contextmanager
def losing_postgres() -> Iterator[None]:
    """Turns the loss of Postgres, wherever a run meets it, into `LedgerUnavailable`; other errors pass."""
    try:
        yield
    except Exception as error:
        if is_connection_loss(error):
            raise LedgerUnavailable("Postgres went away in the middle of a run") from error
        raise


def undo(connection: PatientConnection) -> None:
    """Roll back whatever is open. A connection that is lost has done so; one in the middle of something goes."""
    connection.owes_begin = False
    # An interrupt may have come between taking psycopg's lock and being bound to give it back.
    if is_free := connection.lock.acquire(timeout=_LOCK_PATIENCE_S):
        connection.lock.release()
        with suppress(psycopg.Error):
            connection.rollback()
    if not is_free or connection.pgconn.pipeline_status != PipelineStatus.OFF:
        connection.close()


@contextmanager
def done_again() -> Iterator[None]:
    """Around what was done after its step had ended: refused, it is that of no step; all that waited is done again."""
    try:
        yield
    except psycopg.Error as error:
        if is_connection_loss(error) or error.sqlstate == FENCE_LOST:
            raise
        raise LedgerUnavailable("Postgres refused what a step had asked for") from error


@contextmanager
def own_statements(is_own: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Tells an error of the ledger's own statements from one of a step's: no step is blamed for it."""
    try:
        yield
    except psycopg.Error as error:
        if is_connection_loss(error) or error.sqlstate == FENCE_LOST or not is_own():
            raise
        raise LedgerBroken(f"Postgres refused a row of the ledger: {type(error).__name__}") from error
