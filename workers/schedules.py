"""Schedules: made, changed, paused, run now, asked again for what passed. Their due times are dealt with elsewhere.

Whoever changes a schedule first deals with what was due until then by the words it had (`workers.occurrences`), under
the same row lock: so no due time falls between two versions of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.errors import UniqueViolation
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from dsl.command import Command
from dsl.faults import nearest
from dsl.fragments import space_id
from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.spec import ScheduleSpec
from telemetry.ids import new_id
from telemetry.sql import queries
from workers.errors import BackfillTooLarge, ScheduleDeclared, ScheduleError, ScheduleNameTaken, ScheduleNotFound
from workers.executions import reaching_store
from workers.occurrences import Due, Journal, Occurrence, Occurrences
from workers.schedule import Schedule

SQL = queries(__file__)

#: Due times that one backfill may ask for.
MAX_BACKFILL = 1000

#: Due times that are looked at for one backfill.
_MAX_LOOKED_AT = 100_000

_INSTANT = timedelta(microseconds=1)
_SUGGESTED_FROM = 200


@dataclass(frozen=True, slots=True)
class Backfill:
    """Due times that are asked for again.

    Attributes:
        due_times: Those that are run, or would be, in order.
        run_before: How many in the range were run already, or were asked for again before.
        paused: Whether the schedule is paused: those that have to wait for each other wait until it is resumed.
    """

    due_times: tuple[datetime, ...]
    run_before: int
    paused: bool


class Schedules:
    """Every change to schedules that somebody asks for.

    Args:
        pool: Connections to Postgres, in autocommit mode.
        occurrences: Deals with due times.
    """

    def __init__(self, pool: ConnectionPool, occurrences: Occurrences) -> None:
        self._pool = pool
        self._occurrences = occurrences

    def create(self, name: str, slug: str, spec: ScheduleSpec, declared_id: str | None = None) -> Schedule:
        """A new schedule; its first due time is the next one from now.

        Raises:
            ScheduleNameTaken: Another one has this name.
            RecordInvalid: The space cannot be one.
            StoreUnavailable: Postgres did not answer; nothing was kept.
        """
        with _own_name(name), self._occurrences.transaction() as (connection, journal):
            schedule_id = new_id(journal.now_us)
            next_due_at = spec.timing.next(journal.now)
            row = _columns(connection, spec) | {
                "id": schedule_id,
                "name": name,
                "slug": slug,
                "declared_id": declared_id,
                "next_due_at": next_due_at,
                "wake_at": next_due_at,
                "now": journal.now,
            }
            connection.execute(SQL["insert"], row)
            schedule = _get(connection, schedule_id)
            return self._occurrences.advance(connection, schedule, next_due_at)

    def change(self, schedule: Schedule, name: str, slug: str, spec: ScheduleSpec) -> Schedule:
        """Give a schedule other words; with another timing it goes on with the next due time from now.

        Raises:
            ScheduleDeclared: A command file declares it, and says something else.
            ScheduleNameTaken: Another one has this name.
            ScheduleNotFound: It was removed meanwhile.
        """
        if schedule.declared_id is not None:
            raise _declared(schedule)
        with _own_name(name), self._locked(schedule.id) as (connection, journal, locked):
            return self._change(connection, journal, locked, name, slug, spec)

    def get(self, name_or_id: str) -> Schedule:
        """The schedule with this name; or with this id, also a removed one.

        Raises:
            ScheduleNotFound: There is none.
        """
        schedule_id = _id_in(name_or_id)
        with reaching_store(), self._pool.connection() as connection:
            if schedule_id is None:
                found = _one(connection, SQL["named"], {"name": name_or_id})
            else:
                found = _one(connection, SQL["get"], {"id": schedule_id})
            if found is None:
                cursor = connection.cursor(row_factory=scalar_row)
                names = cursor.execute(SQL["names"], {"limit": _SUGGESTED_FROM}).fetchall()
                raise _not_found(name_or_id, names)
        return found

    def page(self, *, limit: int, before: UUID | None = None, command: str | None = None) -> list[Schedule]:
        """Schedules, newest first; `before` is the id of the last one already seen."""
        parameters = {"limit": limit, "before": before, "slug": command}
        with reaching_store(), self._pool.connection() as connection:
            return connection.cursor(row_factory=class_row(Schedule)).execute(SQL["page"], parameters).fetchall()

    def occurrences(
        self, schedule: Schedule, *, limit: int, state: str | None = None, before: tuple[datetime, str] | None = None
    ) -> list[Occurrence]:
        """What became of its due times, newest first; `before` is due time and origin of the last one already seen."""
        before_due_at, before_origin = before or (None, None)
        parameters = {
            "schedule_id": schedule.id,
            "state": state,
            "before_due_at": before_due_at,
            "before_origin": before_origin,
            "limit": limit,
        }
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(Occurrence))
            return cursor.execute(SQL["occurrences"], parameters).fetchall()

    def pause(self, schedule: Schedule) -> Schedule:
        """Run nothing more until it is resumed, not even what is due already; again is the same."""
        with self._locked(schedule.id) as (connection, journal, locked):
            return locked if locked.paused_at else self._occurrences.pause(connection, locked, journal, "asked")

    def resume(self, schedule: Schedule) -> Schedule:
        """Go on with the next due time from now; those meanwhile were skipped. Again is the same."""
        with self._locked(schedule.id) as (connection, journal, locked):
            if locked.paused_at is None:
                return locked
            self._occurrences.pass_over(connection, locked, journal, "skipped", "paused")
            connection.execute(SQL["resume"], {"id": schedule.id, "now": journal.now})
            return _get(connection, schedule.id)

    def remove(self, schedule: Schedule) -> Schedule:
        """Take it away; what waited for its turn is skipped, its history stays.

        Raises:
            ScheduleDeclared: A command file declares it.
        """
        if schedule.declared_id is not None:
            raise _declared(schedule)
        return self._remove(schedule)

    def run_now(self, schedule: Schedule, correlation_id: UUID) -> tuple[Occurrence, bool]:
        """Run it once, whatever its calendar, pause and overlap say; and whether the command could be submitted."""
        with self._locked(schedule.id) as (connection, journal, locked):
            cursor = connection.cursor(row_factory=scalar_row)
            last_manual = cursor.execute(SQL["last_manual"], {"schedule_id": locked.id}).fetchone()
            due_at = journal.now if last_manual is None else max(journal.now, last_manual + _INSTANT)
            while locked.timing.next(due_at - _INSTANT) == due_at:
                due_at += _INSTANT  # its calendar has this one for itself
            due = Due(due_at, due_at, "manual", correlation_id=correlation_id)
            execution_id = self._occurrences.accept(connection, locked, due, journal, "fired")
            return _occurrence(connection, locked, due_at, "manual"), execution_id is not None

    def backfill(self, schedule: Schedule, start: datetime, end: datetime, *, preview: bool) -> Backfill:
        """Run the due times of a range that passed and were not run.

        Where executions must not overlap they wait for each other.

        Args:
            schedule: Of which.
            start: From this instant.
            end: Before this instant; due times that are not dealt with yet are never among them.
            preview: Only say which.

        Raises:
            BackfillTooLarge: There are too many.
        """
        with self._locked(schedule.id) as (connection, journal, locked):
            settled = locked if locked.paused_at else self._occurrences.settle(connection, locked, journal)
            limit = min(end, journal.now, settled.next_due_at or journal.now)
            candidates = list(_due_times(settled, start, limit))
            cursor = connection.cursor(row_factory=scalar_row)
            run_before = set(
                cursor.execute(SQL["run_before"], {"schedule_id": settled.id, "due_times": candidates}).fetchall()
            )
            due_times = tuple(due for due in candidates if due not in run_before)
            if len(due_times) > MAX_BACKFILL:
                raise BackfillTooLarge(
                    f"{len(due_times)} due times, and at most {MAX_BACKFILL} at a time",
                    hint="Ask for a shorter range, and for the next when it is done.",
                )
            if not preview:
                self._run_again(connection, settled, due_times, journal)
        return Backfill(due_times, len(run_before), settled.paused_at is not None)

    def declare(self, commands: Mapping[str, Command], gone: frozenset[str]) -> int:
        """Bring what is declared in line with the command files; how many schedules changed.

        Args:
            commands: Every command that loads, by slug.
            gone: Slugs of schedules whose file is not there any more; of one that is faulty they stay as they are.
        """
        with reaching_store(), self._pool.connection() as connection:
            rows = connection.cursor(row_factory=class_row(Schedule)).execute(SQL["declared"]).fetchall()
        there = {(row.slug, str(row.declared_id)): row for row in rows}
        wanted = {(slug, key): spec for slug, command in commands.items() for key, spec in command.schedules.items()}
        changed = 0
        for (slug, key), spec in wanted.items():
            row = there.get((slug, key))
            if row is None:
                self.create(f"{slug}:{key}", slug, spec, key)
            elif row.removed_at is not None or row.spec != spec:
                with self._locked(row.id, removed=True) as (connection, journal, locked):
                    self._change(connection, journal, locked, locked.name, slug, spec)
            else:
                continue
            changed += 1
        for (slug, key), row in there.items():
            if row.removed_at is None and (slug, key) not in wanted and (slug in commands or slug in gone):
                self._remove(row)
                changed += 1
        return changed

    def declared_slugs(self) -> frozenset[str]:
        """Commands whose files declared a schedule that is there."""
        with reaching_store(), self._pool.connection() as connection:
            rows = connection.cursor(row_factory=class_row(Schedule)).execute(SQL["declared"]).fetchall()
        return frozenset(row.slug for row in rows if row.removed_at is None)

    def _change(  # noqa: PLR0913 - as `change`
        self, connection: Connection[Any], journal: Journal, locked: Schedule, name: str, slug: str, spec: ScheduleSpec
    ) -> Schedule:
        is_same = locked.removed_at is None and _timing_words(locked.spec) == _timing_words(spec)
        if locked.removed_at is None and not is_same:
            locked = self._settled(connection, locked, journal)
        row = _columns(connection, spec) | {
            "id": locked.id,
            "name": name,
            "slug": slug,
            "next_due_at": locked.next_due_at,
            "wake_at": locked.wake_at,
            "now": journal.now,
        }
        connection.execute(SQL["change"], row)
        changed = _get(connection, locked.id)
        next_due_at = changed.next_due_at if is_same else self._occurrences.first_due(connection, changed, journal.now)
        self._occurrences.advance(connection, changed, next_due_at)
        return _get(connection, locked.id)

    def _remove(self, schedule: Schedule) -> Schedule:
        with self._locked(schedule.id) as (connection, journal, locked):
            with suppress(TimingInvalid):  # of a zone that is not known any more nothing is due
                self._occurrences.pass_over(connection, locked, journal, "skipped", "removed")
            self._occurrences.skip_waiting(connection, locked, journal)
            connection.execute(SQL["remove"], {"id": locked.id, "now": journal.now})
            return _get(connection, locked.id)

    def _settled(self, connection: Connection[Any], schedule: Schedule, journal: Journal) -> Schedule:
        """With nothing left that is due by its present words."""
        if schedule.paused_at is None:
            schedule = self._occurrences.settle(connection, schedule, journal)
        if schedule.paused_at is not None:
            return self._occurrences.pass_over(connection, schedule, journal, "skipped", "paused")
        return self._occurrences.pass_over(connection, schedule, journal, "missed", "superseded")

    def _run_again(
        self, connection: Connection[Any], schedule: Schedule, due_times: tuple[datetime, ...], journal: Journal
    ) -> None:
        for due_at in due_times:
            due = Due(due_at, due_at, "backfill")
            if schedule.overlap == "allow":
                self._occurrences.accept(connection, schedule, due, journal, "caught_up")
            else:
                self._occurrences.wait(connection, schedule, due, journal)

    @contextmanager
    def _locked(
        self, schedule_id: UUID, *, removed: bool = False
    ) -> Iterator[tuple[Connection[Any], Journal, Schedule]]:
        """A transaction that holds a schedule, which nobody else changes or deals with meanwhile."""
        with self._occurrences.transaction() as (connection, journal):
            locked = _one(connection, SQL["lock"], {"id": schedule_id})
            if locked is None or (locked.removed_at is not None and not removed):
                raise _not_found(str(schedule_id), ())
            yield connection, journal, locked


def _one(connection: Connection[Any], statement: LiteralString, parameters: Mapping[str, object]) -> Schedule | None:
    return connection.cursor(row_factory=class_row(Schedule)).execute(statement, parameters).fetchone()


def _get(connection: Connection[Any], schedule_id: UUID) -> Schedule:
    found = _one(connection, SQL["get"], {"id": schedule_id})
    if found is None:
        raise _not_found(str(schedule_id), ())
    return found


def _occurrence(connection: Connection[Any], schedule: Schedule, due_at: datetime, origin: str) -> Occurrence:
    parameters = {"schedule_id": schedule.id, "due_at": due_at, "origin": origin}
    cursor = connection.cursor(row_factory=class_row(Occurrence))
    found = cursor.execute(SQL["occurrence"], parameters).fetchone()
    if found is None:
        message = "a row that was just written is not there"
        raise RuntimeError(message)
    return found


def _due_times(schedule: Schedule, start: datetime, end: datetime) -> Iterator[datetime]:
    """Due times from `start` and before `end`, as far as they are few enough to be looked at.

    Raises:
        BackfillTooLarge: They are not.
    """
    timing = schedule.timing
    due = timing.next(start - _INSTANT)
    number = 0
    while due is not None and due < end:
        number += 1
        if number > _MAX_LOOKED_AT:
            raise BackfillTooLarge(f"more than {_MAX_LOOKED_AT} due times", hint="Ask for a shorter range.")
        yield due
        due = timing.next(due)


def _columns(connection: Connection[Any], spec: ScheduleSpec) -> dict[str, Any]:
    return {
        "cron": spec.cron,
        "every_us": None if spec.every is None else spec.every // _INSTANT,
        "anchor": spec.anchor,
        "at": spec.at,
        "timezone": spec.timezone,
        "jitter_us": spec.jitter // _INSTANT,
        "misfire": spec.misfire,
        "window_us": spec.window // _INSTANT,
        "overlap": spec.overlap,
        "pause_after": spec.pause_after,
        "inputs": Jsonb(dict(spec.inputs)),
        "user_name": spec.user,
        "space_id": space_id(connection, spec.space),
        "priority": spec.priority,
    }


def _timing_words(spec: ScheduleSpec) -> tuple[object, ...]:
    return (spec.cron, spec.every, spec.anchor, spec.at, spec.timezone)


@contextmanager
def _own_name(name: str) -> Iterator[None]:
    try:
        yield
    except UniqueViolation as error:
        raise ScheduleNameTaken(
            f"there is a schedule {name} already", hint="Take another name, or change that one."
        ) from error


def _id_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _declared(schedule: Schedule) -> ScheduleError:
    return ScheduleDeclared(
        f"{schedule.name} is declared by the command file of {schedule.slug}",
        hint="Change or remove it there; here it can be paused, resumed, run and backfilled.",
    )


def _not_found(name: str, names: tuple[str, ...] | list[str]) -> ScheduleNotFound:
    meant = nearest(name, names)
    hint = f"Did you mean {meant}?" if meant else "`weir schedules list` shows what there is."
    return ScheduleNotFound(f"there is no schedule {name[:100]}", hint=hint, nearest=meant)
