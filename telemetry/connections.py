"""The only sockets to our own servers: a pool of Postgres connections, two kinds of Redis clients.

Open a pool after the last fork, never before: its threads do not survive one.
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout
from redis import AuthenticationError, Redis, RedisError
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import InvalidResponse, ResponseError
from redis.retry import Retry

from telemetry.errors import RedisRefused, SettingsInvalid, StoreUnavailable, StreamUnavailable
from telemetry.patience import PatientConnection
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
