"""One attempt at one execution, from its claim to its final state; and a lane, which is one claim after another.

In one file, for what may happen to an attempt is only seen whole: who holds it, what ends it, and what is said then.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from psycopg import Connection

from dsl.command import Command
from dsl.errors import FenceLost, LedgerUnavailable, Stopped, Suspended
from dsl.executor import Executor, Outcome
from dsl.extensions import StepTypes
from dsl.instrumentation import StepMeter, Totals
from dsl.library import Library
from dsl.plan import Plan
from dsl.restored import NOTHING, Restored
from dsl.retries import delay, may_retry
from dsl.settings import DslSettings
from dsl.step import ExecutionInfo, StepTools
from telemetry.clock import Clock
from telemetry.correlation import bind
from telemetry.errors import StoreUnavailable
from telemetry.measures import AllowedMeasures
from telemetry.recorder import Recorder
from workers.alarm import Alarm
from workers.control import RunControl
from workers.dry_run import DryRunLedger
from workers.errors import CommandTimedOut
from workers.executions import Asked, Claim, Executions
from workers.failures import Failures
from workers.fence import Companion, Fence, Release
from workers.final_failure import keep, kept
from workers.flusher import Flusher
from workers.gate import Gate
from workers.hints import Hints
from workers.ledger import RunLedger, WriteBehindLedger
from workers.retry_budget import RetryBudget
from workers.watch import Watch

log = structlog.get_logger(__name__)

#: Between two tries to end an execution whose Postgres went away.
PATIENCE = timedelta(seconds=1)


class _Following:
    """The next claim of a lane, asked for together with the end of the execution before: one commit for both.

    Whoever ends an execution and claims another was free in between for nothing. Killed before the commit, neither was
    done; if only the answer is lost, what was claimed is astray (`workers.strays`).
    """

    def __init__(self, executions: Executions, lane: str, worker_id: Callable[[], UUID]) -> None:
        self._executions = executions
        self._lane = lane
        self._worker_id = worker_id
        self._asked: Asked | None = None
        self.claim: Claim | None = None

    def ask(self, connection: Connection[Any]) -> None:
        self._asked = self._executions.ask(connection, self._lane, self._worker_id())

    def hear(self) -> None:
        if self._asked is not None:
            self.claim = self._executions.answered(self._asked)


class Runner:
    """Runs executions in a worker process; one instance, used by all its threads.

    Args:
        worker_id: Whose lease covers a claim made now.
        step_types: By name, with what they may report.
        library: Compiles stored definitions.
        executions: Claims.
        pool: Connections in autocommit mode.
        clock: Stamps and differences.
        recorder: Takes events.
        tools: What steps share.
        flusher: Looks after rows that wait.
        settings: Limits.
        watch: Brings runs to their end.
        hints: Wakes lanes for commands that steps run.
        slow_command_threshold: An execution that runs longer is marked as slow.
        budget: Puts off retries beyond it; without it none is.
        alarm: Queues what is put off for a moment; without it the sweeper does.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        *,
        worker_id: Callable[[], UUID],
        step_types: StepTypes,
        library: Library,
        executions: Executions,
        pool: Any,  # noqa: ANN401 - a psycopg_pool.ConnectionPool, whose row type varies
        clock: Clock,
        recorder: Recorder,
        tools: StepTools,
        flusher: Flusher,
        settings: DslSettings,
        watch: Watch,
        hints: Hints | None = None,
        slow_command_threshold: timedelta = timedelta.max,
        budget: RetryBudget | None = None,
        alarm: Alarm | None = None,
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
        self._watch = watch
        self._hints = hints
        self._slow_us = slow_command_threshold // timedelta(microseconds=1)
        self._budget = budget
        self._alarm = alarm
        self._failures = Failures()
        self._gate = Gate()
        self._held: set[tuple[UUID, int]] = set()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Take no further execution; those running hand over before their next step."""
        self._stopping.set()
        self._watch.hand_over()

    def run_lane(self, lane: str) -> int:
        """Run the best due execution of a lane, then the next, until none is due; how many ran. Never raises."""
        ran = 0
        while not self._stopping.is_set():
            with self._gate.entered():
                claim = self._claim(lane)
                if claim is None:
                    return ran
                while claim is not None:
                    claim = self._run_held(claim, lane)
                    ran += 1
        return ran

    def _claim(self, lane: str) -> Claim | None:
        try:
            return self._executions.claim(lane, self._worker_id())
        except StoreUnavailable as error:
            # Nothing is lost: the rows are still queued, and the sweeper hints again once Postgres is back.
            # If one was claimed and only the answer lost, it is astray (`workers.strays`).
            log.warning("claim_postponed", lane=lane, reason=error.code)
        except Exception:
            log.exception("claim_failed", lane=lane)
        return None

    def _run_held(self, claim: Claim, lane: str) -> Claim | None:
        """Run it; what was claimed together with its end."""
        following = _Following(self._executions, lane, self._worker_id)
        with (
            self._holding(claim),
            self._gate.alone() if claim.alone else nullcontext(),
            bind(correlation_id=claim.correlation_id, execution_id=claim.id),
        ):
            self.run(claim, following)
        return following.claim

    def held(self) -> list[tuple[UUID, int]]:
        """Executions and attempts that are claimed here and have not ended; of those that wait to be alone, too."""
        return list(self._held)

    @contextmanager
    def _holding(self, claim: Claim) -> Iterator[None]:
        attempt = claim.id, claim.attempt
        self._held.add(attempt)
        try:
            yield
        finally:
            self._held.discard(attempt)

    def run(self, claim: Claim, companion: Companion | None = None) -> None:
        """One attempt. Whatever a step raises ends it; killed anywhere in it, another goes on after the lease.

        Args:
            claim: What to run.
            companion: Goes along when it finishes, unless this process should begin nothing more.
        """
        fence = Fence(
            pool=self._pool,
            claim=claim,
            scope=self._executions.scope(claim),
            recorder=self._recorder,
            clock=self._clock,
            errors=self._failures,
            claimed_us=self._clock.monotonic_us(),
            hints=self._hints,
            slow_us=self._slow_us,
            alarm=self._alarm,
        )
        if self._budget is not None and claim.attempt == 1:
            self._budget.begin(claim.slug)
        try:
            ending = self._dry_run(fence, companion) if claim.dry_run else self._real_run(fence, companion)
        except FenceLost as error:
            log.warning("execution_abandoned", slug=claim.slug, attempt=claim.attempt, reason=error.code)
            return
        except (LedgerUnavailable, StoreUnavailable):
            log.warning("execution_interrupted", slug=claim.slug, attempt=claim.attempt)
            self._insist(fence, lambda ledger: ledger.release(Release("store_lost")))
            return
        except Exception as error:
            # Postgres refuses rows, or the fault is ours: what is committed stays, and it has to end.
            log.exception("execution_broken", slug=claim.slug, attempt=claim.attempt)
            failed = error
            self._insist(fence, lambda ledger: ledger.finish(_broken(fence, failed)))
            return
        self._say(fence, ending)

    def _say(self, fence: Fence, ending: Outcome | Release) -> None:
        duration_ms = round((self._clock.monotonic_us() - fence.claimed_us) / 1000, 1)
        facts = {"slug": fence.claim.slug, "attempt": fence.claim.attempt, "duration_ms": duration_ms}
        if isinstance(ending, Release):
            log.info("execution_released", **facts, reason=ending.reason, delay_s=ending.delay.total_seconds())
            return
        log.info(
            "execution_finished",
            **facts,
            outcome=ending.state,
            dry_run=fence.claim.dry_run,
            steps=ending.totals.count("succeeded") + ending.totals.count("failed"),
        )

    def _insist(self, fence: Fence, end: Callable[[WriteBehindLedger], None]) -> None:
        """Write how an attempt ended, as soon as Postgres lets us.

        Stopped or killed before that, the row says `running` and by whom, until that worker's lease is over.
        """
        while True:
            try:
                end(WriteBehindLedger(fence))
            except FenceLost:
                # It was committed after all, and only the answer was lost.
                return
            except LedgerUnavailable:
                if self._stopping.wait(PATIENCE.total_seconds()):
                    return
            except Exception:
                log.exception("execution_left_running", slug=fence.claim.slug, attempt=fence.claim.attempt)
                return
            else:
                return

    def _real_run(self, fence: Fence, companion: Companion | None) -> Outcome | Release:
        ledger = WriteBehindLedger(fence)
        with self._flusher.watching(ledger):
            return self._attempt(fence, ledger, companion)

    def _dry_run(self, fence: Fence, companion: Companion | None) -> Outcome | Release:
        ledger = DryRunLedger(fence, self._settings.dry_run_lock_timeout)
        try:
            return self._attempt(fence, ledger, companion)
        finally:
            ledger.rollback()

    def _attempt(self, fence: Fence, ledger: RunLedger, companion: Companion | None) -> Outcome | Release:
        """Run it, and write how it ended."""
        ending = self._execute(fence, ledger)
        if isinstance(ending, Release):
            ledger.release(ending)
        else:
            goes_on = not self._stopping.is_set() and not self._gate.is_wanted
            ledger.finish(ending, companion if goes_on else None)
        return ending

    def _execute(self, fence: Fence, ledger: RunLedger) -> Outcome | Release:
        claim = fence.claim
        try:
            command = self._library.from_source(claim.source, claim.definition_hash)
            plan = Plan.of(command, _info(claim), claim.inputs)
        except Exception as error:  # noqa: BLE001 - a definition that no longer loads (a step type was removed) fails its run
            return _broken(fence, error)
        restored = NOTHING
        if (claim.attempt > 1 or claim.link == "resumed_from") and not claim.dry_run:
            restored = self._executions.restore(claim.id)
        meter = self._meter(claim, restored)
        registry, tools = self._step_types.registry, self._tools
        timeout = None
        if command.timeout is not None and claim.failing is None:
            timeout = command.timeout - timedelta(microseconds=claim.running_us)
        control = self._watch.control(timeout)
        if claim.attempt > 1 and self._executions.is_asked_to_stop(claim.id):
            control.ask("cancelled")  # the attempt before waited, or was let go of, before it heard
        has_budget = partial(self._has_budget, claim)
        executor = Executor(
            registry,
            tools,
            meter,
            ledger,
            plan,
            restored=restored,
            control=control,
            has_budget=has_budget,
            # What was refused while it waited is done again by the next attempt, each step for itself.
            may_wait=claim.attempt == 1 and not claim.dry_run,
        )
        try:
            with self._watch.watching(fence, control):
                if self._stopping.is_set():
                    control.ask("worker_stopped")
                return self._run(executor, command, fence, ledger, control)
        except Suspended as suspended:
            return self._released(suspended)
        except Stopped as stopped:
            return _stopped(stopped, command, executor.totals)

    def _run(
        self, executor: Executor, command: Command, fence: Fence, ledger: RunLedger, control: RunControl
    ) -> Outcome | Release:
        """The steps; and, once they have failed for good, those of `on_failure`."""
        claim = fence.claim
        if claim.failing is None:
            outcome = self._steps(executor, command)
            failed = outcome.error
            if failed is None:
                return outcome
            tries = claim.failures + 1
            if (
                outcome.stopped is None
                and command.retry is not None
                and may_retry(command.retry, tries, failed)
                and not claim.dry_run
            ):
                wait = delay(command.retry, tries, failed, random.random())
                if not self._has_budget(claim):
                    wait += self._put_off()
                return Release("failed", wait, outcome.failed_path, failed)
            if not command.on_failure:
                return outcome
            ledger.fail(keep(outcome, self._failures))
            control.forgive()
        else:
            outcome = kept(claim.failing, executor.totals)
        error = executor.clean_up()
        if error is not None:
            log.warning("on_failure_failed", slug=claim.slug, error_type=type(error).__name__)
        return outcome

    def _steps(self, executor: Executor, command: Command) -> Outcome:
        """The steps; those of a command that took too long have failed, and are not tried again."""
        try:
            return executor.execute()
        except Stopped as stopped:
            if stopped.reason == "cancelled":
                raise
            return _stopped(stopped, command, executor.totals)

    def _has_budget(self, claim: Claim) -> bool:
        return self._budget is None or self._budget.take(claim.slug)

    def _put_off(self) -> timedelta:
        return timedelta() if self._budget is None else self._budget.put_off()

    def _released(self, suspended: Suspended) -> Release:
        if suspended.reason == "waiting":
            return Release("waiting", path=suspended.path)
        if suspended.retry is None or suspended.error is None:
            return Release(suspended.reason)
        wait = delay(suspended.retry, suspended.tries, suspended.error, random.random())
        if suspended.rationed:
            wait += self._put_off()
        return Release(suspended.reason, wait, suspended.path, suspended.error)

    def _meter(self, claim: Claim, restored: Restored) -> StepMeter:
        return StepMeter(
            self._clock,
            claim.attempt,
            self._failures,
            telemetry_on=self._recorder.enabled,
            dry_run=claim.dry_run,
            max_output_bytes=self._settings.max_output_bytes,
            max_total_bytes=self._settings.max_execution_output_bytes,
            first_ordinal=restored.last_ordinal + 1,
            measures=self._measures,
        )


def _info(claim: Claim) -> ExecutionInfo:
    return ExecutionInfo(
        id=claim.id,
        correlation_id=claim.correlation_id,
        slug=claim.slug,
        user=claim.user_name,
        space=claim.space,
        space_id=claim.space_id,
        dry_run=claim.dry_run,
        now=claim.started_at,
    )


def _broken(fence: Fence, error: Exception) -> Outcome:
    """How it ends if it cannot even be run: as it has failed before, if it has."""
    failing = fence.claim.failing
    return Outcome(None, error, None, fence.committed()) if failing is None else kept(failing, fence.committed())


def _stopped(stopped: Stopped, command: Command, totals: Totals) -> Outcome:
    if stopped.reason == "cancelled":
        return Outcome(None, None, stopped.path, totals, "cancelled", stopped.how)
    seconds = 0 if command.timeout is None else command.timeout.total_seconds()
    error = CommandTimedOut(f"the command ran longer than its timeout of {seconds:g} s")
    return Outcome(None, error, stopped.path, totals, "failed", stopped.how)
