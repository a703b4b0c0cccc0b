"""Deletes what is too old or too much: days of events, and everything else in slices.

Events go first, a day at a time (telemetry.retention); what else there is goes in the order in which it depends on one
another, each slice a transaction of its own (telemetry.slices). Killed anywhere, whole days and slices are gone, and
whoever comes next goes on with the rest. One process cleans at a time, by an advisory lock of its session.

An execution stays for as long as its events do, and until the ledger was compared up to its end: what is lost of it
could not be made again otherwise. It goes after those that it started. A round is one file, so that its order is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import scalar_row

from telemetry.archive import Archive
from telemetry.clock import Clock, to_unix_us
from telemetry.completeness import occurred_at
from telemetry.errors import CleanupRunning
from telemetry.ids import least_id_at
from telemetry.retention import (
    Day,
    Reason,
    clear_component,
    component_events,
    days_to_drop,
    drop_day,
    forget_chains,
    list_days,
)
from telemetry.settings import RetentionSettings
from telemetry.slices import Limit, count_going, delete_slices, most_rows, newest_beyond, size_of
from telemetry.sql import queries
from workers.executions import reaching_store
from workers.services.retained import RETAINED, Horizon, Retained

SQL = queries(__file__)

#: How long one statement may take: that which copies what is kept of a day, at most.
STATEMENT_TIMEOUT: Final = timedelta(minutes=10)
#: How long one round of the maintenance worker begins anything new; what is left is for the next.
PATIENCE: Final = timedelta(seconds=60)
#: Executions, due times and definitions of one slice: each takes its own rows with it.
SLICE_ROWS: Final = 500

#: Key of the advisory lock: "weirclea" in ASCII.
_LOCK_KEY: Final = 0x77656972636C6561

_EXECUTION_TABLES: Final = (
    *("command_executions", "command_steps", "command_attempts", "command_step_items", "mutations"),
)
_VACUUM: Final = sql.SQL("vacuum (analyze, truncate) {}")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks to be deleted; by default what is due by the settings.

    Attributes:
        older_than: An age instead of those of the settings, for telemetry only; what is too much then stays.
        component: Only its events.
        archive: A folder where everything is written before.
        dry_run: Only say what would go.
    """

    older_than: timedelta | None = None
    component: str | None = None
    archive: Path | None = None
    dry_run: bool = False

    @property
    def is_partial(self) -> bool:
        """Whether other data than telemetry is left alone."""
        return self.older_than is not None or self.component is not None


@dataclass(slots=True)
class Removal:
    """What goes, or went, of one kind of rows.

    Attributes:
        kind: What people call them.
        table: Where they are.
        rows: Before, by the server's last count.
        bytes: Before, on disk.
        before: What is older goes.
        going: Rows that go; of days of events by the server's last count.
        freed: Bytes that the disk has back, where that is known: those of dropped days.
        days: Of events: day, component or none, reason, rows.
    """

    kind: str
    table: str
    rows: int
    bytes: int
    before: datetime
    going: int = 0
    freed: int = 0
    days: list[dict[str, Any]] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """The JSON shape of it."""
        return {
            "kind": self.kind,
            "table": self.table,
            "rows": self.rows,
            "bytes": self.bytes,
            "before": self.before.isoformat().replace("+00:00", "Z"),
            "going_rows": self.going,
            "freed_bytes": self.freed,
            "days": self.days,
        }


@dataclass(slots=True)
class CleanResult:
    """What one round deleted, or would.

    Attributes:
        removals: One for each kind of rows.
        is_done: Whether all that should go is gone.
        held: Days that somebody read or wrote all the time; they go in the next round.
    """

    removals: list[Removal] = field(default_factory=list)
    is_done: bool = True
    held: list[str] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """The JSON shape of it."""
        return {
            "done": self.is_done,
            "held_days": self.held,
            "going_rows": sum(each.going for each in self.removals),
            "freed_bytes": sum(each.freed for each in self.removals),
            "kinds": [each.public() for each in self.removals],
        }


class Cleaner:
    """Deletes what is too old or too much.

    Args:
        connect: Opens a connection in autocommit mode whose statements may take `STATEMENT_TIMEOUT`; it is closed
            after each round.
        keep: What stays.
        clock: Says how old things are.
    """

    def __init__(self, connect: Callable[[], Connection[Any]], keep: RetentionSettings, clock: Clock) -> None:
        self._connect = connect
        self._keep = keep
        self._clock = clock

    def run_once(
        self,
        request: Request = Request(),  # noqa: B008 - it cannot be changed
        *,
        patience: timedelta | None = PATIENCE,
        say: Say = lambda _: None,
    ) -> CleanResult:
        """Delete what is due, or for as long as `patience`, and say what went; or, for a dry run, what would go.

        Raises:
            CleanupRunning: Somebody else is at it.
            ArchiveFailed: The archive could not be written; what is not in it is there.
            StoreUnavailable: Postgres did not answer; what was deleted is.
        """
        with reaching_store(), closing(self._connect()) as connection:
            if request.dry_run:
                round_ = _Round(connection, self._keep, self._now(connection), request, None, patience, say)
                return round_.run()
            if not connection.execute(SQL["take_turn"], {"key": _LOCK_KEY}).fetchone() == (True,):
                raise CleanupRunning("another cleanup is at it", hint="Wait until it has ended.")
            with nullcontext() if request.archive is None else Archive(request.archive) as archive:
                result = _Round(connection, self._keep, self._now(connection), request, archive, patience, say).run()
            if result.is_done and not request.is_partial:
                connection.execute(SQL["finish"])
        return result

    def _now(self, connection: Connection[Any]) -> datetime:
        """The earlier of this clock and the server's: one that was set ahead by mistake must not delete everything."""
        row = connection.execute(SQL["server_time"]).fetchone()
        return min(self._clock.now(), row[0] if row else self._clock.now())


def is_wanted(connection: Connection[Any], keep: RetentionSettings) -> bool:
    """Whether it is time to clean: `interval` after it last came to its end, sooner if events take too many bytes.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    parameters = {"interval": keep.interval, "max_bytes": keep.events_max_bytes}
    return bool(connection.cursor(row_factory=scalar_row).execute(SQL["is_wanted"], parameters).fetchone())


class _Round:
    """One round; with `archive` and without."""

    def __init__(  # noqa: PLR0913 - what one round needs
        self,
        connection: Connection[Any],
        keep: RetentionSettings,
        now: datetime,
        request: Request,
        archive: Archive | None,
        patience: timedelta | None,
        say: Say,
    ) -> None:
        self._connection = connection
        self._keep = keep
        self._now = now
        self._request = request
        self._archive = archive
        self._deadline = None if patience is None else monotonic() + patience.total_seconds()
        self._say = say
        self._result = CleanResult()
        #: Rows that went with days of events, by table.
        self._along: Counter[str] = Counter()
        self._stamp = f"{now:%Y%m%dT%H%M%SZ}"

    def run(self) -> CleanResult:
        days = list_days(self._connection)
        removal = Removal("events", "telemetry_events", *_sum(days), before=self._now - self._age(None))
        self._result.removals.append(removal)
        left = self._drop_days(days, removal) if self._request.component is None else days
        self._clear_components(left, removal)
        if self._request.component is None:
            self._rest(self._horizon(left))
        return self._result

    def _drop_days(self, days: list[Day], removal: Removal) -> list[Day]:
        """Drop the days that go; those that are left."""
        asked = self._request.older_than is not None
        going = days_to_drop(
            days,
            self._now,
            older_than=self._age(None),
            max_rows=None if asked else self._keep.events_max_rows,
            max_bytes=None if asked else self._keep.events_max_bytes,
        )
        left = list(days)
        for day, reason in going:
            if not self._may_begin():
                break
            if not self._request.dry_run:
                dropped = drop_day(
                    self._connection, day, reason=reason, errors_from=self._errors_from, archive=self._archive
                )
                if not dropped:
                    self._result.held.append(f"{day.begins:%Y-%m-%d}")
                    self._result.is_done = False
                    # Those after it stay too: what is kept for a trace goes with its last day.
                    break
                # Killed before this, they go with all others that are too old.
                self._along["telemetry_correlation_chains"] += forget_chains(self._connection, day)
                self._say(f"events of {day.begins:%Y-%m-%d}: {day.events}, {day.bytes} bytes")
            left.remove(day)
            _add_day(removal, day, None, reason, day.events)
            removal.freed += day.bytes
        return left

    def _clear_components(self, days: Iterable[Day], removal: Removal) -> None:
        own = self._keep.component_days()
        components = own if self._request.component is None else [self._request.component]
        if self._request.older_than is not None and self._request.component is None:
            return  # whole days are as old as that already
        for component in components:
            oldest = self._now - self._age(own.get(component))
            for day in days:
                if day.ends <= oldest and self._may_begin():
                    gone = self._clear_component(day, component)
                    if gone:
                        _add_day(removal, day, component, "age", gone)

    def _clear_component(self, day: Day, component: str) -> int:
        if self._request.dry_run:
            return component_events(self._connection, day, component, self._errors_from)
        gone = clear_component(self._connection, day, component, errors_from=self._errors_from, archive=self._archive)
        if gone:
            self._vacuum(day.name)
            self._say(f"events of {component} of {day.begins:%Y-%m-%d}: {gone}")
        return gone

    def _rest(self, horizon: Horizon) -> None:
        """What is not events. Executions before what they leave behind, and these before definitions."""
        if not self._request.is_partial:
            self._executions(horizon)
        for retained in RETAINED:
            if retained.is_telemetry or not self._request.is_partial:
                self._retained(retained, horizon)
        if not self._request.is_partial:
            before = min(horizon.after(self._keep.executions_days), horizon.events)
            self._by_statement("occurrences", "schedule_occurrences", before)
            self._by_statement("definitions", "command_definitions", before)

    def _retained(self, retained: Retained, horizon: Horizon) -> None:
        kind, limit = retained.kind, retained.limit(self._keep, horizon)
        size = size_of(self._connection, kind.table)
        if size is None:
            return
        removal = Removal(kind.name, kind.table, size.rows, size.bytes, limit.before, self._along[kind.table])
        self._result.removals.append(removal)
        if self._request.dry_run:
            removal.going = count_going(self._connection, kind, limit)
            return
        gone = delete_slices(
            self._connection,
            kind,
            limit,
            go_on=self._may_begin,
            archive=self._archive,
            archive_name=f"{kind.table}-{self._stamp}",
        )
        self._count(removal, gone, kind.table)

    def _executions(self, horizon: Horizon) -> None:
        size = size_of(self._connection, "command_executions")
        assert size is not None  # noqa: S101 - the first migrations make it
        ended = min(horizon.after(self._keep.executions_days), horizon.events)
        limit = Limit(ended, self._keep.executions_max_rows, self._keep.executions_max_bytes)
        fitting = most_rows(self._connection, limit, *_EXECUTION_TABLES)
        values = {
            "last": newest_beyond(self._connection, "command_executions", "id", fitting),
            "ended": ended,
            "failed": min(horizon.after(self._keep.failed_executions_days), ended),
            "floor": horizon.events,
            "archived": self._archive is not None,
        }
        removal = Removal("executions", "command_executions", size.rows, size.bytes, ended)
        self._result.removals.append(removal)
        if self._request.dry_run:
            removal.going = self._one(SQL["count_executions"], values)
        else:
            self._count(removal, self._execution_slices(values), *_EXECUTION_TABLES)

    def _execution_slices(self, values: dict[str, Any]) -> Iterator[int]:
        """From the newest slice on, each until nothing of it goes any more: families are mostly in one slice."""
        before: Any = least_id_at(to_unix_us(values["floor"]))
        while before is not None:
            bounds = {"before": before, "rows": SLICE_ROWS}
            found = self._connection.execute(SQL["slice_begins"], bounds).fetchone()
            first_id = None if found is None else found[0]
            gone = 1
            while gone:
                if not self._may_begin():
                    return
                gone = self._slice(
                    SQL["delete_executions"], {**values, "first_id": first_id, "before": before}, "command_executions"
                )
                yield gone
            before = first_id

    def _by_statement(self, name: str, table: str, before: datetime) -> None:
        size = size_of(self._connection, table)
        assert size is not None  # noqa: S101 - the first migrations make it
        removal = Removal(name, table, size.rows, size.bytes, before)
        self._result.removals.append(removal)
        if self._request.dry_run:
            removal.going = self._one(SQL[f"count_{name}"], {"before": before})
            return

        def slices() -> Iterator[int]:
            values = {"before": before, "rows": SLICE_ROWS, "archived": self._archive is not None}
            gone = 1
            while gone and self._may_begin():
                gone = self._slice(SQL[f"delete_{name}"], values, table)
                yield gone

        self._count(removal, slices(), table)

    def _slice(self, statement: Any, values: dict[str, Any], table: str) -> int:  # noqa: ANN401 - of SQL
        """One slice, in the archive before it is gone."""
        with self._connection.transaction():
            found = self._connection.execute(statement, values).fetchone()
            assert found is not None  # noqa: S101 - it has a row
            gone, whole = found
            if self._archive is not None and whole:
                self._archive.append(f"{table}-{self._stamp}", whole)
        return int(gone)

    def _count(self, removal: Removal, slices: Iterable[int], *tables: str) -> None:
        along = removal.going
        for gone in slices:
            removal.going += gone
            if gone:
                self._say(f"{removal.kind}: {removal.going}")
        if removal.going > along:
            for table in tables:
                self._vacuum(table)

    def _vacuum(self, table: str) -> None:
        """Let the place of deleted rows be used again at once; empty pages at the end go back to the disk."""
        self._connection.execute(_VACUUM.format(sql.Identifier(table)))

    def _horizon(self, left: list[Day]) -> Horizon:
        events = min([day.begins for day in left], default=self._now)
        kept = self._connection.execute(SQL["oldest_kept"]).fetchone()
        accounts = events if kept is None else min(events, occurred_at(kept[0]))
        return Horizon(self._now, min(events, self._now), min(accounts, self._now), self._request.older_than)

    def _age(self, component_days: int | None) -> timedelta:
        if self._request.older_than is not None:
            return self._request.older_than
        return timedelta(days=self._keep.raw_events_days if component_days is None else component_days)

    @property
    def _errors_from(self) -> datetime:
        """Errors of this time or later are kept."""
        if self._request.older_than is not None:
            return self._now - self._request.older_than
        return self._now - timedelta(days=self._keep.errors_days)

    def _may_begin(self) -> bool:
        """Whether there is time for more; if not, this round is not all."""
        if self._deadline is None or monotonic() < self._deadline:
            return True
        self._result.is_done = False
        return False

    def _one(self, statement: Any, values: dict[str, Any]) -> int:  # noqa: ANN401 - of SQL
        return self._connection.cursor(row_factory=scalar_row).execute(statement, values).fetchone() or 0


def _sum(days: Iterable[Day]) -> tuple[int, int]:
    sizes = [(day.events, day.bytes) for day in days]
    return sum(events for events, _ in sizes), sum(size for _, size in sizes)


def _add_day(removal: Removal, day: Day, component: str | None, reason: Reason, rows: int) -> None:
    removal.going += rows
    removal.days.append({"day": f"{day.begins:%Y-%m-%d}", "component": component, "reason": reason, "rows": rows})
