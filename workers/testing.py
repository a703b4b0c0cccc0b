"""What tests of executions need: real rows in a real database, and a recorder that remembers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg_pool import ConnectionPool

from dsl.command import Command
from dsl.testing import make_command
from telemetry.clock import Clock
from telemetry.events import Event, event_type
from telemetry.ids import new_id
from telemetry.privacy import Pseudonyms
from telemetry.recorder import RecorderStats
from workers.executions import Claim, Executions, Submission
from workers.failures import Failures
from workers.ledger import Fence


class RememberingRecorder:
    """A `telemetry.recorder.Recorder` that keeps what it is given, in order."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

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
    """

    def __init__(self, pool: ConnectionPool[Any], clock: Clock, *, telemetry: bool = True) -> None:
        self.pool = pool
        self.clock = clock
        self.recorder = RememberingRecorder(enabled=telemetry)
        self.pseudonyms = Pseudonyms(b"a key for tests")
        self.executions = Executions(pool, clock, self.recorder, self.pseudonyms)
        self.worker_id = new_id(clock.unix_us())

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
        return self.executions.submit(Submission(command=command or make_command(), inputs=inputs or {}, **given))

    def claim(self, **fields: Any) -> Claim:  # noqa: ANN401 - as `submit`
        """Accept an execution and claim it."""
        self.submit(**fields)
        claim = self.executions.claim("default", self.worker_id)
        if claim is None:
            message = "nothing was due"
            raise AssertionError(message)
        return claim

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
