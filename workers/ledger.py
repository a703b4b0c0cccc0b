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
from telemetry.events import Event
from workers.fence import Batch, Fence, Release, losing_postgres

log = structlog.get_logger(__name__)

#: Rows that may wait in memory whatever their age: what a run of many light steps may hold.
MAX_PENDING_ROWS = 500


class Effect:
    """The open transaction of one database step."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection
        self.batch = Batch()

    def add(self, row: StepRow) -> None:
        self.batch.rows.append(row)

    def accept(self, child: Child) -> None:
        self.batch.children.append(child)


class RunLedger(Ledger, Protocol):
    """A ledger that can also end its execution, or let go of it."""

    def fail(self, error: Mapping[str, Any]) -> None:
        """Commit what waits together with the error that ends the execution, before `on_failure` begins.

        Raises:
            LedgerError: As `Fence.transaction`.
        """
        ...

    def release(self, release: Release) -> None:
        """Commit what waits together with letting go, then record the event.

        Raises:
            LedgerError: As `Fence.transaction`.
        """
        ...

    def finish(self, outcome: Outcome) -> None:
        """Commit what waits together with the final state, then record the final event.

        Raises:
            LedgerError: As `Fence.transaction`.
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
        self._broken: LedgerError | None = None

    @contextmanager
    def effect(self) -> Iterator[Effect]:
        with self._lock, self._committing() as connection:
            effect = Effect(connection)
            yield effect
            self._fence.write(connection, effect.batch)
            self._pending.rows.extend(effect.batch.rows)
            self._pending.children.extend(effect.batch.children)

    @contextmanager
    def reading(self) -> Iterator[Connection[Any]]:
        with losing_postgres(), self._fence.pool.connection() as connection:
            yield connection

    def add(self, row: StepRow) -> None:
        with self._lock:
            self._check()
            if not self._pending:
                self._oldest_us = self._fence.clock.monotonic_us()
            self._pending.rows.append(row)
            if len(self._pending.rows) >= MAX_PENDING_ROWS:
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

    def finish(self, outcome: Outcome) -> None:
        self._end(lambda connection: self._fence.finish(connection, outcome))

    def release(self, release: Release) -> None:
        self._end(lambda connection: self._fence.release(connection, release))

    def fail(self, error: Mapping[str, Any]) -> None:
        with self._lock, self._committing() as connection:
            self._fence.fail(connection, error)

    def _end(self, write: Callable[[Connection[Any]], Event | None]) -> None:
        with self._lock:
            with self._committing() as connection:
                event = write(connection)
            self._fence.announce(event)

    def _flush(self) -> None:
        if self._pending:
            with self._committing():
                pass

    @contextmanager
    def _committing(self) -> Iterator[Connection[Any]]:
        """A fenced transaction that writes what waits first; its events follow the commit."""
        self._check()
        waiting = len(self._pending.rows)
        try:
            with self._fence.transaction() as connection:
                self._fence.write(connection, self._pending)
                yield connection
        except BaseException:
            # Rolled back: what the caller added in this transaction never happened; what waited before it still waits.
            del self._pending.rows[waiting:]
            self._pending.children.clear()
            raise
        committed, self._pending = self._pending, Batch()
        self._fence.emit(committed)

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken
