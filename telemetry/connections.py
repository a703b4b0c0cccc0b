"""The only sockets to our own servers: a pool of Postgres connections, two kinds of Redis clients.

Open a pool after the last fork, never before: its threads do not survive one.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

import psycopg
import structlog
from psycopg import Transaction
from psycopg.abc import Params, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.generators import send
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import Row
from psycopg_pool import ConnectionPool, PoolTimeout
from redis import AuthenticationError, Redis, RedisError
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import InvalidResponse, ResponseError
from redis.retry import Retry

from telemetry.errors import RedisRefused, SettingsInvalid, StoreUnavailable, StreamUnavailable
from telemetry.privacy import CONNECTION_LOST

log = structlog.get_logger(__name__)

#: Oldest major version of Redis that will do; Valkey says which Redis it is like.
OLDEST_REDIS = 7
#: Answers that waiting does not change.
_REFUSALS = (AuthenticationError, ResponseError, InvalidResponse)

#: Seconds to establish one connection, to either server.
CONNECT_TIMEOUT_S = 5
#: A peer that vanished without a word is noticed after 30 s idle + 3 probes 10 s apart, or 30 s of unacknowledged data.
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
#: The same for the server, whose own patience is two hours: so long a machine that lost its power in the middle of a
#: transaction would hold the locks of what it ran, and nobody could take that back.
_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
#: How much longer than its statement timeout a statement may take before its connection counts as dead.
ANSWER_MARGIN = timedelta(seconds=1)
#: How much longer than its block a blocking read may take before its connection counts as dead.
_BLOCK_MARGIN = timedelta(seconds=5)

RV = TypeVar("RV")


class _OneGo(psycopg.Pipeline):
    """A pipeline that sends nothing before its end, or before a result is asked for: then all of it at once.

    psycopg's own sends each statement as it comes, in a packet of its own that the server wakes up for. This
    overrides what psycopg 3.3 keeps to itself; tests/integration/test_connections.py would notice another one.

    Attributes:
        failed: The cursor whose statement failed first, if one did.
    """

    failed: object = None
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


def connection_options(url: str, *, name: str, statement_timeout: timedelta | None = None) -> dict[str, Any]:
    """Keyword arguments of every connection of ours: timeouts, keepalives, UTC; what the URL asks for is kept.

    Args:
        url: `postgresql://...`, or any libpq connection string.
        name: Shown as application_name in pg_stat_activity.
        statement_timeout: How long one statement may run.

    Raises:
        SettingsInvalid: The URL is not one.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # it quotes what may be a password
        fault = "WEIR_DATABASE_URL: expected postgresql://user:password@host:port/name, or what else libpq takes"
        raise SettingsInvalid([fault]) from None
    asked = str(given.get("options") or "")
    keepalives = [f"-c {name}={value}" for name, value in _SERVER_KEEPALIVES.items() if name not in asked]
    options = " ".join([asked, *keepalives, "-c TimeZone=UTC"]).strip()
    if statement_timeout is not None:
        options += f" -c statement_timeout={statement_timeout // timedelta(milliseconds=1)}"
    ours: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": name, **_KEEPALIVES}
    return {key: value for key, value in ours.items() if key not in given} | {"options": options}


def connect(
    url: str, *, name: str, autocommit: bool = False, statement_timeout: timedelta | None = None
) -> PatientConnection:
    """One connection outside any pool: for start-up, migrations, session locks and leases.

    A server that neither answers a statement nor ends it at its timeout is taken for dead `ANSWER_MARGIN` later.

    Raises:
        StoreUnavailable: Postgres did not answer within 5 s, or refused.
    """
    try:
        options = connection_options(url, name=name, statement_timeout=statement_timeout)
        connection = PatientConnection.connect(url, autocommit=autocommit, **options)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(
            f"Postgres did not accept a connection: {error}", hint="The address is that of WEIR_DATABASE_URL, if given."
        ) from error
    connection.patience = None if statement_timeout is None else statement_timeout + ANSWER_MARGIN
    return connection


def open_pool(  # noqa: PLR0913 - one keyword per thing a caller decides
    url: str,
    *,
    name: str,
    max_size: int,
    min_size: int = 1,
    autocommit: bool = False,
    checkout_timeout: timedelta = timedelta(seconds=5),
    wait: timedelta | None = timedelta(seconds=5),
    statement_timeout: timedelta | None = None,
) -> ConnectionPool[psycopg.Connection]:
    """An open pool of connections to Postgres; close it, or use it as a context manager.

    A connection whose server went away while it was idle is noticed when it is taken out (by a look at its socket,
    without a round trip) and replaced.

    Args:
        url: `postgresql://...`, or any libpq connection string.
        name: Of the process; shown as application_name.
        max_size: Connections, at most.
        min_size: Connections kept open, even idle.
        autocommit: Whether a connection starts outside a transaction.
        checkout_timeout: How long `pool.connection()` waits for a free one before psycopg_pool.PoolTimeout.
        wait: How long to wait for the first `min_size` connections; None returns at once and connects behind the
            caller's back, for processes that should start although Postgres is away.
        statement_timeout: How long one statement may run. A server that has neither answered nor ended it
            `ANSWER_MARGIN` later is taken for dead. None waits for ever.

    Raises:
        StoreUnavailable: Postgres did not answer within `wait`. Nothing is left open.
    """

    def configure(connection: PatientConnection) -> None:
        connection.patience = None if statement_timeout is None else statement_timeout + ANSWER_MARGIN

    pool: ConnectionPool[Any] = ConnectionPool(
        url,
        connection_class=PatientConnection,
        kwargs={
            **connection_options(url, name=name, statement_timeout=statement_timeout),
            "autocommit": autocommit,
        },
        open=False,
        name=name,
        min_size=min_size,
        max_size=max_size,
        timeout=checkout_timeout.total_seconds(),
        configure=configure,
        check=_refuse_dead,
    )
    pool.open()
    if wait is None:
        return pool
    try:
        pool.wait(wait.total_seconds())
    except PoolTimeout as error:
        pool.close()
        raise StoreUnavailable(f"Postgres did not answer within {wait.total_seconds():g} s") from error
    return pool


def _refuse_dead(connection: psycopg.Connection) -> None:
    """Raise psycopg.OperationalError if the server has closed the connection.

    An idle connection has nothing to read. If it has, the server said goodbye, or the notice is harmless: reading it
    tells which. Costs 2 us where the pool's own check, `select 1`, costs a round trip.
    """
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN)
    while readable.poll(0):  # a farewell comes first, the end of the stream after it
        connection.pgconn.consume_input()


def open_redis(url: str, *, timeout: timedelta = timedelta(seconds=5), retries: int = 3) -> Redis:
    """A client for commands that answer at once. Connects when first used.

    Args:
        url: `redis://`, `rediss://` or `unix://`, password and database number included.
        timeout: How long connecting and one answer may each take.
        retries: After a lost connection or a time-out, 10 ms to 500 ms apart. A command may then run twice; pass 0
            where that matters, and where failing fast does (health checks, the recorder).
    """
    retry = Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.01), retries) if retries else Retry(NoBackoff(), 0)
    return _client(url, timeout=timeout, connect_timeout=timeout, retry=retry)


def open_blocking_redis(url: str, *, block: timedelta, patience: timedelta = _BLOCK_MARGIN) -> Redis:
    """A client for commands that wait on the server (XREADGROUP BLOCK, BLPOP), for at most `block`.

    Its socket is patient a little longer than the command, and it tries once more at most: redis-py's default of ten
    retries hides a dead server for a minute.

    Args:
        url: As `open_redis`.
        block: The longest time a command waits.
        patience: How much longer its answer may take.
    """
    connect_timeout = timedelta(seconds=CONNECT_TIMEOUT_S)
    return _client(url, timeout=block + patience, connect_timeout=connect_timeout, retry=Retry(NoBackoff(), 1))


def require_redis(url: str, *, patience: timedelta = timedelta(seconds=1)) -> bool:
    """Whether a Redis that is fit for us answers; false when nobody does, which may pass.

    Raises:
        RedisRefused: It refuses our password or database, is no Redis, or is too old.
        SettingsInvalid: The URL is not one.
    """
    with open_redis(url, timeout=patience, retries=0) as client:
        where = _place(client.connection_pool.connection_kwargs)
        try:
            server: dict[str, Any] = client.info("server")
        except _REFUSALS as error:
            raise RedisRefused(
                f"what answers as Redis at {where} refused: {error}", hint="Is WEIR_REDIS_URL right?"
            ) from error
        except RedisError as error:
            log.warning("redis_away", code=StreamUnavailable.code, address=where, reason=type(error).__name__)
            return False
    version = str(server.get("redis_version", "0"))
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        raise RedisRefused(
            f"the Redis at {where} is version {version}", hint=f"Redis {OLDEST_REDIS}.0, Valkey 7.2 or newer is needed."
        )
    return True


def _place(options: Mapping[str, Any]) -> str:
    """Where a client connects to; no password."""
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _client(url: str, *, timeout: timedelta, connect_timeout: timedelta, retry: Retry) -> Redis:
    # `protocol` is left alone on purpose: naming one changes the shapes of replies.
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout.total_seconds(),
            socket_connect_timeout=min(connect_timeout.total_seconds(), CONNECT_TIMEOUT_S),
            retry=retry,
        )
    except ValueError:  # it may quote a password
        fault = "WEIR_REDIS_URL: expected redis://user:password@host:port/0, rediss://... or unix:///path"
        raise SettingsInvalid([fault]) from None


def is_connection_loss(error: BaseException | None) -> bool:
    """Whether the server, rather than the statement, was the problem: no SQLSTATE, class 08 or 57P, or too many.

    A pool that gives none (PoolTimeout) counts too: it has no SQLSTATE.
    """
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.OperationalError) or isinstance(error, psycopg.errors.PipelineAborted):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(CONNECTION_LOST)
