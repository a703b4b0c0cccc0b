"""Dead letters: executions that ended as `dead` or `failed`, until somebody runs them again or drops them.

Nothing is copied: a dead letter is the row of its execution, which stays, whatever is done about it. Dealing with one
is one transaction that marks the row, under its lock, and writes who did it; the second to come finds it marked. What
a step waited for is no dead letter of its own: running the execution of that step again runs it again too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString, TypeVar
from uuid import UUID

import structlog
from psycopg.rows import class_row, scalar_row
from psycopg_pool import ConnectionPool

from telemetry.errors import StoreUnavailable, WeirError
from telemetry.events import Source
from telemetry.sql import queries
from workers.errors import ExecutionConflict, ExecutionNotFound
from workers.executions import reaching_store
from workers.resumption import Resumption, handled

SQL = queries(__file__)

log = structlog.get_logger(__name__)

R = TypeVar("R")

#: Dead letters that one request deals with; each is a transaction of its own.
AT_ONCE = 200

#: Dead letters that a preview shows.
SAMPLES = 5

#: States of dead letters.
STATES = ("dead", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Which dead letters.

    Attributes:
        states: Of `STATES`.
        command: Slug.
        fingerprint: Of the error, hexadecimal.
        lane: Where it waited.
        start: Ended then or later.
        end: Ended before.
        ids: Only these.
        after: Only those with a greater id: it is the last one dealt with.
        up_to: Only those with this id or a smaller one: what was submitted later is left alone, and so is what is
            requeued and dies again.
    """

    states: Sequence[str] = STATES
    command: str | None = None
    fingerprint: str | None = None
    lane: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    ids: Sequence[UUID] | None = None
    after: UUID | None = None
    up_to: UUID | None = None

    def parameters(self) -> dict[str, Any]:
        """As the statements take them."""
        return {
            "states": list(self.states),
            "slug": self.command,
            "fingerprint": self.fingerprint,
            "lane": self.lane,
            "start": self.start,
            "end": self.end,
            "ids": None if self.ids is None else list(self.ids),
            "after": self.after,
            "up_to": self.up_to,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An execution that ended without success. Instants are aware UTC.

    Attributes:
        fingerprint: Of its error, hexadecimal; the same for the same cause.
        last_step: The step that failed; of a dead one the last that is on record: it died in that or the next.
        attempt: How often it was claimed.
        failures: Attempts that failed and were tried again.
        deaths: Workers that were lost with it.
        deaths_alone: Those of them where nothing else ran.
        action: What was done about it, by whom, when, and the execution that follows it; none while it is open.
    """

    id: UUID
    slug: str
    state: str
    lane: str
    priority: int
    user_name: str
    correlation_id: UUID
    parent_id: UUID | None
    link: str | None
    dry_run: bool
    error: dict[str, Any] | None
    fingerprint: str | None
    last_step: str | None
    attempt: int
    failures: int
    deaths: int
    deaths_alone: int
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    action: Literal["requeued", "dropped"] | None
    handled_by: str | None
    handled_at: datetime | None
    requeued_as: UUID | None

    @property
    def next_action(self) -> str:
        """What to do about it, in a sentence."""
        if self.action == "requeued":
            return f"Nothing: it was requeued as {self.requeued_as or 'an execution that is gone'}."
        if self.action == "dropped":
            return "Nothing: it was dropped."
        if self.dry_run:
            return "Nothing: it was a dry run."
        if self.link == "child":
            return f"Requeue {self.parent_id}, whose step ran it."
        if self.state == "dead":
            where = f"the step {self.last_step}, or the one after it," if self.last_step else "its first step"
            return f"See what {where} needs of its process (memory, a crash in a library); then requeue it, or drop it."
        error = self.error or {}
        return _ADVICE_BY_CODE.get(str(error.get("code"))) or _ADVICE.get(str(error.get("category")), _LOOK)


_LOOK = "Look at its error, correct what it names, then requeue it; or drop it."
_ADVICE = {
    "validation": "What it was given will not do: correct the command and run `weir executions resume ID --with FILE`,"
    " or drop it and submit it anew.",
    **dict.fromkeys(
        ("network", "timeout", "rate_limit", "server"), "Requeue it once what it depends on works again; or drop it."
    ),
}
_ADVICE_BY_CODE = {
    "execution.timed_out": "Raise the command's `timeout`, or give it less to do; then requeue it, or drop it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Dead letters of one command with one fingerprint.

    Attributes:
        letters: How many.
        dead: How many of them are `dead`; the others `failed`.
        first_at: When the first of them ended.
        last_at: When the last did.
        newest_id: The newest of them.
        error: That one's.
    """

    slug: str
    fingerprint: str | None
    letters: int
    dead: int
    first_at: datetime
    last_at: datetime
    newest_id: UUID
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be dealt with.

    Attributes:
        count: How many.
        samples: The oldest of them.
        up_to: The newest dead letter there is: what was submitted after it is not meant.
    """

    count: int
    samples: list[DeadLetter]
    up_to: UUID | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What was dealt with, oldest first.

    Attributes:
        done: Ids; with each that of the execution that follows it, if one does.
        refused: Ids of those that cannot be, and why. They stay in the list.
        remaining: How many are left behind the last one of these.
        last: The last one that was looked at; none when there was nothing.
    """

    done: dict[UUID, UUID | None]
    refused: dict[UUID, WeirError]
    remaining: int
    last: UUID | None


class DeadLetters:
    """Lists dead letters and deals with them.

    Args:
        pool: In autocommit mode.
        resumption: Runs them again.
    """

    def __init__(self, pool: ConnectionPool, resumption: Resumption) -> None:
        self._pool = pool
        self._resumption = resumption

    def page(self, letters: Letters, *, limit: int, before: UUID | None = None) -> list[DeadLetter]:
        """Dead letters, that which ended last first; `before` is the id of the last one already seen."""
        return self._fetch(DeadLetter, SQL["page"], {**letters.parameters(), "limit": limit, "before": before})

    def causes(self, letters: Letters, *, limit: int, before: UUID | None = None) -> list[Cause]:
        """By command and fingerprint, latest first; `before` is `newest_id` of the last one already seen."""
        return self._fetch(Cause, SQL["causes"], {**letters.parameters(), "limit": limit, "before": before})

    def get(self, execution_id: UUID) -> DeadLetter:
        """One that is in the list, or was.

        Raises:
            ExecutionNotFound: There is no execution with this id.
            ExecutionConflict: It has neither failed nor died.
        """
        found = self._fetch(DeadLetter, SQL["get"], {"id": execution_id})
        if not found:
            raise ExecutionNotFound(f"there is no execution {execution_id}", hint="`weir queues dead list` shows them.")
        if found[0].state not in STATES:
            raise ExecutionConflict(
                f"the execution is {found[0].state}: it is no dead letter", hint="`weir executions show` shows it."
            )
        return found[0]

    def requeue(self, execution_id: UUID, source: Source, by: str, *, from_start: bool = False) -> UUID:
        """Run one again as a new execution: from where it ended, or from its beginning; the id of that.

        Raises:
            ExecutionNotFound: There is no execution with this id.
            ExecutionConflict: It is no dead letter.
            DeadLetterHandled: It was requeued or dropped already.
        """
        self._require_open(execution_id)
        if from_start:
            return self._resumption.retry(execution_id, source, by=by, once=True).id
        return self._resumption.resume(execution_id, source, by=by, once=True).id

    def drop(self, execution_id: UUID, by: str) -> None:
        """Take one out of the list; its execution stays, and says who dropped it.

        Raises:
            ExecutionNotFound: There is no execution with this id.
            ExecutionConflict: It is no dead letter.
            DeadLetterHandled: It was requeued or dropped already.
        """
        self._require_open(execution_id)
        if execution_id not in self._drop([execution_id], by):
            with reaching_store(), self._pool.connection() as connection:
                raise handled(connection, execution_id)

    def preview(self, letters: Letters) -> Preview:
        """What a filter finds now. Give `up_to` of it to what deals with them, so that it comes to an end."""
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            newest = letters.up_to or cursor.execute(SQL["newest"], {"states": list(letters.states)}).fetchone()
        ids, count = self._matching(letters, SAMPLES)
        return Preview(count, [self.get(each) for each in ids], newest)

    def requeue_many(
        self, letters: Letters, count: int | None, source: Source, by: str, *, from_start: bool = False
    ) -> Batch:
        """Run the oldest of them again, at most `AT_ONCE`, each in a transaction of its own.

        Killed or cut off anywhere, those that are done are out of the list, and asking again goes on with the rest.

        Args:
            letters: Which.
            count: How many there are, as somebody was told; none to go on after some were dealt with.
            source: The door it comes through.
            by: On whose behalf.
            from_start: From their beginning, instead of where they ended.

        Raises:
            ExecutionConflict: There are not as many; nothing was done.
        """
        ids, remaining = self._counted(letters, count)
        done: dict[UUID, UUID | None] = {}
        refused: dict[UUID, WeirError] = {}
        for each in ids:
            try:
                done[each] = self.requeue(each, source, by, from_start=from_start)
            except StoreUnavailable:
                raise
            except WeirError as error:
                log.warning("dead_letter_not_requeued", execution_id=str(each), reason=error.code)
                refused[each] = error
        return Batch(done, refused, remaining, ids[-1] if ids else None)

    def drop_many(self, letters: Letters, count: int | None, by: str) -> Batch:
        """Take the oldest of them out of the list, at most `AT_ONCE`, in one transaction.

        Raises:
            ExecutionConflict: There are not as many; nothing was done.
        """
        ids, remaining = self._counted(letters, count)
        dropped = self._drop(ids, by)
        return Batch(dict.fromkeys(dropped), {}, remaining, ids[-1] if ids else None)

    def _drop(self, ids: Sequence[UUID], by: str) -> list[UUID]:
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            return sorted(cursor.execute(SQL["drop"], {"ids": list(ids), "user_name": by}).fetchall())

    def _require_open(self, execution_id: UUID) -> None:
        letter = self.get(execution_id)
        if letter.action is not None:
            with reaching_store(), self._pool.connection() as connection:
                raise handled(connection, execution_id)
        if letter.dry_run:
            raise ExecutionConflict(
                "it was a dry run, which is no dead letter", hint="`weir executions retry` runs it."
            )
        if letter.link == "child":
            raise ExecutionConflict(
                f"a step of {letter.parent_id} ran it, and waited for it",
                hint="Requeue that one; `weir executions retry` runs this one by itself.",
            )

    def _counted(self, letters: Letters, count: int | None) -> tuple[list[UUID], int]:
        """The first of them, and how many come after those."""
        ids, found = self._matching(letters, AT_ONCE)
        if count is not None and found != count:
            raise ExecutionConflict(
                f"that would be {found} dead letters by now, not {count}", hint="Preview it again; nothing was done."
            )
        return ids, found - len(ids)

    def _matching(self, letters: Letters, limit: int) -> tuple[list[UUID], int]:
        with reaching_store(), self._pool.connection() as connection:
            parameters = {**letters.parameters(), "limit": limit}
            rows = connection.execute(SQL["matching"], parameters, prepare=False).fetchall()
        return [row[0] for row in rows], rows[0][1] if rows else 0

    def _fetch(self, row: type[R], statement: LiteralString, parameters: Mapping[str, Any]) -> list[R]:
        with reaching_store(), self._pool.connection() as connection:
            # Planned for the values at hand, which decide on the index.
            return (
                connection.cursor(row_factory=class_row(row)).execute(statement, parameters, prepare=False).fetchall()
            )
