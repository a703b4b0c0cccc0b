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
from telemetry.ids import least_id_at, new_id
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
    """

    id: UUID
    space_id: UUID
    execution_id: UUID | None
    user_name: str
    level: MessageLevel
    message: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Listed(Notification):
    """A row of the inbox, with the name of its space."""

    space: str


@dataclass(frozen=True, slots=True)
class Which:
    """Which rows of the inbox; what is none leaves none out.

    Attributes:
        space_id: Of this space.
        user_name: For this user.
        level: Exactly this one.
        since: Sent then or later.
        until: Sent before.
        before: Id that the page before ended with.
    """

    space_id: UUID | None = None
    user_name: str | None = None
    level: MessageLevel | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: UUID | None = None


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


def newest(connection: Connection[Any], which: Which, *, limit: int) -> list[Listed]:
    """A page of the inbox, newest first; the next one begins with `before` set to the last id of this one."""
    first = None if which.since is None else least_id_at(to_unix_us(which.since))
    cursor = connection.cursor(row_factory=class_row(Listed))
    return cursor.execute(SQL["newest_notifications"], {**asdict(which), "first": first, "limit": limit}).fetchall()
