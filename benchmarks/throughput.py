"""Durable executions a second: two worker processes and a sink on two cores, beside bare Dramatiq.

- `executions_per_s`: executions of 5 light steps. All are submitted, and their `queued` events stored, before the first
  hint is sent; the window is from the first claim to the last final state, by the stamps in the rows. Workers and sink
  are processes of Weir with their default settings (4 threads a worker) on durable servers. Every event must be in
  `telemetry_events` afterwards, or the run fails.
- `executions_db_per_s`: the same with 5 `fragment.create`: effects that commit with their rows, behind the fence.
- `executions_commits_per_s`: the same with 5 messages to the inbox, each in a fenced transaction of its own.

The reference is Dramatiq as it comes (`benchmarks.bare_worker`) with as many processes and threads on the same servers,
and as many commits a message as the execution has (claim and finish, and its five effects): messages a second from the
moment the last one is enqueued. Rounds of all of them alternate; each figure is the median of its rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count as counter
from statistics import median

from psycopg import Connection

from benchmarks.bare_worker import TABLE, declare
from benchmarks.commands import InlineWorker, committing_command, database_command, inline_worker, light_command
from benchmarks.figures import Measured
from benchmarks.rounds import interleave
from benchmarks.servers import BenchmarkFailed, Servers, running_process, running_service, wait_until
from dsl.command import Command
from telemetry.connections import connect
from workers.settings import WorkerSettings

WORKERS = 2
STEPS = 5
#: Events of an execution: queued, started, completed.
AROUND = 3

_WINDOW = """
select count(*), extract(epoch from max(finished_at) - min(started_at))::float
from command_executions where slug = %s and state = 'succeeded' and queued_at >= %s
"""


def measure(servers: Servers, *, quick: bool) -> Mapping[str, Measured]:
    """All figures of this module."""
    rounds, light, database, messages = (1, 200, 100, 500) if quick else (3, 2000, 800, 4000)
    threads = WorkerSettings().threads
    with ExitStack() as stack:
        for number in range(WORKERS):
            stack.enter_context(running_service(servers, f"worker-{number}", "worker"))
        stack.enter_context(running_service(servers, "sink", "sink"))
        bare = BareWorkers(stack, servers, threads)
        weir = WeirWorkers(
            stack.enter_context(inline_worker(servers.database_url, servers.redis_url)),
            stack.enter_context(connect(servers.database_url, name="weir benchmarks", autocommit=True)),
        )
        weir.warm_up()
        bare.run(100, commits=2)
        rates = interleave(
            {
                "light": partial(weir.run, light_command(STEPS), light, events=STEPS + AROUND),
                "bare light": partial(bare.run, messages, commits=2),
                "database": partial(weir.run, database_command(STEPS), database, events=2 * STEPS + AROUND),
                "commits": partial(weir.run, committing_command(STEPS), database, events=STEPS + AROUND),
                "bare database": partial(bare.run, messages // 2, commits=STEPS + 2),
            },
            rounds,
        )
    return {
        "executions_per_s": Measured(median(rates["light"]), median(rates["bare light"])),
        "executions_db_per_s": Measured(median(rates["database"]), median(rates["bare database"])),
        "executions_commits_per_s": Measured(median(rates["commits"]), median(rates["bare database"])),
    }


@dataclass(frozen=True, slots=True)
class WeirWorkers:
    """Submits to the workers, and looks at what they did.

    Attributes:
        door: Submits.
        connection: In autocommit mode.
    """

    door: InlineWorker
    connection: Connection

    def run(self, command: Command, count: int, *, events: int) -> float:
        """Executions a second; `events` is how many each has."""
        begun_at = self.door.resources.clock.now()
        stored = self._events()
        for _ in range(count):
            self.door.submit(command)
        self.door.resources.recorder.flush()
        wait_until(lambda: self._events() >= stored + count, "the submissions' events are stored")
        self.wake()
        wait_until(lambda: not self._is_any_open(), "every execution is finished", 120, interval_s=0.1)
        wait_until(lambda: self._events() >= stored + count * events, "every event is stored", 30)
        if self._events() != stored + count * events:
            raise BenchmarkFailed("more events are stored than there were")
        found = self.connection.execute(_WINDOW, [command.slug, begun_at]).fetchone()
        if found is None or found[0] != count:
            raise BenchmarkFailed("not every execution succeeded")
        return float(count / found[1])

    def warm_up(self) -> None:
        """Until every worker has run some, and all that came of it is stored."""
        command, submitted = light_command(STEPS), counter()

        def all_have_run() -> bool:
            for _ in range(100):
                next(submitted)
                self.door.submit(command)
            self.wake()
            found = self.connection.execute("select count(distinct worker_id) from command_executions").fetchone()
            return found is not None and found[0] >= WORKERS

        wait_until(all_have_run, "both workers run executions")
        wait_until(lambda: not self._is_any_open(), "the warm-up ends")
        events = next(submitted) * (STEPS + AROUND)
        wait_until(lambda: self._events() >= events, "the events of the warm-up are stored")

    def wake(self) -> None:
        """As many hints as all workers together take at a time."""
        for _ in range(2 * WORKERS * WorkerSettings().threads):
            self.door.resources.hints.wake("default")

    def _events(self) -> int:
        found = self.connection.execute("select count(*) from telemetry_events").fetchone()
        return 0 if found is None else int(found[0])

    def _is_any_open(self) -> bool:
        # Asked while they run, so it must cost nothing: an index of what is queued answers until the very end.
        for state in ("queued", "running"):
            found = "select exists (select from command_executions where state = %s)"
            if self.connection.execute(found, [state]).fetchone() == (True,):
                return True
        return False


class BareWorkers:
    """Sends to bare workers, which run as long as `stack`."""

    def __init__(self, stack: ExitStack, servers: Servers, threads: int) -> None:
        self._url = servers.new_database("bare")
        redis_url = servers.logical_redis(1)
        self._connection = stack.enter_context(connect(self._url, name="weir benchmarks", autocommit=True))
        self._connection.execute(TABLE)
        self._numbers = counter(1)
        arguments = ["-m", "benchmarks.bare_worker", self._url, redis_url, str(threads)]
        for number in range(WORKERS):
            stack.enter_context(running_process(servers.home, f"bare-{number}", arguments, {}))
        self._actor = declare(redis_url, None)
        stack.callback(self._actor.broker.close)

    def run(self, count: int, *, commits: int) -> float:
        """Messages a second after the last was enqueued."""
        self._connection.execute("truncate bare_messages")
        for _ in range(count):
            self._actor.send(next(self._numbers), commits)
        row = self._connection.execute("select clock_timestamp()").fetchone()
        begun_at = None if row is None else row[0]
        done = "select count(*) from bare_messages where commits = %s"
        wait_until(
            lambda: self._connection.execute(done, [commits]).fetchone() == (count,),
            "every message is done",
            interval_s=0.1,
        )
        window = """
            select count(*), extract(epoch from max(ended_at) - %(begun_at)s)::float
            from bare_messages where ended_at >= %(begun_at)s
        """
        found = self._connection.execute(window, {"begun_at": begun_at}).fetchone()
        if found is None or not found[1]:
            raise BenchmarkFailed("the bare workers were done before the last message was sent")
        return float(found[0] / found[1])
