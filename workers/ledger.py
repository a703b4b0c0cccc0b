"""The ledger of one run: rows without effect wait in memory, and commit with the next transaction behind the fence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import msgspec
import structlog
from psycopg import Connection

from dsl.errors import LedgerBroken, LedgerError, LedgerUnavailable
from dsl.executor import Outcome
from dsl.step import Child, Ledger, StepRow
from workers.fence import Companion, Ending, Fence, Release, losing_postgres
from workers.ledger_rows import Batch

log = structlog.get_logger(__name__)

#: Rows that may wait in memory whatever their age: what a run of many light steps may hold; and of steps that add to
#: the database, which hold what they add.
MAX_PENDING_ROWS, MAX_PENDING_ADDITIONS = 500, 100


class Effect:
    """The open transaction of one database step."""

    def __init__(self, connection: Connection[Any], batch: Batch) -> None:
        self.connection = connection
        self.batch = batch

    def add(self, row: StepRow) -> None:
        self.batch.rows.append(row)

    def accept(self, child: Child) -> None:
        self.batch.children.append(child)


class RunLedger(Ledger, Protocol):
    """A ledger that can also end its execution, or let go of it."""

    def fail(self, error: Mapping[str, Any]) -> None:
        """Commit what waits together with the error that ends the execution, before `on_failure` begins.

        Raises:
            LedgerError: As `Fence.end`.
        """
        ...

    def release(self, release: Release) -> None:
        """Commit what waits together with letting go, then record the event.

        Raises:
            LedgerError: As `Fence.end`.
        """
        ...

    def finish(self, outcome: Outcome, companion: Companion | None = None) -> None:
        """Commit what waits together with the final state, and with what goes along; then record the final event.

        Raises:
            LedgerError: As `Fence.end`.
        """
        ...


class WriteBehindLedger:
    """The `dsl.step.Ledger` of a real run. Rows without effect wait, and commit with the next transaction.

    The lock is held by the run inside a transaction, and by the flusher while it writes; its holder owns `_pending`.
    """

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._lock = threading.Lock()
        self._pending = Batch()
        self._oldest_us = 0
        self._additions = 0  # rows that wait and add to the database
        self._broken: LedgerError | None = None

    @contextmanager
    def effect(self, *, pipelined: bool = False) -> Iterator[Effect]:
        batch = Batch()
        with self._lock:
            self._show()
            with self._fence.effect(self._pending, batch, pipelined=pipelined) as connection:
                yield Effect(connection, batch)
            self._emit(batch)

    @contextmanager
    def reading(self) -> Iterator[Connection[Any]]:
        with self._lock:
            self._show()
        with losing_postgres(), self._fence.pool.connection() as connection:
            yield connection

    def add(self, row: StepRow) -> None:
        with self._lock:
            self._check()
            if not self._pending:
                self._oldest_us = self._fence.clock.monotonic_us()
            self._pending.rows.append(row)
            self._additions += bool(row.statements)
            if len(self._pending.rows) >= MAX_PENDING_ROWS or self._additions >= MAX_PENDING_ADDITIONS:
                self._flush()

    def freeze(self, path: str, items: str) -> Sequence[Any]:
        with self._lock:
            self._check()
            self._pending.frozen.append((path, items))
        kept: list[Any] = msgspec.json.decode(items)
        return kept

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def flush_if_older(self, age: timedelta) -> None:
        """Called by the flusher's thread. A run that is inside a transaction takes its rows along by itself."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            age_us = age // timedelta(microseconds=1)
            if self._pending and self._fence.clock.monotonic_us() - self._oldest_us >= age_us:
                self._flush()
        except LedgerUnavailable as error:
            # The rows still wait; the run meets the same at its next commit, and stops there.
            log.warning("ledger_flush_postponed", execution_id=str(self._fence.claim.id), reason=error.code)
        except LedgerError as error:
            self._broken = error
        except Exception as error:
            # Whatever it is, it must not end the thread that looks after every other ledger of the process.
            log.exception("ledger_flush_failed", execution_id=str(self._fence.claim.id))
            self._broken = LedgerBroken(f"a flush of the ledger failed: {type(error).__name__}")
        finally:
            self._lock.release()

    def finish(self, outcome: Outcome, companion: Companion | None = None) -> None:
        self._end(lambda connection: self._fence.finish(connection, outcome), companion)

    def release(self, release: Release) -> None:
        self._end(lambda connection: self._fence.release(connection, release))

    def fail(self, error: Mapping[str, Any]) -> None:
        self._end(lambda connection: self._fence.fail(connection, error))

    def _end(self, write: Callable[[Connection[Any]], Ending], companion: Companion | None = None) -> None:
        with self._lock:
            self._check()
            telling = self._fence.end(self._pending, write, companion)
            self._begin_anew()
            self._fence.tell(telling)

    def _show(self) -> None:
        """Commit what waits, if the next statement could see the difference."""
        self._check()
        if self._additions:
            self._flush()

    def _flush(self) -> None:
        self._check()
        if self._pending:
            self._fence.store(self._pending)
            self._emit()

    def _emit(self, batch: Batch | None = None) -> None:
        """What waited, and what came after it, is committed."""
        committed = self._begin_anew()
        self._fence.emit(committed)
        if batch is not None:
            self._fence.emit(batch)

    def _begin_anew(self) -> Batch:
        """Nothing waits any more; what did."""
        committed, self._pending = self._pending, Batch()
        self._additions = 0
        return committed

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken
