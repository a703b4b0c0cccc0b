"""Traces as the ledger knows them: whose an id is, how executions hang together, why some have not ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from telemetry.errors import TraceNotFound
from telemetry.sql import queries

SQL = queries(__file__)

#: Executions of one trace that are looked up.
MAX_EXECUTIONS: Final = 10_000

_FINAL: Final = frozenset({"succeeded", "failed", "cancelled", "expired", "dead"})


@dataclass(frozen=True, slots=True)
class Linked:
    """An execution of a trace, or one of another trace that is linked with it.

    Attributes:
        id: Its own.
        slug: Of its command.
        state: As in its row.
        link: How it is linked with its parent, or with its schedule.
        parent_id: The execution it comes from.
        schedule_id: The schedule it comes from.
        correlation_id: Of its trace.
        attempt: How often it was begun.
        dry_run: Whether nothing of it stays.
        is_lost: Whether it runs on a worker that is not heard of any more.
    """

    id: UUID
    slug: str
    state: str
    link: str | None
    parent_id: UUID | None
    schedule_id: UUID | None
    correlation_id: UUID
    attempt: int
    dry_run: bool
    is_lost: bool

    @property
    def why_open(self) -> str | None:
        """Why it has not ended; none if it has."""
        if self.state in _FINAL:
            return None
        return "worker_lost" if self.is_lost else self.state


def find_trace(connection: Connection[Any], wanted: UUID) -> tuple[str, UUID]:
    """What an id is (`execution`, `correlation_id`, `event` or `fragment`), and the trace it belongs to.

    Raises:
        TraceNotFound: Nothing has this id.
        psycopg.Error: Postgres did not answer.
    """
    found: tuple[str, UUID] | None = connection.execute(SQL["find"], {"id": wanted}).fetchone()
    if found is None:
        raise TraceNotFound(
            f"nothing that is stored belongs to {wanted}",
            hint="Events arrive within a second; is the sink running?",
            id=str(wanted),
        )
    return found


def list_executions(connection: Connection[Any], correlation_id: UUID) -> list[Linked]:
    """Executions of a trace and those linked with them, in the order they were accepted; at most `MAX_EXECUTIONS`.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    parameters = {"id": correlation_id, "limit": MAX_EXECUTIONS}
    with connection.cursor(row_factory=class_row(Linked)) as cursor:
        return cursor.execute(SQL["executions"], parameters).fetchall()


def states_of(executions: Iterable[Linked]) -> dict[str, str]:
    """Why those that have not ended have not, by id."""
    return {str(each.id): why for each in executions if (why := each.why_open) is not None}
