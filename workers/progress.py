"""Who looks on while executions run: told from the rows in Postgres, with one thread that looks for all of a process.

The thread asks one statement for all executions that are looked at, says which have news, and keeps none of it: each
onlooker reads the rows itself, from its own position, when it can. So nothing is queued for who is slow.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import structlog
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from telemetry.errors import StoreUnavailable
from telemetry.sql import queries
from workers.errors import ExecutionNotFound
from workers.executions import FINAL_STATES, STATES, StepRecord, reaching_store

log = structlog.get_logger(__name__)

SQL = queries(__file__)

#: Rows that are read at a time.
PAGE = 100

#: Ranges of ordinals that a position names, and ordinals in all of them together, at most.
MAX_RANGES, MAX_OPEN = 100, 10_000

#: Seconds between two looks: a share of the time since there was news, within these bounds.
_SHARE, _LEAST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.005, 0.25

#: Seconds the thread may take to end; then it is left to the end of the process.
_CLOSE_TIMEOUT_S = 2.0

_RANGE = r"[0-9]{1,9}(?:-[0-9]{1,9})?"
#: What a position looks like as a text.
POSITION = rf"[0-9]{{1,9}}(?:!{_RANGE}(?:,{_RANGE}){{0,{MAX_RANGES - 1}}})?(?:~(?:{'|'.join(STATES)})\.[0-9]{{1,9}})?"
_POSITION = re.compile(POSITION)


class PositionInvalid(ValueError):
    """The text is no position that a stream has given."""


@dataclass(slots=True)
class Position:
    """What an onlooker was told already: as a text, what it goes on from.

    Steps are numbered as they begin and told as they end, so one with steps inside is told after them: its ordinal is
    open until then. Written `7!2,4-5~running.1`: all steps up to 7 but 2, 4 and 5, and that its first attempt runs.

    Attributes:
        last: The highest ordinal told.
        open: Lower ones that are not told yet.
        state: That was told last; none if none was.
        state_attempt: The attempt it was told of.
    """

    last: int = 0
    open: set[int] = field(default_factory=set)
    state: str | None = None
    state_attempt: int = 0
    #: Ordinal and attempt of the last step told.
    _end: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position of an ordinal, or of what `str` made of one; ranges that cannot be meant are left out.

        Raises:
            PositionInvalid: It is neither.
        """
        if _POSITION.fullmatch(text) is None:
            raise PositionInvalid
        steps, _, told = text.partition("~")
        last, _, ranges = steps.partition("!")
        state, _, attempt = told.partition(".")
        position = cls(int(last), state=state or None, state_attempt=int(attempt or 0))
        for part in ranges.split(",") if ranges else ():
            first, _, end = part.partition("-")
            start, stop = int(first), int(end or first)
            if stop < position.last and stop - start + len(position.open) < MAX_OPEN:
                position.open.update(range(start, stop + 1))
        return position

    def __str__(self) -> str:
        """Of more open ranges than a text may have, the lowest are left out: they are the oldest."""
        ranges = [f"{first}-{end}" if end > first else str(first) for first, end in _ranges(self.open)][-MAX_RANGES:]
        told = "" if self.state is None else f"~{self.state}.{self.state_attempt}"
        return f"{self.last}{'!' if ranges else ''}{','.join(ranges)}{told}"

    def tell(self, step: StepRecord) -> None:
        """Take a step for told."""
        if step.ordinal > self.last:
            # What another execution left to this one is there as a whole: what is missing in it stays so.
            if step.attempt > 0:
                self.open.update(range(self.last + 1, step.ordinal))
            self.last = step.ordinal
        else:
            self.open.discard(step.ordinal)

    def settle(self, steps: Collection[StepRecord]) -> None:
        """Forget the open ordinals of attempts that are over, when all of a page was told.

        An attempt writes nothing once the next has begun, and that goes on counting where the ledger ended.
        """
        marks = {(step.ordinal, step.attempt) for step in steps} | ({self._end} if self._end else set())
        for (ordinal, before), (_, attempt) in pairwise(sorted(marks)):
            if attempt > before:
                self.open = {other for other in self.open if other > ordinal}
        self._end = max(marks, default=None)


def _ranges(ordinals: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = end = None
    for ordinal in sorted(ordinals):
        if first is None or end is None:
            first = end = ordinal
        elif ordinal == end + 1:
            end = ordinal
        else:
            yield first, end
            first = end = ordinal
    if first is not None and end is not None:
        yield first, end


@dataclass(frozen=True, slots=True)
class State:
    """Where an execution stands."""

    state: str
    attempt: int
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether it will never change again."""
        return self.state in FINAL_STATES


@dataclass(slots=True)
class Watched:
    """An execution that is looked at.

    Attributes:
        version: Counts its news.
    """

    version: int = 0
    mark: tuple[Any, ...] | None = None
    onlookers: int = 0


class Progress:
    """News of executions, for any number of onlookers of one process.

    Args:
        pool: Connections to Postgres, in autocommit mode.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._changed = threading.Condition()
        self._watched: dict[UUID, Watched] = {}
        self._thread: threading.Thread | None = None
        self._hurries = False
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the process ends: nobody is told anything any more."""
        return self._is_closed

    def state(self, execution_id: UUID) -> State:
        """Where it stands now.

        Raises:
            ExecutionNotFound: There is none with this id.
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(State))
            found = cursor.execute(SQL["state"], {"id": execution_id}).fetchone()
        if found is None:
            raise ExecutionNotFound(f"there is no execution {execution_id}", hint="`weir executions list` shows them.")
        return found

    def steps(self, execution_id: UUID, position: Position) -> list[StepRecord]:
        """Steps that ended and were not told yet, by ordinal; all there are if they are fewer than `PAGE`.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        given = {"id": execution_id, "open": sorted(position.open), "after": position.last, "limit": PAGE}
        with reaching_store(), self._pool.connection() as connection:
            return connection.cursor(row_factory=class_row(StepRecord)).execute(SQL["news"], given).fetchall()

    @contextmanager
    def watching(self, execution_id: UUID) -> Iterator[Watched]:
        """Have an execution looked at."""
        with self._changed:
            watched = self._watched.setdefault(execution_id, Watched())
            watched.onlookers += 1
            self._hurries = True
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._look_on, name="progress", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            yield watched
        finally:
            with self._changed:
                watched.onlookers -= 1
                if not watched.onlookers:
                    self._watched.pop(execution_id, None)

    def wait(self, watched: Watched, seen: int, timeout_s: float) -> bool:
        """Wait for news after version `seen`; whether there is some. At once when closed."""
        with self._changed:
            self._changed.wait_for(lambda: watched.version != seen or self._is_closed, timeout_s)
            return watched.version != seen

    def end(self) -> None:
        """Let all onlookers go; idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Likewise, and wait until nobody looks any more."""
        self.end()
        if thread := self._thread:
            thread.join(_CLOSE_TIMEOUT_S)

    def _look_on(self) -> None:
        """Look for news until nobody wants any."""
        quiet_since = time.monotonic()
        while True:
            with self._changed:
                if self._is_closed or not self._watched:
                    self._thread = None
                    return
                ids = list(self._watched)
            if self._look(ids) or self._hurries:
                quiet_since, self._hurries = time.monotonic(), False
            quiet_s = time.monotonic() - quiet_since
            pause_s = min(max(quiet_s * _SHARE, _LEAST_PAUSE_S), _LONGEST_PAUSE_S)
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._hurries, pause_s)

    def _look(self, ids: list[UUID]) -> bool:
        """Whether there is news of any; of all of them when that cannot be known, for who looks himself meets why."""
        marks: dict[UUID, tuple[Any, ...]] | None
        try:
            with reaching_store(), self._pool.connection() as connection:
                marks = {row[0]: row[1:] for row in connection.execute(SQL["marks"], {"ids": ids})}
        except StoreUnavailable as error:
            log.warning("progress_not_seen", reason=error.code)
            marks = None
        except Exception:
            # Whatever it is, onlookers must not wait for a thread that has ended.
            log.exception("progress_not_seen")
            marks = None
        with self._changed:
            news = False
            for execution_id, watched in self._watched.items():
                if marks is None or (execution_id in marks and marks[execution_id] != watched.mark):
                    watched.mark = None if marks is None else marks[execution_id]
                    watched.version += 1
                    news = marks is not None
            self._changed.notify_all()
        return news
