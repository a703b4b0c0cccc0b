from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from threading import Thread

import psycopg
import pytest
from fixtures.stacks import eventually
from psycopg.errors import UniqueViolation
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolTimeout
from redis import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from telemetry.connections import connect, open_blocking_redis, open_pool, open_redis, require_redis
from telemetry.errors import RedisRefused, SettingsInvalid, StoreUnavailable
from telemetry.patience import PatientConnection

#: Port 1 of the loopback: refuses at once.
NOBODY_POSTGRES = "postgresql://weir@127.0.0.1:1/weir"
NOBODY_REDIS = "redis://127.0.0.1:1/0"


def show(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("select current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def test_a_connection_says_who_it_is_and_keeps_utc(database_url: str) -> None:
    with connect(database_url, name="weir sink") as connection:
        assert show(connection, "application_name") == "weir sink"
        assert show(connection, "timezone") == "UTC"
        assert connection.info.get_parameters()["connect_timeout"] == "5"
        assert connection.info.get_parameters()["keepalives_idle"] == "30"
        # The other side notices too that we are gone, whose locks it would keep; between processes of one machine it
        # does without.
        is_local = connection.info.host.startswith("/")
        assert show(connection, "tcp_keepalives_idle") == ("0" if is_local else "10")


def test_what_the_url_asks_for_is_kept(database_url: str) -> None:
    url = f"{database_url}{'&' if '?' in database_url else '?'}application_name=mine&options=-c%20work_mem%3D5MB"

    with connect(url, name="weir") as connection:
        assert show(connection, "application_name") == "mine"
        assert show(connection, "work_mem") == "5MB"
        assert show(connection, "timezone") == "UTC"


def test_a_pool_is_open_and_its_connections_start_as_the_caller_chose(database_url: str) -> None:
    for autocommit in (False, True):
        with (
            open_pool(database_url, name="weir", max_size=2, autocommit=autocommit) as pool,
            pool.connection() as connection,
        ):
            assert connection.autocommit is autocommit
            assert show(connection, "timezone") == "UTC"


def test_an_exhausted_pool_refuses_after_its_time(database_url: str) -> None:
    patience = timedelta(milliseconds=50)
    with (
        open_pool(database_url, name="weir", max_size=1, checkout_timeout=patience) as pool,
        pool.connection(),
        pytest.raises(PoolTimeout),
    ):
        pool.getconn()


def test_a_pool_gives_out_only_living_connections(database_url: str, connection: psycopg.Connection) -> None:
    with open_pool(database_url, name="doomed", max_size=2, min_size=2, autocommit=True) as pool:
        killed = connection.execute(
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where application_name = 'doomed'"
        ).fetchone()
        assert killed == (2,)

        with pool.connection() as first, pool.connection() as second:
            assert first.execute("select 1").fetchone() == second.execute("select 1").fetchone() == (1,)


def test_a_notice_on_an_idle_connection_is_no_reason_to_replace_it(database_url: str) -> None:
    with open_pool(database_url, name="listener", max_size=1, autocommit=True) as pool:
        with pool.connection() as listening:
            listening.execute("listen news")
            before = listening.info.backend_pid
        with connect(database_url, name="speaker", autocommit=True) as speaker:
            speaker.execute("notify news")
        with pool.connection() as listening:
            assert listening.info.backend_pid == before


def test_no_postgres_is_said_at_once_and_leaves_nothing_open() -> None:
    with pytest.raises(StoreUnavailable, match="did not accept a connection") as raised:
        connect(NOBODY_POSTGRES, name="weir")
    assert raised.value.retryable
    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.05 s"):
        open_pool(NOBODY_POSTGRES, name="weir", max_size=1, wait=timedelta(milliseconds=50))


def test_a_process_can_start_while_postgres_is_away() -> None:
    with ExitStack() as stack:
        patience = timedelta(milliseconds=20)
        pool = stack.enter_context(
            open_pool(NOBODY_POSTGRES, name="weir", max_size=1, wait=None, checkout_timeout=patience)
        )
        with pytest.raises(PoolTimeout):
            pool.getconn()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # redis-py leaves the sockets of refused connections behind
def test_a_dead_redis_is_noticed_in_well_under_a_second() -> None:
    for client in (
        open_redis(NOBODY_REDIS, retries=0),
        open_redis(NOBODY_REDIS),
        open_blocking_redis(NOBODY_REDIS, block=timedelta(minutes=1)),
    ):
        began = time.monotonic()
        with closing(client), pytest.raises(RedisError):
            client.ping()
        assert time.monotonic() - began < 2


def test_a_blocking_read_longer_than_the_usual_time_out_is_one_read(redis_url: str, redis: Redis) -> None:
    with closing(open_blocking_redis(redis_url, block=timedelta(milliseconds=300))) as reader:
        assert reader.blpop(["nothing"], timeout=0.3) is None
        redis.rpush("something", b"a")
        assert reader.blpop(["something"], timeout=0.3) == (b"something", b"a")


def test_a_command_that_takes_too_long_fails_when_it_was_told_to(redis_url: str) -> None:
    with (
        closing(open_redis(redis_url, timeout=timedelta(milliseconds=50), retries=0)) as client,
        pytest.raises(RedisError, match="Timeout"),
    ):
        client.blpop(["nothing"], timeout=5)


def test_a_statement_that_runs_too_long_is_ended(database_url: str) -> None:
    with (
        open_pool(database_url, name="weir test", max_size=1, statement_timeout=timedelta(milliseconds=100)) as pool,
        pool.connection() as connection,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        connection.execute("select pg_sleep(10)")


def test_a_redis_that_is_fit_is_told_from_one_that_is_away(redis_url: str) -> None:
    with capture_logs() as lines:
        assert require_redis(redis_url) is True
        assert require_redis("redis://:planted-secret@127.0.0.1:1/0") is False

    assert [(line["event"], line["code"], line["address"]) for line in lines] == [
        ("redis_away", "telemetry.stream_unavailable", "127.0.0.1:1")
    ]


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-NOAUTH Authentication required.\r\n"],
    ids=["no Redis", "password"],
)
def test_what_will_never_do_as_a_redis_is_refused(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=_answer_everything, args=(server, answer), daemon=True).start()

        with pytest.raises(RedisRefused, match=r"what answers as Redis at 127\.0\.0\.1:"):
            require_redis(f"redis://127.0.0.1:{server.getsockname()[1]}/0")


def _answer_everything(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        while connection.recv(4096):
            connection.sendall(answer)


@pytest.mark.parametrize("url", ["http://host", "planted-secret", "redis://host:99999"])
def test_what_is_no_address_of_redis_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="WEIR_REDIS_URL: expected redis://") as refused:
        open_redis(url)

    assert "planted-secret" not in str(refused.value)


def test_what_is_no_address_of_postgres_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsInvalid, match="WEIR_DATABASE_URL: expected postgresql://") as refused:
        connect("planted-secret", name="weir test")

    assert "planted-secret" not in str(refused.value)


def test_statements_in_one_go_are_sent_at_the_end_and_commit_together(connection: PatientConnection) -> None:
    connection.execute("create temporary table sent (n int)")
    with connection.in_one_go():
        connection.control(b"begin")
        first = connection.execute("insert into sent values (%s) returning n", [1])
        with connection.cursor() as cursor:
            cursor.executemany("insert into sent values (%s)", [[2], [3]])
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE  # the server has heard of nothing
        connection.control(b"commit")

    assert first.fetchone() == (1,)
    assert connection.execute("select array_agg(n order by n) from sent").fetchone() == ([1, 2, 3],)
    assert connection.info.transaction_status == TransactionStatus.IDLE


def test_a_result_that_is_asked_for_in_between_is_there(connection: PatientConnection) -> None:
    with connection.in_one_go():
        connection.control(b"begin")
        assert connection.execute("select 1").fetchone() == (1,)
        later = connection.execute("select 2")
        connection.control(b"commit")
    assert later.fetchone() == (2,)


def test_while_the_server_works_on_what_was_sent_something_else_is_done(
    connection: PatientConnection, database_url: str
) -> None:
    seen = []
    with connect(database_url, name="weir test", autocommit=True) as other:

        def look() -> None:
            held = "select count(*) from pg_locks where locktype = 'advisory' and granted"
            eventually(lambda: other.execute(held).fetchone() == (1,))
            seen.append("the lock is taken")

        with connection.in_one_go() as sent:
            sent.meanwhile = look
            connection.execute("select pg_advisory_lock(%s)", [1])
            assert seen == []

    assert seen == ["the lock is taken"]


def test_what_fails_in_one_go_undoes_all_of_it_and_spares_the_connection(connection: PatientConnection) -> None:
    connection.execute("create temporary table sent (n int unique)")
    with pytest.raises(UniqueViolation), connection.in_one_go():
        connection.control(b"begin")
        connection.execute("insert into sent values (1)")
        connection.execute("insert into sent values (1)")
        connection.control(b"commit")
    connection.rollback()

    assert connection.execute("select count(*) from sent").fetchone() == (0,)


def test_what_is_raised_between_statements_in_one_go_is_what_the_caller_hears(connection: PatientConnection) -> None:
    with pytest.raises(LookupError), connection.in_one_go():
        connection.control(b"begin")
        raise LookupError
    connection.rollback()

    assert connection.execute("select 1").fetchone() == (1,)


def test_what_is_raised_after_a_part_was_sent_undoes_that_part(connection: PatientConnection) -> None:
    connection.execute("create temporary table sent (n int)")
    with pytest.raises(LookupError), connection.in_one_go():
        assert connection.execute("insert into sent values (1) returning n").fetchone() == (1,)
        connection.execute("insert into sent values (2)")
        raise LookupError

    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert connection.execute("select count(*) from sent").fetchone() == (0,)


def test_the_statement_that_failed_in_one_go_can_be_told(connection: PatientConnection) -> None:
    connection.execute("create temporary table sent (n int unique)")
    with pytest.raises(UniqueViolation), connection.in_one_go() as sent:
        connection.execute("insert into sent values (1)")
        failed = connection.execute("insert into sent values (1)")
        connection.execute("insert into sent values (2)")

    assert sent.failed is failed
    assert connection.execute("select count(*) from sent").fetchone() == (0,)


def _copy(connection: PatientConnection) -> None:
    with connection.cursor().copy("copy sent from stdin") as copy:
        copy.write_row([1])


def _nest(connection: PatientConnection) -> None:
    with connection.transaction():
        connection.execute("insert into sent values (1)")


@pytest.mark.parametrize(
    "use",
    [
        lambda connection: connection.execute("insert into sent values (1)"),
        lambda connection: connection.cursor().executemany("insert into sent values (%s)", [[1]]),
        lambda connection: psycopg.ClientCursor(connection).execute("insert into sent values (1)"),
        _copy,
        _nest,
    ],
    ids=["execute", "executemany", "another cursor", "copy", "nested transaction"],
)
def test_a_begin_that_is_owed_comes_before_whatever_is_first(
    connection: PatientConnection, use: Callable[[PatientConnection], object]
) -> None:
    connection.execute("create temporary table sent (n int)")
    connection.owes_begin = True

    use(connection)

    assert connection.info.transaction_status == TransactionStatus.INTRANS
    connection.rollback()
    assert connection.execute("select count(*) from sent").fetchone() == (0,)
