"""One attempt at one execution, from its claim to its final state; and a lane, which is one claim after another."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from dsl.errors import FenceLost, LedgerUnavailable
from dsl.executor import Executor, Outcome
from dsl.extensions import StepTypes
from dsl.instrumentation import StepMeter, Totals
from dsl.library import Library
from dsl.plan import Plan
from dsl.settings import DslSettings
from dsl.step import ExecutionInfo, StepTools
from telemetry.clock import Clock
from telemetry.correlation import bind
from telemetry.errors import StoreUnavailable
from telemetry.measures import AllowedMeasures
from telemetry.recorder import Recorder
from workers.dry_run import DryRunLedger
from workers.executions import Claim, Executions
from workers.failures import Failures
from workers.flusher import Flusher
from workers.hints import Hints
from workers.ledger import Fence, RunLedger, WriteBehindLedger

log = structlog.get_logger(__name__)

#: Between two tries to end an execution whose Postgres went away.
PATIENCE = timedelta(seconds=1)


class Runner:
    """Runs executions in a worker process; one instance, used by all its threads.

    Args:
        worker_id: Written into every row this process claims.
        step_types: By name, with what they may report.
        library: Compiles stored definitions.
        executions: Claims.
        pool: Connections in autocommit mode.
        clock: Stamps and differences.
        recorder: Takes events.
        tools: What steps share.
        flusher: Looks after rows that wait.
        settings: Limits.
        hints: Wakes lanes for commands that steps run.
        slow_command_threshold: An execution that runs longer is marked as slow.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        *,
        worker_id: UUID,
        step_types: StepTypes,
        library: Library,
        executions: Executions,
        pool: Any,  # noqa: ANN401 - a psycopg_pool.ConnectionPool, whose row type varies
        clock: Clock,
        recorder: Recorder,
        tools: StepTools,
        flusher: Flusher,
        settings: DslSettings,
        hints: Hints | None = None,
        slow_command_threshold: timedelta = timedelta.max,
    ) -> None:
        self._worker_id = worker_id
        self._step_types = step_types
        self._measures = AllowedMeasures(step_types.measures)
        self._library = library
        self._executions = executions
        self._pool = pool
        self._clock = clock
        self._recorder = recorder
        self._tools = tools
        self._flusher = flusher
        self._settings = settings
        self._hints = hints
        self._slow_us = slow_command_threshold // timedelta(microseconds=1)
        self._failures = Failures()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Take no further execution; those running go on to their end."""
        self._stopping.set()

    def run_lane(self, lane: str) -> int:
        """Run the best due execution of a lane, then the next, until none is due; how many ran. Never raises."""
        ran = 0
        while not self._stopping.is_set():
            try:
                claim = self._executions.claim(lane, self._worker_id)
            except StoreUnavailable as error:
                # Nothing is lost: the rows are still queued, and the sweeper hints again once Postgres is back.
                log.warning("claim_postponed", lane=lane, reason=error.code)
                return ran
            except Exception:
                log.exception("claim_failed", lane=lane)
                return ran
            if claim is None:
                return ran
            with bind(correlation_id=claim.correlation_id, execution_id=claim.id):
                self.run(claim)
            ran += 1
        return ran

    def run(self, claim: Claim) -> None:
        """One attempt. Whatever a step raises ends the execution as failed; only a lost claim leaves it as it is."""
        claimed_us = self._clock.monotonic_us()
        fence = Fence(
            pool=self._pool,
            claim=claim,
            scope=self._executions.scope(claim),
            recorder=self._recorder,
            clock=self._clock,
            errors=self._failures,
            claimed_us=claimed_us,
            hints=self._hints,
            slow_us=self._slow_us,
        )
        try:
            outcome = self._dry_run(fence) if claim.dry_run else self._real_run(fence)
        except FenceLost as error:
            log.warning("execution_abandoned", slug=claim.slug, attempt=claim.attempt, reason=error.code)
            return
        except Exception as error:
            # Postgres went away or refuses rows, or the fault is ours: what is committed stays, and it has to end.
            log.exception("execution_broken", slug=claim.slug, attempt=claim.attempt)
            self._give_up(fence, error)
            return
        log.info(
            "execution_finished",
            slug=claim.slug,
            outcome="failed" if outcome.error else "succeeded",
            dry_run=claim.dry_run,
            steps=outcome.totals.count("succeeded") + outcome.totals.count("failed"),
            duration_ms=round((self._clock.monotonic_us() - claimed_us) / 1000, 1),
        )

    def _give_up(self, fence: Fence, error: Exception) -> None:
        """End an execution as failed with what is committed of it, as soon as Postgres lets us.

        Stopped or killed before that, the row says `running` and by whom; resuming it is not ours yet.
        """
        while True:
            try:
                WriteBehindLedger(fence).finish(Outcome(None, error, None, fence.committed()))
            except FenceLost:
                # Its final state was committed after all, and only the answer was lost.
                return
            except LedgerUnavailable:
                if self._stopping.wait(PATIENCE.total_seconds()):
                    return
            except Exception:
                log.exception("execution_left_running", slug=fence.claim.slug, attempt=fence.claim.attempt)
                return
            else:
                return

    def _real_run(self, fence: Fence) -> Outcome:
        ledger = WriteBehindLedger(fence)
        with self._flusher.watching(ledger):
            outcome = self._execute(fence, ledger)
            ledger.finish(outcome)
        return outcome

    def _dry_run(self, fence: Fence) -> Outcome:
        ledger = DryRunLedger(fence, self._settings.dry_run_lock_timeout)
        try:
            outcome = self._execute(fence, ledger)
            ledger.finish(outcome)
        finally:
            ledger.rollback()
        return outcome

    def _execute(self, fence: Fence, ledger: RunLedger) -> Outcome:
        claim = fence.claim
        meter = StepMeter(
            self._clock,
            claim.attempt,
            self._failures,
            telemetry_on=self._recorder.enabled,
            dry_run=claim.dry_run,
            max_output_bytes=self._settings.max_output_bytes,
            max_total_bytes=self._settings.max_execution_output_bytes,
            measures=self._measures,
        )
        info = ExecutionInfo(
            id=claim.id,
            correlation_id=claim.correlation_id,
            slug=claim.slug,
            user=claim.user_name,
            space=claim.space,
            space_id=claim.space_id,
            dry_run=claim.dry_run,
            now=claim.started_at,
        )
        try:
            command = self._library.from_source(claim.source, claim.definition_hash)
            plan = Plan.of(command, info, claim.inputs)
        except Exception as error:  # noqa: BLE001 - a definition that no longer loads (a step type was removed) fails its run
            return Outcome(None, error, None, Totals())
        return Executor(self._step_types.registry, self._tools, meter, ledger, plan).execute()
