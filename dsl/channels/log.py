"""The log: one line that something was told, never what."""

from __future__ import annotations

import logging
from typing import Any, ClassVar
from uuid import UUID

import structlog
from psycopg import Connection

from dsl.channels.channel import Message
from dsl.step import Effect


class Log:
    """Writes the event `notification.logged`: level, execution, step, and how long the message is.

    The text is left out on purpose. Logs are shipped, kept and read by more people than the records a command works
    on, and a message is made from those records. Whoever needs the text finds it with the execution (the step's
    output), or sends it to the inbox.
    """

    effect: ClassVar = Effect.EXTERNAL

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        structlog.get_logger(__name__).log(
            logging.getLevelNamesMapping()[message.level.upper()],
            "notification.logged",
            execution_id=None if message.execution_id is None else str(message.execution_id),
            step_path=message.origin,
            message_characters=len(message.text),
        )
        return None
