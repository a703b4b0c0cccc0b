"""A worker with nothing but Dramatiq and psycopg, as anybody would write it: the reference for executions.

Run as `python -m benchmarks.bare_worker DATABASE_URL REDIS_URL THREADS` until SIGTERM. Dramatiq's broker and worker as
they come. A message names a row and a number of commits; each commit writes the row.
"""

from __future__ import annotations

import signal
import sys
from threading import Event

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from psycopg_pool import ConnectionPool

#: The table that messages write to.
TABLE = """
create table if not exists bare_messages (
    id bigint primary key,
    commits integer not null default 1,
    ended_at timestamptz not null default clock_timestamp()
)
"""
#: Milliseconds that a stop may take; without its servers Dramatiq would not end.
_STOP_MS = 5000
_INSERT = "insert into bare_messages (id) values (%s)"
_UPDATE = "update bare_messages set ended_at = clock_timestamp(), commits = commits + 1 where id = %s"


def declare(redis_url: str, pool: ConnectionPool | None) -> dramatiq.Actor[[int, int], None]:
    """The actor and its broker; a sender needs no pool."""
    broker = RedisBroker(url=redis_url, namespace="bare")  # type: ignore[no-untyped-call]

    @dramatiq.actor(broker=broker, actor_name="bare", queue_name="bare")
    def bare(number: int, commits: int) -> None:
        if pool is None:
            raise RuntimeError("this process only sends")
        with pool.connection() as connection:
            connection.execute(_INSERT, [number])
        for _ in range(commits - 1):
            with pool.connection() as connection:
                connection.execute(_UPDATE, [number])

    return bare


def main(database_url: str, redis_url: str, threads: int) -> None:
    """Work until SIGTERM."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with ConnectionPool(database_url, min_size=1, max_size=threads, kwargs={"autocommit": True}, open=True) as pool:
        actor = declare(redis_url, pool)
        worker = dramatiq.Worker(actor.broker, worker_threads=threads)
        worker.start()
        stop.wait()
        worker.stop(timeout=_STOP_MS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
