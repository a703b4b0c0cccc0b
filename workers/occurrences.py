"""What becomes of due times: each has a row, written once, with the execution it asks for in the same transaction.

Whoever deals with a schedule holds its row's lock. Wherever a process is killed:

1. before the commit: nothing was written; the cursor (`next_due_at`) stands where it stood, and whoever comes next
   deals with the same due times;
2. after the commit, before the hint: the executions are queued; the sweeper sends the hint again;
3. after the hint, before the events: rows carry their events, which can be made again from them.

Two schedulers at once take turns at the lock; the second finds the cursor moved. The primary key (schedule, due time)
would refuse a due time that is dealt with twice all the same. All writers of these rows are here, so that this can be
seen of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.rows import class_row, scalar_row
from psycopg_pool import ConnectionPool

from dsl.checking.schedules import template_faults
from dsl.errors import CommandInvalid, ConcurrencyKeyInvalid, ExpressionError, Fault, InputsInvalid, UnknownCommand
from dsl.expressions import compiler
from dsl.inputs import check_inputs
from dsl.library import Library
from dsl.schedule_inputs import evaluate
from dsl.scheduling.misfire import Policy, Run, Stretch, settle, stretches
from dsl.settings import DslSettings
from telemetry.clock import Clock, from_unix_us, to_unix_us
from telemetry.connections import is_connection_loss
from telemetry.events import Event, ScheduleMissed, ScheduleSkipped, ScheduleTriggered, Scope
from telemetry.ids import mint, new_id
from telemetry.privacy import Pseudonyms
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.errors import ConcurrencyFull
from workers.executions import insert, reaching_store
from workers.hints import Hints
from workers.schedule import Schedule
from workers.server_clock import ServerClock
from workers.submissions import Acceptance, Submission

log = structlog.get_logger(__name__)

SQL = queries(__file__)

Origin = Literal["calendar", "backfill", "manual"]
State = Literal["waiting", "fired", "late", "caught_up", "skipped", "missed"]

#: Executions that one transaction accepts; more that are due come with the next.
MAX_RUNS = 100

#: Occurrences of one schedule that wait for their turn; those that come on top are skipped.
MAX_WAITING = 1000

_Fault: TypeAlias = Literal["command_unknown", "command_invalid", "inputs_invalid", "secrets_missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """A row of `schedule_occurrences` without what only its event needs."""

    due_at: datetime
    origin: Origin
    state: State
    reason: str | None
    last_due_at: datetime
    due_times: int
    fire_at: datetime
    occurred_at: datetime
    lateness_us: int | None
    execution_id: UUID | None
    slug: str
    correlation_id: UUID


@dataclass(frozen=True, slots=True)
class Due:
    """A due time that is to be run.

    Attributes:
        due_at: When.
        fire_at: With jitter.
        origin: How it came to be.
        waited: Whether it has a row already, in which it waits.
        correlation_id: The trace it belongs to; a new one unless given.
    """

    due_at: datetime
    fire_at: datetime
    origin: Origin = "calendar"
    waited: bool = False
    correlation_id: UUID | None = None


@dataclass(slots=True)
class Journal:
    """What a transaction wrote, to be told once it is committed.

    Attributes:
        now_us: When it began; stamps all of it.
        events: Of its rows.
        lanes: Where executions were accepted.
        counts: Due times by what became of them.
    """

    now_us: int
    events: list[Event] = field(default_factory=list)
    lanes: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The same as a datetime."""
        return from_unix_us(self.now_us)

    def count(self, state: str, due_times: int = 1) -> None:
        """Note what became of due times."""
        self.counts[state] = self.counts.get(state, 0) + due_times


class Occurrences:
    """Deals with due times.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        clock: The wall clock says what is due; that of the database, where several machines may say it.
        recorder: Takes the events of what was committed.
        pseudonyms: Hides users in them.
        library: Where commands are looked up.
        hints: Wakes workers; none in tests.
        settings: Limits of templates.
        grace: How late counts as on time.
    """

    def __init__(  # noqa: PLR0913 - one part each
        self,
        pool: ConnectionPool,
        clock: Clock,
        recorder: Recorder,
        pseudonyms: Pseudonyms,
        library: Library,
        hints: Hints | None,
        settings: DslSettings,
        grace: timedelta,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._recorder = recorder
        self._pseudonyms = pseudonyms
        self._library = library
        self._hints = hints
        self._compiler = compiler(settings)
        self._grace = grace

    @contextmanager
    def transaction(self) -> Iterator[tuple[Connection[Any], Journal]]:
        """A transaction, and what is told once it is committed.

        Raises:
            StoreUnavailable: Postgres did not answer; nothing was kept.
        """
        journal = Journal(self._clock.unix_us())
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            yield connection, journal
        if self._hints is not None:
            for lane in journal.lanes:
                self._hints.wake(lane)
        for event in journal.events:
            self._recorder.record(event)

    def settle(self, connection: Connection[Any], schedule: Schedule, journal: Journal) -> Schedule:
        """Deal with what a locked schedule's calendar has up to now, and move its cursor on; as it is then.

        Raises:
            TimingInvalid: Its zone is not known any more.
        """
        if schedule.next_due_at is None or schedule.next_due_at > journal.now:
            return schedule
        if self._has_failed_enough(connection, schedule):
            return self.pause(connection, schedule, journal, "failures")
        timing = schedule.timing
        fire_at = schedule.fire_at(timing)
        policy = Policy(schedule.misfire, schedule.spec.window, self._grace, MAX_RUNS)
        settled = settle(timing, fire_at, schedule.next_due_at, journal.now, policy)
        for stretch in settled.missed:
            self._note(connection, schedule, stretch, journal, "missed", settled.reason)
        self._run(connection, schedule, settled.runs, journal)
        return self.advance(connection, schedule, settled.next_due_at)

    def pass_over(
        self,
        connection: Connection[Any],
        schedule: Schedule,
        journal: Journal,
        state: Literal["skipped", "missed"],
        reason: str,
    ) -> Schedule:
        """Run none of the due times up to now of a locked schedule, say why, and move its cursor on.

        Raises:
            TimingInvalid: Its zone is not known any more.
        """
        if schedule.next_due_at is None or schedule.next_due_at > journal.now:
            return schedule
        timing = schedule.timing
        for stretch in stretches(timing, schedule.next_due_at, journal.now):
            self._note(connection, schedule, stretch, journal, state, reason)
        return self.advance(connection, schedule, timing.next(journal.now))

    def advance(self, connection: Connection[Any], schedule: Schedule, next_due_at: datetime | None) -> Schedule:
        """Move a locked schedule's cursor to a due time."""
        wake_at = None if next_due_at is None else schedule.fire_at(schedule.timing)(next_due_at)
        connection.execute(SQL["advance"], {"id": schedule.id, "next_due_at": next_due_at, "wake_at": wake_at})
        return replace(schedule, next_due_at=next_due_at, wake_at=wake_at)

    def first_due(self, connection: Connection[Any], schedule: Schedule, now: datetime) -> datetime | None:
        """The first due time from now on that no row tells of; a clock that was set back brings none again."""
        told = _scalar(connection, "told_until", schedule_id=schedule.id)
        return schedule.timing.next(now if told is None else max(now, told))

    def pause(self, connection: Connection[Any], schedule: Schedule, journal: Journal, reason: str) -> Schedule:
        """Run nothing more of a locked schedule."""
        connection.execute(SQL["pause"], {"id": schedule.id, "now": journal.now, "reason": reason})
        log.info("schedule_paused", schedule_id=str(schedule.id), reason=reason)
        return replace(schedule, paused_at=journal.now, pause_reason=reason)

    def accept(
        self, connection: Connection[Any], schedule: Schedule, due: Due, journal: Journal, state: State
    ) -> UUID | None:
        """Submit the command for a due time, and note both; no execution when the command cannot be submitted."""
        submission = self._submission(schedule, due, new_id(journal.now_us))
        if isinstance(submission, str):
            log.warning("schedule_cannot_submit", schedule_id=str(schedule.id), reason=submission)
            stretch = Stretch(due.due_at, due.due_at, 1)
            self._note(connection, schedule, stretch, journal, "skipped", submission, due)
            return None
        enabled = self._recorder.enabled
        event_id = mint(journal.now_us) if enabled else None
        execution_id = new_id(journal.now_us)
        queued_id = execution_id.bytes if enabled else None
        acceptance = Acceptance(submission, execution_id, schedule.space_id, journal.now_us, queued_id)
        try:
            insert(connection, acceptance)
        except ConcurrencyFull:
            self._skip(connection, schedule, due, journal, "overlap")
            return None
        except ConcurrencyKeyInvalid:
            self._skip(connection, schedule, due, journal, "inputs_invalid")
            return None
        lateness_us = max(0, journal.now_us - to_unix_us(due.fire_at))
        row = self._row(schedule, due.due_at, due.fire_at, due.origin, journal) | {
            "state": state,
            "lateness_us": lateness_us,
            "execution_id": acceptance.id,
            "definition_hash": submission.command.definition_hash,
            "correlation_id": submission.correlation_id,
            "event_id": event_id and UUID(bytes=event_id),
        }
        connection.execute(SQL["release" if due.waited else "insert"], row)
        journal.lanes.add(submission.lane)
        journal.count(state)
        queued = acceptance.event(self._pseudonyms.user(submission.user))
        if event_id is not None and queued is not None:
            due_us = to_unix_us(due.due_at)
            journal.events.append(
                ScheduleTriggered(
                    event_id,
                    journal.now_us,
                    queued.scope,
                    schedule.id.bytes,
                    due_us,
                    lateness_us,
                    state,  # type: ignore[arg-type]  # one of those that run
                    due.origin,
                )
            )
            journal.events.append(queued)
        return acceptance.id

    def wait(self, connection: Connection[Any], schedule: Schedule, due: Due, journal: Journal) -> None:
        """Note a due time that waits for its turn."""
        row = self._row(schedule, due.due_at, due.fire_at, due.origin, journal)
        connection.execute(SQL["insert"], row | {"state": "waiting"})
        journal.count("waiting")

    def skip_waiting(self, connection: Connection[Any], schedule: Schedule, journal: Journal) -> None:
        """Nothing of a locked schedule waits any longer: it is removed."""
        for due in _waiting(connection, "still_waiting", schedule):
            stretch = Stretch(due.due_at, due.due_at, 1)
            self._note(connection, schedule, stretch, journal, "skipped", "removed", due)

    def settle_next(self, but: Sequence[UUID]) -> tuple[Schedule, Journal] | None:
        """Deal with the schedule that is to be acted on first, other than some; none when nothing is due.

        Raises:
            ScheduleBroken: One could not be dealt with, and is as it was.
            StoreUnavailable: Postgres did not answer.
        """
        with self.transaction() as (connection, journal):
            cursor = connection.cursor(row_factory=class_row(Schedule))
            schedule = cursor.execute(SQL["next_due"], {"now": journal.now, "but": list(but)}).fetchone()
            if schedule is None:
                return None
            with _blaming(schedule.id):
                self.settle(connection, schedule, journal)
        return schedule, journal

    def waiting_schedules(self) -> list[UUID]:
        """Schedules with something that waits and whose turn has come.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            return connection.cursor(row_factory=scalar_row).execute(SQL["waiting_schedules"]).fetchall()

    def release_waiting(self, schedule_id: UUID) -> bool:
        """Run what waits of a schedule and whose turn has come; whether there was something.

        Raises:
            ScheduleBroken: It could not be dealt with, and is as it was.
            StoreUnavailable: Postgres did not answer.
        """
        with self.transaction() as (connection, journal), _blaming(schedule_id):
            return self._release(connection, schedule_id, journal)

    def look(self) -> tuple[datetime | None, bool]:
        """When the next schedule is to be acted on, and whether anything waits for its turn; one statement.

        From then on the clock is that of the database, if it is one that can follow it.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            wake_at, waits, server = connection.execute(SQL["look"]).fetchone()  # type: ignore[misc] # it has a row
        if isinstance(self._clock, ServerClock):
            self._clock.follow(server)
        return wake_at, waits

    def _release(self, connection: Connection[Any], schedule_id: UUID, journal: Journal) -> bool:
        cursor = connection.cursor(row_factory=class_row(Schedule))
        schedule = cursor.execute(SQL["lock"], {"id": schedule_id}).fetchone()
        # Somebody else deals with it; or has done so since we looked.
        if schedule is None or schedule.paused_at or schedule.removed_at or _is_going_on(connection, schedule):
            return False
        waiting = _waiting(connection, "first_waiting", schedule)
        if not waiting:
            return False
        if self._has_failed_enough(connection, schedule):
            self.pause(connection, schedule, journal, "failures")
            return False
        due = waiting[0]
        self.accept(connection, schedule, due, journal, self._punctuality(schedule, due, journal))
        return True

    def _punctuality(self, schedule: Schedule, due: Due, journal: Journal) -> State:
        """Of one that waited: in time all the same, or late, or overtaken by a newer due time."""
        if due.origin == "backfill":
            return "caught_up"
        if journal.now - due.fire_at <= self._grace:
            return "fired"
        following = schedule.timing.next(due.due_at)
        return "late" if following is None or following > journal.now else "caught_up"

    def _run(self, connection: Connection[Any], schedule: Schedule, runs: Sequence[Run], journal: Journal) -> None:
        """Run due times, or have them wait or skipped where executions must not overlap."""
        if not runs:
            return
        waiting = int(_scalar(connection, "waiting_count", schedule_id=schedule.id))
        is_free = schedule.overlap == "allow" or (not waiting and not _is_going_on(connection, schedule))
        # Those that are caught up with wait for each other even where an overlap is skipped: they were to be run.
        catches_up = schedule.misfire == "all" and len(runs) > 1
        for run in runs:
            due = Due(run.due_at, run.fire_at)
            if is_free:
                accepted = self.accept(connection, schedule, due, journal, run.punctuality)
                is_free = schedule.overlap == "allow" or accepted is None
            elif schedule.overlap == "skip" and not (catches_up and run.punctuality != "fired"):
                self._skip(connection, schedule, due, journal, "overlap")
            elif waiting < MAX_WAITING:
                waiting += 1
                self.wait(connection, schedule, due, journal)
            else:
                self._skip(connection, schedule, due, journal, "queue_full")

    def _skip(self, connection: Connection[Any], schedule: Schedule, due: Due, journal: Journal, reason: str) -> None:
        self._note(connection, schedule, Stretch(due.due_at, due.due_at, 1), journal, "skipped", reason, due)

    def _note(  # noqa: PLR0913 - a row has many columns
        self,
        connection: Connection[Any],
        schedule: Schedule,
        stretch: Stretch,
        journal: Journal,
        state: Literal["skipped", "missed"],
        reason: str,
        due: Due | None = None,
    ) -> None:
        """A row of due times that are not run, and its event."""
        event_id = mint(journal.now_us) if self._recorder.enabled else None
        fire_at = stretch.first if due is None else due.fire_at
        row = self._row(schedule, stretch.first, fire_at, "calendar" if due is None else due.origin, journal) | {
            "state": state,
            "reason": reason,
            "last_due_at": stretch.last,
            "due_times": stretch.due_times,
            "event_id": event_id and UUID(bytes=event_id),
        }
        connection.execute(SQL["release" if due is not None and due.waited else "insert"], row)
        journal.count(state, stretch.due_times)
        if event_id is not None:
            scope = Scope(
                correlation_id=row["correlation_id"].bytes,
                request_source="schedule",
                user_id=self._pseudonyms.user(schedule.user_name),
                space_id=schedule.space_id.bytes,
                command_slug=schedule.slug,
            )
            ends = (to_unix_us(stretch.first), to_unix_us(stretch.last), stretch.due_times)
            kind: Any = ScheduleMissed if state == "missed" else ScheduleSkipped
            journal.events.append(kind(event_id, journal.now_us, scope, schedule.id.bytes, *ends, reason))

    def _row(
        self, schedule: Schedule, due_at: datetime, fire_at: datetime, origin: Origin, journal: Journal
    ) -> dict[str, Any]:
        return {
            "schedule_id": schedule.id,
            "due_at": due_at,
            "origin": origin,
            "state": None,
            "reason": None,
            "last_due_at": due_at,
            "due_times": 1,
            "fire_at": fire_at,
            "occurred_at": journal.now,
            "lateness_us": None,
            "execution_id": None,
            "slug": schedule.slug,
            "definition_hash": None,
            "user_name": schedule.user_name,
            "space_id": schedule.space_id,
            "correlation_id": new_id(journal.now_us),
            "event_id": None,
        }

    def input_faults(self, schedule: Schedule, due_at: datetime) -> tuple[Fault, ...]:
        """Why its command would not take its inputs for a due time; nothing when it would.

        They quote what somebody wrote: for who owns the schedule, never for telemetry.

        Raises:
            UnknownCommand: There is none.
            CommandInvalid: Its file is faulty.
        """
        command = self._library.get(schedule.slug)
        try:
            check_inputs(command, self._given(schedule, due_at))
        except InputsInvalid as invalid:
            return invalid.faults
        except ExpressionError as error:
            return template_faults(schedule.inputs, self._compiler) or (
                Fault("expression.failed", error.detail, path="inputs"),
            )
        return ()

    def _given(self, schedule: Schedule, due_at: datetime) -> dict[str, Any]:
        """Its inputs for a due time, as yet unchecked."""
        return evaluate(
            schedule.inputs, self._compiler, due_at=due_at, timezone=schedule.timezone, schedule=schedule.name
        )

    def _submission(self, schedule: Schedule, due: Due, correlation_id: UUID) -> Submission | _Fault:
        """What is asked to be run for a due time, or why nothing can be."""
        try:
            command = self._library.get(schedule.slug)
        except UnknownCommand:
            return "command_unknown"
        except CommandInvalid:
            return "command_invalid"
        if command.secrets:
            return "secrets_missing"
        try:
            inputs = check_inputs(command, self._given(schedule, due.due_at))
        except (ExpressionError, InputsInvalid):
            return "inputs_invalid"
        return Submission(
            command=command,
            inputs=inputs,
            user=schedule.user_name,
            space=schedule.space,
            request_source="schedule",
            correlation_id=due.correlation_id or correlation_id,
            priority=schedule.priority,
            lane=command.lane,
            link="scheduled_by",
            schedule_id=schedule.id,
        )

    def _has_failed_enough(self, connection: Connection[Any], schedule: Schedule) -> bool:
        most = schedule.pause_after
        if most is None:
            return False
        return bool(
            _scalar(connection, "failures", schedule_id=schedule.id, since=schedule.failures_since, most=most) == most
        )


class ScheduleBroken(Exception):
    """A schedule that cannot be dealt with.

    Attributes:
        schedule_id: Which.
    """

    def __init__(self, schedule_id: UUID) -> None:
        super().__init__(str(schedule_id))
        self.schedule_id = schedule_id


@contextmanager
def _blaming(schedule_id: UUID) -> Iterator[None]:
    """What goes wrong inside is told with the schedule it is about; that Postgres is away is not about one."""
    try:
        yield
    except Exception as error:
        if is_connection_loss(error):
            raise
        raise ScheduleBroken(schedule_id) from error


def _is_going_on(connection: Connection[Any], schedule: Schedule) -> bool:
    return bool(_scalar(connection, "going_on", schedule_id=schedule.id))


def _waiting(connection: Connection[Any], statement: str, schedule: Schedule) -> list[Due]:
    rows = connection.execute(SQL[statement], {"schedule_id": schedule.id}).fetchall()
    return [Due(due_at, fire_at, origin, waited=True) for due_at, origin, fire_at in rows]


def _scalar(connection: Connection[Any], statement: str, **parameters: object) -> Any:  # noqa: ANN401 - any column
    return connection.cursor(row_factory=scalar_row).execute(SQL[statement], parameters).fetchone()
