"""The ledger of a dry run: everything happens, and then it did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from psycopg import Connection

from dsl.executor import Outcome
from dsl.step import StepRow
from workers.fence import Companion, Fence, Release, losing_postgres
from workers.ledger import Effect
from workers.ledger_rows import Batch


class DryRunLedger:
    """The `dsl.step.Ledger` of a dry run: one transaction for the whole run, a savepoint a step, rolled back at last.

    Rows and events are written afterwards, in a transaction of their own, marked `dry_run`. Killed before that, nothing
    happened.
    """

    def __init__(self, fence: Fence, lock_timeout: timedelta) -> None:
        self._fence = fence
        self._batch = Batch()
        milliseconds = max(1, lock_timeout // timedelta(milliseconds=1))
        with losing_postgres(), ExitStack() as opening:
            self._connection = opening.enter_context(fence.pool.connection())
            opening.enter_context(self._connection.transaction(force_rollback=True))
            self._connection.execute("select set_config('lock_timeout', %s, true)", [str(milliseconds)])
            self._stack = opening.pop_all()

    @contextmanager
    def effect(self, *, pipelined: bool = False) -> Iterator[Effect]:
        effect = Effect(self._connection, Batch())
        with losing_postgres(), self._connection.transaction():
            yield effect
            for row in effect.batch.rows:
                for statement in row.statements:
                    self._connection.execute(statement.query, statement.parameters)
        # What is written in the end is that they ran, and nothing of what they did.
        self._batch.rows.extend(replace(row, statements=()) for row in effect.batch.rows)

    @contextmanager
    def reading(self) -> Iterator[Connection[Any]]:
        with losing_postgres(), self._connection.transaction():
            yield self._connection

    def add(self, row: StepRow) -> None:
        self._batch.rows.append(row)

    def freeze(self, path: str, items: str) -> Sequence[Any]:
        kept: list[Any] = msgspec.json.decode(items)
        return kept

    def flush(self) -> None:
        """Nothing leaves a dry run, so nothing has to be durable before it does."""

    def rollback(self) -> None:
        """Undo everything the run did; idempotent."""
        self._stack.close()

    def fail(self, error: Mapping[str, Any]) -> None:
        """Nothing of a dry run is kept before its end."""

    def release(self, release: Release) -> None:
        """Nothing of a dry run is kept: the next attempt begins anew."""
        self.rollback()
        self._fence.tell(self._fence.end(Batch(), lambda connection: self._fence.release(connection, release)))

    def finish(self, outcome: Outcome, companion: Companion | None = None) -> None:
        self.rollback()
        write = partial(self._fence.finish, outcome=outcome)
        self._fence.tell(self._fence.end(self._batch, write, companion))
