"""A Postgres connection that waits only so long, and sends together what need not go one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

import psycopg
from psycopg import Transaction
from psycopg.abc import Params, PQGen
from psycopg.generators import send
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import Row

RV = TypeVar("RV")


class _OneGo(psycopg.Pipeline):
    """A pipeline that sends nothing before its end, or before a result is asked for: then all of it at once.

    psycopg's own sends each statement as it comes, in a packet of its own that the server wakes up for. This
    overrides what psycopg 3.3 keeps to itself; tests/integration/test_connections.py would notice another one.

    Attributes:
        failed: The cursor whose statement failed first, if one did.
        meanwhile: Called once everything is sent, while the server works on it; must not raise.
    """

    failed: object = None
    meanwhile: Callable[[], None] | None = None
    _is_over = False

    def unanswered(self) -> set[object]:
        """Cursors whose result is not there yet."""
        return {queued[0] for queued in self.result_queue if queued is not None}

    def _enter_gen(self) -> PQGen[None]:
        if self.level:
            # psycopg's would send a Sync, which commits.
            raise psycopg.ProgrammingError("what is sent in one go has a pipeline, and a transaction, already")
        yield from super()._enter_gen()

    def _process_results(self, queued: Any, results: list[PGresult]) -> None:  # noqa: ANN401 - psycopg's own
        self._is_over = results[0].status == ExecStatus.PIPELINE_SYNC
        try:
            super()._process_results(queued, results)
        except psycopg.Error:
            if queued is not None and self.failed is None:
                self.failed = queued[0]
            raise

    def _communicate_gen(self) -> PQGen[None]:
        """What psycopg does after each statement."""
        yield from ()

    def _sync_gen(self) -> PQGen[None]:
        """What psycopg does before `rollback`, after `commit`, and before a setting changes: it would commit."""
        yield from ()
        raise psycopg.ProgrammingError("what is sent in one go is committed, or not, as a whole")

    def _exit_gen(self) -> PQGen[None]:
        self._enqueue_sync()
        try:
            yield from self._fetch_gen(flush=False)
        except psycopg.Error:
            if not self._is_over and self.pgconn.status == ConnStatus.OK:
                # The commit itself was refused: the end of the pipeline is still to come.
                self.result_queue.append(None)
                yield from super()._fetch_gen(flush=False)
            raise

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        """Send what waits, then take the results as psycopg does."""
        if self.command_queue:
            while self.command_queue:
                self.command_queue.popleft()()
            if not flush:
                yield from send(self.pgconn)
                if self.meanwhile is not None:
                    self.meanwhile()
        yield from super()._fetch_gen(flush=flush)


class _Cursor(psycopg.Cursor[Row]):
    """A cursor whose first statement takes the `begin` along that its connection owes."""

    _conn: PatientConnection

    def execute(
        self,
        query: Any,  # noqa: ANN401 - psycopg's own has one signature per kind of query
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        connection = self._conn
        # Without parameters it may be several statements, which no pipeline takes.
        if not connection.owes_begin or connection._pipeline is not None or params is None:  # noqa: SLF001 - one unit
            return super().execute(query, params, prepare=prepare, binary=binary)
        try:
            with connection.in_one_go():
                connection.begin()
                return super().execute(query, params, prepare=prepare, binary=binary)
        except BaseException:
            connection.owes_begin = connection.pgconn.transaction_status == TransactionStatus.IDLE
            raise

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Row]:  # noqa: ANN401 - psycopg's own
        try:
            yield from super().stream(*args, **kwargs)
        finally:
            # libpq goes on row by row with the first statement of a pipeline, unless another one came before.
            with suppress(psycopg.Error):
                self._conn.control(b"select")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that waits for its server only so long: for one that is alive and silent it would wait for ever.

    The server's own statement timeout ends what is merely slow; this one needs no server.

    Attributes:
        patience: How long one statement may take, or many that are sent in one go (`executemany`); none waits as
            psycopg does.
        owes_begin: Whether the next statement, whoever makes it, begins a transaction.
    """

    patience: timedelta | None = None
    owes_begin: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - psycopg's own
        super().__init__(*args, **kwargs)
        self.cursor_factory = _Cursor

    def begin(self) -> None:
        """Begin a transaction, in autocommit mode too."""
        self.owes_begin = False
        self.control(b"begin")

    def _check_intrans_gen(self, attribute: str) -> PQGen[None]:
        if self.owes_begin:
            raise psycopg.ProgrammingError(f"can't change {attribute!r} now: the connection owes a begin")
        yield from super()._check_intrans_gen(attribute)

    def _start_query(self) -> PQGen[None]:
        """What psycopg does before each statement of whatever cursor: also of one that is not `_Cursor.execute`."""
        if self.owes_begin:
            self.owes_begin = False
            yield from self._exec_command(b"begin")
        yield from super()._start_query()

    @contextmanager
    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[Transaction]:
        """As psycopg's: the outermost commits, unless this connection owes a `begin`."""
        if self.owes_begin:
            self.begin()
        with super().transaction(savepoint_name, force_rollback) as transaction:
            yield transaction

    def control(self, command: bytes) -> None:
        """Run `begin` or `commit`, which answer nothing, without the cursor that `execute` makes for it.

        Raises:
            psycopg.Error: It failed; between `in_one_go`, the end of the block raises it.
        """
        with self.lock:
            self.wait(self._exec_command(command))

    @contextmanager
    def in_one_go(self) -> Iterator[_OneGo]:
        """Send the statements of the block together, at its end; their results are there afterwards.

        Without a `begin` they are one transaction all the same: the server commits at the end of what it was sent, or
        nothing. The first that fails raises, at the end. A result that is asked for inside the block costs a round trip
        of its own, and commits nothing. When the block raises, all of it is rolled back. Whoever begins a transaction
        here rolls it back himself when anything is raised.
        """
        pipeline = self._pipeline = _OneGo(self)
        try:
            with pipeline:
                try:
                    yield pipeline
                except BaseException:
                    # What was sent so far would be committed with the end of the pipeline.
                    self.control(b"rollback")
                    raise
        except BaseException:
            # What was to be prepared may not have been; psycopg believes it was.
            self._prepared.clear()
            raise
        finally:
            self._pipeline = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's; a server that does not answer in time costs the connection."""
        if timeout is not None or self.patience is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience.total_seconds())
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - the documented error of `wait`
            # What was asked may yet be answered: nobody may read that as the answer to something else.
            self.close()
            message = f"no answer within {self.patience.total_seconds():g} s"
            raise psycopg.OperationalError(message) from error


@contextmanager
def waiting(connection: psycopg.Connection, patience: timedelta) -> Iterator[None]:
    """Another patience of one of our connections, for what happens inside."""
    ours = cast("PatientConnection", connection)
    usual, ours.patience = ours.patience, patience
    try:
        yield
    finally:
        ours.patience = usual
