"""The inbox: what commands told people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from dsl.records import checked_text
from telemetry.clock import to_unix_us
from telemetry.ids import new_id
from telemetry.sql import queries

SQL = queries(__file__)

#: How loud a message is.
MessageLevel = Literal["info", "warning", "error"]

#: Characters of a message, at most.
MAX_MESSAGE = 10_000
#: Characters of a user's name, at most.
MAX_USER = 200


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of the inbox.

    Attributes:
        id: UUIDv7, minted from `created_at`.
        execution_id: What sent it.
        user_name: Whom it is for (the plain name; operational, never telemetry).
        read_at: When it was read.
    """

    id: UUID
    space_id: UUID
    execution_id: UUID | None
    user_name: str
    level: MessageLevel
    message: str
    created_at: datetime
    read_at: datetime | None = None


def insert(  # noqa: PLR0913 - one argument per column
    connection: Connection[Any],
    *,
    space_id: UUID,
    execution_id: UUID | None,
    user_name: str,
    level: MessageLevel,
    message: str,
    now: datetime,
) -> Notification:
    """Put a message into a person's inbox.

    Raises:
        RecordInvalid: The message or the user's name is too long, or holds what Postgres cannot.
    """
    notification = Notification(
        id=new_id(to_unix_us(now)),
        space_id=space_id,
        execution_id=execution_id,
        user_name=checked_text("name of the user", user_name, MAX_USER),
        level=level,
        message=checked_text("message", message, MAX_MESSAGE),
        created_at=now,
    )
    connection.execute(SQL["insert_notification"], asdict(notification))
    return notification


def newest(
    connection: Connection[Any], space_id: UUID, *, limit: int, before: UUID | None = None
) -> list[Notification]:
    """A page of a space's inbox, newest first; the next one begins with `before` set to the last id of this one."""
    cursor = connection.cursor(row_factory=class_row(Notification))
    return cursor.execute(
        SQL["newest_notifications"], {"space_id": space_id, "before": before, "limit": limit}
    ).fetchall()
