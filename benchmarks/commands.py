"""The commands that are run, and a worker inside this process that runs them one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from benchmarks.servers import PSEUDONYM_KEY, BenchmarkFailed
from dsl.check import load
from dsl.command import DEFAULT_LANE, Command
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from telemetry.ids import new_id
from telemetry.settings import TelemetrySettings
from workers.boot import make_lease, make_runner, make_watch
from workers.executions import Claim, Submission
from workers.flusher import Flusher
from workers.resources import Resources, open_resources
from workers.settings import ServerSettings, WorkerSettings

_UNSUCCESSFUL = """
select slug, state, error ->> 'message' from command_executions
where state <> 'succeeded' and lane = 'default' and slug like 'bench.%' limit 1
"""

#: Inputs of every execution.
INPUTS = {"body": "buy milk and bread", "n": 7}


def light_command(steps: int) -> Command:
    """A command of steps without effect: a template over an input, each with its own ledger row and event."""
    lines = [
        f'  - {{id: step-{number}, type: transform, with: {{template: "{{{{ inputs.body | upcase }}}} {number}"}}}}'
        for number in range(1, steps + 1)
    ]
    return _command(f"bench.light-{steps}", lines)


def database_command(steps: int) -> Command:
    """A command of database steps: each stores a fragment, behind the fence, in one transaction with its row."""
    lines = [
        f"  - {{id: step-{number}, type: fragment.create, with: {{type: note, "
        f'title: "{{{{ inputs.body }}}}", content: "{{{{ inputs.body }}}} {number}", tags: [bench]}}}}'
        for number in range(1, steps + 1)
    ]
    return _command(f"bench.database-{steps}", lines)


def committing_command(steps: int) -> Command:
    """A command of database steps that each commit for themselves: messages to the inbox."""
    lines = [
        f'  - {{id: step-{number}, type: notify, with: {{channel: inbox, message: "{{{{ inputs.body }}}} {number}"}}}}'
        for number in range(1, steps + 1)
    ]
    return _command(f"bench.committing-{steps}", lines)


def long_command() -> Command:
    """A command that takes some tenths of a second of CPU: 1,000 light steps, mapped over a list."""
    say = '{id: say, type: transform, with: {template: "{{ item | upcase }}"}}'
    items = ", ".join(["milk"] * 1000)
    return _command(
        "bench.long", [f"  - {{id: each, type: list.map, with: {{items: [{items}], as: item, do: [{say}]}}}}"]
    )


def _command(slug: str, steps: list[str]) -> Command:
    inputs = ["inputs:", "  body: {type: string, required: true}", "  n: {type: integer, default: 1}"]
    text = "\n".join([f"slug: {slug}", *inputs, "steps:", *steps]) + "\n"
    return load(text, REGISTRY, DslSettings(), origin="benchmarks")


class InlineWorker:
    """Submits and runs executions in the caller's thread, by the code that API and worker processes run.

    Args:
        resources: Of a process.
    """

    def __init__(self, resources: Resources, flusher: Flusher) -> None:
        self.resources = resources
        # Longer than any benchmark: nobody renews it.
        patient = replace(resources, workers=replace(resources.workers, lease=timedelta(hours=1)))
        self.lease = make_lease(patient)
        self.lease.hold()
        self.runner = make_runner(resources, flusher, self.lease, make_watch(resources, self.lease))

    def submit(self, command: Command, lane: str = DEFAULT_LANE) -> UUID:
        """As the API does once the inputs are checked; without a hint."""
        correlation_id = new_id(self.resources.clock.unix_us())
        return self.resources.executions.submit(
            Submission(command, INPUTS, "benchmark", "default", "api", correlation_id, lane=lane)
        )

    def run(self) -> None:
        """Claim the best due execution and run it to its end, as a worker's thread does.

        Raises:
            BenchmarkFailed: Nothing was due.
        """
        self.runner.run(self.claim())

    def claim(self) -> Claim:
        """Claim the best due execution.

        Raises:
            BenchmarkFailed: Nothing was due.
        """
        claim = self.resources.executions.claim("default", self.lease.worker_id)
        if claim is None:
            raise BenchmarkFailed("no execution was due")
        return claim

    def require_success(self) -> None:
        """See that everything that was run did what it should have done; what fails early would look fast.

        Raises:
            BenchmarkFailed: An execution failed, or did not end.
        """
        with self.resources.pool.connection() as connection:
            found = connection.execute(_UNSUCCESSFUL).fetchone()
        if found is not None:
            raise BenchmarkFailed(f"an execution of {found[0]} is {found[1]}: {found[2]}")


@contextmanager
def inline_worker(
    database_url: str, redis_url: str, telemetry: TelemetrySettings | None = None
) -> Iterator[InlineWorker]:
    """A worker inside this process; closed, its events handed over, at the end.

    Raises:
        BenchmarkFailed: Something it was given did not succeed.
    """
    telemetry = telemetry or TelemetrySettings(pseudonym_key=PSEUDONYM_KEY)
    servers = ServerSettings(database_url=database_url, redis_url=redis_url)
    workers = WorkerSettings(dsl=DslSettings(telemetry=telemetry))
    with open_resources(servers, workers, "benchmark") as resources:
        flusher = Flusher(workers.flush_interval)
        flusher.start()
        worker = InlineWorker(resources, flusher)
        try:
            yield worker
            worker.require_success()
        finally:
            worker.lease.leave()
            flusher.stop()
