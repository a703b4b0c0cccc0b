"""Enqueues workflows for the DBOS workers, and looks at its tables for what became of them.

Run as `python -m benchmarks.peers.dbos_driver DATABASE_URL WORKERS`; `benchmarks.peers.answering` says how it is asked.
Each measurement has a queue of its own that exists only meanwhile: idle workers do not poll it while others are
measured.

- `light`, `database`: workflows a second, from the commit that enqueues all of them, by the stamps in its table.
- `latency`: milliseconds from enqueuing a workflow to the first time another connection sees it succeeded; it looks
  twice a millisecond. One at a time, 50 to 150 ms after the last.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count as counter
from random import uniform
from time import perf_counter_ns, sleep

import psycopg
import sqlalchemy as sa
from dbos import DBOSClient, EnqueueOptions

from benchmarks.peers.answering import serve, wait_until
from benchmarks.peers.dbos_worker import APPLICATION, AT_A_TIME, VERSION

#: How often a worker looks for workflows, in seconds: the fastest of 10, 20, 50 and 100 ms. As it comes it is 1 s.
POLLING_S = 0.02
#: Measured latencies come after as many that are not.
_WARM_UP = 5
_BODY = "buy milk and bread"

_ENDED = """
select count(*), count(*) filter (where status <> 'SUCCESS'), max(completed_at)
from dbos.workflow_status where queue_name = %s and completed_at is not null
"""
_NOW_MS = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"
_OPEN = "select exists (select from dbos.workflow_status where queue_name = %s and completed_at is null)"
_WORKERS_SEEN = "select count(distinct executor_id) from dbos.workflow_status where queue_name = %s"


class Driver:
    """Measures, one thing after another.

    Args:
        url: Of the workers' database.
        workers: How many there are.
    """

    def __init__(self, url: str, workers: int) -> None:
        self._client = DBOSClient(system_database_url=url, application_name=APPLICATION)
        self._engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
        self._connection = psycopg.connect(url, autocommit=True)
        self._workers = workers
        self._numbers = counter(1)
        row = self._connection.execute("select id::text from spaces limit 1").fetchone()
        self._space = row[0] if row else ""

    def light(self, count: int) -> float:
        """Workflows a second."""
        return self._rate(count, "light", _BODY)

    def database(self, count: int) -> float:
        """The same, with transactions."""
        return self._rate(count, "database", self._space, _BODY)

    def latency(self, count: int) -> list[float]:
        """Milliseconds each."""
        times = []
        with self._queue() as queue:
            for _ in range(count + _WARM_UP):
                sleep(uniform(0.05, 0.15))
                begun = perf_counter_ns()
                workflow = self._client.enqueue(_options(queue, "light"), _BODY).get_workflow_id()
                wait_until(partial(self._has_succeeded, workflow), "a workflow succeeds", 0.0005)
                times.append((perf_counter_ns() - begun) / 1e6)
        return times[_WARM_UP:]

    def _rate(self, count: int, workflow: str, *arguments: str) -> float:
        with self._queue() as queue:
            # Committed at once: enqueued one by one, many would be done before the last is there.
            with self._engine.begin() as connection:
                for _ in range(count):
                    self._client.enqueue_in_transaction(connection, _options(queue, workflow), *arguments)
            begun_ms = self._now_ms()
            wait_until(lambda: self._ended(queue)[0] >= count, "every workflow has ended", 0.1)
            done, unsuccessful, last_ms = self._ended(queue)
            if unsuccessful:
                raise RuntimeError(f"{unsuccessful} workflows failed")
            return done / (last_ms - begun_ms) * 1000

    @contextmanager
    def _queue(self) -> Iterator[str]:
        """A queue that every worker takes from already."""
        name = f"round-{next(self._numbers)}"
        self._client.register_queue(
            name, worker_concurrency=AT_A_TIME, polling_interval_sec=POLLING_S, application_name=APPLICATION
        )
        wait_until(partial(self._have_begun, name), "every worker takes from a queue")
        wait_until(lambda: not self._is_true(_OPEN, name), "the first workflows have ended")
        self._connection.execute("delete from dbos.workflow_status where queue_name = %s", [name])
        yield name
        self._client.delete_queue(name)

    def _have_begun(self, queue: str) -> bool:
        for _ in range(AT_A_TIME):
            self._client.enqueue(_options(queue, "light"), _BODY)
        found = self._connection.execute(_WORKERS_SEEN, [queue]).fetchone()
        return found is not None and found[0] >= self._workers

    def _ended(self, queue: str) -> tuple[int, int, int]:
        row = self._connection.execute(_ENDED, [queue]).fetchone()
        return row or (0, 0, 0)

    def _now_ms(self) -> int:
        row = self._connection.execute(_NOW_MS).fetchone()
        return row[0] if row else 0

    def _has_succeeded(self, workflow: str) -> bool:
        found = "select exists (select from dbos.workflow_status where workflow_uuid = %s and status = 'SUCCESS')"
        return self._is_true(found, workflow)

    def _is_true(self, question: str, about: str) -> bool:
        return self._connection.execute(question, [about]).fetchone() == (True,)  # type: ignore[call-overload, no-any-return, unused-ignore]


def _options(queue: str, workflow: str) -> EnqueueOptions:
    return {"queue_name": queue, "workflow_name": workflow, "app_version": VERSION}


if __name__ == "__main__":
    driver = Driver(sys.argv[1], int(sys.argv[2]))
    serve({"light": driver.light, "database": driver.database, "latency": driver.latency})
