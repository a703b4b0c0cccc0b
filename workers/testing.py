"""What tests of executions need: real rows in a real database, and a recorder that remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg_pool import ConnectionPool

from dsl.check import load
from dsl.command import Command
from dsl.extensions import find_step_types
from dsl.inputs import check_inputs
from dsl.library import PACKS, Library
from dsl.settings import DslSettings
from dsl.step import Step
from dsl.steps import REGISTRY
from dsl.testing import make_command
from telemetry.clock import Clock, SystemClock
from telemetry.events import Event, event_type
from telemetry.ids import new_id
from telemetry.privacy import Pseudonyms
from telemetry.recorder import Prepared, RecorderStats
from workers.alarm import Alarm
from workers.executions import Claim, Execution, Executions, Submission
from workers.failures import Failures
from workers.fence import Fence
from workers.flusher import Flusher
from workers.hints import Hints
from workers.leases import SQL as LEASES
from workers.occurrences import Occurrences
from workers.retry_budget import RetryBudget
from workers.runner import Runner
from workers.schedules import Schedules
from workers.services.reaper import Reaper
from workers.tools import WorkerTools
from workers.watch import Run, Watch


class RememberingRecorder:
    """A `telemetry.recorder.Recorder` that keeps what it is given, in order."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def prepare(self, events: Sequence[Event]) -> Prepared:
        return Prepared(events)

    def record_prepared(self, prepared: Prepared) -> None:
        for event in prepared.events:
            self.record(event)

    def flush(self, timeout: timedelta = timedelta(0)) -> bool:
        return True

    def close(self, timeout: timedelta = timedelta(0)) -> None:
        """Nothing to hand over."""

    def stats(self) -> RecorderStats:
        return RecorderStats(handed_over=len(self.events))

    @property
    def types(self) -> list[str]:
        """Full names of what was recorded, in order."""
        return [event_type(event) for event in self.events]


class World:
    """Executions on a real database, without a queue.

    Args:
        pool: In autocommit mode.
        clock: Stamps everything.

    Attributes:
        settings: Of the language; tests may set others before they run anything.
        slow_command_threshold: That of runners; likewise.
        folders: Where commands that steps run are looked up; the packs, unless a test adds its own.
        step_types: Those of the test, beside the built-in ones.
    """

    def __init__(self, pool: ConnectionPool[Any], clock: Clock, *, telemetry: bool = True) -> None:
        self.pool = pool
        self.clock = clock
        self.recorder = RememberingRecorder(enabled=telemetry)
        self.pseudonyms = Pseudonyms(b"a key for tests")
        self.executions = Executions(pool, clock, self.recorder, self.pseudonyms)
        self.worker_id = new_id(clock.unix_us())
        self.settings = DslSettings()
        self.folders = [PACKS]
        self.slow_command_threshold = timedelta(seconds=5)
        self.stuck: list[Run] = []
        self.watch = Watch(
            SystemClock(),
            patience=timedelta(milliseconds=20),
            stuck_after=timedelta(seconds=2),
            on_stuck=self.stuck.append,
        )
        self.step_types: dict[str, Step] = {}
        self._is_registered = False

    def register(self, worker_id: UUID, lease: timedelta = timedelta(hours=1)) -> None:
        """Let a worker claim, as its heartbeat would."""
        facts = {"id": worker_id, "lane": "default", "host": "here", "process_id": 1}
        with self.pool.connection() as connection:
            connection.execute(LEASES["register"], {**facts, "lease_ms": lease // timedelta(milliseconds=1)})

    def submit(
        self,
        command: Command | None = None,
        inputs: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401
    ) -> UUID:
        """Accept an execution; `fields` are those of `Submission`."""
        given = {
            "user": "tester",
            "space": "default",
            "request_source": "api",
            "correlation_id": new_id(self.clock.unix_us()),
            **fields,
        }
        submission = Submission(command=command or make_command(), inputs=inputs or {}, **given)
        execution_id = self.executions.submit(submission)
        self.attend()
        return execution_id

    def attend(self) -> None:
        """Let `worker_id` claim, if it may not yet."""
        if not self._is_registered:
            self.register(self.worker_id)
            self._is_registered = True

    def occurrences(self, grace: timedelta = timedelta(seconds=10)) -> Occurrences:
        """What deals with due times, and looks commands up in `folders`."""
        library = Library(self.folders, REGISTRY, self.settings, self.clock)
        return Occurrences(self.pool, self.clock, self.recorder, self.pseudonyms, library, None, self.settings, grace)

    def schedules(self) -> Schedules:
        """What makes and changes schedules."""
        return Schedules(self.pool, self.occurrences())

    def claim(self, **fields: Any) -> Claim:  # noqa: ANN401 - as `submit`
        """Accept an execution and claim it."""
        self.submit(**fields)
        claim = self.executions.claim("default", self.worker_id)
        if claim is None:
            message = "nothing was due"
            raise AssertionError(message)
        return claim

    def runner(
        self, hints: Hints | None = None, *, budget: RetryBudget | None = None, alarm: Alarm | None = None
    ) -> Runner:
        """What runs claims in a worker process, with the built-in step types."""
        found = find_step_types((), tables=[table.name for table in self.settings.tables])
        step_types = replace(found, registry={**found.registry, **self.step_types})
        library = Library(self.folders, step_types.registry, self.settings, self.clock)
        return Runner(
            worker_id=lambda: self.worker_id,
            step_types=step_types,
            library=library,
            executions=self.executions,
            pool=self.pool,
            clock=self.clock,
            recorder=self.recorder,
            tools=WorkerTools(self.clock, self.pseudonyms, self.settings, library),
            flusher=Flusher(timedelta(milliseconds=50)),
            settings=self.settings,
            watch=self.watch,
            hints=hints,
            slow_command_threshold=self.slow_command_threshold,
            budget=budget,
            alarm=alarm,
        )

    def run(self, source: str, inputs: Mapping[str, Any] | None = None, **fields: Any) -> Execution:  # noqa: ANN401
        """Load a command's text, submit it with checked inputs, run it to its end, and show the row."""
        command = self.load(source)
        execution_id = self.submit(command, check_inputs(command, inputs or {}), **fields)
        self.runner().run_lane("default")
        return self.executions.get(execution_id)

    def load(self, source: str) -> Command:
        """A command from its text."""
        return load(source, {**REGISTRY, **self.step_types}, self.settings, origin="test")

    def reaper(self, *, lease: timedelta = timedelta(seconds=10), max_deaths: int = 3) -> Reaper:
        """What takes executions back; it waits one lease after its first look."""
        executions, recorder = self.executions, self.recorder
        return Reaper(self.pool, executions, self.clock, recorder, None, lease=lease, max_deaths=max_deaths)

    def lose_worker(self) -> None:
        """Let the worker's lease lapse, as if it had been killed; another takes its place."""
        with self.pool.connection() as connection:
            connection.execute("update workers set lease_until = now() - interval '1 s'")
        self.worker_id = new_id(self.clock.unix_us())
        self.register(self.worker_id)

    def fence(self, claim: Claim) -> Fence:
        """What writes for a claim."""
        return Fence(
            pool=self.pool,
            claim=claim,
            scope=self.executions.scope(claim),
            recorder=self.recorder,
            clock=self.clock,
            errors=Failures(),
            claimed_us=self.clock.monotonic_us(),
        )
