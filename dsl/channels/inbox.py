"""The inbox: a row that a person reads."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from psycopg import Connection

from dsl import notifications
from dsl.channels.channel import Message
from dsl.step import Effect


class Inbox:
    """Stores the message in `notifications`; it is there exactly when the step's transaction commits."""

    effect: ClassVar = Effect.DATABASE

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        if connection is None:
            message_ = "the inbox delivers inside a transaction and was given none"
            raise RuntimeError(message_)
        return notifications.insert(
            connection,
            space_id=message.space_id,
            execution_id=message.execution_id,
            user_name=message.user,
            level=message.level,
            message=message.text,
            now=message.at,
        ).id
