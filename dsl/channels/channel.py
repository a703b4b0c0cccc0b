"""The contract of a channel: a way to tell someone something. `notify` steps use it, and later alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from psycopg import Connection

from dsl.notifications import MessageLevel
from dsl.step import Effect


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be told, to whom, and who says so.

    Attributes:
        text: For the person; never telemetry, never a log line.
        user: Plain name of whom it is for.
        space_id: Row of `spaces`.
        execution_id: The execution that tells; none for an alert.
        origin: Registered address of what tells, such as a step path.
        at: When; aware UTC.
    """

    level: MessageLevel
    text: str
    user: str
    space_id: UUID
    execution_id: UUID | None
    origin: str
    at: datetime


class Channel(Protocol):
    """A way to tell someone something.

    Class attributes:
        effect: DATABASE: delivers by the connection it is given, inside its transaction. EXTERNAL: leaves the process.
    """

    effect: ClassVar[Effect]

    def deliver(self, message: Message, connection: Connection[Any] | None) -> UUID | None:
        """Tell it; the id of the row that was made, if one was.

        Raises:
            RecordInvalid: The message cannot be kept.
        """
        ...
