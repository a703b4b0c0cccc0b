"""Executions as Postgres knows them: the authority on what was accepted, who runs it, and how it ended.

Every state change is one statement in `executions.sql`, guarded by the state it expects. Here are the changes made from
outside a run (accept, claim, look up), in one class, for they share its rows; those made from inside one are in
`workers.fence`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString, TypeVar
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.errors import DeadlockDetected, DiskFull, QueryCanceled
from psycopg.rows import class_row, scalar_row
from psycopg_pool import ConnectionPool

from dsl.fragments import space_id
from dsl.restored import Restored, RestoredStep
from telemetry.clock import Clock, from_unix_us
from telemetry.connections import is_connection_loss
from telemetry.errors import StoreTooSlow, StoreUnavailable
from telemetry.events import ExecutionStarted, Scope, Source
from telemetry.ids import mint, new_id
from telemetry.privacy import Pseudonyms
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.errors import ExecutionNotFound
from workers.slots import admit, has_room, refuse_if_full, something_is_due, unpark_commands
from workers.submissions import Acceptance
from workers.submissions import Submission as Submission  # noqa: PLC0414 - what `Executions.submit` takes

SQL = queries(__file__)

R = TypeVar("R")

#: States that nothing leaves.
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "expired", "dead"})

#: Ids of spaces remembered by a process, by name.
MAX_KNOWN_SPACES = 1000

#: How often a claim looks again because a better execution came while it looked at the best one.
MAX_OVERTAKEN = 10

#: Every state, in the order of a life.
STATES = ("scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired", "dead")


#: Why an execution does not run at a moment (`why_execution_waits` in the schema).
WAITING_REASONS = (
    "worker",
    "lane_paused",
    "command_paused",
    "concurrency",
    "lane_limit",
    "children",
    "run_at",
    "retry",
    "alone",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSummary:
    """A row of `command_executions` with its space's name, as lists show it. Instants are aware UTC.

    Attributes:
        waiting_for: Why it does not run, by `reason`; none while it runs, and once it has ended.
        failures: Attempts that failed and were tried again.
        deaths: Workers that were lost with it.
    """

    id: UUID
    slug: str
    definition_hash: bytes
    state: str
    lane: str
    priority: int
    request_source: Source
    dry_run: bool
    user_name: str
    space: str
    space_id: UUID
    correlation_id: UUID
    parent_id: UUID | None
    link: str | None
    schedule_id: UUID | None
    error: dict[str, Any] | None
    attempt: int
    fence: int
    worker_id: UUID | None
    queued_at: datetime
    run_at: datetime
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    queue_wait_us: int | None
    running_us: int
    steps_executed: int
    steps_successful: int
    steps_failed: int
    steps_skipped: int
    mutations_count: int
    slow: bool
    slowest_step: str | None
    slowest_step_type: str | None
    slowest_step_us: int | None
    waiting_for: dict[str, Any] | None = None
    failures: int = 0
    deaths: int = 0

    @property
    def is_final(self) -> bool:
        """Whether it will never change again."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution(ExecutionSummary):
    """An execution whole, with what it was given and what it answered."""

    inputs: dict[str, Any]
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt at one execution: ours while `fence` matches the row's.

    Attributes:
        waited_us: From being due to this claim.
        queue_wait_us: From being due to the first claim.
        running_us: Of the attempts before.
        failures: Attempts before that failed.
        alone: It runs only where nothing else does.
        failing: The error that ended its steps, if only its `on_failure` is left.
        link: How it stands to its parent.
        concurrency_key: What it is counted by within its command; none if nothing limits it.
    """

    id: UUID
    slug: str
    definition_hash: bytes
    source: str
    lane: str
    attempt: int
    fence: int
    user_name: str
    space: str
    space_id: UUID
    request_source: Source
    correlation_id: UUID
    parent_id: UUID | None
    dry_run: bool
    inputs: dict[str, Any]
    queued_at: datetime
    started_at: datetime
    waited_us: int
    queue_wait_us: int
    running_us: int
    link: str | None
    concurrency_key: str | None
    failures: int = 0
    alone: bool = False
    failing: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A claim that was asked for.

    Attributes:
        cursor: Has it, if there is one.
        parameters: Of the statement.
        now_us: When it was asked for.
        event_id: Of the event that follows.
    """

    cursor: Cursor[Claim]
    parameters: Mapping[str, Any]
    now_us: int
    event_id: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A row of `command_steps`, as its execution's owner sees it."""

    path: str
    step_type: str
    outcome: str
    attempt: int
    step_try: int
    ordinal: int
    occurred_at: datetime
    duration_us: int
    mutations_count: int
    fragment_id: UUID | None
    output: Any
    error: dict[str, Any] | None
    measures: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How many rows of one kind an execution changed; in a dry run, would have."""

    entity: str
    operation: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What had become due.

    Attributes:
        lanes: Where that was so.
        again_in: Until the next becomes due; none if nothing comes later.
    """

    lanes: list[str]
    again_in: timedelta | None


class Executions:
    """Accepts, claims and shows executions.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        clock: Stamps.
        recorder: Takes the events of what was committed.
        pseudonyms: Hides the user in them.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, recorder: Recorder, pseudonyms: Pseudonyms) -> None:
        self._pool = pool
        self._clock = clock
        self._recorder = recorder
        self._pseudonyms = pseudonyms
        self._spaces: dict[str, UUID] = {}
        # Of the newest claim, which is asked twice: for its first event, and for its fence. One value, for all threads.
        self._newest: tuple[Claim | None, Scope] = None, Scope(b"", "weir")

    def submit(self, submission: Submission, also: Callable[[Connection[Any], UUID], None] | None = None) -> UUID:
        """Accept an execution; when this returns, its row is committed and it will run.

        Args:
            submission: What is asked for.
            also: Writes what is to be committed with the row; gets the id of the execution.

        Raises:
            ConcurrencyKeyInvalid: Its command's key has no value for these inputs.
            ConcurrencyFull: As many executions of its key as may be have not ended, and it is not to wait.
            StoreUnavailable: Postgres did not take it; nothing was kept.
        """
        acceptance = self.prepare(submission)
        if also is None and not acceptance.may_be_refused:
            self._run(SQL["submit"], acceptance.row())
        else:
            with reaching_store(), self._pool.connection() as connection, connection.transaction():
                insert(connection, acceptance)
                if also is not None:
                    also(connection, acceptance.id)
        self.announce(acceptance)
        return acceptance.id

    def prepare(self, submission: Submission) -> Acceptance:
        """What accepting a submission would write; its space is made if it is new, and nothing else.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        now_us = self._clock.unix_us()
        execution_id = new_id(now_us)
        event_id = execution_id.bytes if self._recorder.enabled else None
        return Acceptance(submission, execution_id, self._space_id(submission.space), now_us, event_id)

    def announce(self, acceptance: Acceptance) -> None:
        """Record the event of an acceptance whose row is committed."""
        event = acceptance.event(self._pseudonyms.user(acceptance.submission.user))
        if event is not None:
            self._recorder.record(event)

    def claim(self, lane: str, worker_id: UUID) -> Claim | None:
        """Take the best due execution of a lane, or none. Killed after this, the row says `running` and by whom.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            asked = self.ask(connection, lane, worker_id)
            claim = asked.cursor.fetchone()
        if claim is None:
            claim = self._claim_with_care(asked.parameters)
        return self._claimed(claim, asked)

    def ask(self, connection: Connection[Any], lane: str, worker_id: UUID) -> Asked:
        """Ask for a claim in somebody's transaction; once that is committed, `answered` tells what was claimed."""
        now_us = self._clock.unix_us()
        event_id = mint(now_us) if self._recorder.enabled else None
        parameters = {
            "lane": lane,
            "claimed_at": from_unix_us(now_us),
            "worker_id": worker_id,
            "event_id": event_id and event_id.hex(),
        }
        cursor = connection.cursor(row_factory=class_row(Claim)).execute(SQL["claim"], parameters | {"counted": False})
        return Asked(cursor, parameters, now_us, event_id)

    def answered(self, asked: Asked) -> Claim | None:
        """What was claimed; none also where a closer look may find something (`claim` takes it)."""
        return self._claimed(asked.cursor.fetchone(), asked)

    def _claimed(self, claim: Claim | None, asked: Asked) -> Claim | None:
        if claim is not None and asked.event_id is not None:
            self._recorder.record(ExecutionStarted(asked.event_id, asked.now_us, self.scope(claim), claim.waited_us))
        return claim

    def _claim_with_care(self, parameters: Mapping[str, Any]) -> Claim | None:
        """What a claim could not take without a closer look; each look parks at least one, or finds one, or nothing."""
        lane, worker_id = parameters["lane"], parameters["worker_id"]
        overtaken = 0
        with reaching_store(), self._pool.connection() as connection:
            while overtaken < MAX_OVERTAKEN and something_is_due(connection, lane, worker_id):
                with connection.transaction(), connection.cursor(row_factory=class_row(Claim)) as cursor:
                    if not has_room(connection, lane):
                        return None
                    admitted = admit(connection, lane)
                    if admitted is None:
                        return None
                    claim = cursor.execute(SQL["claim"], {**parameters, "counted": True}).fetchone()
                if claim is not None:
                    return claim
                # A better one came meanwhile that needs a look of its own. What was admitted keeps its place.
                overtaken += admitted
        return None

    def scope(self, claim: Claim) -> Scope:
        """What all events of a claimed execution share."""
        known, scope = self._newest
        if known is not claim:
            scope = self._scope_of(claim)
            self._newest = claim, scope
        return scope

    def _scope_of(self, claim: Claim) -> Scope:
        return Scope(
            correlation_id=claim.correlation_id.bytes,
            request_source=claim.request_source,
            user_id=self._pseudonyms.user(claim.user_name),
            space_id=claim.space_id.bytes,
            execution_id=claim.id.bytes,
            parent_id=None if claim.parent_id is None else claim.parent_id.bytes,
            command_slug=claim.slug,
            definition_hash=claim.definition_hash,
            dry_run=claim.dry_run,
            attempt=claim.attempt,
        )

    def get(self, execution_id: UUID) -> Execution:
        """One execution.

        Raises:
            ExecutionNotFound: There is none with this id.
        """
        found = self._fetch(Execution, SQL["get"], {"id": execution_id})
        if not found:
            raise ExecutionNotFound(f"there is no execution {execution_id}", hint="`weir executions list` shows them.")
        return found[0]

    def page(  # noqa: PLR0913 - one argument per filter
        self,
        *,
        limit: int,
        before: UUID | None = None,
        state: str | None = None,
        command: str | None = None,
        correlation_id: UUID | None = None,
        slow: bool | None = None,
    ) -> list[ExecutionSummary]:
        """Executions, newest first; `before` is the id of the last one already seen."""
        parameters = {
            "limit": limit,
            "before": before,
            "state": state,
            "slug": command,
            "correlation_id": correlation_id,
            "slow": slow,
        }
        return self._fetch(ExecutionSummary, SQL["page"], parameters)

    def steps(self, execution_id: UUID, *, after: int = 0, limit: int) -> list[StepRecord]:
        """Ledger rows in the order they began; `after` is the ordinal of the last one already seen."""
        return self._fetch(StepRecord, SQL["steps"], {"id": execution_id, "after": after, "limit": limit})

    def effects(self, execution_id: UUID) -> list[Effect]:
        """What it changed, in rows by entity and operation; in a dry run, what it would have."""
        return self._fetch(Effect, SQL["effects"], {"id": execution_id})

    def restore(self, execution_id: UUID) -> Restored:
        """What earlier attempts left in the ledger.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        steps = self._fetch(RestoredStep, SQL["restore"], {"id": execution_id})
        with reaching_store(), self._pool.connection() as connection:
            frozen = connection.execute(SQL["frozen"], {"id": execution_id}).fetchall()
        return Restored({step.path: step for step in steps}, dict(frozen))

    def is_asked_to_stop(self, execution_id: UUID) -> bool:
        """Whether it was cancelled while an earlier attempt ran, which ended before it heard of that.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            return bool(cursor.execute(SQL["asked_to_stop"], {"id": execution_id}).fetchone())

    def promote(self, limit: int = 1000) -> Promoted:
        """Let what has become due wait like everything else.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        return self._fetch(Promoted, SQL["promote"], {"limit": limit})[0]

    def unpark(self) -> tuple[list[str], bool]:
        """Let executions of commands that are no longer paused be claimed; their lanes, and whether there may be more.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            return unpark_commands(connection)

    def unhinted_lanes(self, patience: timedelta) -> list[str]:
        """Lanes where something has been due for longer than that."""
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            return cursor.execute(
                SQL["unhinted_lanes"], {"patience_ms": patience // timedelta(milliseconds=1)}
            ).fetchall()

    def _space_id(self, name: str) -> UUID:
        known = self._spaces.get(name)
        if known is None:
            with reaching_store(), self._pool.connection() as connection:
                known = space_id(connection, name)
            if len(self._spaces) >= MAX_KNOWN_SPACES:
                self._spaces.clear()
            self._spaces[name] = known
        return known

    def _run(self, statement: LiteralString, parameters: Mapping[str, Any]) -> None:
        with reaching_store(), self._pool.connection() as connection:
            connection.execute(statement, parameters)

    def _fetch(self, row: type[R], statement: LiteralString, parameters: Mapping[str, Any]) -> list[R]:
        with (
            reaching_store(),
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(row)) as cur,
        ):
            # Planned for the values at hand: a plan for all of them could not use the index of the filter that is set.
            return cur.execute(statement, parameters, prepare=None if row is not ExecutionSummary else False).fetchall()


def insert(connection: Connection[Any], acceptance: Acceptance) -> None:
    """Write the row of an execution, in a transaction.

    Raises:
        ConcurrencyKeyInvalid: Its command's key has no value for these inputs.
        ConcurrencyFull: As many executions of its key as may be have not ended, and it is not to wait.
    """
    row = acceptance.row()
    if acceptance.may_be_refused:
        refuse_if_full(connection, row["slug"], row["concurrency_key"], row["concurrency_max"])
    connection.execute(SQL["submit"], row)


class reaching_store:  # noqa: N801 - a context manager used like a function
    """Turns "Postgres is away" and "Postgres takes too long" into `StoreUnavailable`; every other error passes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, QueryCanceled):
            raise StoreTooSlow(
                "Postgres took too long", hint="Something else may hold the row; try again in a moment."
            ) from error
        if isinstance(error, DeadlockDetected):
            raise StoreTooSlow(
                "Postgres ended one of two changes that waited for each other", hint="Try again; nothing was changed."
            ) from error
        if isinstance(error, DiskFull):
            raise StoreUnavailable(
                "the disk of Postgres is full", hint="Free some space there; nothing that is stored was lost."
            ) from error
        if is_connection_loss(error):
            raise StoreUnavailable(
                "Postgres does not answer", hint="`weir status` shows whether it runs; try again in a moment."
            ) from error
